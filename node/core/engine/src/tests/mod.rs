//! Scenarios: a script of short steps in, the events as text out. `world.rs` is the only file that touches the engine's API.

mod chain;
mod liquidation;
mod matching;
mod money;
mod nonces;
mod oracle;
mod perpetual;
mod random;
mod rules;
mod safe_mode;
mod script;
mod staging;
mod world;

use script::check;
