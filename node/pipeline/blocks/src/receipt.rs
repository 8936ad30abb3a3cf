//! A receipt for a cancelled order, which anybody can check against the root of the settled state. [spec safe-mode, What it does, 3]

use crate::cancel::{CancelPath, CancelledOrder};
use keel_commitment::Felt;
use keel_commitment::hash::Pedersen;
use keel_commitment::state::{ContractState, global_root};
use keel_commitment::trie::{Node, ProofError, verify_proof};
use keel_contracts::starknet::{CANCEL_ROOT_OFFSET, Key};
use keel_types::{Address, Height, IncidentId};
use std::collections::BTreeMap;

/// Shows that an incident cancelled an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CancelReceipt {
    pub incident: IncidentId,
    pub order: CancelledOrder,
    /// From the order's leaf to the incident's cancel root.
    pub path: CancelPath,
    /// From the cancel root to the root of the state.
    pub state: StateProof,
}

/// Shows what stands in a slot of the exchange contract after a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateProof {
    pub block: Height,
    /// The exchange contract's leaf.
    pub contract: ContractState,
    pub contracts_root: Felt,
    pub classes_root: Felt,
    /// Nodes of the contract trie on the way to the exchange, by hash.
    pub contracts: BTreeMap<Felt, Node>,
    /// Nodes of the exchange's storage trie on the way to the slot, by hash.
    pub storage: BTreeMap<Felt, Node>,
}

/// Why a receipt shows nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("the state of block {block} has root {settled:#x}, the receipt is of one with root {found:#x}")]
    OtherRoot { block: Height, settled: Felt, found: Felt },
    #[error("the exchange contract: {0}")]
    Contract(ProofError),
    #[error("the exchange contract is not the one that the state has")]
    OtherContract,
    #[error("the incident's slot: {0}")]
    Storage(ProofError),
    #[error("the state has cancel root {settled:#x} for incident {incident}, the order is under {found:#x}")]
    OtherCancelRoot { incident: IncidentId, settled: Felt, found: Felt },
}

/// The slot of the exchange contract that holds an incident's cancel root.
pub fn cancel_root_slot(incident: IncidentId) -> Felt {
    Key::Incident(incident).slot() + Felt::from(CANCEL_ROOT_OFFSET)
}

impl CancelReceipt {
    /// The cancel root that the order is under by this receipt.
    pub fn cancel_root(&self) -> Felt {
        self.path.root(self.order.leaf())
    }

    /// Checks everything, hash by hash, against the root of the settled state of `state.block`.
    ///
    /// # Errors
    /// The first step that does not hold.
    pub fn verify(&self, exchange: Address, settled_root: Felt) -> Result<(), ReceiptError> {
        let StateProof { block, contract, contracts_root, classes_root, contracts, storage } = &self.state;
        let found = global_root(contracts_root, classes_root);
        if found != settled_root {
            return Err(ReceiptError::OtherRoot { block: *block, settled: settled_root, found });
        }
        let leaf = verify_proof::<Pedersen>(*contracts_root, &exchange.0, contracts).map_err(ReceiptError::Contract)?;
        if leaf != Some(contract.leaf()) {
            return Err(ReceiptError::OtherContract);
        }
        let slot = cancel_root_slot(self.incident);
        let stored = verify_proof::<Pedersen>(contract.storage_root, &slot, storage).map_err(ReceiptError::Storage)?;
        let (settled, found) = (stored.unwrap_or_default(), self.cancel_root());
        if settled != found {
            return Err(ReceiptError::OtherCancelRoot { incident: self.incident, settled, found });
        }
        Ok(())
    }
}
