//! The one way into the engine: a bounded queue with three lanes.
//!
//! Everything that may become a journaled command passes here: users' messages after their signature was checked, prices,
//! deposits, confirmations, the guard's phase changes. The sequencer thread is the only reader.

use keel_types::{Command, Event, Seq, Ts};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Commands of the node itself and prices. A handful per second in normal operation; 4,096 holds hours of a stalled sequencer's
/// ticks and deposits, and a full lane means that the sequencer is dead, not busy.
pub const SYSTEM_LANE_CAPACITY: usize = 4_096;
/// Cancels. As many as orders, so that a burst of orders can always be followed by the same burst of cancels.
pub const CANCEL_LANE_CAPACITY: usize = 16_384;
/// Everything else of users. At 100,000 commands/s 16,384 is 160 ms of work: longer queues only make answers late.
pub const ORDER_LANE_CAPACITY: usize = 16_384;

/// Longest wait for a submission; a longer one could be beyond the end of the clock.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// Lane of the [Inbox], in the order in which they are drained.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lane {
    System,
    Cancel,
    Order,
}

impl Lane {
    /// The lane a command takes.
    pub fn of(command: &Command) -> Lane {
        match command {
            command if command.is_cancel() => Lane::Cancel,
            command if command.account().is_some() => Lane::Order,
            _ => Lane::System,
        }
    }
}

/// A command on its way to the sequencer.
#[derive(Debug)]
pub struct Submission {
    pub command: Command,
    /// Where the outcome goes; `None` when nobody waits for it.
    pub reply: Option<oneshot::Sender<Answer>>,
    /// Position among all submissions of this process, all lanes together; from 1.
    pub arrival: u64,
}

impl Submission {
    /// Answers whoever waits; a caller that went away is no error.
    pub fn answer(self, answer: Answer) {
        if let Some(reply) = self.reply {
            let _ = reply.send(answer);
        }
    }
}

/// What became of a submission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Executed, durable and published: a client that got this can read its own writes.
    Done { seq: Seq, ts: Ts, events: Vec<Event> },
    /// Never executed.
    Shed(Shed),
}

/// Why a queued command was not executed: admission closed before its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shed {
    /// The node entered safe mode; answered to the client with the phase error.
    SafeMode,
    /// The node is stopping.
    ShuttingDown,
}

/// Why a command was not queued. The command and its reply channel are dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueueFull {
    /// The lane holds as many as it may.
    #[error("the {0:?} lane of the inbox is full")]
    Full(Lane),
    /// Nothing of users is taken now: see [Inbox::admit].
    #[error("the inbox takes nothing of users now")]
    Paused,
    /// The reader is gone or closed the inbox: the node is stopping.
    #[error("the inbox is closed")]
    Closed,
}

/// Most submissions per lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InboxCapacity {
    pub system: usize,
    pub cancel: usize,
    pub order: usize,
}

impl Default for InboxCapacity {
    fn default() -> Self {
        InboxCapacity { system: SYSTEM_LANE_CAPACITY, cancel: CANCEL_LANE_CAPACITY, order: ORDER_LANE_CAPACITY }
    }
}

/// Writing end. Cheap to clone; never blocks for longer than a push.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

/// Reading end, for the sequencer thread. Dropping it closes the inbox.
pub struct InboxReceiver(Arc<Shared>);

struct Shared {
    lanes: Mutex<Lanes>,
    /// Signalled at each push and at closing.
    arrived: Condvar,
}

struct Lanes {
    capacity: InboxCapacity,
    system: VecDeque<Submission>,
    cancel: VecDeque<Submission>,
    order: VecDeque<Submission>,
    /// `arrival` of the last submission.
    arrivals: u64,
    paused: bool,
    closed: bool,
}

impl Lanes {
    fn len(&self) -> usize {
        self.system.len() + self.cancel.len() + self.order.len()
    }
    fn lane(&mut self, lane: Lane) -> (&mut VecDeque<Submission>, usize) {
        match lane {
            Lane::System => (&mut self.system, self.capacity.system),
            Lane::Cancel => (&mut self.cancel, self.capacity.cancel),
            Lane::Order => (&mut self.order, self.capacity.order),
        }
    }
    fn take(&mut self, lane: Lane, max: usize) -> Vec<Submission> {
        let (queue, _) = self.lane(lane);
        let count = max.min(queue.len());
        queue.drain(..count).collect()
    }

    /// Removes from `cancels` those whose account still has an earlier message in the order lane, and puts them back in place.
    /// The lanes must not let an account's message overtake its own earlier one. [spec exchange, Admission and ordering]
    fn hold_overtaking(&mut self, cancels: Vec<Submission>) -> Vec<Submission> {
        let Some(last_cancel) = cancels.last().map(|c| c.arrival) else { return cancels };
        let mut first_waiting = HashMap::new();
        for order in self.order.iter().take_while(|o| o.arrival < last_cancel) {
            if let Some(account) = order.command.account() {
                first_waiting.entry(account).or_insert(order.arrival);
            }
        }
        if first_waiting.is_empty() {
            return cancels;
        }
        let overtakes = |c: &Submission| {
            let account = c.command.account();
            account.and_then(|account| first_waiting.get(&account)).is_some_and(|first| *first < c.arrival)
        };
        let (held, free): (Vec<_>, Vec<_>) = cancels.into_iter().partition(overtakes);
        held.into_iter().rev().for_each(|c| self.cancel.push_front(c));
        free
    }
}

impl Shared {
    /// The lanes hold plain queues, which no panic can leave half-changed: a poisoned lock is taken over.
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inbox {
    /// An empty queue and its one reader.
    pub fn new(capacity: InboxCapacity) -> (Inbox, InboxReceiver) {
        let lanes = Lanes {
            capacity,
            system: VecDeque::new(),
            cancel: VecDeque::new(),
            order: VecDeque::new(),
            arrivals: 0,
            paused: false,
            closed: false,
        };
        let shared = Arc::new(Shared { lanes: Mutex::new(lanes), arrived: Condvar::new() });
        (Inbox(shared.clone()), InboxReceiver(shared))
    }

    /// Whether users' commands are taken from now on. What is queued stays queued.
    pub fn admit(&self, open: bool) {
        self.0.lock().paused = !open;
    }

    /// Queues a command in the lane that [Lane::of] names, stamps its arrival and wakes the reader.
    pub fn submit(&self, command: Command, reply: Option<oneshot::Sender<Answer>>) -> Result<(), QueueFull> {
        let mut lanes = self.0.lock();
        if lanes.closed {
            return Err(QueueFull::Closed);
        }
        let lane = Lane::of(&command);
        if lanes.paused && lane != Lane::System {
            return Err(QueueFull::Paused);
        }
        let arrival = lanes.arrivals + 1;
        let (queue, capacity) = lanes.lane(lane);
        if queue.len() >= capacity {
            return Err(QueueFull::Full(lane));
        }
        queue.push_back(Submission { command, reply, arrival });
        lanes.arrivals = arrival;
        drop(lanes);
        self.0.arrived.notify_one();
        Ok(())
    }

    /// Submissions waiting, all lanes.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl InboxReceiver {
    /// Up to `max` submissions: the system lane first, then cancels, then the rest, each in arrival order. Waits until there is
    /// one, or for `wait`, or until [InboxReceiver::close]; empty means that the wait was over.
    ///
    /// A cancel stays queued while an earlier message of its account does not fit into the batch. Sorting inside the batch is the
    /// sequencer's.
    pub fn drain(&self, max: usize, wait: Duration) -> Vec<Submission> {
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        let mut lanes = self.0.lock();
        while lanes.len() == 0 && !lanes.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Vec::new();
            }
            lanes = self.0.arrived.wait_timeout(lanes, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        let mut batch = lanes.take(Lane::System, max);
        let cancels = lanes.take(Lane::Cancel, max - batch.len());
        let orders = lanes.take(Lane::Order, max - batch.len() - cancels.len());
        batch.extend(lanes.hold_overtaking(cancels));
        batch.extend(orders);
        if batch.is_empty() && max > 0 {
            // Only held cancels were due, so their orders are in front: with them gone next time, progress is certain.
            batch = lanes.take(Lane::Order, max);
        }
        batch
    }

    /// Up to `max` submissions of one lane, without waiting.
    pub fn drain_lane(&self, lane: Lane, max: usize) -> Vec<Submission> {
        self.0.lock().take(lane, max)
    }

    /// Submissions waiting, all lanes.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses everything from now on and hands back what was queued, in arrival order, to be answered with [Shed].
    pub fn close(&self) -> Vec<Submission> {
        let mut lanes = self.0.lock();
        lanes.closed = true;
        let mut left: Vec<Submission> =
            [Lane::System, Lane::Cancel, Lane::Order].into_iter().flat_map(|lane| lanes.take(lane, usize::MAX)).collect();
        drop(lanes);
        self.0.arrived.notify_all();
        left.sort_by_key(|submission| submission.arrival);
        left
    }
}

impl Drop for InboxReceiver {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keel_types::*;

    const NO_WAIT: Duration = Duration::ZERO;

    fn signed(account: u64, nonce: u64) -> Signed {
        Signed {
            account: Address(Felt::from(account)),
            nonce,
            valid_until: Ts(1),
            hash: MessageHash(Felt::from(nonce)),
            session_key: StarkKey::default(),
        }
    }
    fn order(account: u64, nonce: u64) -> Command {
        Command::Place(PlaceOrder {
            signed: signed(account, nonce),
            market: MarketId(0),
            side: Side::Buy,
            order_type: OrderType::Limit,
            size: Qty(1),
            price: Price(1),
            trigger_price: Price(0),
            time_in_force: TimeInForce::Gtc,
            good_til: Ts(0),
            reduce_only: false,
            self_trade: SelfTradeMode::CancelTaker,
            client_id: 0,
        })
    }
    fn cancel(account: u64, nonce: u64) -> Command {
        Command::CancelAll(CancelAll { signed: signed(account, nonce), market: None })
    }
    fn arrivals(batch: &[Submission]) -> Vec<u64> {
        batch.iter().map(|s| s.arrival).collect()
    }
    fn filled(commands: Vec<Command>) -> (Inbox, InboxReceiver) {
        let (inbox, receiver) = Inbox::new(InboxCapacity::default());
        commands.into_iter().for_each(|c| inbox.submit(c, None).expect("the lanes are not full"));
        (inbox, receiver)
    }

    #[test]
    fn system_drains_before_cancels_before_orders_each_in_arrival_order() {
        let (_inbox, receiver) =
            filled(vec![order(1, 1), cancel(2, 2), order(3, 3), Command::Tick, cancel(4, 4), Command::Tick]);
        assert_eq!(arrivals(&receiver.drain(100, NO_WAIT)), [4, 6, 2, 5, 1, 3]);
        assert!(receiver.is_empty());
    }

    #[test]
    fn a_cancel_never_overtakes_an_earlier_order_of_its_account() {
        let (_inbox, receiver) =
            filled(vec![order(9, 1), order(9, 2), order(1, 3), cancel(1, 4), cancel(2, 5), cancel(1, 6)]);
        // Four are taken, but order 3 is not among them: the cancels of account 1 stay behind it; account 2 goes ahead.
        assert_eq!(arrivals(&receiver.drain(4, NO_WAIT)), [5, 1]);
        assert_eq!(arrivals(&receiver.drain(4, NO_WAIT)), [4, 6, 2, 3]);
    }

    #[test]
    fn held_cancels_never_stop_the_queue() {
        let (_inbox, receiver) = filled(vec![order(1, 1), cancel(1, 2), cancel(1, 3)]);
        assert_eq!(arrivals(&receiver.drain(1, NO_WAIT)), [1]);
        assert_eq!(arrivals(&receiver.drain(1, NO_WAIT)), [2]);
        assert_eq!(arrivals(&receiver.drain(1, NO_WAIT)), [3]);
    }

    #[test]
    fn a_full_order_lane_leaves_room_for_cancels_and_system() {
        let (inbox, receiver) = Inbox::new(InboxCapacity { system: 1, cancel: 1, order: 1 });
        assert_eq!(inbox.submit(order(1, 1), None), Ok(()));
        assert_eq!(inbox.submit(order(1, 2), None), Err(QueueFull::Full(Lane::Order)));
        assert_eq!(inbox.submit(cancel(1, 3), None), Ok(()));
        assert_eq!(inbox.submit(cancel(1, 4), None), Err(QueueFull::Full(Lane::Cancel)));
        assert_eq!(inbox.submit(Command::Tick, None), Ok(()));
        assert_eq!(inbox.submit(Command::Tick, None), Err(QueueFull::Full(Lane::System)));
        assert_eq!(inbox.len(), 3);
        // What was refused took no arrival number.
        assert_eq!(arrivals(&receiver.drain(3, NO_WAIT)), [3, 2, 1]);
    }

    #[test]
    fn drain_wakes_as_soon_as_something_arrives() {
        let (inbox, receiver) = Inbox::new(InboxCapacity::default());
        let reader = std::thread::spawn(move || receiver.drain(10, Duration::from_secs(60)).len());
        std::thread::sleep(Duration::from_millis(20));
        let submitted = Instant::now();
        inbox.submit(Command::Tick, None).expect("the reader is alive");
        assert_eq!(reader.join().expect("the reader ends"), 1);
        assert!(submitted.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn drain_returns_nothing_when_the_wait_is_over() {
        let (_inbox, receiver) = Inbox::new(InboxCapacity::default());
        assert!(receiver.drain(10, Duration::from_millis(5)).is_empty());
    }

    #[test]
    fn a_closed_inbox_hands_back_what_was_queued_and_takes_no_more() {
        let (inbox, receiver) = filled(vec![order(1, 1), cancel(2, 2), Command::Tick]);
        assert_eq!(arrivals(&receiver.close()), [1, 2, 3]);
        assert_eq!(inbox.submit(Command::Tick, None), Err(QueueFull::Closed));
        drop(receiver);
        assert_eq!(inbox.submit(Command::Tick, None), Err(QueueFull::Closed));
    }
}
