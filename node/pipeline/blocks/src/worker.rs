//! The thread that builds and commits blocks, and shows the open one.
//!
//! After each record the open block has what the record closed. While a sealed block is hashed (tries: about a second for 4,000 changed
//! entries) the open block is that block, whole, and records wait: their transactions belong to the next block, which cannot be shown before
//! the one below it is committed, and whose diff is taken against that block's state. So a second thread would gain nothing. The delay is
//! the time to hash one block; under a load that hashes slower than blocks close, of up to [LAG_MAX] blocks, then the sequencer seals later.

use crate::block::genesis_block;
use crate::builder::BlockBuilder;
use crate::error::BlocksError;
use crate::key::BlockKey;
use crossbeam_channel::{Receiver, Sender, bounded};
use keel_store::Store;
use keel_types::{Genesis, Height, Released, StateWrite};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Blocks the committed height may lag behind the sealed one: block n holds the hash of block n-10. [spec settlement, Blocks]
pub const LAG_MAX: u64 = 9;
/// Released records that may wait. A record comes every 100 ms when idle and some hundred a second under load; this is
/// several seconds of load. When it is full the sender waits, and with it acknowledgements: never dropped, a block needs all.
pub const RELEASED_QUEUE_MAX: usize = 1_024;

/// What the worker needs.
pub struct WorkerConfig {
    pub genesis: Arc<Genesis>,
    /// Of `Engine::new`: the state of block 0.
    pub genesis_writes: Vec<StateWrite>,
    pub store: Store,
    /// `None` on a node that has no key: its blocks are the same, unsigned.
    pub key: Option<BlockKey>,
}

/// The thread. Ends when every [BlockFeed] is gone, or by an error.
pub struct BlockWorker {
    thread: JoinHandle<()>,
    feed: BlockFeed,
    progress: Arc<Progress>,
    errors: Receiver<BlocksError>,
}

/// Where released records go, in the order of the journal.
#[derive(Clone)]
pub struct BlockFeed {
    sender: Sender<Arc<Released>>,
}

impl BlockFeed {
    /// Waits while [RELEASED_QUEUE_MAX] records wait. `false`: the worker has ended, by the error in [BlockWorker::errors].
    pub fn send(&self, released: Arc<Released>) -> bool {
        self.sender.send(released).is_ok()
    }

    /// Records that wait.
    pub fn len(&self) -> usize {
        self.sender.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }
}

/// How [BlockWorker::wait_for] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    Committed,
    TimedOut,
    /// The worker has ended; the height will not come.
    Ended,
}

#[derive(Default)]
struct Progress {
    state: Mutex<ProgressState>,
    changed: Condvar,
    committed: Arc<AtomicU64>,
}

#[derive(Default)]
struct ProgressState {
    height: Height,
    ended: bool,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, ProgressState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn reach(&self, height: Height) {
        self.committed.store(height.0, Ordering::Release);
        self.lock().height = height;
        self.changed.notify_all();
    }
    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

impl BlockWorker {
    /// Commits the genesis block if the store has none, then starts the thread.
    ///
    /// # Errors
    /// The store.
    pub fn start(config: WorkerConfig) -> Result<BlockWorker, BlocksError> {
        let WorkerConfig { genesis, genesis_writes, store, key } = config;
        if store.height().is_none() {
            let sealed = genesis_block(&genesis, &genesis_writes, &store, key.as_ref())?;
            store.commit_block(&sealed.block, &sealed.tries)?;
        }
        let builder = BlockBuilder::new(genesis, store.clone(), key)?;
        let progress = Arc::new(Progress::default());
        progress.reach(store.height().unwrap_or_default());
        let (sender, receiver) = bounded(RELEASED_QUEUE_MAX);
        let (report, errors) = bounded(1);
        let at_work = progress.clone();
        let thread = std::thread::Builder::new().name("keel-blocks".into()).spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| run(builder, &store, &receiver, &at_work)));
            let ended = ended.unwrap_or_else(|panic| Err(BlocksError::Panicked(panic_text(&*panic))));
            if let Err(error) = ended {
                tracing::error!(%error, "blocks cannot be built any more");
                // The receiver lives as long as the worker; nobody listening is their choice.
                let _ = report.send(error);
            }
            // Senders must find the way closed before anybody is told of the end.
            drop(receiver);
            at_work.end();
        });
        let thread = thread.expect("the system can start a thread");
        Ok(BlockWorker { thread, feed: BlockFeed { sender }, progress, errors })
    }

    /// Where released records go.
    pub fn feed(&self) -> BlockFeed {
        self.feed.clone()
    }

    /// Height of the last committed block, for the sequencer: it does not seal while it is [LAG_MAX] ahead of this.
    pub fn committed(&self) -> Arc<AtomicU64> {
        self.progress.committed.clone()
    }

    /// The error that ended the worker, once there is one. It is fatal for the process.
    pub fn errors(&self) -> Receiver<BlocksError> {
        self.errors.clone()
    }

    /// Waits until block `height` is committed.
    pub fn wait_for(&self, height: Height, timeout: Duration) -> Wait {
        let deadline = Instant::now() + timeout;
        let mut state = self.progress.lock();
        loop {
            if state.height >= height {
                return Wait::Committed;
            }
            if state.ended {
                return Wait::Ended;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wait::TimedOut;
            }
            let waited = self.progress.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Lets the worker finish what it was given, and waits for it. Other [BlockFeed]s must be gone, or this waits for them.
    ///
    /// # Errors
    /// The error that ended it.
    pub fn stop(self) -> Result<(), BlocksError> {
        let BlockWorker { thread, feed, errors, .. } = self;
        drop(feed);
        thread.join().expect("the thread catches its panics");
        errors.try_recv().map_or(Ok(()), Err)
    }
}

fn run(
    mut builder: BlockBuilder,
    store: &Store,
    records: &Receiver<Arc<Released>>,
    progress: &Progress,
) -> Result<(), BlocksError> {
    for released in records {
        for executed in &released.executed {
            let Some(sealed) = builder.add(executed, released.ts)? else { continue };
            let header = &sealed.block.header;
            store.commit_block(&sealed.block, &sealed.tries)?;
            progress.reach(header.height());
            tracing::debug!(
                height = header.block.number,
                transactions = header.block.content.transaction_count,
                entries = header.block.content.state_diff_length,
                "block committed"
            );
        }
        builder.publish()?;
    }
    Ok(())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}
