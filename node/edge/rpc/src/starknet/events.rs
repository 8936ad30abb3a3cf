use super::params::{self, Arguments, BlockId};
use super::{Answer, Dialect, StarknetError, sealed};
use crate::context::Shared;
use crate::error::RpcError;
use crate::limits::{EVENT_FILTER_ADDRESSES_MAX, EVENT_FILTER_KEYS_MAX, EVENTS_CHUNK_MAX};
use jsonrpsee::types::Params;
use keel_store::{EventFilter, EventPage, EventPosition, FoundEvent};
use keel_types::{Felt, Height};
use serde_json::{Value, json};

/// `starknet_getEvents`: one page, and where the next begins.
pub fn get(shared: &Shared, dialect: &Dialect, params: &Params<'_>) -> Answer {
    let fields = ["from_block", "to_block", "address", "keys", "continuation_token", "chunk_size"];
    let mut filter = Arguments::read(params, &["filter"])?.object("filter", &fields)?;
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
    let Some(tip) = shared.store.height() else { return Ok(page(dialect, &EventPage::default(), &[])) };
    let from = from.map_or(Ok(Height(0)), |id| edge(shared, tip, id))?;
    let to = to.map_or(Ok(tip), |id| edge(shared, tip, id))?.min(tip);
    if from > to {
        return Ok(page(dialect, &EventPage::default(), &[]));
    }
    let found = shared.store.events(&EventFilter { from, to, addresses, keys }, at, chunk as usize)?;
    let places = places(shared, &found.events)?;
    Ok(page(dialect, &found, &places))
}

/// The height an end of the range names; the block being built, or a number not reached, is one above the tip.
fn edge(shared: &Shared, tip: Height, id: BlockId) -> Result<Height, RpcError> {
    match id {
        BlockId::Number(number) => Ok(Height(number.min(tip.0 + 1))),
        id => Ok(sealed(shared, id)?.map_or(Height(tip.0 + 1), |header| header.height())),
    }
}

fn page(dialect: &Dialect, found: &EventPage, places: &[u64]) -> Value {
    let events = found.events.iter().zip(places).map(|(event, place)| (dialect.emitted_event)(event, *place));
    let mut page = json!({"events": events.collect::<Value>()});
    if let Some(EventPosition { height, index }) = found.next {
        page["continuation_token"] = json!(format!("{height}-{index}"));
    }
    page
}

/// Index of each event among those of its own transaction; the store counts through the block.
fn places(shared: &Shared, found: &[FoundEvent]) -> Result<Vec<u64>, RpcError> {
    let mut block: Option<(Height, Vec<u64>)> = None;
    let mut places = Vec::with_capacity(found.len());
    for event in found {
        let firsts = match &mut block {
            Some((height, firsts)) if *height == event.height => firsts,
            other => {
                let mut first = 0u64;
                let receipts = shared.store.receipts(event.height)?;
                let counts = receipts.iter().map(|receipt| receipt.events.len() as u64);
                let start = |count| {
                    first += count;
                    first - count
                };
                let firsts = counts.map(start).collect();
                &mut other.insert((event.height, firsts)).1
            }
        };
        let first = firsts.get(event.transaction_index as usize).ok_or(RpcError::Internal)?;
        places.push(u64::from(event.index) - first);
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

/// An array of field elements.
pub fn felt_list(name: &str, value: &Value) -> Result<Vec<Felt>, RpcError> {
    let list = value.as_array().ok_or_else(|| RpcError::params(name, "expected an array of field elements"))?;
    list.iter().map(|value| params::felt(name, value)).collect()
}
