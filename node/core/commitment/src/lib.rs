//! Starknet commitments: Patricia tries, state diff, block hash, transaction hash, message hash, aliases.
//!
//! Every function here is a function of its arguments. What is deliberately absent: storage (a trie is read
//! through [`trie::TrieReader`] and changed by returning the nodes that changed), threads (storage tries of
//! different contracts may be updated in parallel by the caller), JSON, and signatures.
//!
//! Sources of the rules are named beside them; `keel verify` recomputes roots with
//! [`trie::root_from_scratch`], which shares no code with [`trie::update`].

#![forbid(unsafe_code)]

pub mod aliases;
pub mod block_hash;
pub mod commitments;
pub mod hash;
pub mod message;
pub mod state;
pub mod state_diff;
pub mod transaction_hash;
pub mod trie;

pub use starknet_types_core::felt::Felt;
pub use state_diff::StateDiff;
