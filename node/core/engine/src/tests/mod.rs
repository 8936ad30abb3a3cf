//! Scenarios: a script of short steps in, the events as text out. `world.rs` is the only file that touches the engine's API.

mod chain;
mod halts;
mod liquidation;
mod matching;
mod money;
mod nonces;
mod oracle;
mod orders;
mod perpetual;
mod random;
mod reference;
mod restore;
mod rules;
mod safe_mode;
mod scenarios;
mod script;
mod sessions;
mod staging;
mod triggers;
mod world;

use script::check;
