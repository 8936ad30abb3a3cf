//! Events of the chain, for `starknet_getEvents`: rows in the order of emission, and an index by key, so that an indexer that wants
//! a rare event does not pay for all the others.

use crate::codec::{get, put};
use crate::error::StoreError;
use crate::keys::{EVENT_KEYS, EVENTS, Key};
use crate::store::{Batch, Store, corrupt, decode};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::Felt;
use keel_commitment::commitments::Event;
use keel_types::Height;
use std::collections::{BTreeMap, BTreeSet};

/// Rows one page may look at: some 50 ms of reading. A rare event may give an empty page with a `next`.
pub const EVENTS_SCANNED_MAX: usize = 50_000;

/// Rows that one page may look up through the index: a row costs ten times what it costs in a scan.
pub const EVENTS_LOOKED_UP_MAX: usize = EVENTS_SCANNED_MAX / 10;
/// Alternatives for one key position up to which the index is used: each is a cursor of its own.
const ALTERNATIVES_MAX: usize = 64;

/// An event as stored, by (height, index in the block).
#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct EventRow {
    pub(crate) transaction_index: u32,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub(crate) transaction_hash: Felt,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    pub(crate) event: Event,
}

/// Which events are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventFilter {
    /// First and last block, both included.
    pub from: Height,
    pub to: Height,
    /// Emitters; empty: any.
    pub addresses: Vec<Felt>,
    /// For each position the keys that match; an empty list matches any key, but the event must have that many.
    pub keys: Vec<Vec<Felt>>,
}

impl EventFilter {
    /// Whether an event is wanted. [OpenRPC, EVENT_FILTER; trailing empty lists demand nothing]
    pub fn matches(&self, event: &Event) -> bool {
        let wanted = self.keys.iter().rposition(|keys| !keys.is_empty()).map_or(0, |last| last + 1);
        (self.addresses.is_empty() || self.addresses.contains(&event.from_address))
            && event.keys.len() >= wanted
            && self.keys[..wanted].iter().zip(&event.keys).all(|(keys, key)| keys.is_empty() || keys.contains(key))
    }
}

/// Where a page goes on: the first event not looked at yet. The RPC layer's continuation token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct EventPosition {
    pub height: Height,
    /// Index in the block.
    pub index: u32,
}

/// An event with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundEvent {
    pub height: Height,
    pub block_hash: Felt,
    pub transaction_index: u32,
    pub transaction_hash: Felt,
    /// Index in the block.
    pub index: u32,
    pub event: Event,
}

/// Part of a scan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventPage {
    pub events: Vec<FoundEvent>,
    /// `None`: the scan is complete.
    pub next: Option<EventPosition>,
}

/// Names the event in the index under each of its keys.
pub(crate) fn put_event_keys(batch: &mut Batch<'_>, event: &Event, at: EventPosition) {
    for (position, key) in (0..=u8::MAX).zip(&event.keys) {
        batch.put(EVENT_KEYS, index_key(position, key).height(at.height).u32(at.index), []);
    }
}

fn index_key(position: u8, key: &Felt) -> Key {
    Key::new().u8(position).felt(key)
}

impl EventFilter {
    /// The key position to look up in the index, and its alternatives: the last that is constrained, as keys go from the kind of an
    /// event to what tells it from others of its kind. `None`: scan.
    fn indexed(&self) -> Option<(u8, BTreeSet<Felt>)> {
        let usable = |keys: &Vec<Felt>| (1..=ALTERNATIVES_MAX).contains(&keys.len());
        let position = self.keys.iter().rposition(usable)?;
        Some((u8::try_from(position).ok()?, self.keys[position].iter().copied().collect()))
    }
}

impl Store {
    /// The next at most `limit` matching events, in the order of emission, starting at `at` (or at `filter.from`).
    ///
    /// # Errors
    /// The database.
    pub fn events(&self, filter: &EventFilter, at: Option<EventPosition>, limit: usize) -> Result<EventPage, StoreError> {
        let first = EventPosition { height: filter.from, index: 0 };
        let start = at.unwrap_or(first).max(first);
        // Blocks above the published height are being committed; they belong to no answer yet. Asked once: all cursors end at one block.
        let Some(tip) = self.height() else { return Ok(EventPage::default()) };
        let to = filter.to.min(tip);
        let page = PageBuilder { store: self, filter, to, limit, page: EventPage::default(), hash: None };
        match filter.indexed() {
            Some((position, keys)) => self.indexed_events(page, position, &keys, start),
            None => self.scanned_events(page, start),
        }
    }

    fn scanned_events(&self, mut page: PageBuilder<'_>, start: EventPosition) -> Result<EventPage, StoreError> {
        let from = Key::new().height(start.height).u32(start.index);
        for (scanned, row) in self.scan(EVENTS, &[], from.as_ref()).enumerate() {
            let (key, value) = row?;
            let position = position(&key)?;
            if page.ends_before(position, scanned == EVENTS_SCANNED_MAX) {
                break;
            }
            page.take(position, &key, &value)?;
        }
        Ok(page.page)
    }

    /// Merges the index rows of all alternatives; they are disjoint, as an event has one key at a position.
    fn indexed_events(
        &self,
        mut page: PageBuilder<'_>,
        key_position: u8,
        keys: &BTreeSet<Felt>,
        start: EventPosition,
    ) -> Result<EventPage, StoreError> {
        let mut cursors = Vec::with_capacity(keys.len());
        let mut ahead = BTreeMap::new();
        for (i, key) in keys.iter().enumerate() {
            let prefix = index_key(key_position, key);
            let from = index_key(key_position, key).height(start.height).u32(start.index);
            let mut cursor = self.scan(EVENT_KEYS, prefix.as_ref(), from.as_ref());
            if let Some((row, _)) = cursor.next().transpose()? {
                ahead.insert(indexed_position(&row)?, i);
            }
            cursors.push(cursor);
        }
        let mut looked_up = 0;
        while let Some((position, i)) = ahead.pop_first() {
            if page.ends_before(position, looked_up == EVENTS_LOOKED_UP_MAX) {
                break;
            }
            let key = Key::new().height(position.height).u32(position.index);
            let value = self.get_bytes(EVENTS, &key)?;
            let value = value.ok_or_else(|| corrupt(EVENT_KEYS, key.as_ref(), "no such event"))?;
            page.take(position, key.as_ref(), &value)?;
            looked_up += 1;
            if let Some((row, _)) = cursors[i].next().transpose()? {
                ahead.insert(indexed_position(&row)?, i);
            }
        }
        Ok(page.page)
    }
}

/// A page while it is filled.
struct PageBuilder<'a> {
    store: &'a Store,
    filter: &'a EventFilter,
    /// The last block, included.
    to: Height,
    limit: usize,
    page: EventPage,
    /// Of the block that the last event was in.
    hash: Option<(Height, Felt)>,
}

impl PageBuilder<'_> {
    /// Whether the page ends before the event at `position`; it goes on there, if the range does. `tired`: enough was looked at.
    fn ends_before(&mut self, position: EventPosition, tired: bool) -> bool {
        if position.height > self.to {
            return true;
        }
        let full = self.page.events.len() == self.limit || tired;
        if full {
            self.page.next = Some(position);
        }
        full
    }

    /// Adds the event if it is wanted.
    fn take(&mut self, position: EventPosition, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let EventRow { transaction_index, transaction_hash, event } = decode(EVENTS, key, value)?;
        if !self.filter.matches(&event) {
            return Ok(());
        }
        let EventPosition { height, index } = position;
        let block_hash = match self.hash {
            Some((of, hash)) if of == height => hash,
            _ => self.store.header(height)?.ok_or_else(|| corrupt(EVENTS, key, "no such block"))?.hash,
        };
        self.hash = Some((height, block_hash));
        self.page.events.push(FoundEvent { height, block_hash, transaction_index, transaction_hash, index, event });
        Ok(())
    }
}

/// Where the event of an index row is: its last twelve bytes.
fn indexed_position(row: &[u8]) -> Result<EventPosition, StoreError> {
    position(row.last_chunk::<12>().ok_or_else(|| corrupt(EVENT_KEYS, row, "a short key"))?)
}

fn position(key: &[u8]) -> Result<EventPosition, StoreError> {
    let (Some(height), Some(index), 12) = (key.first_chunk(), key.last_chunk(), key.len()) else {
        return Err(corrupt(EVENTS, key, "key is not (height, index)"));
    };
    Ok(EventPosition { height: Height(u64::from_be_bytes(*height)), index: u32::from_be_bytes(*index) })
}
