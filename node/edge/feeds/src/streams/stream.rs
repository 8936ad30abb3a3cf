//! One stream: where it is, what it still remembers, who listens.

use super::{Payload, Topic, Update, UpdateKind};
use keel_types::{Seq, Ts};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// Items (levels, trades, orders ...) of deltas that a market's stream remembers for those who come back. A client that lost its
/// connection is back within seconds; at 100 records a second that change ten levels each this is half a minute of a very busy book,
/// and minutes of anything else. Under 4 MB a stream.
pub const MARKET_ITEMS_KEPT: usize = 32_768;
/// The same for a private stream: as many orders as an account may place in seconds. With [super::ACCOUNT_STREAMS_MAX] streams it bounds
/// memory by about 1 GB in the worst case.
pub const ACCOUNT_ITEMS_KEPT: usize = 512;
/// Trades or fills in a snapshot.
pub const ITEMS_IN_SNAPSHOT: usize = 50;
/// Messages that may wait for one subscriber. Two seconds of a stream that changes with every record; who is further behind than that is
/// better served by a snapshot.
pub const SUBSCRIBER_QUEUE_MAX: usize = 256;

/// One stream's state.
pub(super) struct Stream {
    topic: Topic,
    /// Of the last message, or of where the stream began.
    at: (Seq, Ts),
    /// Deltas, oldest first, without a gap up to `at`.
    ring: VecDeque<Arc<Update>>,
    items: usize,
    items_max: usize,
    /// Of `at`, made when somebody asked.
    snapshot: Option<Arc<Update>>,
    subscribers: Vec<Subscriber>,
}

struct Subscriber {
    queue: mpsc::Sender<Arc<Update>>,
    slow: Arc<AtomicBool>,
}

impl Stream {
    pub(super) fn new(topic: Topic, at: (Seq, Ts)) -> Stream {
        let items_max = if topic.account().is_some() { ACCOUNT_ITEMS_KEPT } else { MARKET_ITEMS_KEPT };
        Stream { topic, at, ring: VecDeque::new(), items: 0, items_max, snapshot: None, subscribers: Vec::new() }
    }

    /// Takes what changed up to `at`, and gives it to everybody who can take it. A full queue ends its subscription.
    pub(super) fn publish(&mut self, at: (Seq, Ts), payload: Payload) {
        let update = Update::new(self.topic, UpdateKind::Delta, self.at.0, at, payload);
        (self.at, self.snapshot) = (at, None);
        self.items += update.payload.items();
        self.ring.push_back(update.clone());
        while self.items > self.items_max
            && let Some(oldest) = self.ring.pop_front()
        {
            self.items -= oldest.payload.items();
        }
        self.subscribers.retain(|subscriber| match subscriber.queue.try_send(update.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                subscriber.slow.store(true, Ordering::Release);
                false
            }
        });
    }

    /// Adds a listener. `from`: everything after this command if it is still remembered, else (and without it) `whole` as a snapshot.
    pub(super) fn subscribe(
        &mut self,
        from: Option<Seq>,
        now: Seq,
        place: Place,
        whole: impl FnOnce(&Stream) -> Payload,
    ) -> Subscription {
        // Who went away from a quiet stream is noticed here.
        self.subscribers.retain(|subscriber| !subscriber.queue.is_closed());
        let missed = from.and_then(|from| self.after(from, now));
        let start = match missed {
            Some(updates) => Start { resumed: from.map(|_| true), seq: self.at.0, updates },
            None => {
                let snapshot = match &self.snapshot {
                    Some(snapshot) => snapshot.clone(),
                    None => Update::new(self.topic, UpdateKind::Snapshot, self.at.0, self.at, whole(self)),
                };
                self.snapshot = Some(snapshot.clone());
                Start { resumed: from.map(|_| false), seq: self.at.0, updates: vec![snapshot] }
            }
        };
        let (queue, updates) = mpsc::channel(SUBSCRIBER_QUEUE_MAX);
        let slow = Arc::new(AtomicBool::new(false));
        self.subscribers.push(Subscriber { queue, slow: slow.clone() });
        Subscription { start, updates, slow, _place: place }
    }

    /// The deltas after a command; `None` when some are forgotten, or the command is not released yet.
    fn after(&self, from: Seq, now: Seq) -> Option<Vec<Arc<Update>>> {
        let begins = self.ring.front().map_or(self.at.0, |oldest| oldest.prev_seq);
        let known = begins <= from && from <= now;
        known.then(|| self.ring.iter().filter(|update| update.seq > from).cloned().collect())
    }

    /// What this stream remembers, oldest first.
    pub(super) fn remembered(&self) -> impl DoubleEndedIterator<Item = &Payload> {
        self.ring.iter().map(|update| &update.payload)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.subscribers.iter().all(|subscriber| subscriber.queue.is_closed())
    }
}

/// One of the subscriptions there may be; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// `None` when `max` are taken. Only the feeds' thread takes places.
    pub(super) fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Place> {
        if taken.load(Ordering::Acquire) >= max {
            return None;
        }
        taken.fetch_add(1, Ordering::AcqRel);
        Some(Place(taken.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How a subscription begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// `None`: nothing to resume was asked for. `Some(false)`: it is no longer remembered, so `updates` is a fresh snapshot.
    pub resumed: Option<bool>,
    /// Where the stream is after `updates`.
    pub seq: Seq,
    /// One snapshot, or the missed deltas.
    pub updates: Vec<Arc<Update>>,
}

/// Why there are no more updates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// More than [SUBSCRIBER_QUEUE_MAX] messages waited. What was still queued is not delivered: resume, or take a snapshot.
    SlowConsumer,
    /// The node is stopping.
    Stopping,
}

/// A listener's end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    pub start: Start,
    updates: mpsc::Receiver<Arc<Update>>,
    slow: Arc<AtomicBool>,
    _place: Place,
}

impl Subscription {
    /// The next update.
    ///
    /// # Errors
    /// There are no more, and why.
    pub async fn next(&mut self) -> Result<Arc<Update>, Closed> {
        if self.slow.load(Ordering::Acquire) {
            return Err(Closed::SlowConsumer);
        }
        match self.updates.recv().await {
            Some(update) => Ok(update),
            None if self.slow.load(Ordering::Acquire) => Err(Closed::SlowConsumer),
            None => Err(Closed::Stopping),
        }
    }

    /// The next update if there is one already; for tests and pollers.
    ///
    /// # Errors
    /// There are no more, and why.
    pub fn try_next(&mut self) -> Result<Option<Arc<Update>>, Closed> {
        if self.slow.load(Ordering::Acquire) {
            return Err(Closed::SlowConsumer);
        }
        match self.updates.try_recv() {
            Ok(update) => Ok(Some(update)),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(Closed::Stopping),
        }
    }
}
