//! The other side: what a client, a price publisher or a test does to be admitted. Pure.

use crate::error::IngressError;
use crate::message::Message;
use crate::snip12::{Domain, message_hash};
use crate::verify::{SignError, Signature, sign};
use crate::{decode, message::MessageKind};
use keel_types::{Felt, MessageHash, Price, Ts};
use serde_json::{Value, json};
use starknet_types_core::hash::{Poseidon, StarkHash};

/// Parameters of a `trade_*` method: the message in wire form with its signature.
pub fn signed_request(domain: &Domain, message: &Message, secret: &Felt) -> Result<Value, SignError> {
    let signature = sign(secret, &message_hash(domain, &message.account(), message))?;
    Ok(json!({ "message": message.wire_json(), "signature": signature_json(&signature) }))
}

/// `["0xr", "0xs"]`.
pub fn signature_json(signature: &Signature) -> Value {
    json!([format!("{:#x}", signature.r), format!("{:#x}", signature.s)])
}

/// What a publisher signs: Poseidon('KEEL_PRICE', chain id, market, price in quantums, ts in ms).
pub fn price_hash(chain_id: &Felt, market: &str, price: Price, ts: Ts) -> MessageHash {
    let text = |text: &str| Felt::from_bytes_be_slice(text.as_bytes());
    MessageHash(Poseidon::hash_array(&[text("KEEL_PRICE"), *chain_id, text(market), price.0.into(), ts.ms().into()]))
}

/// One entry of `reports` of `market_publishPrices`. `publisher` is the index of the key in genesis; `ts` counts in whole milliseconds.
pub fn signed_report(
    chain_id: &Felt,
    publisher: u8,
    secret: &Felt,
    market: &str,
    price: Price,
    ts: Ts,
) -> Result<Value, SignError> {
    let signature = sign(secret, &price_hash(chain_id, market, price, ts))?;
    Ok(json!({
        "publisher": publisher.to_string(),
        "market": market,
        "price": price.to_string(),
        "ts": ts.ms().to_string(),
        "signature": signature_json(&signature),
    }))
}

/// Hash of a message given in wire form, as the published test vectors have it. `template` has no default here.
pub fn hash_of_request(domain: &Domain, kind: MessageKind, message: &Value) -> Result<MessageHash, IngressError> {
    let message = decode::message(kind, message, None)?;
    Ok(message_hash(domain, &message.account(), &message))
}
