//! One market's order book: price-time priority.
//!
//! Invariant: the book knows prices, quantities and time, and nothing of accounts, money or rules. It never decides that a match
//! may happen: a caller walks the makers in priority order ([Book::best], [Book::after]), plans, and then commits with
//! [Book::fill], [Book::remove] and [Book::insert]. Nothing here allocates per operation once the slabs have grown.
//!
//! Layout: orders are nodes of one slab, in a doubly linked FIFO per price; prices are levels of a second slab, doubly linked from
//! best to worst, so that walking and cancelling need no search. Only the first order at a price and the last to leave touch the
//! ordered index of levels.
#![forbid(unsafe_code)]

mod book;
mod slab;

pub use book::{Book, DepthLevel, Match, OrderHandle, Qty128, Resting};
