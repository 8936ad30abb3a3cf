//! One file per family of commands. Each plans against the stage; `engine.rs` installs.
//!
//! Where the specification is silent, and what traders elsewhere expect:
//!
//! - A FOK that needs more fills than one command may make is killed. It is judged by what it really could trade: matched, and dropped
//!   whole when something was left, with every maker it would have cancelled on the way.
//! - An order good til t does not trade at t any more. Whoever meets it first ends it: a taker, a post-only order, or a Tick.
//! - A trigger fires at the mark that has reached it when it is looked at. One that was passed while it had to wait (a grace, a held or
//!   stale market) and is not reached any more waits on. One already reached when placed fires at the next Tick.
//! - An untriggered order is asked for form, phase, grid, notional and count when placed, and for everything else when triggered. A
//!   triggered order has the time priority of its trigger, not of its placement.
//! - A modify to a size that is filled already is SIZE_BELOW_FILLED; it never cancels. What it leaves must be worth the market's least
//!   notional. One that rests without a trade shows as MODIFIED; one that trades or ends shows RECEIVED MODIFIED, then what came of it.
//! - A dead man's switch survives everything but itself and an incident, which clears all of them without an event for each.
//! - A session key is refused for its scope after its nonce is used up, for what it is before. Bound to markets, it does nothing that
//!   reaches into others: no cancel of all orders, no dead man's switch, no log-in.
//! - A key that is revoked or has expired stays in the state for good, as it does on chain; only live ones count.
//! - A transfer is a withdrawal to somebody here: the same phases, the same limits.
//! - A restored order is a new order with an identity of its own and the size that was left, so that the cancelled one stays what it is: ended,
//!   with its receipt. It keeps the client's id, and it is placed under the rules of now: one whose remainder is worth too little, whose client
//!   id was taken since, or whose end has come, is refused. `good_til` is the new end of orders that may have one; one that is post-only,
//!   IOC or FOK may not, and is refused with it.
//! - What a restored order meets is what is in the book: it may trade at once where its phase lets it. The orders of one message share the fills
//!   of one command, trade in one market only, and never with each other: what is beyond that is refused and goes into another message.

mod block;
mod cancel;
mod deposit;
mod funding;
mod liquidation;
mod matching;
mod modify;
mod place;
mod prices;
mod register;
mod restore;
mod safe_mode;
mod schedule;
mod session;
mod signed;
mod tick;
mod transfer;
mod trigger;
mod upkeep;
mod withdraw;

pub(crate) use cancel::Ending;
pub(crate) use liquidation::Liquidation;
pub(crate) use place::Taker;
