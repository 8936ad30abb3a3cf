//! Claims about settlement on a real local Ethereum node (anvil). Blocks are mined by the test alone, so that every claim about
//! depth, reorganisation and restart is about a moment the test chose.

mod anvil;
mod away;
mod batches;
mod blobs;
mod chain;
mod deposits;
mod devnet;
mod endpoints;
mod health;
mod kills;
mod money;
mod proxy;
mod sync;
mod world;
