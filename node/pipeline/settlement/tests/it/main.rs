//! Claims about settlement on a real local Ethereum node (anvil). Blocks are mined by the test alone, so that every claim about
//! depth, reorganisation and restart is about a moment the test chose.

mod anvil;
mod batches;
mod chain;
mod deposits;
mod health;
mod money;
mod sync;
mod world;
