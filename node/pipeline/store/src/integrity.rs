//! What a store must agree on with itself. [spec safe-mode, The integrity report]
//!
//! - roots recomputed from the flat state, which shares no code with the stored tries;
//! - `tries`: every stored node against its children and its root;
//! - `index`: blocks against what leads to them and what belongs to them.

mod index;
mod tries;

pub use index::{IndexCheck, IndexFault};
pub use tries::{TrieCheck, TrieFault};

use crate::error::StoreError;
use crate::keys::{CLASS_HASHES, CLASSES, NONCES};
use crate::state::{StateAt, felt};
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
    /// As [`Store::state_at`].
    pub fn recompute_roots(&self, height: Height) -> Result<Roots, StoreError> {
        self.state_at(height)?.recompute_roots()
    }

    /// Recomputes the roots after the last committed block and compares them with its header; `None`: they agree, or
    /// there is no block yet. Blocks may be committed meanwhile.
    ///
    /// # Errors
    /// The database.
    pub fn check_roots(&self) -> Result<Option<RootMismatch>, StoreError> {
        let Some(height) = self.height() else { return Ok(None) };
        let state = self.state_at(height)?;
        let Some(tip) = state.header()? else { return Ok(None) };
        let recomputed = state.recompute_roots()?;
        let header = Roots { contracts: tip.contracts_root, classes: tip.classes_root, state: tip.block.state_root };
        Ok((header != recomputed).then_some(RootMismatch { height, header, recomputed }))
    }
}

impl StateAt<'_> {
    /// See [`Store::recompute_roots`].
    ///
    /// # Errors
    /// The database.
    pub fn recompute_roots(&self) -> Result<Roots, StoreError> {
        let mut contracts: BTreeMap<Felt, ContractState> = BTreeMap::new();
        self.each_storage_root(|contract, root| contracts.entry(contract).or_default().storage_root = root)?;
        self.each(NONCES, |key, nonce| {
            contracts.entry(felt(NONCES, key)?).or_default().nonce = nonce;
            Ok(())
        })?;
        self.each(CLASS_HASHES, |key, class| {
            contracts.entry(felt(CLASS_HASHES, key)?).or_default().class_hash = class;
            Ok(())
        })?;
        let mut classes = Vec::new();
        self.each(CLASSES, |key, compiled| {
            classes.push((felt(CLASSES, key)?, class_leaf(&compiled)));
            Ok(())
        })?;
        let leaves = contracts.iter().map(|(address, state)| (*address, state.leaf()));
        let contracts = root_from_scratch::<Pedersen>(HEIGHT_STATE, leaves)?;
        let classes = root_from_scratch::<Poseidon>(HEIGHT_STATE, classes)?;
        Ok(Roots { contracts, classes, state: global_root(&contracts, &classes) })
    }

    fn each_storage_root(&self, mut each: impl FnMut(Felt, Felt)) -> Result<(), StoreError> {
        let mut contract = None;
        let mut leaves: Vec<(Felt, Felt)> = Vec::new();
        self.each_storage(|address, slot, value| {
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
