//! The exchange: one command in, a list of events and chain-state writes out.
//!
//! Invariant: no I/O, no clock, no threads, no floats, no hash order. The same genesis and the same commands give the same events,
//! the same writes and the same digest on every machine. There is no `Result`: a bad command is an [keel_types::Event::Rejected] with
//! a reason from a closed enum, a broken invariant is a panic.
//!
//! **Writes are staged.** [Engine::apply] plans a command against an overlay (`stage.rs`) and installs the overlay only when the
//! command ended well. A panic on the way, caught by the caller, leaves the engine exactly as it was; the overlay it left behind is
//! dropped by the next command. Installing decides nothing: it only copies what the plan has already checked.
//!
//! Where things are: `engine.rs` dispatches and installs, `command/` has one file per family of commands, `risk.rs` is margin and
//! reduce-only upkeep, `due.rs` what a time or a mark will set off, one piece per Tick, `image.rs` is the canonical encoding behind digest and snapshot, `check.rs` the invariants.
//! Funding and liquidation have their fields in the state and no code yet.
#![forbid(unsafe_code)]

mod accounts;
mod cancelled;
mod check;
mod command;
mod due;
mod dump;
mod engine;
mod image;
mod market;
mod order;
mod ranges;
mod risk;
mod rules;
mod stage;
mod watch;

#[cfg(test)]
mod tests;

pub use check::Violation;
pub use dump::Dump;
pub use engine::{AccountView, Engine, Output, PhaseState};
pub use image::{RestoreError, SNAPSHOT_VERSION};
