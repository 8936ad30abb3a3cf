//! Recomputation of roots from the flat state: shares no code with the stored tries. [spec safe-mode, The integrity report]

use crate::error::StoreError;
use crate::keys::{CLASS_HASHES, CLASSES, NONCES};
use crate::state::felt;
use crate::store::Store;
use keel_commitment::Felt;
use keel_commitment::hash::{Pedersen, Poseidon};
use keel_commitment::state::{ContractState, class_leaf, global_root};
use keel_commitment::trie::{HEIGHT_STATE, root_from_scratch};
use keel_types::Height;
use std::collections::BTreeMap;

/// The roots of one state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Roots {
    pub contracts: Felt,
    pub classes: Felt,
    pub state: Felt,
}

/// A block whose header does not say what its state says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootMismatch {
    pub height: Height,
    pub header: Roots,
    pub recomputed: Roots,
}

impl Store {
    /// The roots after block `height`, recomputed from nothing but the flat state. Holds one contract's storage in memory.
    ///
    /// # Errors
    /// The database.
    pub fn recompute_roots(&self, height: Height) -> Result<Roots, StoreError> {
        let mut contracts: BTreeMap<Felt, ContractState> = BTreeMap::new();
        self.each_storage_root(height, |contract, root| contracts.entry(contract).or_default().storage_root = root)?;
        self.each_at(NONCES, height, |key, nonce| {
            contracts.entry(felt(NONCES, key)?).or_default().nonce = nonce;
            Ok(())
        })?;
        self.each_at(CLASS_HASHES, height, |key, class| {
            contracts.entry(felt(CLASS_HASHES, key)?).or_default().class_hash = class;
            Ok(())
        })?;
        let mut classes = Vec::new();
        self.each_at(CLASSES, height, |key, compiled| {
            classes.push((felt(CLASSES, key)?, class_leaf(&compiled)));
            Ok(())
        })?;
        let leaves = contracts.iter().map(|(address, state)| (*address, state.leaf()));
        let contracts = root_from_scratch::<Pedersen>(HEIGHT_STATE, leaves)?;
        let classes = root_from_scratch::<Poseidon>(HEIGHT_STATE, classes)?;
        Ok(Roots { contracts, classes, state: global_root(&contracts, &classes) })
    }

    /// Recomputes the roots after the last committed block and compares them with its header; `None`: they agree, or
    /// there is no block yet. Blocks may be committed meanwhile.
    ///
    /// # Errors
    /// The database.
    pub fn check_roots(&self) -> Result<Option<RootMismatch>, StoreError> {
        let Some(tip) = self.tip()? else { return Ok(None) };
        let (height, recomputed) = (tip.height(), self.recompute_roots(tip.height())?);
        let header = Roots { contracts: tip.contracts_root, classes: tip.classes_root, state: tip.block.state_root };
        Ok((header != recomputed).then_some(RootMismatch { height, header, recomputed }))
    }

    fn each_storage_root(&self, height: Height, mut each: impl FnMut(Felt, Felt)) -> Result<(), StoreError> {
        let mut contract = None;
        let mut leaves: Vec<(Felt, Felt)> = Vec::new();
        self.each_storage_at(height, |address, slot, value| {
            if let Some(done) = contract.replace(address).filter(|done| *done != address) {
                each(done, root_from_scratch::<Pedersen>(HEIGHT_STATE, std::mem::take(&mut leaves))?);
            }
            leaves.push((slot, value));
            Ok(())
        })?;
        if let Some(contract) = contract {
            each(contract, root_from_scratch::<Pedersen>(HEIGHT_STATE, leaves)?);
        }
        Ok(())
    }
}
