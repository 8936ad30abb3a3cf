//! The vocabulary of Keel: ids, money units, commands, events, rejects, genesis, journal records.
//!
//! Invariant: nothing here does anything. No I/O, no clock, no floats, no behaviour beyond conversion and encoding.
//! Every type that reaches the journal, a snapshot or a digest is encoded by [borsh], whose encoding is canonical.
#![forbid(unsafe_code)]

mod attestation;
mod command;
mod event;
mod genesis;
mod ids;
mod order;
mod phase;
mod receipt;
mod record;
mod reject;
mod state;
mod units;

pub use attestation::*;
pub use command::*;
pub use event::*;
pub use genesis::*;
pub use ids::*;
pub use order::*;
pub use phase::*;
pub use receipt::*;
pub use record::*;
pub use reject::*;
pub use state::*;
pub use units::*;

pub use starknet_types_core::felt::Felt;
