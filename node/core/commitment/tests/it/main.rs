//! What this crate computes, against real chain data, vectors of other implementations, and itself.

mod blocks;
mod fixtures;
mod patricia;
mod pedersen;
mod proofs;
mod properties;
mod random_batches;
mod sepolia_chain;
mod transactions;
mod vectors;
