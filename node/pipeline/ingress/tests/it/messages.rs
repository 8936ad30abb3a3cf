//! The formats that are final: schemas, hashes, typed data.

use crate::common::*;
use keel_ingress::field::{Millis, Nonce, Quantums, ShortText};
use keel_ingress::message::{self, Message, MessageKind};
use keel_ingress::snip12::typed_data::TypedData;
use keel_ingress::snip12::{message_hash, typed_data_json};
use keel_ingress::{Domain, IngressError, client, decode};
use keel_types::*;
use serde_json::{Value, json};

const SCHEMAS: [(&str, &str); 12] = [
    ("Register", "account:ContractAddress key:felt template:shortstring nonce:u128 validUntil:timestamp"),
    (
        "SessionKey",
        "account:ContractAddress key:felt expiry:timestamp scope:shortstring markets:shortstring* maxOrderNotional:u128 nonce:u128 \
         validUntil:timestamp",
    ),
    ("RevokeSessionKey", "account:ContractAddress key:felt nonce:u128 validUntil:timestamp"),
    ("Session", "account:ContractAddress nonce:u128 validUntil:timestamp"),
    (
        "Order",
        "account:ContractAddress market:shortstring side:shortstring type:shortstring size:u128 price:u128 triggerPrice:u128 \
         timeInForce:shortstring goodTil:timestamp reduceOnly:bool selfTrade:shortstring clientId:u128 nonce:u128 \
         validUntil:timestamp",
    ),
    ("ModifyOrder", "account:ContractAddress order:felt price:u128 size:u128 nonce:u128 validUntil:timestamp"),
    ("CancelOrder", "account:ContractAddress order:felt clientId:u128 nonce:u128 validUntil:timestamp"),
    ("CancelAll", "account:ContractAddress market:shortstring nonce:u128 validUntil:timestamp"),
    ("ScheduleCancel", "account:ContractAddress at:timestamp nonce:u128 validUntil:timestamp"),
    (
        "RestoreOrders",
        "account:ContractAddress incident:u128 orders:felt* goodTil:timestamp nonce:u128 validUntil:timestamp",
    ),
    (
        "Transfer",
        "account:ContractAddress recipient:ContractAddress asset:shortstring amount:u128 nonce:u128 validUntil:timestamp",
    ),
    ("Withdraw", "account:ContractAddress asset:shortstring amount:u128 recipient:felt nonce:u128 validUntil:timestamp"),
];

/// One of each kind, no field at its default, every field different from the others.
fn one_of_each() -> Vec<Message> {
    let (account, nonce, valid_until) = (alice().account, Nonce(u64::MAX), Millis(NOW_MS));
    let text = |text| ShortText::new(text).expect("short");
    let order = MessageHash(Felt::from(0xabc));
    let eth = L1Address::ethereum([0xee; 20]);
    vec![
        Message::Register(message::Register { account, key: alice().key, template: text("keel"), nonce, valid_until }),
        Message::SessionKey(message::SessionKey {
            account,
            key: bob().key,
            expiry: Millis(5),
            scope: text("TRADE"),
            markets: vec![text("ETH-USDC"), text("BTC-USDC")],
            max_order_notional: Quantums(u128::MAX),
            nonce,
            valid_until,
        }),
        Message::RevokeSessionKey(message::RevokeSessionKey { account, key: bob().key, nonce, valid_until }),
        Message::Session(message::Session { account, nonce, valid_until }),
        Message::Order(message::Order {
            account,
            market: text("ETH-USDC"),
            side: Side::Sell,
            order_type: OrderType::StopLimit,
            size: Qty(150_000_000),
            price: Price(u64::MAX),
            trigger_price: Price(3),
            time_in_force: TimeInForce::Gtt,
            good_til: Millis(4),
            reduce_only: true,
            self_trade: SelfTradeMode::CancelBoth,
            client_id: u128::MAX,
            nonce,
            valid_until,
        }),
        Message::ModifyOrder(message::ModifyOrder { account, order, price: Price(1), size: Qty(2), nonce, valid_until }),
        Message::CancelOrder(message::CancelOrder { account, order, client_id: 8, nonce, valid_until }),
        Message::CancelAll(message::CancelAll { account, market: text("ALL"), nonce, valid_until }),
        Message::ScheduleCancel(message::ScheduleCancel { account, at: Millis(6), nonce, valid_until }),
        Message::RestoreOrders(message::RestoreOrders {
            account,
            incident: IncidentId(3),
            orders: vec![order, MessageHash(Felt::MAX)],
            good_til: Millis(7),
            nonce,
            valid_until,
        }),
        Message::Transfer(message::Transfer {
            account,
            recipient: bob().account,
            asset: text("USDC"),
            amount: Quantums(1),
            nonce,
            valid_until,
        }),
        Message::Withdraw(message::Withdraw {
            account,
            asset: text("USDC"),
            amount: Quantums(99),
            recipient: eth,
            nonce,
            valid_until,
        }),
    ]
}

fn domain() -> Domain {
    Domain::new(genesis().chain_id.0)
}

#[test]
fn the_twelve_schemas_are_the_specified_ones() {
    assert_eq!(MessageKind::ALL.len(), SCHEMAS.len());
    for (kind, (name, fields)) in MessageKind::ALL.iter().zip(SCHEMAS) {
        let schema: Vec<String> = kind.schema().iter().map(|(field, of)| format!("{field}:{of}")).collect();
        assert_eq!((kind.as_str(), schema.join(" ").as_str()), (name, fields));
        assert_eq!(MessageKind::parse(name), Some(*kind));
    }
    assert_eq!(MessageKind::parse("order"), None);
}

#[test]
fn every_message_hashes_like_the_typed_data_that_a_wallet_gets() {
    for message in one_of_each() {
        let json = typed_data_json(&domain(), &message);
        let typed = TypedData::parse(&json).expect("revision 1");
        assert_eq!(typed.type_hash(message.kind().as_str()), Ok(message.kind().type_hash()), "{json}");
        let account = message.account();
        assert_eq!(typed.message_hash(&account), Ok(message_hash(&domain(), &account, &message)), "{json}");
    }
}

#[test]
fn every_message_survives_the_wire() {
    for message in one_of_each() {
        let kind = message.kind();
        // More than i128 can hold is written, and refused as out of range.
        if let Message::SessionKey(ref session) = message {
            assert_eq!(session.max_order_notional, Quantums(u128::MAX));
            let refused = keel_ingress::decode::message(kind, &message.wire_json(), None);
            assert_eq!(refused, Err(IngressError::OutOfRange("maxOrderNotional".into())));
            continue;
        }
        assert_eq!(keel_ingress::decode::message(kind, &message.wire_json(), None), Ok(message));
    }
}

#[test]
fn every_field_is_inside_the_signature() {
    for message in one_of_each() {
        let kind = message.kind();
        let json = typed_data_json(&domain(), &message);
        let hash = |json: &serde_json::Value| {
            TypedData::parse(json).expect("revision 1").message_hash(&alice().account).expect("the value has its type")
        };
        for (field, of) in kind.schema() {
            let mut changed = json.clone();
            changed["message"][field] = match *of {
                "bool" => json!(false),
                "shortstring*" | "felt*" => json!([]),
                "shortstring" => json!("X"),
                _ => json!("12345"),
            };
            assert_ne!(hash(&changed), hash(&json), "{kind:?} {field}");
        }
        for field in ["name", "version", "chainId"] {
            let mut changed = json.clone();
            changed["domain"][field] = json!("X");
            assert_ne!(hash(&changed), hash(&json), "{kind:?} domain {field}");
        }
    }
}

#[test]
fn defaults_are_the_documented_ones_and_sign_like_the_written_out_form() {
    let short = json!({
        "account": "0x64", "market": "ETH-USDC", "side": "BUY", "type": "MARKET", "size": "1", "price": "0", "nonce": "1",
        "validUntil": "2",
    });
    let mut long = short.clone();
    for (field, value) in [
        ("triggerPrice", json!("0")),
        ("timeInForce", json!("GTC")),
        ("goodTil", json!("0")),
        ("reduceOnly", json!(false)),
        ("selfTrade", json!("CANCEL_TAKER")),
        ("clientId", json!("0")),
    ] {
        long[field] = value;
    }
    let hash = |fields| client::hash_of_request(&domain(), MessageKind::Order, fields).expect("well-formed");
    assert_eq!(hash(&short), hash(&long));
}

#[test]
fn the_hash_of_an_order_is_pinned() {
    // Ours; a change of this value is a change of what every wallet signs. Checked against the generic hasher above, which the
    // fixtures check against starknet.js and starknet.py.
    let order = one_of_each().remove(4);
    let hash = message_hash(&Domain::new(Felt::from_bytes_be_slice(b"KEEL_DEV")), &Address(Felt::from(0x64)), &order);
    assert_eq!(hash.to_string(), "0x6ed1a54a40f63be2e97221ba603d5f481da886d9fd65dfe68656fe884754763");
}

/// Made by starknet.js (`tests/clients/make-corpus.mjs`): every message, hashed and signed by a wallet library.
const CORPUS: &str = include_str!("../../../../../tests/corpus/snip12.json");
/// The same messages, hashed and signed by starknet.py (`tests/clients/snip12.py`).
const CORPUS_PY: &str = include_str!("../../../../../tests/corpus/snip12-py.json");
/// The same messages, hashed and signed by [client]; both libraries check it.
const CORPUS_KEEL: &str = include_str!("../../../../../tests/corpus/snip12-keel.json");

fn parsed(corpus: &str) -> Value {
    serde_json::from_str(corpus).expect("the corpus is JSON")
}
fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}
fn felt(value: &Value) -> Felt {
    Felt::from_hex(text(value)).expect("a felt")
}
fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

/// Our hash of the message equals the library's, and the library's signature is valid to us.
fn assert_holds(corpus: &Value, message: &Value, made: &Value) {
    let domain = Domain::new(Felt::from_bytes_be_slice(text(&parsed(CORPUS)["chainId"]).as_bytes()));
    let kind = MessageKind::parse(text(&message["type"])).expect("one of ours");
    let hash = client::hash_of_request(&domain, kind, &message["wire"]).expect("well-formed");
    assert_eq!(hash.0, felt(&made["messageHash"]), "{}", made["name"]);
    let [r, s] = [0, 1].map(|i| felt(&made["signature"][i]));
    let signature = keel_ingress::verify::Signature { r, s };
    let verified = keel_ingress::verify::Verifier::new().verify(&StarkKey(felt(&corpus["publicKey"])), &hash, &signature);
    assert_eq!(verified, Ok(()), "{}", made["name"]);
}

#[test]
fn the_published_vectors_of_starknet_js_have_our_hashes_and_their_signatures_hold() {
    let corpus = parsed(CORPUS);
    let mut cases = std::collections::BTreeMap::<_, usize>::new();
    for vector in list(&corpus["vectors"]) {
        assert_holds(&corpus, vector, vector);
        *cases.entry(text(&vector["type"])).or_default() += 1;
    }
    assert!(cases.len() == MessageKind::ALL.len() && cases.values().all(|count| *count >= 2), "{cases:?}");
}

#[test]
fn the_published_vectors_of_starknet_py_have_our_hashes_and_their_signatures_hold() {
    let (messages, corpus) = (parsed(CORPUS), parsed(CORPUS_PY));
    assert_eq!(text(&corpus["source"]), "starknet.py 0.30.0");
    assert_eq!(list(&corpus["vectors"]).len(), list(&messages["vectors"]).len());
    for (message, made) in list(&messages["vectors"]).iter().zip(list(&corpus["vectors"])) {
        assert_eq!(message["name"], made["name"]);
        assert_holds(&corpus, message, made);
    }
}

/// What a client of ours makes of the messages, typed data included. `KEEL_WRITE_CORPUS=1` writes it anew.
#[test]
fn the_vectors_that_the_libraries_check_are_what_our_client_makes() {
    let corpus = parsed(CORPUS);
    let domain = Domain::new(Felt::from_bytes_be_slice(text(&corpus["chainId"]).as_bytes()));
    let secret = felt(&corpus["privateKey"]);
    let vectors: Vec<Value> = list(&corpus["vectors"])
        .iter()
        .map(|vector| {
            let kind = MessageKind::parse(text(&vector["type"])).expect("one of ours");
            let message = decode::message(kind, &vector["wire"], None).expect("well-formed");
            let request = client::signed_request(&domain, &message, &secret).expect("the secret is in range");
            json!({
                "name": vector["name"],
                "type": vector["type"],
                "typedData": typed_data_json(&domain, &message),
                "messageHash": message_hash(&domain, &message.account(), &message).to_string(),
                "signature": request["signature"],
            })
        })
        .collect();
    let made = json!({"source": "keel", "publicKey": corpus["publicKey"], "vectors": vectors});
    let made = format!("{}\n", serde_json::to_string_pretty(&made).expect("JSON"));
    if std::env::var_os("KEEL_WRITE_CORPUS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/corpus/snip12-keel.json");
        std::fs::write(path, &made).expect("written");
        return;
    }
    assert_eq!(parsed(CORPUS_KEEL), parsed(&made), "made anew with KEEL_WRITE_CORPUS=1");
}
