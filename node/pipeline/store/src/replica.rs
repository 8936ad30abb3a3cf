//! A store that holds one state and nothing else: what was rebuilt from the settlement layer alone.
//!
//! It is the state after the last block of one batch: storage, nonces, classes, their tries, aliases. Blocks, transactions, receipts, events and
//! history are not on the settlement layer, so they are not here, and nothing here answers as if they were: no node runs on such a store
//! ([`Store::open`] refuses it), and [`Replica`] has no method that would need one.
//!
//! Of every name there is one row, under height 0, and no tries of an older state: applying a batch replaces the state before it.

use crate::codec::{self, get, put};
use crate::error::StoreError;
use crate::integrity::Roots;
use crate::keys::{ALIASES, Key, META};
use crate::state::felt;
use crate::store::{Kind, Store, borsh_vec};
use crate::tries::TrieId;
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::aliases::{ALIAS_CONTRACT, ALIAS_FIRST};
use keel_commitment::state::ContractState;
use keel_commitment::trie::{self, Node};
use keel_commitment::{Felt, StateDiff};
use keel_types::{BatchId, Bytes32, Height};
use std::path::Path;

const KEY_HEAD: &[u8] = b"replica_head";
/// Where every row of a replica stands.
const ONLY: Height = Height(0);

/// Which state a replica holds, and where it was read.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct ReplicaHead {
    pub batch: BatchId,
    /// Last block of the batch.
    pub last_block: Height,
    /// Root of the whole state.
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub root: Felt,
    /// Hash of `last_block`, as the settlement layer says.
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub block_hash: Felt,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub contracts_root: Felt,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub classes_root: Felt,
    /// The block and the transaction of the settlement layer that brought the batch.
    pub l1_block: u64,
    pub l1_tx_hash: Bytes32,
}

/// What the settlement layer says of the next batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    pub batch: BatchId,
    pub last_block: Height,
    pub root: Felt,
    pub block_hash: Felt,
    pub l1_block: u64,
    pub l1_tx_hash: Bytes32,
}

/// See the head of this file. Cheap to clone; clones are one database.
#[derive(Clone)]
pub struct Replica(Store);

impl Replica {
    /// Opens the replica in `path` for the chain named by `genesis`; makes an empty one if there is none.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::OtherKind`] where a node's store is.
    pub fn open(path: &Path, genesis: Bytes32) -> Result<Replica, StoreError> {
        Store::open_kind(path, genesis, Kind::Replica).map(Replica)
    }

    /// Opens it to look at it, also beside the process that writes it: what is read is a moment at or before the opening.
    ///
    /// # Errors
    /// As [`Store::open_read_only`]; [`StoreError::OtherKind`] where a node's store is.
    pub fn open_read_only(path: &Path, genesis: Bytes32) -> Result<Replica, StoreError> {
        Store::open_kind_read_only(path, genesis, Kind::Replica).map(Replica)
    }

    /// Which state this is; `None` before the first batch.
    ///
    /// # Errors
    /// The database.
    pub fn head(&self) -> Result<Option<ReplicaHead>, StoreError> {
        self.0.marker(KEY_HEAD)
    }

    /// Applies the next batch's changes, in one write, and gives the new head.
    ///
    /// # Errors
    /// The batch is not the next one; the state after it would have another root than `settled` says ([`StoreError::OtherRoot`]); the
    /// database. Nothing is changed then.
    pub fn apply(&self, settled: &Settled, diff: &StateDiff) -> Result<ReplicaHead, StoreError> {
        let before = self.head()?;
        let expected = before.as_ref().map_or(0, |head| head.batch.0 + 1);
        if settled.batch.0 != expected {
            return Err(StoreError::NotNext { what: "batch", expected, found: settled.batch.0 });
        }
        let (contracts, classes) = before.map_or((Felt::ZERO, Felt::ZERO), |head| (head.contracts_root, head.classes_root));
        let tries = self.0.trie_changes_on(contracts, classes, diff)?;
        if tries.state_root() != settled.root {
            return Err(StoreError::OtherRoot { batch: settled.batch, expected: settled.root, found: tries.state_root() });
        }
        let head = ReplicaHead {
            batch: settled.batch,
            last_block: settled.last_block,
            root: settled.root,
            block_hash: settled.block_hash,
            contracts_root: tries.contracts.root,
            classes_root: tries.classes.root,
            l1_block: settled.l1_block,
            l1_tx_hash: settled.l1_tx_hash,
        };
        let mut batch = self.0.batch();
        self.0.put_state(&mut batch, ONLY, diff);
        self.0.put_tries(&mut batch, ONLY, &tries);
        for (name, alias) in diff.storage.get(&ALIAS_CONTRACT).into_iter().flatten() {
            if *name >= Felt::from(ALIAS_FIRST) {
                batch.put(ALIASES, Key::new().felt(alias), codec::to_vec(name));
            }
        }
        batch.put(META, KEY_HEAD, borsh_vec(&head));
        batch.write()?;
        Ok(head)
    }

    /// The address or key that an alias stands for.
    ///
    /// # Errors
    /// The database.
    pub fn name_of_alias(&self, alias: &Felt) -> Result<Option<Felt>, StoreError> {
        let name = self.0.get_bytes(ALIASES, Key::new().felt(alias))?;
        name.map(|name| felt(ALIASES, &name)).transpose()
    }

    /// The value of a storage slot; 0 where nothing is stored.
    ///
    /// # Errors
    /// The database, so for all reads.
    pub fn storage(&self, contract: &Felt, slot: &Felt) -> Result<Felt, StoreError> {
        self.0.storage_latest(contract, slot)
    }

    /// What the contract trie commits to for an address: class, nonce, root of its storage; all zero for one that is not there.
    ///
    /// # Errors
    /// The database.
    pub fn contract(&self, contract: &Felt) -> Result<ContractState, StoreError> {
        self.0.contract_state(contract)
    }

    /// Whether an address has a class, or a class hash is declared.
    ///
    /// # Errors
    /// The database.
    pub fn is_there(&self, name: &Felt) -> Result<bool, StoreError> {
        let is_contract = self.0.class_hash_latest(name)?.is_some_and(|class| class != Felt::ZERO);
        Ok(is_contract || self.0.compiled_class_hash_latest(name)?.is_some())
    }

    /// The proof of `keys` (below 2^251) in a trie, present or not; see [`trie::proof`].
    ///
    /// # Errors
    /// A key out of range; the database, or damaged tries.
    pub fn prove(&self, id: TrieId, keys: &[Felt]) -> Result<Vec<(Felt, Node)>, StoreError> {
        let head = self.head()?;
        let root = match id {
            TrieId::Contracts => head.map_or(Felt::ZERO, |head| head.contracts_root),
            TrieId::Classes => head.map_or(Felt::ZERO, |head| head.classes_root),
            TrieId::Storage(contract) => self.0.storage_root(&contract)?,
        };
        let reader = self.0.trie(id);
        trie::proof(&reader, root, keys).map_err(|error| reader.failure().unwrap_or(error.into()))
    }

    /// The roots, recomputed from nothing but the flat state: shares no code with the stored tries. Holds one contract's storage in memory.
    ///
    /// # Errors
    /// The database.
    pub fn recompute_roots(&self) -> Result<Roots, StoreError> {
        self.0.state_at_tip()?.recompute_roots()
    }

    /// Storage slots that are not zero.
    ///
    /// # Errors
    /// The database.
    pub fn storage_count(&self) -> Result<u64, StoreError> {
        let mut count = 0;
        self.0.state_at_tip()?.each_storage(|_, _, _| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// Writes memtables to disk, for a graceful stop.
    ///
    /// # Errors
    /// The database.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.0.flush()
    }

    /// As [`Store::close`].
    #[must_use]
    pub fn close(self, timeout: std::time::Duration) -> bool {
        self.0.close(timeout)
    }
}
