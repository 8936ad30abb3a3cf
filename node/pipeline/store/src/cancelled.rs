//! What incidents cancelled, in the order of cancellation: what receipts are made of; and what of it was placed again. Never forgotten.
//!
//! | table | key | value |
//! |---|---|---|
//! | `cancelled` | incident, seq of the safe-mode record, index | [`OrderUpdate`] |
//! | `cancelled_places` | order | [`CancelledPlace`] |
//! | `account_cancelled` | account, incident, seq, index | |
//! | `restored` | order as it was cancelled | the order that took its place |

use crate::error::StoreError;
use crate::history::HistoryPage;
use crate::keys::{ACCOUNT_CANCELLED, CANCELLED, CANCELLED_PLACES, Key, RESTORED};
use crate::store::{Batch, Store, borsh_vec, corrupt, decode};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::{Address, Event, Executed, IncidentId, Initiator, MessageHash, OrderState, OrderUpdate, Seq};

/// Where an order stands among what was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct CancelledPlace {
    pub incident: IncidentId,
    /// Of the safe-mode record. An incident that is entered again has several.
    pub seq: Seq,
    /// Among the cancellations of that record, from 0.
    pub index: u32,
}

impl CancelledPlace {
    fn key(self, key: Key) -> Key {
        key.u32(self.incident.0).u64(self.seq.0).u32(self.index)
    }
}

/// An order that was cancelled, as it was then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CancelledRow {
    pub place: CancelledPlace,
    pub update: OrderUpdate,
    /// The order that took its place, if it was restored.
    pub restored: Option<MessageHash>,
}

/// Whether the update is a cancellation by safe mode.
pub fn is_cancelled_by_safe_mode(update: &OrderUpdate) -> bool {
    update.initiator == Initiator::SafeMode && update.state == OrderState::Cancelled
}

/// Writes the rows of a command.
pub(crate) fn put(batch: &mut Batch<'_>, executed: &Executed) {
    for event in &executed.events {
        if let Event::OrderRestored { order, restored, .. } = event {
            batch.put(RESTORED, Key::new().felt(&order.0), borsh_vec(restored));
        }
    }
    let orders = executed.events.iter().filter_map(|event| match event {
        Event::Order(update) => Some(update),
        _ => None,
    });
    for (index, update) in (0..).zip(orders.filter(|update| is_cancelled_by_safe_mode(update))) {
        let place = CancelledPlace { incident: update.incident, seq: executed.seq, index };
        batch.put(CANCELLED, place.key(Key::new()), borsh_vec(update));
        batch.put(CANCELLED_PLACES, Key::new().felt(&update.order.0), borsh_vec(&place));
        batch.put(ACCOUNT_CANCELLED, place.key(Key::new().felt(&update.account.0)), []);
    }
}

impl Store {
    /// Where an order stands among what was cancelled; `None` if no incident cancelled it.
    ///
    /// # Errors
    /// The database.
    pub fn cancelled_place(&self, order: MessageHash) -> Result<Option<CancelledPlace>, StoreError> {
        self.get(CANCELLED_PLACES, Key::new().felt(&order.0))
    }

    /// The order that stands there, as it was then.
    ///
    /// # Errors
    /// The database.
    pub fn cancelled_at(&self, place: CancelledPlace) -> Result<Option<OrderUpdate>, StoreError> {
        self.get(CANCELLED, place.key(Key::new()))
    }

    /// The order that took the place of a cancelled one; `None` if it was not restored.
    ///
    /// # Errors
    /// The database.
    pub fn restored(&self, order: MessageHash) -> Result<Option<MessageHash>, StoreError> {
        self.get(RESTORED, Key::new().felt(&order.0))
    }

    /// The safe-mode records of an incident that cancelled something, in order.
    ///
    /// # Errors
    /// The database.
    pub fn cancelling_records(&self, incident: IncidentId) -> Result<Vec<Seq>, StoreError> {
        let prefix = Key::new().u32(incident.0);
        let (mut found, mut from) = (Vec::new(), Key::new().u32(incident.0));
        while let Some(row) = self.scan(CANCELLED, prefix.as_ref(), from.as_ref()).next() {
            let (key, _) = row?;
            let seq = key.get(4..12).and_then(|seq| seq.try_into().ok()).map(u64::from_be_bytes);
            let seq = seq.ok_or_else(|| corrupt(CANCELLED, &key, "too short"))?;
            found.push(Seq(seq));
            from = Key::new().u32(incident.0).u64(seq.saturating_add(1));
        }
        Ok(found)
    }

    /// What a safe-mode record cancelled, in order.
    ///
    /// # Errors
    /// The database.
    pub fn cancelled_by(&self, incident: IncidentId, seq: Seq) -> Result<Vec<OrderUpdate>, StoreError> {
        let prefix = Key::new().u32(incident.0).u64(seq.0);
        let rows = self.scan(CANCELLED, prefix.as_ref(), prefix.as_ref());
        rows.map(|row| row.and_then(|(key, value)| decode(CANCELLED, &key, &value))).collect()
    }

    /// What an incident cancelled of an account, the last one first.
    ///
    /// # Errors
    /// The database.
    pub fn account_cancelled(
        &self,
        account: Address,
        incident: IncidentId,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<CancelledRow>, StoreError> {
        let prefix = Key::new().felt(&account.0).u32(incident.0);
        self.page(ACCOUNT_CANCELLED, prefix, next, limit, |key, _| {
            let malformed = || corrupt(ACCOUNT_CANCELLED, key, "no place");
            let (seq, index) = key.get(36..).and_then(|place| place.split_first_chunk::<8>()).ok_or_else(malformed)?;
            let index: [u8; 4] = index.try_into().map_err(|_| malformed())?;
            let (seq, index) = (Seq(u64::from_be_bytes(*seq)), u32::from_be_bytes(index));
            let place = CancelledPlace { incident, seq, index };
            let Some(update) = self.cancelled_at(place)? else { return Ok(None) };
            Ok(Some(CancelledRow { place, update, restored: self.restored(update.order)? }))
        })
    }
}
