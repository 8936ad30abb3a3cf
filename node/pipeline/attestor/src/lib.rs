//! A second node: follows the journal of the first, executes it again and compares; and, apart from that, signs what it found equal.
//!
//! [`Follower`] is what a replica is too: a journal, an engine, blocks and batches of its own, made from the records it is given. It
//! believes the order of commands, that who is named in each has signed it (the journal has a message's hash, not its signature), and where
//! batches end; every digest, root and fact is its own. [`Signer`] is what an
//! attestor has beside it: a key, and a file that keeps it from ever signing two facts for one batch or height.
//!
//! Invariant: no network and no clock that could decide anything. Records and claims are brought by the caller; what comes out is
//! agreement, a [`Divergence`](keel_types::Divergence) with both values, or a typed refusal. **A signature exists only after the file that
//! remembers it was synced.**
#![forbid(unsafe_code)]

mod follower;
mod signer;

pub use follower::{FollowError, Follower, FollowerConfig, Verdict};
pub use signer::{SignError, Signer};
