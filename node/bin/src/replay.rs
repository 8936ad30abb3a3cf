//! A second node from the same journal: `keel replay` writes it, `keel verify` compares it with the first.

use crate::config::Config;
use anyhow::{Context, Result, anyhow, bail, ensure};
use keel_blocks::{BlockKey, BlockWorker, Wait, WorkerConfig};
use keel_engine::Engine;
use keel_journal::JournalReader;
use keel_sequencer::{Start, recover};
use keel_store::snapshots::Snapshots;
use keel_store::{HistoryWriter, IndexCheck, Retained, StateRetention, Store, TableFingerprint, TrieCheck};
use keel_types::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Longest a replay waits for the last block after the last command.
const LAST_BLOCK_TIMEOUT: Duration = Duration::from_secs(600);
/// Blocks whose index `keel verify` checks without `--full`: under a second. The tables are compared in any case.
const INDEX_SAMPLES: u64 = 1_000;

/// What a replay of the whole journal made.
struct Replayed {
    engine: Engine,
    commands: u64,
    records: u64,
    /// BLAKE3 over the encoded results (commands, events, chain-state writes) of every record, in order.
    results: Bytes32,
    /// Per snapshot of the first node: its engine bytes equal ours at that command.
    snapshots_equal: usize,
    store: Store,
}

/// How far blocks and history of a second node are made.
#[derive(Clone, Copy)]
struct Reach {
    height: Height,
    blocks: Seq,
    history: Seq,
    retained: Retained,
}

impl Reach {
    /// As far as a store came. One that was not stopped cleanly may be behind its journal; the next start brings it up.
    fn of(store: &Store) -> Result<Reach> {
        Ok(Reach {
            height: store.height().unwrap_or_default(),
            blocks: store.blocks_seq()?,
            history: store.history_seq()?,
            retained: store.retained()?,
        })
    }

    /// Keeps what the store keeps, and nothing that would have to be forgotten again. Flat state waits for batches, which a rebuilt store
    /// does not have.
    fn retention(&self) -> StateRetention {
        let proof_blocks = match self.retained.proofs {
            Height(0) => 0,
            first => self.height.0 + 1 - first.0,
        };
        StateRetention { proof_blocks, state_blocks: 0 }
    }
}

/// Replays the journal into a new folder and prints where it arrives.
pub fn replay(config: &Config, out: &Path) -> Result<()> {
    ensure!(!out.exists(), "replay: {} exists", out.display());
    let replayed = rebuild(config, out, None)?;
    println!("{}", serde_json::to_string_pretty(&summary(&replayed)?)?);
    Ok(())
}

/// Checks the store by itself, then replays into a temporary second node and compares every table, root, digest and snapshot; prints the
/// result, fails on a difference. A store that a crash left behind its journal is compared as of where it is. Nothing is
/// written to the store: old proofs and state that it has forgotten are forgotten by the second node too, before they are compared.
pub fn verify(config: &Config, full: bool) -> Result<()> {
    let second = config.data_dir.join("verify.tmp");
    if second.exists() {
        std::fs::remove_dir_all(&second).context("remove an earlier verification")?;
    }
    let result = verify_against(config, &second, full);
    if second.exists() {
        std::fs::remove_dir_all(&second).context("remove the verification")?;
    }
    result
}

fn verify_against(config: &Config, second: &Path, full: bool) -> Result<()> {
    let genesis = crate::genesis(&config.genesis)?;
    let first = Store::open(&config.data_dir.join("store"), genesis.hash()).context("open the store")?;
    let reach = Reach::of(&first)?;
    let replayed = rebuild(config, second, Some(reach))?;
    let violations = replayed.engine.check();
    ensure!(violations.is_empty(), "verify: {violations:?}");
    let behind =
        replayed.engine.height().0.checked_sub(reach.height.0).context("verify: the journal ends before the store")?;
    let (tries, index) = check_store(&first, full)?;
    let retained = reach.retained;
    replayed.store.prune_to(retained)?;
    let (ours, theirs) = (first.fingerprint()?, replayed.store.fingerprint()?);
    let differing: Vec<&str> = ours.iter().zip(&theirs).filter(|(a, b)| a != b).map(|(a, _)| a.table).collect();
    let mut report = summary(&replayed)?;
    report["tables"] = ours.iter().map(table_json).collect();
    report["tablesDiffering"] = json!(differing);
    report["tries"] = json!({ "checked": tries.tries, "nodes": tries.nodes });
    report["blocksIndexed"] = json!(index.blocks);
    report["retainedFrom"] = json!({ "proofs": retained.proofs.to_string(), "state": retained.state.to_string() });
    report["storeBehind"] = json!(behind.to_string());
    report["equal"] = json!(differing.is_empty());
    println!("{}", serde_json::to_string_pretty(&report)?);
    ensure!(differing.is_empty(), "verify: tables differ from a second node's: {differing:?}");
    Ok(())
}

/// What a store must agree on with itself: roots, tries, block index.
fn check_store(store: &Store, full: bool) -> Result<(TrieCheck, IndexCheck)> {
    if let Some(mismatch) = store.check_roots()? {
        bail!(
            "verify: block {}: the header says {:?}, flat state {:?}",
            mismatch.height,
            mismatch.header,
            mismatch.recomputed
        );
    }
    let tries = store.check_tries()?;
    if let Some(fault) = &tries.fault {
        bail!("verify: trie {:?}, {}: {}", fault.trie, fault.path, fault.why);
    }
    let step = if full { 1 } else { store.height().map_or(1, |tip| tip.0 / INDEX_SAMPLES + 1) };
    let index = store.check_index(step)?;
    if let Some(fault) = index.fault {
        bail!("verify: block {}: {}", fault.height, fault.why);
    }
    Ok((tries, index))
}

/// Replays the whole journal; blocks and history up to `reach`, or all of them.
fn rebuild(config: &Config, out: &Path, reach: Option<Reach>) -> Result<Replayed> {
    let genesis = Arc::new(crate::genesis(&config.genesis)?);
    let keys = crate::keys::Keys::load(&config.keys)?;
    let journal = JournalReader::open_read_only(&config.data_dir.join("journal"))?;
    std::fs::create_dir_all(out).context("make the second node's folder")?;
    let retention = reach.map_or(config.history.state_retention(), |reach| reach.retention());
    let store = Store::open(&out.join("store"), genesis.hash())?.with_state_retention(retention);
    let (_, genesis_writes) = Engine::new(&genesis);
    let key = Some(BlockKey::new(keys.block, &genesis)?);
    let worker = BlockWorker::start(WorkerConfig { genesis: genesis.clone(), genesis_writes, store: store.clone(), key })?;
    let feed = worker.feed();
    let mut history = HistoryWriter::new(store.clone())?.with_retention(config.history.retention());
    let (mut hasher, mut records, mut failure) = (blake3::Hasher::new(), 0, None);
    let recovered = recover(&genesis, Start::Genesis, &journal, None, &mut |released| {
        records += 1;
        hasher.update(&borsh::to_vec(&released).expect("writing to a Vec cannot fail"));
        let last = released.executed.last().map_or(Seq(0), |executed| executed.seq);
        if reach.is_none_or(|reach| last <= reach.history) {
            failure = history.apply(&released).err();
        }
        failure.is_none() && (reach.is_some_and(|reach| last > reach.blocks) || feed.send(Arc::new(released)))
    });
    drop(feed);
    if let Some(error) = failure {
        return Err(error).context("write history");
    }
    let recovered = recovered?;
    let height = reach.map_or(recovered.engine.height(), |reach| reach.height);
    match worker.wait_for(height, LAST_BLOCK_TIMEOUT) {
        Wait::Committed => worker.stop()?,
        Wait::TimedOut => bail!("replay: block {height} was not built in time"),
        Wait::Ended => return Err(worker.errors().try_recv().map_or(anyhow!("replay: blocks ended"), |e| anyhow!(e))),
    }
    let snapshots_equal = compare_snapshots(config, &genesis, &journal)?;
    let results = Bytes32(*hasher.finalize().as_bytes());
    Ok(Replayed { engine: recovered.engine, commands: recovered.replayed, records, results, snapshots_equal, store })
}

/// Every snapshot equals, byte for byte, an engine replayed from genesis to its command.
fn compare_snapshots(config: &Config, genesis: &Genesis, journal: &JournalReader) -> Result<usize> {
    let snapshots = Snapshots::open(&config.data_dir.join("snapshots"), genesis.hash(), usize::MAX)?;
    let mut equal = 0;
    for seq in snapshots.list()? {
        let snapshot = snapshots.read(seq)?;
        let at = recover(genesis, Start::Genesis, journal, Some(seq), &mut |_| true)?;
        ensure!(at.engine.snapshot() == snapshot.bytes, "verify: the snapshot at {seq} differs from a replay");
        equal += 1;
    }
    Ok(equal)
}

fn summary(replayed: &Replayed) -> Result<Value> {
    let tip = replayed.store.tip()?.context("the second node has no block")?;
    Ok(json!({
        "commands": replayed.commands,
        "records": replayed.records,
        "lastSeq": replayed.engine.last_seq().to_string(),
        "engineDigest": replayed.engine.digest().to_string(),
        "results": replayed.results.to_string(),
        "snapshotsEqual": replayed.snapshots_equal,
        "height": tip.height().to_string(),
        "blockHash": format!("{:#x}", tip.hash),
        "stateRoot": format!("{:#x}", tip.block.state_root),
    }))
}

fn table_json(table: &TableFingerprint) -> Value {
    json!({ "table": table.table, "rows": table.rows, "hash": table.hash.to_string() })
}
