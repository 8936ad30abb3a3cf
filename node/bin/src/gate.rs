//! The integrity gate before SPOT: the state is shown to be the state it should be, in a signed report. [spec safe-mode, The integrity report]

use anyhow::{Context, Result, anyhow};
use keel_contracts::starknet::Layout;
use keel_journal::JournalReader;
use keel_sequencer::{Control, Start, recover};
use keel_store::snapshots::Snapshots;
use keel_store::{StateAt, StateReader, Store};
use keel_types::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest the gate waits for the sequencer to seal and for the block to be committed.
const SEAL_TIMEOUT: Duration = Duration::from_secs(20);

/// What the gate looks at.
pub struct GateParts {
    pub genesis: Arc<Genesis>,
    pub control: Control,
    pub store: Store,
    pub snapshots: Arc<Snapshots>,
    pub journal: JournalReader,
    /// Signs the report.
    pub key: Felt,
    /// Reads the escrow on the settlement layer and compares it with what we owe; the text goes into the report.
    pub escrow: EscrowCheck,
}

/// See [GateParts::escrow].
pub type EscrowCheck = Box<dyn Fn(&Owed) -> Result<EscrowVerdict> + Send + Sync>;

/// What our state says is owed, at a sealed block.
#[derive(Clone, Debug)]
pub struct Owed {
    /// Per asset, quantums: deposited - withdrawn.
    pub liabilities: Vec<Amount>,
    /// Per asset, quantums: everything ever withdrawn.
    pub withdrawn: Vec<Amount>,
    /// Nonces of the settlement layer's messages that were credited.
    pub consumed: BTreeSet<u64>,
}

/// Result of the escrow comparison.
pub enum EscrowVerdict {
    Matches(String),
    Differs(String),
}

/// What the gate found.
pub enum Verdict {
    Passed(Report),
    /// Could not be established now; asked again.
    NotYet(String),
    Broken(LossReason, String),
}

/// The report: every check with its figures.
#[derive(Clone, Serialize, Deserialize)]
pub struct Report {
    pub incident: u32,
    pub height: u64,
    pub block_hash: String,
    pub state_root: String,
    pub seq: u64,
    pub engine_digest: String,
    pub checks: Vec<String>,
    /// BLAKE3 of this report with `hash` and `signature` empty, as compact JSON.
    pub hash: String,
    /// Signature of the node's key over the hash, cut to 251 bits.
    pub signature: [String; 2],
}

impl Report {
    /// The hash as the chain stores it.
    pub fn hash_bytes(&self) -> Bytes32 {
        self.hash.parse().expect("made from 32 bytes")
    }
}

/// The engine as of one seal.
struct Sealed {
    seq: Seq,
    height: Height,
    digest: Bytes32,
    violations: Vec<String>,
    writes: Vec<StateWrite>,
    liabilities: Vec<Amount>,
}

/// Runs every check. Errors are infrastructure (not yet); a difference is a verdict.
pub fn run(parts: &GateParts, incident: IncidentId) -> Verdict {
    match check(parts, incident) {
        Ok(verdict) => verdict,
        Err(error) => Verdict::NotYet(format!("{error:#}")),
    }
}

fn check(parts: &GateParts, incident: IncidentId) -> Result<Verdict> {
    let sealed = seal(parts)?;
    let header = wait_for_block(parts, sealed.height)?;
    // One snapshot for everything: blocks that are sealed and state that is forgotten meanwhile do not touch it.
    let state = parts.store.state_at(sealed.height).context("read the sealed state")?;
    let mut checks = vec![];

    if !sealed.violations.is_empty() {
        return Ok(Verdict::Broken(LossReason::InvariantBroken, sealed.violations.join("; ")));
    }
    checks.push(
        "value conserved per asset; positions sum to zero; reservations exact; no open order; every price positive".into(),
    );

    if let Some(difference) = flat_state_differs(&parts.genesis, &sealed.writes, &state)? {
        return Ok(Verdict::Broken(LossReason::StateDiverged, difference));
    }
    checks.push(format!(
        "{} records of the engine equal their contract storage at block {}",
        sealed.writes.len(),
        sealed.height
    ));

    let roots = state.recompute_roots().context("recompute roots")?;
    if roots.state != header.block.state_root {
        let why = format!(
            "state root {:#x} in block {}, {:#x} from flat state",
            header.block.state_root, sealed.height, roots.state
        );
        return Ok(Verdict::Broken(LossReason::StateDiverged, why));
    }
    checks.push("state root recomputed from flat state".into());

    let (from, digest) = replayed_digest(parts, sealed.seq)?;
    if digest != sealed.digest {
        let why = format!("engine digest {} at {}, {digest} by replay from {from}", sealed.digest, sealed.seq);
        return Ok(Verdict::Broken(LossReason::StateDiverged, why));
    }
    checks.push(format!("engine digest and journal hash chain by replay from {from} to {}", sealed.seq));

    let owed = Owed {
        liabilities: sealed.liabilities.clone(),
        withdrawn: withdrawn(&sealed.writes, parts.genesis.assets.len()),
        consumed: consumed(&sealed.writes),
    };
    match (parts.escrow)(&owed)? {
        EscrowVerdict::Matches(text) => checks.push(text),
        EscrowVerdict::Differs(text) => return Ok(Verdict::Broken(LossReason::InvariantBroken, text)),
    }
    let report = Report {
        incident: incident.0,
        height: sealed.height.0,
        block_hash: format!("{:#x}", header.hash),
        state_root: format!("{:#x}", header.block.state_root),
        seq: sealed.seq.0,
        engine_digest: sealed.digest.to_string(),
        checks,
        hash: String::new(),
        signature: [String::new(), String::new()],
    };
    Ok(Verdict::Passed(sign(report, &parts.key)?))
}

fn seal(parts: &GateParts) -> Result<Sealed> {
    let question = |engine: &keel_engine::Engine| {
        let mut violations: Vec<String> = engine.check().iter().map(|v| format!("{v:?}")).collect();
        let open = (engine.open_orders() > 0).then(|| format!("{} orders are open", engine.open_orders()));
        violations.extend(open);
        Sealed {
            seq: engine.last_seq(),
            height: engine.height(),
            digest: engine.digest(),
            violations,
            writes: engine.dump().writes,
            liabilities: engine.liabilities(),
        }
    };
    parts.control.inspect_sealed(question, SEAL_TIMEOUT).ok_or_else(|| anyhow!("the sequencer did not seal in time"))
}

fn wait_for_block(parts: &GateParts, height: Height) -> Result<keel_store::Header> {
    let deadline = Instant::now() + SEAL_TIMEOUT;
    loop {
        if let Some(header) = parts.store.header(height).context("read the sealed block")? {
            return Ok(header);
        }
        anyhow::ensure!(Instant::now() < deadline, "block {height} was not committed in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every chain-state record of the engine against the flat state of the store; what differs first, as text.
pub fn flat_state_differs(genesis: &Genesis, writes: &[StateWrite], state: &StateAt<'_>) -> Result<Option<String>> {
    let mut layout = Layout::new();
    for write in writes {
        for (slot, value) in layout.storage(genesis, write) {
            let stored = state.storage(&genesis.exchange.0, &slot).context("read flat state")?;
            if stored != value {
                return Ok(Some(format!("{write:?}: slot {slot:#x} holds {stored:#x}, the engine says {value:#x}")));
            }
        }
    }
    Ok(None)
}

/// The digest at `until`, by a second engine from the newest usable snapshot; and where it started.
fn replayed_digest(parts: &GateParts, until: Seq) -> Result<(Seq, Bytes32)> {
    let (snapshot, _) = parts.snapshots.newest(|header| header.seq <= until).context("read snapshots")?;
    let from = snapshot.as_ref().map_or(Seq(0), |snapshot| snapshot.header.seq);
    let start = snapshot.map_or(Start::Genesis, crate::node::start_of);
    let recovered = recover(&parts.genesis, start, &parts.journal, Some(until), &mut |_| true).context("replay")?;
    anyhow::ensure!(
        recovered.engine.last_seq() == until,
        "the replay ended at {}, not {until}",
        recovered.engine.last_seq()
    );
    Ok((from, recovered.engine.digest()))
}

fn withdrawn(writes: &[StateWrite], assets: usize) -> Vec<Amount> {
    let mut totals = vec![Amount(0); assets];
    for write in writes {
        if let StateWrite::Totals { asset, withdrawn, .. } = write {
            totals[usize::from(asset.0)] = *withdrawn;
        }
    }
    totals
}

fn consumed(writes: &[StateWrite]) -> BTreeSet<u64> {
    let nonce = |write: &StateWrite| match write {
        StateWrite::MessageConsumed { message_nonce } => Some(*message_nonce),
        _ => None,
    };
    writes.iter().filter_map(nonce).collect()
}

fn sign(mut report: Report, key: &Felt) -> Result<Report> {
    let mut bytes = *blake3::hash(&serde_json::to_vec(&report)?).as_bytes();
    report.hash = Bytes32(bytes).to_string();
    bytes[0] &= 0x03; // below 2^250, so that it is a message the curve can sign
    let message = MessageHash(Felt::from_bytes_be(&bytes));
    let signature = keel_ingress::verify::sign(key, &message).context("sign the integrity report")?;
    report.signature = [format!("{:#x}", signature.r), format!("{:#x}", signature.s)];
    Ok(report)
}
