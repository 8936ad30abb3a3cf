//! Starknet as a settlement layer: everything that knows the `starknet` crate.
//!
//! A transaction is sent with bounds above its estimate, and no tip. It waits, and is sent again with the same nonce, with higher bounds
//! if the market has left them; it is executed; or it is forgotten, and is then sent anew. Data goes before the update, in chunks that the contract remembers by hash.

pub mod dev;
mod error;
mod keys;
pub(crate) mod quorum;
mod reader;
mod sender;

pub use keys::Keys;
pub use reader::Reader;
pub(crate) use sender::Sender;
