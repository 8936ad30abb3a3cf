//! `keel rehearse`: the last batches once more, executed by this binary beside the node that made them, before it takes that node's place.
//! [spec safe-mode, Planned maintenance]

use crate::config::Config;
use crate::gate::flat_state_differs;
use crate::node::start_of;
use anyhow::{Context, Result, ensure};
use keel_journal::{JournalReader, Replay};
use keel_sequencer::{Start, recover};
use keel_store::Store;
use keel_store::snapshots::Snapshots;
use keel_types::*;
use serde_json::json;
use std::time::Instant;

/// Replays the blocks of the last `count` batches from the newest snapshot before them, and compares: the digest at every seal, and at the
/// last one every record with flat state, and the root with flat state's. Prints what it did; an error names the first difference.
/// Changes nothing, and may run beside the node.
pub fn rehearse(config: &Config, count: u64) -> Result<()> {
    ensure!(count > 0, "rehearse: --batches must be at least 1");
    let begun = Instant::now();
    let genesis = crate::genesis(&config.genesis)?;
    let store = Store::open_read_only(&config.data_dir.join("store"), genesis.hash()).context("look at the store")?;
    let journal = JournalReader::open_read_only(&config.data_dir.join("journal"))?;
    let snapshots = Snapshots::open(&config.data_dir.join("snapshots"), genesis.hash(), usize::MAX)?;

    let last = store.latest_batch()?.context("rehearse: the node has made no batch yet")?;
    let first = BatchId(last.batch.0.saturating_sub(count - 1));
    let first = store.batch_header(first)?.with_context(|| format!("rehearse: batch {first} is not in the store"))?;
    let (snapshot, passed_over) = snapshots.newest(|header| header.height < first.first_block)?;
    passed_over.iter().for_each(|error| tracing::warn!(%error, "snapshot passed over"));
    let start = snapshot.map_or(Start::Genesis, start_of);
    let (from, link) = match &start {
        Start::Genesis => (Seq(0), Bytes32::default()),
        Start::Snapshot { tail, .. } => (tail.last_seq, tail.hash),
    };
    let end = sealed_at(&journal, from, link, last.last_block)?;

    let recovered = recover(&genesis, start, &journal, Some(end), &mut |_| true).context("rehearse")?;
    let engine = recovered.engine;
    ensure!(engine.height() == last.last_block, "rehearse: the replay ended at block {}", engine.height());
    let violations = engine.check();
    ensure!(violations.is_empty(), "rehearse: {violations:?}");
    let state = store.state_at(last.last_block).context("read the state of the last batch")?;
    let difference = flat_state_differs(&genesis, &engine.dump().writes, &state)?;
    ensure!(difference.is_none(), "rehearse: block {}: {}", last.last_block, difference.unwrap_or_default());
    let header = store.header(last.last_block)?.context("rehearse: the last block is not in the store")?;
    let root = state.recompute_roots().context("recompute roots")?.state;
    ensure!(
        root == header.block.state_root,
        "rehearse: the root of block {} is {:#x}, {root:#x} from flat state",
        last.last_block,
        header.block.state_root
    );
    let report = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "batches": [first.batch.to_string(), last.batch.to_string()],
        "blocks": [first.first_block.to_string(), last.last_block.to_string()],
        "from": from.to_string(),
        "to": end.to_string(),
        "commands": recovered.replayed.to_string(),
        "engineDigest": engine.digest().to_string(),
        "stateRoot": format!("{root:#x}"),
        "seconds": format!("{:.1}", begun.elapsed().as_secs_f64()),
        "equal": true,
    });
    println!("{report:#}");
    Ok(())
}

/// The command that sealed a block.
fn sealed_at(journal: &JournalReader, from: Seq, link: Bytes32, block: Height) -> Result<Seq> {
    let mut sealed = None;
    let seals = |command: &Command| matches!(command, Command::SealBlock(seal) if seal.height == block);
    journal.replay(from.next(), link, &mut |record| {
        // The last command of its record.
        sealed = record.commands.iter().any(seals).then(|| record.last_seq());
        sealed.is_none()
    })?;
    sealed.with_context(|| format!("rehearse: no record of the journal seals block {block}"))
}
