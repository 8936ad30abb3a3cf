//! The tries of the latest state: nodes by path.

use crate::codec;
use crate::error::StoreError;
use crate::keys::{Key, NODES, STORAGE_ROOTS};
use crate::state::felt;
use crate::store::{Batch, Store, corrupt};
use keel_commitment::hash::{Pedersen, Poseidon};
use keel_commitment::state::{ContractState, class_changes, global_root};
use keel_commitment::trie::{self, Node, Path, TrieReader, TrieUpdate};
use keel_commitment::{Felt, StateDiff};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// One of the chain's tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrieId {
    /// Contract leaves by address; Pedersen.
    Contracts,
    /// Class leaves by class hash; Poseidon.
    Classes,
    /// Storage of one contract; Pedersen.
    Storage(Felt),
}

impl TrieId {
    fn key(self, path: &Path) -> Key {
        match self {
            TrieId::Contracts => Key::new().u8(0),
            TrieId::Classes => Key::new().u8(1),
            TrieId::Storage(contract) => Key::new().u8(2).felt(&contract),
        }
        .bytes(&path.to_key())
    }
}

/// What a block does to the tries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrieChanges {
    pub contracts: TrieUpdate,
    pub classes: TrieUpdate,
    /// Of every contract whose storage the block changed.
    pub storage: BTreeMap<Felt, TrieUpdate>,
}

impl TrieChanges {
    /// Root of the whole state after the block.
    pub fn state_root(&self) -> Felt {
        global_root(&self.contracts.root, &self.classes.root)
    }
}

/// Nodes of one stored trie. An error of the database is kept: ask [`StoredTrie::failure`] when an update ends with
/// [`trie::TrieError::NodeMissing`].
pub struct StoredTrie<'a> {
    store: &'a Store,
    id: TrieId,
    failure: RefCell<Option<StoreError>>,
}

impl StoredTrie<'_> {
    /// The error that made [`TrieReader::node`] answer `None`, if one did. Taken: a second call gives `None`.
    pub fn failure(&self) -> Option<StoreError> {
        self.failure.borrow_mut().take()
    }

    fn read(&self, path: &Path) -> Result<Option<Node>, StoreError> {
        let key = self.id.key(path);
        let Some(bytes) = self.store.get_bytes(NODES, key.as_ref())? else { return Ok(None) };
        Node::decode(&bytes).map(Some).map_err(|error| corrupt(NODES, key.as_ref(), &error.to_string()))
    }
}

impl TrieReader for StoredTrie<'_> {
    fn node(&self, path: &Path) -> Option<Node> {
        self.read(path).unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            None
        })
    }
}

impl Store {
    /// The nodes of a trie of the latest state.
    pub fn trie(&self, id: TrieId) -> StoredTrie<'_> {
        StoredTrie { store: self, id, failure: RefCell::new(None) }
    }

    /// Root of a contract's storage in the latest state; 0 if it has none.
    ///
    /// # Errors
    /// The database.
    pub fn storage_root(&self, contract: &Felt) -> Result<Felt, StoreError> {
        let bytes = self.get_bytes(STORAGE_ROOTS, Key::new().felt(contract))?;
        bytes.map_or(Ok(Felt::ZERO), |bytes| felt(STORAGE_ROOTS, &bytes))
    }

    /// What the contract trie commits to for an address in the latest state.
    ///
    /// # Errors
    /// The database.
    pub fn contract_state(&self, contract: &Felt) -> Result<ContractState, StoreError> {
        Ok(ContractState {
            class_hash: self.class_hash_latest(contract)?.unwrap_or_default(),
            storage_root: self.storage_root(contract)?,
            nonce: self.nonce_latest(contract)?,
        })
    }

    /// Updates the tries of the latest state by `diff`. Nothing is written: give the result to [`Store::commit_block`].
    ///
    /// # Errors
    /// The database, or damaged tries.
    pub fn trie_changes(&self, diff: &StateDiff) -> Result<TrieChanges, StoreError> {
        let (contracts_root, classes_root) =
            self.tip()?.map_or((Felt::ZERO, Felt::ZERO), |tip| (tip.contracts_root, tip.classes_root));
        let mut storage = BTreeMap::new();
        let mut leaves = Vec::new();
        for contract in diff.contracts() {
            let before = self.contract_state(&contract)?;
            let mut storage_root = before.storage_root;
            let changes = diff.storage_changes(&contract);
            if !changes.is_empty() {
                let update = self.update::<Pedersen>(TrieId::Storage(contract), before.storage_root, &changes)?;
                storage_root = update.root;
                storage.insert(contract, update);
            }
            leaves.push((contract, before.after(diff, &contract, storage_root).leaf()));
        }
        let contracts = self.update::<Pedersen>(TrieId::Contracts, contracts_root, &leaves)?;
        let classes = self.update::<Poseidon>(TrieId::Classes, classes_root, &class_changes(diff))?;
        Ok(TrieChanges { contracts, classes, storage })
    }

    fn update<H: keel_commitment::hash::Hasher>(
        &self,
        id: TrieId,
        root: Felt,
        changes: &[(Felt, Felt)],
    ) -> Result<TrieUpdate, StoreError> {
        let reader = self.trie(id);
        trie::update::<H>(&reader, root, changes).map_err(|error| reader.failure().unwrap_or(error.into()))
    }

    pub(crate) fn put_tries(&self, batch: &mut Batch<'_>, changes: &TrieChanges) {
        put_nodes(batch, TrieId::Contracts, &changes.contracts);
        put_nodes(batch, TrieId::Classes, &changes.classes);
        for (contract, update) in &changes.storage {
            put_nodes(batch, TrieId::Storage(*contract), update);
            batch.put(STORAGE_ROOTS, Key::new().felt(contract), codec::to_vec(&update.root));
        }
    }
}

fn put_nodes(batch: &mut Batch<'_>, id: TrieId, update: &TrieUpdate) {
    for (path, node) in &update.nodes {
        match node {
            Some(node) => batch.put(NODES, id.key(path), node.encode()),
            None => batch.delete(NODES, id.key(path)),
        }
    }
}
