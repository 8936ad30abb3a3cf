//! A bounded pool of threads for the costly part of admission: hashing a message and checking its signature.
//!
//! Cancels are taken first, and their lane has room of its own, so a flood of orders can neither fill it nor delay it. What one
//! sender sent in one sequence is delivered in that sequence, whatever lanes it took: a cancel never overtakes the order before it.
//! A job has two halves for that: the work, in parallel, and the delivery that the work returns, in sequence.

use crate::queue::QueueFull;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Jobs that wait, per lane. At 150 us a check 2,048 are 0.3 s of one core: whoever would wait longer is told OVERLOADED instead.
pub const POOL_LANE_CAPACITY: usize = 2_048;

/// Lane of the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolLane {
    /// Taken first.
    Cancel,
    /// Takes turns with orders, so that neither starves the other.
    Price,
    Order,
}

/// The second half of a job; runs after those of earlier jobs of its sequence. Short: it holds the pool's lock.
pub type Deliver = Box<dyn FnOnce() + Send>;
/// The first half of a job; runs on a worker.
pub type Work = Box<dyn FnOnce() -> Deliver + Send>;

/// Sizes of the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolConfig {
    /// Threads; at least one is started.
    pub workers: usize,
    /// Most jobs that wait, per lane.
    pub lane_capacity: usize,
}

impl Default for PoolConfig {
    /// One core is left for the sequencer.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        PoolConfig { workers: cores.saturating_sub(1).max(1), lane_capacity: POOL_LANE_CAPACITY }
    }
}

/// The pool. `K` names a sequence. Dropping it drops what waits and joins the threads.
pub struct Pool<K> {
    shared: Arc<Shared<K>>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    /// Signalled at each job and at closing.
    arrived: Condvar,
}

struct Job<K> {
    sequence: K,
    ticket: u64,
    work: Work,
}

struct State<K> {
    lane_capacity: usize,
    cancel: VecDeque<Job<K>>,
    price: VecDeque<Job<K>>,
    order: VecDeque<Job<K>>,
    /// Whether the next job that is no cancel comes from the price lane, if it has one.
    price_turn: bool,
    tickets: u64,
    /// Jobs not yet delivered, by sequence; a sequence without any is absent.
    sequences: HashMap<K, Sequence>,
    closed: bool,
}

#[derive(Default)]
struct Sequence {
    /// Tickets in the order of their submission.
    waiting: VecDeque<u64>,
    /// Work that is done before its turn; `None` when it panicked.
    done: BTreeMap<u64, Option<Deliver>>,
}

impl<K: Eq + Hash + Copy + Send + 'static> Pool<K> {
    /// Starts the threads.
    pub fn new(config: PoolConfig) -> Pool<K> {
        let state = State {
            lane_capacity: config.lane_capacity,
            cancel: VecDeque::new(),
            price: VecDeque::new(),
            order: VecDeque::new(),
            price_turn: true,
            tickets: 0,
            sequences: HashMap::new(),
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), arrived: Condvar::new() });
        let spawn = |i| {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name(format!("ingress-{i}"));
            thread.spawn(move || shared.run()).expect("failed to start a thread: the system has none left")
        };
        let workers = (0..config.workers.max(1)).map(spawn).collect();
        Pool { shared, workers }
    }

    /// Queues a job. Its two halves are dropped, unrun, when it is refused or the pool is closed.
    pub fn submit(&self, lane: PoolLane, sequence: K, work: Work) -> Result<(), PoolFull> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(PoolFull::Closed);
        }
        let capacity = state.lane_capacity;
        if state.lane(lane).len() >= capacity {
            return Err(PoolFull::Full);
        }
        state.tickets += 1;
        let ticket = state.tickets;
        state.sequences.entry(sequence).or_default().waiting.push_back(ticket);
        state.lane(lane).push_back(Job { sequence, ticket, work });
        drop(state);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Jobs that wait for a worker.
    pub fn len(&self) -> usize {
        let state = self.shared.lock();
        state.cancel.len() + state.price.len() + state.order.len()
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [Pool::close] was called.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Takes no more jobs and drops those that wait. Those being worked on are finished and delivered.
    pub fn close(&self) {
        self.shared.close();
    }
}

/// Why a job was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PoolFull {
    #[error("the lane is full")]
    Full,
    #[error("the pool is closed")]
    Closed,
}

impl From<PoolFull> for crate::error::IngressError {
    fn from(error: PoolFull) -> Self {
        match error {
            PoolFull::Full => crate::error::IngressError::Overloaded,
            PoolFull::Closed => QueueFull::Closed.into(),
        }
    }
}

impl<K> State<K> {
    fn lane(&mut self, lane: PoolLane) -> &mut VecDeque<Job<K>> {
        match lane {
            PoolLane::Cancel => &mut self.cancel,
            PoolLane::Price => &mut self.price,
            PoolLane::Order => &mut self.order,
        }
    }

    fn next(&mut self) -> Option<Job<K>> {
        if let Some(job) = self.cancel.pop_front() {
            return Some(job);
        }
        let (first, second) =
            if self.price_turn { (&mut self.price, &mut self.order) } else { (&mut self.order, &mut self.price) };
        let job = first.pop_front().or_else(|| second.pop_front());
        self.price_turn = !self.price_turn;
        job
    }
}

impl<K: Eq + Hash + Copy> State<K> {
    /// Marks a job's work as done, and returns the deliveries whose turn has come.
    fn finish(&mut self, sequence: K, ticket: u64, deliver: Option<Deliver>) -> Vec<Deliver> {
        let Some(entry) = self.sequences.get_mut(&sequence) else { return Vec::new() };
        entry.done.insert(ticket, deliver);
        let mut due = Vec::new();
        while let Some(deliver) = entry.waiting.front().and_then(|front| entry.done.remove(front)) {
            entry.waiting.pop_front();
            due.extend(deliver);
        }
        if entry.waiting.is_empty() {
            self.sequences.remove(&sequence);
        }
        due
    }
}

impl<K> Shared<K> {
    /// State changes cannot panic half-way; a poisoned lock is taken over.
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped =
            (std::mem::take(&mut state.cancel), std::mem::take(&mut state.price), std::mem::take(&mut state.order));
        drop(state);
        self.arrived.notify_all();
        drop(dropped);
    }
}

impl<K: Eq + Hash + Copy> Shared<K> {
    /// A worker's life.
    fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some(Job { sequence, ticket, work }) = state.next() {
                drop(state);
                let deliver = catch_unwind(AssertUnwindSafe(work)).ok();
                if deliver.is_none() {
                    tracing::error!("a job of the ingress pool panicked; its request is answered as unknown");
                }
                state = self.lock();
                // Under the lock: another worker could otherwise deliver a later job of the sequence in between.
                for deliver in state.finish(sequence, ticket, deliver) {
                    if catch_unwind(AssertUnwindSafe(deliver)).is_err() {
                        tracing::error!("a delivery of the ingress pool panicked");
                    }
                }
            } else if state.closed {
                return;
            } else {
                state = self.arrived.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
    }
}

impl<K> Drop for Pool<K> {
    fn drop(&mut self) {
        self.shared.close();
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a thread of the ingress pool panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    /// A pool of one worker that is busy until the sender is dropped or used.
    fn busy_pool(workers: usize, lane_capacity: usize) -> (Pool<u32>, Sender<()>) {
        let pool = Pool::new(PoolConfig { workers, lane_capacity });
        let (release, gate): (Sender<()>, Receiver<()>) = channel();
        let (started, has_started) = channel();
        let work: Work = Box::new(move || {
            started.send(()).expect("the test waits");
            let _ = gate.recv();
            Box::new(|| ())
        });
        pool.submit(PoolLane::Order, 0, work).expect("empty");
        has_started.recv().expect("a worker takes it");
        (pool, release)
    }
    fn note(log: &Sender<u32>, id: u32) -> Work {
        let log = log.clone();
        Box::new(move || Box::new(move || log.send(id).expect("the test reads")))
    }
    fn read(log: Receiver<u32>, count: usize) -> Vec<u32> {
        (0..count).map(|_| log.recv_timeout(Duration::from_secs(30)).expect("delivered")).collect()
    }

    #[test]
    fn cancels_are_taken_before_orders_and_prices_take_turns_with_orders() {
        let (pool, release) = busy_pool(1, 10);
        let (log, notes) = channel();
        let jobs = [
            (PoolLane::Order, 1),
            (PoolLane::Order, 2),
            (PoolLane::Order, 3),
            (PoolLane::Price, 4),
            (PoolLane::Price, 5),
            (PoolLane::Cancel, 6),
            (PoolLane::Cancel, 7),
        ];
        for (lane, id) in jobs {
            pool.submit(lane, id, note(&log, id)).expect("room");
        }
        drop(release);
        let order = read(notes, jobs.len());
        assert_eq!(order[..2], [6, 7]);
        assert!(order[2..] == [1, 4, 2, 5, 3] || order[2..] == [4, 1, 5, 2, 3], "{order:?}");
    }

    #[test]
    fn a_flood_of_orders_leaves_the_cancel_lane_open() {
        let (pool, _release) = busy_pool(1, 2);
        let (log, _notes) = channel();
        for id in [1, 2] {
            assert_eq!(pool.submit(PoolLane::Order, id, note(&log, id)), Ok(()));
        }
        assert_eq!(pool.submit(PoolLane::Order, 3, note(&log, 3)), Err(PoolFull::Full));
        assert_eq!(pool.submit(PoolLane::Cancel, 4, note(&log, 4)), Ok(()));
        assert_eq!(pool.len(), 3);
    }

    #[test]
    fn one_sequence_is_delivered_in_order_though_its_cancel_is_checked_first() {
        let (pool, release) = busy_pool(1, 10);
        let (log, notes) = channel();
        pool.submit(PoolLane::Order, 1, note(&log, 10)).expect("room");
        pool.submit(PoolLane::Cancel, 1, note(&log, 11)).expect("room");
        pool.submit(PoolLane::Cancel, 2, note(&log, 20)).expect("room");
        drop(release);
        assert_eq!(read(notes, 3), [20, 10, 11]);
    }

    #[test]
    fn many_workers_deliver_each_sequence_in_order() {
        let pool = Pool::new(PoolConfig { workers: 4, lane_capacity: 1_000 });
        let (log, notes) = channel();
        for id in 0..600u32 {
            let lane = if id % 3 == 0 { PoolLane::Cancel } else { PoolLane::Order };
            pool.submit(lane, id % 7, note(&log, id)).expect("room");
        }
        let delivered = read(notes, 600);
        for sequence in 0..7 {
            let ids: Vec<u32> = delivered.iter().copied().filter(|id| id % 7 == sequence).collect();
            assert!(ids.is_sorted(), "{ids:?}");
        }
        assert!(pool.shared.lock().sequences.is_empty());
    }

    #[test]
    fn a_panicking_job_stops_neither_its_worker_nor_its_sequence() {
        let (pool, release) = busy_pool(1, 10);
        let (log, notes) = channel();
        pool.submit(PoolLane::Order, 1, Box::new(|| panic!("on purpose"))).expect("room");
        pool.submit(PoolLane::Order, 1, note(&log, 1)).expect("room");
        drop(release);
        assert_eq!(read(notes, 1), [1]);
    }

    #[test]
    fn a_closed_pool_drops_what_waits_and_takes_no_more() {
        let (pool, release) = busy_pool(1, 10);
        let (log, notes) = channel();
        pool.submit(PoolLane::Order, 1, note(&log, 1)).expect("room");
        pool.close();
        assert_eq!(pool.submit(PoolLane::Order, 1, note(&log, 2)), Err(PoolFull::Closed));
        drop(release);
        drop(pool);
        drop(log);
        assert_eq!(notes.try_recv().ok(), None);
    }
}
