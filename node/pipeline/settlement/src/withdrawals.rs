//! Withdrawals as the settlement layer sees them. [spec settlement, Messages and money]

use crate::ethereum::eth;
use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use keel_batches::MessageToL1;
use keel_contracts::ethereum::Bridge;
use keel_contracts::starknet::withdrawal_message;
use keel_types::{Bytes32, Genesis, L1Address, Withdrawal};

/// How a withdrawal is finished. Anybody may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WithdrawalClaim {
    /// Key of its message in `l2ToL1Messages`.
    pub message_hash: Bytes32,
    /// The bridge.
    pub to: L1Address,
    /// Call data that pays the recipient.
    pub calldata: Vec<u8>,
}

/// The claim of a withdrawal. It works once the batch of the withdrawal's block is on the contract, and once only.
pub fn withdrawal_claim(genesis: &Genesis, withdrawal: &Withdrawal) -> WithdrawalClaim {
    let to = genesis.settlement.bridge;
    let message = MessageToL1 { from: genesis.exchange.0, to, payload: withdrawal_message(withdrawal) };
    WithdrawalClaim { message_hash: message.hash(genesis.settlement.layer), to, calldata: claim_calldata(withdrawal) }
}

/// `Bridge.withdraw(token, recipient, amount, withdrawalId)`.
pub fn claim_calldata(withdrawal: &Withdrawal) -> Vec<u8> {
    Bridge::withdrawCall {
        token: eth(withdrawal.token),
        recipient: eth(withdrawal.recipient),
        amount: U256::from(withdrawal.l1_amount),
        withdrawalId: U256::from(withdrawal.id),
    }
    .abi_encode()
}
