//! Events of the chain, for `starknet_getEvents`.

use crate::codec::{get, put};
use crate::error::StoreError;
use crate::keys::{EVENTS, Key};
use crate::store::{Store, corrupt, decode};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::Felt;
use keel_commitment::commitments::Event;
use keel_types::Height;

/// Rows one page may look at: some 50 ms of reading. A rare event may give an empty page with a `next`.
pub const EVENTS_SCANNED_MAX: usize = 50_000;

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

impl Store {
    /// The next at most `limit` matching events, in the order of emission, starting at `at` (or at `filter.from`).
    ///
    /// # Errors
    /// The database.
    pub fn events(&self, filter: &EventFilter, at: Option<EventPosition>, limit: usize) -> Result<EventPage, StoreError> {
        let first = EventPosition { height: filter.from, index: 0 };
        let start = at.unwrap_or(first).max(first);
        let from = Key::new().height(start.height).u32(start.index);
        let mut page = EventPage::default();
        let mut hash = None;
        for (scanned, row) in self.scan(EVENTS, &[], from.as_ref()).enumerate() {
            let (key, value) = row?;
            let position = position(&key)?;
            // Blocks above the published height are being committed; they belong to no answer yet.
            if position.height > filter.to || Some(position.height) > self.height() {
                break;
            }
            if page.events.len() == limit || scanned == EVENTS_SCANNED_MAX {
                page.next = Some(position);
                break;
            }
            let row: EventRow = decode(EVENTS, &key, &value)?;
            if filter.matches(&row.event) {
                let block_hash = match hash {
                    Some((height, hash)) if height == position.height => hash,
                    _ => self.header(position.height)?.ok_or_else(|| corrupt(EVENTS, &key, "no such block"))?.hash,
                };
                hash = Some((position.height, block_hash));
                let EventRow { transaction_index, transaction_hash, event } = row;
                let EventPosition { height, index } = position;
                page.events.push(FoundEvent { height, block_hash, transaction_index, transaction_hash, index, event });
            }
        }
        Ok(page)
    }
}

fn position(key: &[u8]) -> Result<EventPosition, StoreError> {
    let (Some(height), Some(index), 12) = (key.first_chunk(), key.last_chunk(), key.len()) else {
        return Err(corrupt(EVENTS, key, "key is not (height, index)"));
    };
    Ok(EventPosition { height: Height(u64::from_be_bytes(*height)), index: u32::from_be_bytes(*index) })
}
