//! One file per family of commands. Each plans against the stage; `engine.rs` installs.

mod block;
mod cancel;
mod deposit;
mod funding;
mod liquidation;
mod matching;
mod place;
mod prices;
mod register;
mod safe_mode;
mod signed;
mod tick;
mod upkeep;
mod withdraw;

pub(crate) use cancel::Ending;
pub(crate) use liquidation::Liquidation;
pub(crate) use place::Taker;
