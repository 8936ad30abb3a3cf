use crate::error::BlocksError;
use keel_commitment::aliases::{ALIAS_CONTRACT, allocate_aliases};
use keel_commitment::state::{BLOCK_HASH_CONTRACT, STORED_BLOCK_HASH_BUFFER};
use keel_commitment::{Felt, StateDiff};
use keel_contracts::starknet::{CANCEL_ROOT_OFFSET, Key, Layout, NO_CANCEL_ROOT, decode_count};
use keel_store::{Store, StoreError};
use keel_types::{Bytes32, Genesis, Height, IncidentId, IncidentValue, LossReasons, Seq, StateWrite, Ts};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Slot of `since` within the record of the phase (version, phase, incident, since).
const PHASE_SINCE_OFFSET: u64 = 3;

/// The exchange's storage as the open block leaves it: what it wrote, over what the store has.
pub(crate) struct PendingState {
    genesis: Arc<Genesis>,
    store: Store,
    layout: Layout,
    /// Written by commands of drafts that are still open; the last value of each slot.
    open: BTreeMap<Felt, Felt>,
    /// Written by the closed drafts of the block; the last value of each slot.
    closed: BTreeMap<Felt, Felt>,
    /// Slots of `closed` that have not been published as they are.
    unpublished: BTreeSet<Felt>,
    /// What the store has of slots of `closed`, as far as it was asked. It holds until the block is committed.
    stored: BTreeMap<Felt, Felt>,
}

impl PendingState {
    pub(crate) fn new(genesis: Arc<Genesis>, store: Store) -> PendingState {
        let (open, closed, unpublished, stored) = Default::default();
        PendingState { genesis, store, layout: Layout::new(), open, closed, unpublished, stored }
    }

    /// Writes of a command, in their order.
    pub(crate) fn write(&mut self, writes: &[StateWrite]) {
        for write in writes {
            self.open.extend(self.layout.storage(&self.genesis, write));
        }
    }

    /// Everything written so far belongs to closed drafts.
    pub(crate) fn close(&mut self) {
        for (slot, value) in std::mem::take(&mut self.open) {
            self.closed.insert(slot, value);
            self.unpublished.insert(slot);
        }
    }

    /// The root an incident has so far; `None` if there is none, or nothing was cancelled.
    pub(crate) fn cancel_root(&mut self, incident: IncidentId) -> Result<Option<Felt>, StoreError> {
        let root = self.read(Key::Incident(incident), CANCEL_ROOT_OFFSET)?;
        Ok(Some(root).filter(|root| *root != Felt::ZERO && *root != NO_CANCEL_ROOT))
    }

    pub(crate) fn set_cancel_root(&mut self, incident: &IncidentValue, root: Felt) {
        self.open.extend(self.layout.storage_incident(incident, Some(root)));
    }

    /// An incident as it stands; `None` if there is none of that number.
    pub(crate) fn incident(&mut self, incident: IncidentId) -> Result<Option<IncidentValue>, StoreError> {
        let asked = IncidentValue {
            incident,
            reasons: LossReasons::default(),
            observed_ts: Ts(0),
            seq: Seq(0),
            cancelled: 0,
            integrity_report: Bytes32::default(),
        };
        let mut failure = None;
        let (open, closed, store, exchange) = (&self.open, &self.closed, &self.store, self.genesis.exchange.0);
        let mut read = |slot: Felt| match open.get(&slot).or_else(|| closed.get(&slot)) {
            Some(value) => *value,
            None => store.storage_latest(&exchange, &slot).unwrap_or_else(|error| {
                failure.get_or_insert(error);
                Felt::ZERO
            }),
        };
        let loaded = self.layout.load(&self.genesis, &StateWrite::Incident(asked), &mut read);
        match (failure, loaded) {
            (Some(error), _) => Err(error),
            (None, Ok(StateWrite::Incident(value))) => Ok(Some(value)),
            (None, _) => Ok(None),
        }
    }

    /// Since when the phase holds.
    pub(crate) fn phase_since(&mut self) -> Result<Option<Ts>, StoreError> {
        let since = decode_count(self.read(Key::Phase, PHASE_SINCE_OFFSET)?);
        Ok(since.and_then(|since| u64::try_from(since).ok()).map(Ts))
    }

    fn read(&mut self, key: Key, offset: u64) -> Result<Felt, StoreError> {
        let slot = self.layout.slot(key) + Felt::from(offset);
        match self.open.get(&slot).or_else(|| self.closed.get(&slot)) {
            Some(value) => Ok(*value),
            None => self.store.storage_latest(&self.genesis.exchange.0, &slot),
        }
    }

    /// What closed drafts changed since this was asked last: entries that differ from the store, and slots (contract, slot) that the block
    /// wrote and that are as the store has them.
    pub(crate) fn take_unpublished(&mut self) -> Result<(StateDiff, Vec<(Felt, Felt)>), BlocksError> {
        let exchange = self.genesis.exchange.0;
        let (mut diff, mut restored) = (StateDiff::default(), vec![]);
        for slot in std::mem::take(&mut self.unpublished) {
            let value = self.closed[&slot];
            if self.stored(slot)? == value {
                restored.push((exchange, slot));
            } else {
                diff.set_storage(exchange, slot, value);
            }
        }
        Ok((diff, restored))
    }

    /// The diff of the block that closes now, without what the chain itself adds ([complete]); starts the next block. Every draft is closed.
    pub(crate) fn take_diff(&mut self) -> Result<StateDiff, BlocksError> {
        assert!(self.open.is_empty(), "a block ends with all its drafts closed");
        let exchange = self.genesis.exchange.0;
        let mut diff = StateDiff::default();
        for (slot, value) in std::mem::take(&mut self.closed) {
            if self.stored(slot)? != value {
                diff.set_storage(exchange, slot, value);
            }
        }
        self.stored.clear();
        self.unpublished.clear();
        Ok(diff)
    }

    fn stored(&mut self, slot: Felt) -> Result<Felt, StoreError> {
        if let Some(value) = self.stored.get(&slot) {
            return Ok(*value);
        }
        let value = self.store.storage_latest(&self.genesis.exchange.0, &slot)?;
        self.stored.insert(slot, value);
        Ok(value)
    }
}

/// Adds what sealing itself writes: the hash of block n-10 under 0x1, and the aliases the block needs under 0x2.
/// [spec settlement, Blocks]
pub(crate) fn complete(diff: &mut StateDiff, store: &Store, height: Height) -> Result<(), BlocksError> {
    if let Some(buried) = height.0.checked_sub(STORED_BLOCK_HASH_BUFFER) {
        let expected = Height(buried);
        let header =
            store.header(expected)?.ok_or(StoreError::NotNext { what: "block", expected: buried, found: height.0 })?;
        diff.set_storage(BLOCK_HASH_CONTRACT, buried.into(), header.hash);
    }
    let failure = RefCell::new(None);
    let aliases = allocate_aliases(diff, |key| {
        store.storage_latest(&ALIAS_CONTRACT, key).unwrap_or_else(|error| {
            failure.borrow_mut().get_or_insert(error);
            Felt::ZERO
        })
    });
    if let Some(error) = failure.into_inner() {
        return Err(error.into());
    }
    aliases.into_iter().for_each(|(key, alias)| diff.set_storage(ALIAS_CONTRACT, key, alias));
    Ok(())
}
