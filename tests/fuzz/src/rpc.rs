//! Parameters of the RPC: text to requests, through every decoder there is.

use crate::{Reached, variant};
use keel_contracts::genesis;
use keel_ingress::decimal::{parse_integer, parse_quantums};
use keel_ingress::snip12::typed_data::TypedData;
use keel_ingress::snip12::{message_hash, typed_data_json};
use keel_ingress::{Domain, IngressError, Message, MessageKind, decode};
use keel_types::{Command, Felt, Genesis, StarkKey, format_quantums};
use serde_json::Value;
use std::sync::LazyLock;

/// The rules of the development chain: its market, asset and template names are in the corpus.
static GENESIS: LazyLock<Genesis> =
    LazyLock::new(|| genesis::load(include_str!("../../../genesis/dev.json")).expect("genesis/dev.json is good"));

/// Any text is refused with an error, or is a request; a request written out again is the same request, with the same hash from the fast
/// path and from its typed data, and its command is that of the same account.
pub fn rpc_params(data: &[u8], reached: &mut Reached) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    scalars(text, reached);
    let params = match decode::parse_json(text) {
        Ok(params) => params,
        Err(error) => return refused(&error, reached),
    };
    let again = decode::parse_json(&params.to_string()).expect("JSON that was read is JSON when written");
    assert_eq!(again, params, "JSON changes when written and read");

    match decode::price_reports(&params, &GENESIS) {
        Ok(reports) => {
            assert!(!reports.is_empty() && reports.len() <= decode::PRICE_REPORTS_MAX);
            assert!(reports.iter().all(|r| usize::from(r.report.publisher) < GENESIS.oracle.publishers.len()));
            reached.note(|| "price reports".into());
        }
        Err(error) => refused(&error, reached),
    }
    match decode::typed_data_request(&params, Some("keel")) {
        Ok(message) => {
            reached.note(|| "typed data request".into());
            round_trip(&message, reached);
        }
        Err(error) => refused(&error, reached),
    }
    match TypedData::parse(&params).and_then(|typed| typed.message_hash(&GENESIS.operator)) {
        Ok(_) => reached.note(|| "typed data".into()),
        Err(error) => reached.note(|| format!("typed data refused: {}", variant(&error))),
    }
    for kind in MessageKind::ALL {
        match decode::signed_request(*kind, &params, Some("keel")) {
            Ok(request) => round_trip(&request.message, reached),
            Err(error) => refused(&error, reached),
        }
        match decode::message(*kind, &params, None) {
            Ok(message) => round_trip(&message, reached),
            Err(error) => refused(&error, reached),
        }
    }
}

fn refused(error: &IngressError, reached: &mut Reached) {
    assert!(error.code() < 0, "{error:?} has no error code");
    reached.note(|| format!("refused {}", error.reason()));
}

/// The readers of single values. Whatever they accept is written in one way, and read from it again.
fn scalars(text: &str, reached: &mut Reached) {
    if let Ok(quantums) = parse_quantums(text) {
        assert_eq!(parse_quantums(&format_quantums(quantums)), Ok(quantums), "{text:?}");
        reached.note(|| "decimal".into());
    }
    if let Ok(integer) = parse_integer(text) {
        assert_eq!(parse_integer(&integer.to_string()), Ok(integer), "{text:?}");
        reached.note(|| "integer".into());
    }
    let value = Value::from(text);
    if let Ok(felt) = decode::felt("felt", &value) {
        let again = decode::felt("felt", &Value::from(format!("{felt:#x}")));
        assert_eq!(again, Ok(felt), "{text:?}");
        assert!(decode::address("address", &value).is_ok() || felt == Felt::ZERO || felt >= keel_types::address_bound());
        reached.note(|| "felt".into());
    }
}

fn round_trip(message: &Message, reached: &mut Reached) {
    let kind = message.kind();
    let domain = Domain::new(GENESIS.chain_id.0);
    let hash = message_hash(&domain, &message.account(), message);

    let again = decode::message(kind, &message.wire_json(), None).expect("what was decoded decodes again");
    assert_eq!(&again, message, "wire form");
    assert_eq!(message_hash(&domain, &again.account(), &again), hash, "wire form");

    let typed = typed_data_json(&domain, message);
    let second = TypedData::parse(&typed).and_then(|typed| typed.message_hash(&message.account()));
    assert_eq!(second, Ok(hash), "two hashes of {typed}");

    reached.note(|| format!("message {}", kind.as_str()));
    match message.to_command(&GENESIS, hash, StarkKey::default()) {
        Ok(command) => {
            let signed = command.signed().expect("a user's command is signed");
            assert_eq!((signed.account, signed.nonce, signed.hash), (message.account(), message.nonce(), hash));
            assert_eq!(signed.valid_until.ms(), message.valid_until_ms(), "a time is cut");
            let bytes = borsh::to_vec(&command).expect("writing to a Vec cannot fail");
            assert_eq!(borsh::from_slice::<Command>(&bytes).expect("decodes"), command);
            reached.note(|| format!("command {}", variant(&command)));
        }
        Err(error) => refused(&error, reached),
    }
}
