//! Records in, the same state out.

use keel_batches::{Batch, BatchError, BatchLimits, Batcher};
use keel_blocks::{BlockFeed, BlockWorker, BlocksError, Wait, WorkerConfig};
use keel_engine::Engine;
use keel_journal::{Journal, JournalError, LocalJournal, Options, Replay, Tail};
use keel_sequencer::{RecoverError, Replayer};
use keel_store::snapshots::{SnapshotError, SnapshotHeader, Snapshots};
use keel_store::{StateRetention, Store, StoreError};
use keel_types::*;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Snapshots kept; two, so that a damaged one is not the only one.
const SNAPSHOTS_KEPT: usize = 2;
/// Longest wait for the readers of the store when closing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a follower lives.
#[derive(Clone, Debug)]
pub struct FollowerConfig {
    /// Holds `journal/`, `snapshots/` and `store/`. One process at a time: the databases are locked.
    pub folder: PathBuf,
    pub genesis: Arc<Genesis>,
    /// Between two snapshots; a restart replays at most the records since.
    pub snapshot_interval: Duration,
    pub retention: StateRetention,
}

/// What came of comparing a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Its last block was not executed here yet.
    NotYet,
    /// Everything is equal; these are the values that were computed here.
    Agreed(BatchClaim),
    /// It consists of other blocks than it did before, or does not follow the one before it. Nothing of that is wrong: the node cuts
    /// its batches anew. It cannot be compared, so it cannot be signed.
    OtherRange { announced: (Height, Height), before: (Height, Height) },
}

/// Why a follower cannot go on. Nothing of this passes by itself.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// A record that does not continue this journal, or a journal that cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Bytes that are no record, or another than announced.
    #[error("record {first_seq}: {why}")]
    NotARecord { first_seq: Seq, why: String },
    /// Both values stand in it.
    #[error("the state diverged: {what} of block {height}: the node says {announced}, this is {computed}", what = .0.what, height = .0.height, announced = .0.announced, computed = .0.computed)]
    Diverged(Divergence),
    #[error("restore: {0}")]
    Restore(String),
    #[error("snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    #[error("store: {0}")]
    Store(#[from] StoreError),
    #[error("blocks: {0}")]
    Blocks(#[from] BlocksError),
    #[error("{0}")]
    Batch(#[from] BatchError),
    /// The commitment thread is gone without an error, or hangs.
    #[error("block {0} was not built")]
    NoBlock(Height),
}

/// A node that executes what another ordered, one record behind what it has: a record that may yet be voided is not executed, so nothing
/// of a follower has to be taken back.
pub struct Follower {
    genesis: Arc<Genesis>,
    journal: LocalJournal,
    replayer: Replayer,
    blocks: BlockWorker,
    feed: BlockFeed,
    store: Store,
    batcher: Batcher,
    snapshots: Snapshots,
    snapshot_interval: Duration,
    snapshot_at: Instant,
}

impl Follower {
    /// Opens or makes the folder and goes on where it was: newest usable snapshot, then the journal.
    ///
    /// # Errors
    /// See [FollowError]. A divergence that was found before is found again: its record is in the journal.
    pub fn open(config: FollowerConfig) -> Result<Follower, FollowError> {
        let FollowerConfig { folder, genesis, snapshot_interval, retention } = config;
        let journal = LocalJournal::open(&folder.join("journal"), Options::default())?;
        let store = Store::open(&folder.join("store"), genesis.hash())?.with_state_retention(retention);
        let snapshots = Snapshots::open(&folder.join("snapshots"), genesis.hash(), SNAPSHOTS_KEPT)?;
        let (engine, genesis_writes) = Engine::new(&genesis);
        let worker = WorkerConfig { genesis: genesis.clone(), genesis_writes, store: store.clone(), key: None };
        let blocks = BlockWorker::start(worker)?;
        let (engine, from) = start(&genesis, engine, &snapshots, store.blocks_seq()?)?;
        // Where a batch ends is announced: limits of its own it has none.
        let batcher = Batcher::new(store.clone(), &genesis, BatchLimits::default());
        let feed = blocks.feed();
        let snapshot_at = Instant::now();
        let replayer = Replayer::new(engine);
        let mut follower =
            Follower { genesis, journal, replayer, blocks, feed, store, batcher, snapshots, snapshot_interval, snapshot_at };
        match follower.replay(from) {
            Ok(()) => Ok(follower),
            // Closed before anybody is told: a process may end on this.
            Err(error) => follower.close().and(Err(error)),
        }
    }

    fn replay(&mut self, from: Option<Tail>) -> Result<(), FollowError> {
        let (first, link) = from.map_or((Seq(1), Bytes32::default()), |tail| (tail.last_seq.next(), tail.hash));
        let (reader, mut failed) = (self.journal.reader(), None);
        reader.replay(first, link, &mut |record| {
            failed = self.execute(record).err();
            failed.is_none()
        })?;
        let (next, end) = (self.next(), self.journal.tail().map_or(Seq(0), |tail| tail.last_seq));
        match failed {
            Some(error) => Err(error),
            None if next != end.next() => {
                Err(FollowError::Restore(format!("the snapshot's next command is {next}, the journal ends at {end}")))
            }
            None => Ok(()),
        }
    }

    /// The number with which the next record must begin.
    pub fn next(&self) -> Seq {
        self.replayer.next()
    }

    /// The last block that was executed. It may still be on its way into the store.
    pub fn height(&self) -> Height {
        self.replayer.engine().height()
    }

    /// Blocks and batches as they were made here.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The batch that will be compared next.
    ///
    /// # Errors
    /// The store.
    pub fn next_batch(&self) -> Result<BatchId, FollowError> {
        Ok(self.store.latest_batch()?.map_or(BatchId(0), |latest| BatchId(latest.batch.0 + 1)))
    }

    /// Takes records in the form of the journal, with what the sender says of each: first number and hash. They are made durable together,
    /// then executed but for the last, which waits for the next.
    ///
    /// # Errors
    /// See [FollowError]; the follower must not be used any more. Records that do not continue the chain are not kept.
    pub fn take(&mut self, records: &[(Seq, Bytes32, Vec<u8>)]) -> Result<(), FollowError> {
        let decoded: Result<Vec<Record>, FollowError> = records.iter().map(decode).collect();
        let decoded = decoded?;
        self.journal.append_all(&decoded)?;
        decoded.into_iter().try_for_each(|record| self.execute(record))
    }

    /// Executes the record before this one, or passes it over.
    fn execute(&mut self, record: Record) -> Result<(), FollowError> {
        let released = self.replayer.take(record).map_err(|error| self.diverged(&error))?;
        let Some(released) = released else { return Ok(()) };
        let tail = Tail { last_seq: released.last_seq(), ts: released.ts, hash: released.record_hash };
        let is_seal = |event: &Event| matches!(event, Event::BlockSealed { .. });
        let sealed = released.executed.iter().any(|executed| executed.events.iter().any(is_seal));
        if !self.feed.send(Arc::new(released)) {
            return Err(self.blocks.errors().try_recv().map_or(FollowError::NoBlock(self.height()), FollowError::from));
        }
        if sealed && self.snapshot_at.elapsed() >= self.snapshot_interval {
            self.take_snapshot(&tail)?;
        }
        Ok(())
    }

    /// A command that broke the engine here broke it nowhere else: the record is durable at the node that executed it.
    fn diverged(&self, error: &RecoverError) -> FollowError {
        let (zero, engine) = (Bytes32::default(), self.replayer.engine());
        let divergence = |what, height, announced, computed| {
            FollowError::Diverged(Divergence { what, batch: None, height, announced, computed })
        };
        tracing::error!(%error, "the state diverged");
        let command = match error {
            RecoverError::Command { command, .. } => command,
            // A journal that no honest node writes.
            RecoverError::StrayVoid { .. } | RecoverError::NoSafeMode { .. } => {
                return divergence(Diverged::Execution, Height(engine.height().0 + 1), zero, zero);
            }
            other => return FollowError::Restore(other.to_string()),
        };
        match **command {
            Command::SealBlock(seal) if seal.engine_digest != engine.digest() => {
                divergence(Diverged::EngineDigest, seal.height, seal.engine_digest, engine.digest())
            }
            _ => divergence(Diverged::Execution, Height(engine.height().0 + 1), zero, zero),
        }
    }

    fn take_snapshot(&mut self, tail: &Tail) -> Result<(), FollowError> {
        self.snapshot_at = Instant::now();
        let header = SnapshotHeader {
            genesis: self.genesis.hash(),
            seq: tail.last_seq,
            ts: tail.ts,
            height: self.height(),
            record_hash: tail.hash,
            engine_digest: self.replayer.engine().digest(),
        };
        self.snapshots.write(&header, &self.replayer.engine().snapshot())?;
        Ok(())
    }

    /// Makes the batch of the blocks that `announced` names, of what was executed here, and compares. Batches are compared in order; one
    /// that was compared before is looked up.
    ///
    /// # Errors
    /// See [FollowError]; above all [FollowError::Diverged], for every time it is asked.
    pub fn check(&mut self, announced: &BatchClaim, timeout: Duration) -> Result<Verdict, FollowError> {
        let next = self.next_batch()?;
        if announced.batch > next || announced.last_block > self.height() {
            return Ok(Verdict::NotYet);
        }
        if announced.batch == next {
            self.wait_for(announced.last_block, timeout)?;
            let first = self.store.latest_batch()?.map_or(Height(0), |latest| Height(latest.last_block.0 + 1));
            let announced_range = (announced.first_block, announced.last_block);
            if announced.first_block != first || announced.last_block < first {
                let before = (first, announced.last_block);
                return Ok(Verdict::OtherRange { announced: announced_range, before });
            }
            self.batcher.build_to(announced.last_block)?;
        }
        let Some((_, batch)) = Batch::load(&self.store, announced.batch)? else {
            return Err(FollowError::Restore(format!("batch {} is gone", announced.batch)));
        };
        let computed = claim(&batch);
        let ranges = [announced, &computed].map(|claim| (claim.first_block, claim.last_block));
        if ranges[0] != ranges[1] {
            return Ok(Verdict::OtherRange { announced: ranges[0], before: ranges[1] });
        }
        match difference(announced, &computed) {
            None => Ok(Verdict::Agreed(computed)),
            Some(divergence) => Err(FollowError::Diverged(divergence)),
        }
    }

    /// Waits until a block that was executed is in the store.
    ///
    /// # Errors
    /// It was not built in time, or cannot be.
    pub fn wait_for(&self, height: Height, timeout: Duration) -> Result<(), FollowError> {
        match self.blocks.wait_for(height, timeout) {
            Wait::Committed => Ok(()),
            Wait::TimedOut | Wait::Ended => {
                Err(self.blocks.errors().try_recv().map_or(FollowError::NoBlock(height), FollowError::from))
            }
        }
    }

    /// Finishes the blocks that are on their way and closes the databases. A follower that is dropped or killed loses nothing either; this
    /// spares the next start some work.
    ///
    /// # Errors
    /// See [FollowError].
    pub fn close(self) -> Result<(), FollowError> {
        let Follower { blocks, feed, store, batcher, .. } = self;
        drop((feed, batcher));
        blocks.stop()?;
        if !store.close(CLOSE_TIMEOUT) {
            tracing::warn!("the store is still read; it is recovered at the next start");
        }
        Ok(())
    }
}

/// The figures of a batch.
fn claim(batch: &Batch) -> BatchClaim {
    let content = &batch.content;
    BatchClaim {
        batch: content.id,
        first_block: content.first_block,
        last_block: content.last_block,
        root: FeltBytes(content.after.root),
        block_hash: FeltBytes(content.after.hash),
        fact: batch.fact,
    }
}

fn difference(announced: &BatchClaim, computed: &BatchClaim) -> Option<Divergence> {
    let felt = |felt: FeltBytes| Bytes32(felt.0.to_bytes_be());
    let pairs = [
        (Diverged::StateRoot, felt(announced.root), felt(computed.root)),
        (Diverged::BlockHash, felt(announced.block_hash), felt(computed.block_hash)),
        (Diverged::Fact, announced.fact, computed.fact),
    ];
    let (what, announced_value, computed_value) =
        pairs.into_iter().find(|(_, announced, computed)| announced != computed)?;
    let (batch, height) = (Some(computed.batch), computed.last_block);
    Some(Divergence { what, batch, height, announced: announced_value, computed: computed_value })
}

/// The newest snapshot that blocks reach back to, or genesis.
fn start(genesis: &Genesis, new: Engine, snapshots: &Snapshots, blocks: Seq) -> Result<(Engine, Option<Tail>), FollowError> {
    let (snapshot, passed_over) = snapshots.newest(|header| header.seq <= blocks)?;
    for error in passed_over {
        tracing::warn!(%error, "snapshot passed over");
    }
    let Some(snapshot) = snapshot else { return Ok((new, None)) };
    let header = snapshot.header;
    let engine = Engine::restore(genesis, &snapshot.bytes).map_err(|error| FollowError::Restore(error.to_string()))?;
    if engine.digest() != header.engine_digest {
        return Err(FollowError::Restore("the snapshot's engine has another digest than its header".into()));
    }
    Ok((engine, Some(Tail { last_seq: header.seq, ts: header.ts, hash: header.record_hash })))
}

fn decode((first_seq, hash, bytes): &(Seq, Bytes32, Vec<u8>)) -> Result<Record, FollowError> {
    let not = |why: String| FollowError::NotARecord { first_seq: *first_seq, why };
    let record = Record::decode(bytes).map_err(|error| not(error.to_string()))?;
    if record.first_seq != *first_seq {
        return Err(not(format!("it begins with {}", record.first_seq)));
    }
    let found = record.hash();
    if found != *hash {
        return Err(not(format!("its hash is {found}, announced was {hash}")));
    }
    Ok(record)
}
