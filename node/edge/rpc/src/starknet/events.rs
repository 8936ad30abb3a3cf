//! `starknet_getEvents`: sealed events from the store, and those of the block being built after them.
//!
//! A token names the first event not looked at. An event keeps its place when its block is sealed, so pages go on exactly where they
//! ended although the block was sealed between them.
use super::blocks::Building;
use super::dto::EventPlace;
pub use super::params::felt_list;
use super::params::{self, Arguments, BlockId};
use super::{Answer, Dialect, StarknetError, sealed};
use crate::context::Shared;
use crate::error::RpcError;
use crate::limits::{EVENT_FILTER_ADDRESSES_MAX, EVENT_FILTER_KEYS_MAX, EVENTS_CHUNK_MAX};
use keel_commitment::commitments::Event;
use keel_store::{EventFilter, EventPosition, FoundEvent};
use keel_types::{Felt, Height};
use serde_json::{Value, json};

/// One page, and where the next begins.
pub(super) fn get(shared: &Shared, dialect: &Dialect, arguments: &mut Arguments) -> Answer {
    let fields = ["from_block", "to_block", "address", "keys", "continuation_token", "chunk_size"];
    let mut filter = arguments.object("filter", &fields)?;
    let chunk = filter.integer("chunk_size")?;
    if chunk == 0 {
        return Err(RpcError::params("chunk_size", "must be at least 1"));
    }
    if chunk > EVENTS_CHUNK_MAX {
        return Err(StarknetError::PageSizeTooBig.into());
    }
    let addresses = filter.optional("address").map_or(Ok(Vec::new()), |value| addresses(dialect, &value))?;
    let keys = filter.optional("keys").map_or(Ok(Vec::new()), |value| keys(&value))?;
    let at = match filter.optional("continuation_token") {
        None => None,
        Some(token) => Some(position(&token).ok_or(StarknetError::InvalidContinuationToken)?),
    };
    let from = filter.optional("from_block").map(|value| params::block_id("from_block", &value)).transpose()?;
    let to = filter.optional("to_block").map(|value| params::block_id("to_block", &value)).transpose()?;

    // Before the store: what is sealed from here on is still in it.
    let building = Building::read(shared);
    if at.is_some_and(|at| at.height > building.height) {
        return Err(StarknetError::InvalidContinuationToken.into());
    }
    // Without an end a scan goes to `latest`; from the block being built on, to that block.
    let with_building = to == Some(BlockId::PreConfirmed) || (to.is_none() && from == Some(BlockId::PreConfirmed));
    let last = match to {
        Some(id) if !with_building => edge(shared, building.height, id)?,
        _ => building.height,
    };
    let from = match from {
        None => Height(0),
        // What a tag names moves on between two pages; the token is where this scan is.
        Some(BlockId::Latest | BlockId::L1Accepted | BlockId::PreConfirmed) if at.is_some() => Height(0),
        Some(id) => edge(shared, building.height, id)?,
    };
    let mut scan = Scan {
        filter: EventFilter { from, to: last, addresses, keys },
        start: at.unwrap_or_default().max(EventPosition { height: from, index: 0 }),
        chunk: chunk as usize,
        found: Vec::new(),
        next: None,
    };
    scan.sealed(shared, building.height)?;
    if with_building && scan.next.is_none() {
        scan.building(&building);
    }
    let events = scan.found.iter().map(|(event, place)| (dialect.emitted_event)(event, place));
    let mut page = json!({"events": events.collect::<Value>()});
    if let Some(EventPosition { height, index }) = scan.next {
        page["continuation_token"] = json!(format!("{height}-{index}"));
    }
    Ok(page)
}

/// The height an end of the range names; the block being built, or a number not reached, is that of the block being built.
fn edge(shared: &Shared, building: Height, id: BlockId) -> Result<Height, RpcError> {
    match id {
        BlockId::Number(number) => Ok(Height(number).min(building)),
        id => Ok(sealed(shared, id)?.map_or(building, |header| header.height())),
    }
}

/// A page in the making.
struct Scan {
    filter: EventFilter,
    start: EventPosition,
    chunk: usize,
    found: Vec<(Event, EventPlace)>,
    next: Option<EventPosition>,
}

impl Scan {
    /// Adds what is below the block being built.
    fn sealed(&mut self, shared: &Shared, building: Height) -> Result<(), RpcError> {
        let Some(below) = building.0.checked_sub(1).map(Height) else { return Ok(()) };
        let filter = EventFilter { to: self.filter.to.min(below), ..self.filter.clone() };
        if self.start.height > filter.to {
            return Ok(());
        }
        let page = shared.store.events(&filter, Some(self.start), self.chunk)?;
        let places = places(shared, &page.events)?;
        self.found = page.events.into_iter().map(|found| found.event).zip(places).collect();
        self.next = page.next;
        Ok(())
    }

    /// Adds what is in the block being built.
    fn building(&mut self, building: &Building) {
        let mut index = 0;
        for (transaction_index, open) in (0..).zip(&building.transactions) {
            for (index_in_transaction, event) in (0..).zip(&open.receipt.events) {
                let position = EventPosition { height: building.height, index };
                index += 1;
                if position < self.start {
                    continue;
                }
                if self.found.len() == self.chunk {
                    self.next = Some(position);
                    return;
                }
                if self.filter.matches(event) {
                    let place = EventPlace {
                        height: building.height.0,
                        block_hash: None,
                        transaction_hash: open.transaction.hash(),
                        transaction_index,
                        index_in_transaction,
                    };
                    self.found.push((event.clone(), place));
                }
            }
        }
    }
}

/// Where each event stands; the store counts through the block, the specification through the transaction.
fn places(shared: &Shared, found: &[FoundEvent]) -> Result<Vec<EventPlace>, RpcError> {
    let mut last: Option<(Height, u32, u32)> = None;
    let mut places = Vec::with_capacity(found.len());
    for event in found {
        let first = match last {
            Some((height, transaction, first)) if (height, transaction) == (event.height, event.transaction_index) => first,
            _ => shared.store.first_event(event.height, event.transaction_index)?.ok_or(RpcError::Internal)?,
        };
        last = Some((event.height, event.transaction_index, first));
        places.push(EventPlace {
            height: event.height.0,
            block_hash: Some(event.block_hash),
            transaction_hash: event.transaction_hash,
            transaction_index: event.transaction_index,
            index_in_transaction: u64::from(event.index - first),
        });
    }
    Ok(places)
}

/// A token of ours: `height-index`, decimal.
fn position(token: &Value) -> Option<EventPosition> {
    let (height, index) = token.as_str()?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(height) || !digits(index) {
        return None;
    }
    Some(EventPosition { height: Height(height.parse().ok()?), index: index.parse().ok()? })
}

fn addresses(dialect: &Dialect, value: &Value) -> Result<Vec<Felt>, RpcError> {
    match value {
        Value::Array(_) if dialect.address_lists => {
            let addresses = felt_list("address", value)?;
            if addresses.len() > EVENT_FILTER_ADDRESSES_MAX {
                return Err(StarknetError::TooManyKeysInFilter.into());
            }
            Ok(addresses)
        }
        value => Ok(vec![params::felt("address", value)?]),
    }
}

/// `keys` of a filter.
pub fn keys(value: &Value) -> Result<Vec<Vec<Felt>>, RpcError> {
    let positions = value.as_array().ok_or_else(|| RpcError::params("keys", "expected an array of arrays"))?;
    let keys: Vec<Vec<Felt>> = positions.iter().map(|keys| felt_list("keys", keys)).collect::<Result<_, _>>()?;
    match keys.len() + keys.iter().map(Vec::len).sum::<usize>() > EVENT_FILTER_KEYS_MAX {
        true => Err(StarknetError::TooManyKeysInFilter.into()),
        false => Ok(keys),
    }
}
