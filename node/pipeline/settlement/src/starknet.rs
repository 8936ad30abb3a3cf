//! Starknet as a settlement layer: everything that knows the `starknet` crate.
//!
//! There is no mempool to bid in: a transaction is sent with bounds above its estimate and waits, is executed, or is forgotten, and
//! then it is sent anew with the same nonce. Data goes before the update, in chunks that the contract remembers by hash.

pub mod dev;
mod error;
mod keys;
mod reader;
mod sender;

pub use keys::Keys;
pub use reader::Reader;
pub(crate) use sender::Sender;
