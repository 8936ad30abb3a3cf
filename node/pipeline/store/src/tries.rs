//! The tries: nodes of the latest state by path, and what each block changed, so that a reader at an older block sees that undone.

use crate::codec;
use crate::error::StoreError;
use crate::keys::{Key, META, NODE_UNDO, NODE_UNDO_LISTS, NODES, STORAGE_ROOTS};
use crate::pruning::KEY_PROOFS_FIRST;
use crate::state::{StateAt, StateReader, felt};
use crate::store::{Batch, Store, corrupt};
use keel_commitment::hash::{Pedersen, Poseidon};
use keel_commitment::state::{ContractState, class_changes, global_root};
use keel_commitment::trie::{self, Node, NodeChange, PATH_KEY_BYTES, Path, TrieReader, TrieUpdate};
use keel_commitment::{Felt, StateDiff};
use keel_types::Height;
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
    const KIND_STORAGE: u8 = 2;

    /// What the keys of its nodes begin with.
    pub(crate) fn name(self) -> Key {
        match self {
            TrieId::Contracts => Key::new().u8(0),
            TrieId::Classes => Key::new().u8(1),
            TrieId::Storage(contract) => Key::new().u8(Self::KIND_STORAGE).felt(&contract),
        }
    }

    fn key(self, path: &Path) -> Key {
        self.name().bytes(&path.to_key())
    }

    /// The trie and the place that the key of a node names.
    pub(crate) fn of_key(key: &[u8]) -> Result<(TrieId, Path), StoreError> {
        let bad = || corrupt(NODES, key, "not the key of a node");
        let (name, path) = key.split_last_chunk::<PATH_KEY_BYTES>().ok_or_else(bad)?;
        let id = match name {
            [0] => TrieId::Contracts,
            [1] => TrieId::Classes,
            [Self::KIND_STORAGE, contract @ ..] => TrieId::Storage(felt(NODES, contract)?),
            _ => return Err(bad()),
        };
        Ok((id, Path::from_key(path).map_err(|_| bad())?))
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

/// Nodes of one stored trie. An error of the database is kept: ask [`StoredTrie::failure`] when an update or a proof ends with
/// [`trie::TrieError::NodeMissing`].
pub struct StoredTrie<'a> {
    from: From<'a>,
    id: TrieId,
    failure: RefCell<Option<StoreError>>,
}

enum From<'a> {
    Latest(&'a Store),
    /// `undone`: newer blocks are in the snapshot, and their changes undone for the reader.
    Snapshot {
        state: &'a StateAt<'a>,
        undone: bool,
    },
}

impl StoredTrie<'_> {
    /// The error that made [`TrieReader::node`] answer `None`, if one did. Taken: a second call gives `None`.
    pub fn failure(&self) -> Option<StoreError> {
        self.failure.borrow_mut().take()
    }

    fn read(&self, path: &Path) -> Result<Option<Node>, StoreError> {
        let key = self.id.key(path);
        let bytes = match &self.from {
            From::Latest(store) => store.get_bytes(NODES, key.as_ref())?,
            From::Snapshot { state, undone: false } => state.get_bytes(NODES, key.as_ref())?,
            From::Snapshot { state, undone: true } => {
                // The first change after our block found the node as our block left it.
                let from = Key::new().bytes(key.as_ref()).u64(state.height().0 + 1);
                match state.scan(NODE_UNDO, key.as_ref(), from.as_ref()).next().transpose()? {
                    Some((_, before)) => Some(before.into_vec()).filter(|before| !before.is_empty()),
                    None => state.get_bytes(NODES, key.as_ref())?,
                }
            }
        };
        bytes.map(|bytes| decode_node(&key, &bytes)).transpose()
    }
}

pub(crate) fn decode_node(key: &Key, bytes: &[u8]) -> Result<Node, StoreError> {
    Node::decode(bytes).map_err(|error| corrupt(NODES, key.as_ref(), &error.to_string()))
}

impl TrieReader for StoredTrie<'_> {
    fn node(&self, path: &Path) -> Option<Node> {
        self.read(path).unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            None
        })
    }
}

/// Tries at a block. Everything here fails with [`StoreError::NotRetained`] where proofs of so old a block are pruned.
impl StateAt<'_> {
    /// Root of a trie; 0 when it is empty.
    ///
    /// # Errors
    /// See above; the database.
    pub fn root(&self, id: TrieId) -> Result<Felt, StoreError> {
        self.check_proofs_retained()?;
        Ok(match id {
            TrieId::Contracts => self.header()?.map_or(Felt::ZERO, |header| header.contracts_root),
            TrieId::Classes => self.header()?.map_or(Felt::ZERO, |header| header.classes_root),
            TrieId::Storage(contract) => {
                let stored = self.value(STORAGE_ROOTS, Key::new().felt(&contract))?;
                stored.map_or(Felt::ZERO, |stored| stored.value)
            }
        })
    }

    /// What the contract trie commits to for an address; all zero for one that is not there.
    ///
    /// # Errors
    /// See above; the database.
    pub fn contract_state(&self, contract: &Felt) -> Result<ContractState, StoreError> {
        Ok(ContractState {
            class_hash: self.class_hash(contract)?.unwrap_or_default(),
            storage_root: self.root(TrieId::Storage(*contract))?,
            nonce: self.nonce(contract)?,
        })
    }

    /// The nodes of a trie.
    ///
    /// # Errors
    /// See above; the database.
    pub fn trie(&self, id: TrieId) -> Result<StoredTrie<'_>, StoreError> {
        self.check_proofs_retained()?;
        let from = From::Snapshot { state: self, undone: !self.is_latest() };
        Ok(StoredTrie { from, id, failure: RefCell::new(None) })
    }

    /// The proof of `keys` (below 2^251) in a trie, present or not; see [`trie::proof`].
    ///
    /// # Errors
    /// See above; a key out of range; the database, or damaged tries.
    pub fn prove(&self, id: TrieId, keys: &[Felt]) -> Result<Vec<(Felt, Node)>, StoreError> {
        let (root, reader) = (self.root(id)?, self.trie(id)?);
        trie::proof(&reader, root, keys).map_err(|error| reader.failure().unwrap_or(error.into()))
    }

    fn check_proofs_retained(&self) -> Result<(), StoreError> {
        let first = self.get(META, KEY_PROOFS_FIRST)?.unwrap_or_default();
        if self.height() < first {
            return Err(StoreError::NotRetained { height: self.height(), first });
        }
        Ok(())
    }
}

impl Store {
    /// The nodes of a trie of the latest state. For the thread that commits blocks; others read [`StateAt::trie`].
    pub fn trie(&self, id: TrieId) -> StoredTrie<'_> {
        StoredTrie { from: From::Latest(self), id, failure: RefCell::new(None) }
    }

    /// Root of a contract's storage in the latest state; 0 if it has none.
    ///
    /// # Errors
    /// The database.
    pub fn storage_root(&self, contract: &Felt) -> Result<Felt, StoreError> {
        Ok(self.latest(STORAGE_ROOTS, Key::new().felt(contract))?.unwrap_or_default())
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
        self.trie_changes_on(contracts_root, classes_root, diff)
    }

    /// The same, where the roots of the latest state are known from elsewhere.
    pub(crate) fn trie_changes_on(
        &self,
        contracts_root: Felt,
        classes_root: Felt,
        diff: &StateDiff,
    ) -> Result<TrieChanges, StoreError> {
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

    pub(crate) fn put_tries(&self, batch: &mut Batch<'_>, height: Height, changes: &TrieChanges) {
        let mut undo = UndoList::default();
        put_nodes(batch, &mut undo, height, TrieId::Contracts, &changes.contracts);
        put_nodes(batch, &mut undo, height, TrieId::Classes, &changes.classes);
        for (contract, update) in &changes.storage {
            put_nodes(batch, &mut undo, height, TrieId::Storage(*contract), update);
            batch.put(STORAGE_ROOTS, Key::new().felt(contract).height(height), codec::to_vec(&update.root));
        }
        // Nothing was before block 0, so nobody reads there.
        if height > Height(0) {
            batch.put(NODE_UNDO_LISTS, Key::new().height(height), undo.bytes);
        }
    }
}

fn put_nodes(batch: &mut Batch<'_>, undo: &mut UndoList, height: Height, id: TrieId, update: &TrieUpdate) {
    if height > Height(0) && !update.nodes.is_empty() {
        undo.trie(id, update);
    }
    for NodeChange { path, old, new } in &update.nodes {
        let key = id.key(path);
        if height > Height(0) {
            let before = old.map_or_else(Vec::new, |node| node.encode());
            batch.put(NODE_UNDO, Key::new().bytes(key.as_ref()).height(height), before);
        }
        match new {
            Some(node) => batch.put(NODES, key, node.encode()),
            None => batch.delete(NODES, key),
        }
    }
}

/// The rows of `node_undo` that one block wrote. For each trie: its name (1 or 33 bytes, see [`TrieId`]), how many paths (4), and each path
/// as its number of bits (1) and the bits left-aligned in as few bytes as hold them: near the root, where most changes are, two or three.
#[derive(Default)]
pub(crate) struct UndoList {
    bytes: Vec<u8>,
}

impl UndoList {
    fn trie(&mut self, id: TrieId, update: &TrieUpdate) {
        self.bytes.extend(id.name().as_ref());
        self.bytes.extend((update.nodes.len() as u32).to_be_bytes());
        for NodeChange { path, .. } in &update.nodes {
            self.bytes.push(path.len());
            self.bytes.extend(&path.to_key()[..usize::from(path.len()).div_ceil(8)]);
        }
    }

    /// The rows' keys without their height. `row`: where the list is stored.
    pub(crate) fn read(row: &Key, bytes: &[u8]) -> Result<Vec<Key>, StoreError> {
        let torn = || corrupt(NODE_UNDO_LISTS, row.as_ref(), "a torn list");
        let (mut rest, mut names) = (bytes, Vec::new());
        let mut take = |count: usize| rest.split_off(..count).ok_or_else(torn);
        while let Ok(kind) = take(1) {
            let contract = if kind == [TrieId::KIND_STORAGE] { take(32)? } else { &[] };
            let count = take(4)?.try_into().map(u32::from_be_bytes).map_err(|_| torn())?;
            for _ in 0..count {
                let len = take(1)?[0];
                let mut path = [0; PATH_KEY_BYTES];
                let bits = take(usize::from(len).div_ceil(8))?;
                path[..bits.len()].copy_from_slice(bits);
                path[PATH_KEY_BYTES - 1] = len;
                names.push(Key::new().bytes(kind).bytes(contract).bytes(&path));
            }
        }
        Ok(names)
    }
}
