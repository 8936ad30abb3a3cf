//! Ethereum as a settlement layer: everything that knows alloy.

mod attestor;
mod blobs;
pub mod dev;
mod error;
mod fees;
mod quorum;
mod reader;
mod sender;

pub use attestor::Keys;
pub(crate) use attestor::sign;
pub use reader::Reader;
pub(crate) use reader::eth;
pub(crate) use sender::Sender;
