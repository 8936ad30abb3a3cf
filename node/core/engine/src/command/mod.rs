//! One file per family of commands. Each plans against the stage; `engine.rs` installs.

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
