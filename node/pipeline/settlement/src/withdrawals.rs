//! Withdrawals as the settlement layer sees them. [spec settlement, Messages and money]

use crate::ethereum;
use keel_batches::MessageToL1;
use keel_contracts::starknet::{settlement, withdrawal_message};
use keel_types::{Bytes32, Felt, Genesis, L1Address, SettlementLayer, Withdrawal};

/// How a withdrawal is finished. Anybody may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WithdrawalClaim {
    /// Key of its message in the core contract: `l2ToL1Messages`, `appchain_to_sn_messages`.
    pub message_hash: Bytes32,
    /// The bridge.
    pub to: L1Address,
    /// The call that pays the recipient.
    pub call: ClaimCall,
}

/// A call of the bridge's `withdraw`, as its layer takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimCall {
    Ethereum { calldata: Vec<u8> },
    Starknet { selector: Felt, calldata: Vec<Felt> },
}

/// The claim of a withdrawal. It works once the batch of the withdrawal's block is on the contract, and once only.
pub fn withdrawal_claim(genesis: &Genesis, withdrawal: &Withdrawal) -> WithdrawalClaim {
    let (layer, to) = (genesis.settlement.layer, genesis.settlement.bridge);
    let message = MessageToL1 { from: genesis.exchange.0, to, payload: withdrawal_message(withdrawal) };
    let call = match layer {
        SettlementLayer::Ethereum { .. } => ClaimCall::Ethereum { calldata: ethereum::claim_calldata(withdrawal) },
        SettlementLayer::Starknet { .. } => {
            let Withdrawal { token, recipient, l1_amount, id, .. } = *withdrawal;
            let call = settlement::withdraw(to, token, recipient, l1_amount, id);
            ClaimCall::Starknet { selector: call.selector, calldata: call.calldata }
        }
    };
    WithdrawalClaim { message_hash: message.hash(layer), to, call }
}
