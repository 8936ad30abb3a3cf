//! Keel's contracts on both settlement layers: committed artifacts, typed bindings, and the hashes both ends agree on.
//!
//! Invariant: nothing here decides anything about a chain. It says what the contracts' words are and how they are hashed.

#[cfg(feature = "ethereum")]
pub mod ethereum;
pub mod genesis;
pub mod starknet;
