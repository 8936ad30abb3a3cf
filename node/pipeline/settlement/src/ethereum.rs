//! Ethereum as a settlement layer: everything that knows alloy.

mod blobs;
pub mod dev;
mod error;
mod fees;
mod keys;
pub(crate) mod quorum;
pub(crate) mod reader;
mod sender;

use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use keel_contracts::ethereum::Bridge;
use keel_types::Withdrawal;
pub use keys::Keys;
pub use reader::Reader;
use reader::eth;
pub(crate) use sender::{Sender, Senders};

/// `Bridge.withdraw(token, recipient, amount, withdrawalId)`.
pub(crate) fn claim_calldata(withdrawal: &Withdrawal) -> Vec<u8> {
    Bridge::withdrawCall {
        token: eth(withdrawal.token),
        recipient: eth(withdrawal.recipient),
        amount: U256::from(withdrawal.l1_amount),
        withdrawalId: U256::from(withdrawal.id),
    }
    .abi_encode()
}
