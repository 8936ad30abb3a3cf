//! Streams: a snapshot, then every change, in the order of the journal.
//!
//! One thread owns everything here ([start_feeds]): it is handed each released record, works out what changed in each stream and
//! puts it into the queues of those who listen. It holds no lock, waits for nobody, and serves new subscriptions between two
//! records. It has a view of its own, so that a stream's state and its changes are of the same record.
//!
//! # Sequence
//!
//! A message of a stream carries `seq`, the journal's number of the last command it reflects, and `prev_seq`, that of the message
//! before it **in this stream**; a record that changes nothing in a stream gives no message. A listener that applied everything up to
//! `seq` has the state of the exchange as of that command, the same that a read with that `seq` shows. So it may also begin from such a
//! read, or from what it had before it lost its connection: it asks for what came after its `seq`, and gets it if it is still kept.

mod build;
mod checksum;
mod hub;
mod market;
mod stream;

pub use checksum::{CHECKSUM_LEVELS, checksum, checksum_text};
pub use hub::{
    ACCOUNT_STREAMS_MAX, FEEDS_WAITING_MAX, Feeds, FeedsSeed, Refusal, SUBSCRIBES_WAITING_MAX, SUBSCRIPTIONS_MAX,
    start_feeds,
};
pub use market::{CANDLES_IN_SNAPSHOT, MarketSeed};
pub use stream::{
    ACCOUNT_ITEMS_KEPT, Closed, ITEMS_IN_SNAPSHOT, MARKET_ITEMS_KEPT, SUBSCRIBER_QUEUE_MAX, Start, Subscription,
};

use crate::margin::BalanceSummary;
use crate::orders::OrderView;
use crate::view::{PhaseView, Trade};
use keel_store::{Candle, CandleInterval, FillRow, IncidentStep};
use keel_types::*;
use std::sync::{Arc, OnceLock};

/// What one stream is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// Every price level.
    Book(MarketId),
    /// Best bid and offer.
    Bbo(MarketId),
    Trades(MarketId),
    Ticker(MarketId),
    Candles(MarketId, CandleInterval),
    /// Mark, oracle and funding.
    Mark(MarketId),
    Orders(Address),
    Fills(Address),
    Positions(Address),
    Balances(Address),
    /// Phase and incidents of the node.
    Node,
}

impl Topic {
    /// Of a private stream.
    pub fn account(self) -> Option<Address> {
        match self {
            Topic::Orders(a) | Topic::Fills(a) | Topic::Positions(a) | Topic::Balances(a) => Some(a),
            Topic::Book(_)
            | Topic::Bbo(_)
            | Topic::Trades(_)
            | Topic::Ticker(_)
            | Topic::Candles(..)
            | Topic::Mark(_)
            | Topic::Node => None,
        }
    }

    /// Of a market's stream.
    pub fn market(self) -> Option<MarketId> {
        match self {
            Topic::Book(m) | Topic::Bbo(m) | Topic::Trades(m) | Topic::Ticker(m) | Topic::Candles(m, _) | Topic::Mark(m) => {
                Some(m)
            }
            Topic::Orders(_) | Topic::Fills(_) | Topic::Positions(_) | Topic::Balances(_) | Topic::Node => None,
        }
    }
}

/// Whether a message is the whole state or what changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateKind {
    Snapshot,
    Delta,
}

/// One message of a stream; shared by all who listen.
#[derive(Debug)]
pub struct Update {
    pub topic: Topic,
    pub kind: UpdateKind,
    /// `seq` of the message before it in this stream; of a snapshot, its own `seq`.
    pub prev_seq: Seq,
    /// Last command that it reflects.
    pub seq: Seq,
    /// Of that command's record.
    pub ts: Ts,
    pub payload: Payload,
    text: OnceLock<Arc<str>>,
}

impl Update {
    pub(crate) fn new(topic: Topic, kind: UpdateKind, prev_seq: Seq, at: (Seq, Ts), payload: Payload) -> Arc<Update> {
        Arc::new(Update { topic, kind, prev_seq, seq: at.0, ts: at.1, payload, text: OnceLock::new() })
    }

    /// The message as the edge writes it, made once for all who listen.
    pub fn text(&self, write: impl FnOnce(&Update) -> String) -> Arc<str> {
        self.text.get_or_init(|| write(self).into()).clone()
    }
}

/// What a message holds; in a snapshot everything, in a delta what changed, oldest first where there is an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Levels, best first, bids before asks in a snapshot; a level of size 0 is gone. `checksum`: of the book after this message.
    Book { levels: Vec<BookLevel>, checksum: u32 },
    /// Always whole.
    Bbo(Bbo),
    /// A snapshot holds the last [ITEMS_IN_SNAPSHOT].
    Trades(Vec<Trade>),
    /// Always whole.
    Ticker(Box<Ticker>),
    /// By `start_ms`; a candle replaces the one of the same start. A snapshot holds the last [CANDLES_IN_SNAPSHOT].
    Candles(Vec<Candle>),
    /// Always whole.
    Mark(MarkPrice),
    /// A snapshot holds the open orders; a delta every transition, ended orders included.
    Orders(Vec<OrderView>),
    /// A snapshot holds the last [ITEMS_IN_SNAPSHOT] that this stream remembers, maybe none: older ones are in history.
    Fills(Vec<FillRow>),
    /// By market; a position of size 0 is closed.
    Positions(Vec<(MarketId, PositionValue)>),
    /// By asset.
    Balances(Vec<BalanceSummary>),
    /// The phase always whole. A snapshot holds the last [ITEMS_IN_SNAPSHOT] steps that this stream remembers, maybe none: older ones
    /// are in the store.
    Node { phase: PhaseView, incident: Option<IncidentValue>, steps: Vec<IncidentStep> },
}

impl Payload {
    /// How much of a ring it takes.
    pub(crate) fn items(&self) -> usize {
        match self {
            Payload::Book { levels, .. } => levels.len(),
            Payload::Trades(rows) => rows.len(),
            Payload::Candles(rows) => rows.len(),
            Payload::Orders(rows) => rows.len(),
            Payload::Fills(rows) => rows.len(),
            Payload::Positions(rows) => rows.len(),
            Payload::Balances(rows) => rows.len(),
            Payload::Bbo(_) | Payload::Ticker(_) | Payload::Mark(_) => 1,
            Payload::Node { steps, .. } => steps.len(),
        }
    }
}

/// A price level as a stream tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BookLevel {
    pub side: Side,
    pub price: Price,
    /// Base quantums; 0: the level is gone.
    pub size: u128,
    pub orders: u32,
}

/// Best level of each side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bbo {
    /// Price and base quantums.
    pub bid: Option<(Price, u128)>,
    pub ask: Option<(Price, u128)>,
}

/// Prices and funding of a market.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MarkPrice {
    pub mark: Price,
    pub oracle: Price,
    /// Time of the price in use.
    pub price_ts: Ts,
    /// Quote quantums per base unit since genesis.
    pub funding_index: Amount,
    /// Rate per 8 hours in 1e-8, and up to when it accrued; `None` until the first time.
    pub funding: Option<(i64, Ts)>,
}

/// A market at a glance. The 24 hours are the last 1,440 minutes by the time of the last record that changed something here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ticker {
    pub last: Option<Price>,
    pub mark: MarkPrice,
    pub bbo: Bbo,
    /// Base quantums.
    pub open_interest: i128,
    /// `None`: nothing was traded in 24 hours.
    pub day: Option<Day>,
}

/// Trading of 24 hours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Day {
    pub open: Price,
    pub high: Price,
    pub low: Price,
    /// Base quantums.
    pub volume: u128,
    /// Quote quantums.
    pub quote_volume: u128,
    pub trades: u64,
}
