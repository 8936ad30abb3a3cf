//! What was released, as readers see it: accounts, orders, books, trades, prices, phase; and as those who listen do: [streams].
//!
//! Invariant: the view is a function of released records alone, and a reply is given only after the view holds its record. There
//! is no lock that the sequencer takes, no disk, and no knowledge of JSON here.
#![forbid(unsafe_code)]

mod book;
mod margin;
mod orders;
mod published;
mod releaser;
pub mod streams;
mod timeline;
mod view;

pub use book::{Book, Level};
pub use margin::{AccountSummary, BalanceSummary, PositionSummary};
pub use orders::{ENDED_ORDERS_MAX, OrderView, Orders};
pub use published::Published;
pub use releaser::{HISTORY_WAITING_MAX, RELEASES_WAITING_MAX, Release, ReleaseSender, Sink, start_history, start_releaser};
pub use streams::{Feeds, FeedsSeed, Topic, start_feeds};
pub use timeline::{PhaseChange, PhaseStep, TIMELINE_STEPS_MAX, Timeline};
pub use view::{
    Account, ConfirmedView, DEPOSITS_MAX, DepositView, MarketState, PhaseView, Position, State, TRADES_PER_MARKET_MAX,
    Trade, View,
};
