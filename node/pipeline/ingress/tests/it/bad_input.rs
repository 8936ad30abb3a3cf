//! Every bad input gets a distinct code with the field named, and nothing is queued.

use crate::common::*;
use keel_ingress::verify::{CURVE_ORDER, Signature, Verifier, sign};
use keel_ingress::{IngressError, MessageKind, client, decode, snip12};
use keel_types::*;
use serde_json::{Value, json};
use starknet_types_core::felt::NonZeroFelt;
use std::panic::catch_unwind;

/// The request is refused with this reason and field, and nothing was queued.
async fn refused(kind: MessageKind, params: Value, reason: &str, field: &str) -> IngressError {
    let door = Door::new();
    let error = door.submit(kind, params.clone()).await.expect_err(&format!("admitted: {params}"));
    assert_eq!((error.reason(), error.field()), (reason, field), "{params}");
    assert!(door.queued().is_empty(), "{params}");
    error
}

/// An order of alice with some fields of its message replaced after signing; `null` removes the field.
fn order_with(changes: &[(&str, Value)]) -> Value {
    let mut params = Door::new().signed(MessageKind::Order, order_fields(&alice(), 1), &alice());
    for (field, value) in changes {
        if value.is_null() {
            params["message"].as_object_mut().expect("an object").remove(*field);
        } else {
            params["message"][field] = value.clone();
        }
    }
    params
}

#[tokio::test]
async fn wrong_signature() {
    let mut params = order_with(&[]);
    params["signature"][1] = json!("0x1");
    refused(MessageKind::Order, params, "INVALID_SIGNATURE", "signature").await;
}

#[tokio::test]
async fn a_signature_over_anything_else_than_the_message() {
    for (field, value) in [
        ("market", json!("BTC-USDC")),
        ("side", json!("SELL")),
        ("type", json!("MARKET")),
        ("size", json!("1.6")),
        ("price", json!("2000.26")),
        ("triggerPrice", json!("1")),
        ("timeInForce", json!("GTC")),
        ("goodTil", json!("1")),
        ("reduceOnly", json!(true)),
        ("selfTrade", json!("CANCEL_BOTH")),
        ("clientId", json!("78")),
        ("nonce", json!("2")),
        ("validUntil", json!((NOW_MS + 60_001).to_string())),
        ("account", json!(bob().hex())),
    ] {
        refused(MessageKind::Order, order_with(&[(field, value)]), "INVALID_SIGNATURE", "signature").await;
    }
}

#[tokio::test]
async fn a_signature_for_another_chain() {
    let message = decoded(MessageKind::Order, order_fields(&alice(), 1));
    let domain = snip12::Domain::new(Felt::from_bytes_be_slice(b"KEEL_MAIN"));
    let params = client::signed_request(&domain, &message, &alice().secret).expect("in range");
    refused(MessageKind::Order, params, "INVALID_SIGNATURE", "signature").await;
}

#[tokio::test]
async fn someone_elses_key() {
    let params = Door::new().signed(MessageKind::Order, order_fields(&alice(), 1), &bob());
    refused(MessageKind::Order, params.clone(), "INVALID_SIGNATURE", "signature").await;
    let mut named = params;
    named["key"] = json!(bob().key.to_string());
    refused(MessageKind::Order, named, "KEY_NOT_AUTHORIZED", "key").await;
}

#[tokio::test]
async fn unknown_account() {
    let params = Door::new().signed(MessageKind::Order, order_fields(&carol(), 1), &carol());
    refused(MessageKind::Order, params, "UNKNOWN_ACCOUNT", "account").await;
}

#[tokio::test]
async fn expired_and_forgotten() {
    let until = |ms: u64| {
        let mut fields = order_fields(&alice(), 1);
        fields["validUntil"] = json!(ms.to_string());
        Door::new().signed(MessageKind::Order, fields, &alice())
    };
    let error = refused(MessageKind::Order, until(NOW_MS - NONCE_KEEP_AFTER_MS - 1), "EXPIRED", "validUntil").await;
    assert_eq!(error.code(), Reject::Expired.code());
    // Until then it may be a repetition, whose recorded outcome only the engine has.
    let door = Door::new();
    door.submit(MessageKind::Order, until(NOW_MS - NONCE_KEEP_AFTER_MS)).await.expect("the engine's to judge");
}

#[tokio::test]
async fn a_replayed_message_has_the_same_identity_though_its_signature_differs() {
    let door = Door::new();
    let params = door.signed(MessageKind::Order, order_fields(&alice(), 1), &alice());
    let mut twin = params.clone();
    let s = Felt::from_hex(params["signature"][1].as_str().expect("text")).expect("a felt");
    twin["signature"][1] = json!(format!("{:#x}", CURVE_ORDER - s));
    assert_ne!(params, twin);
    let first = door.submit(MessageKind::Order, params).await.expect("admitted");
    let second = door.submit(MessageKind::Order, twin).await.expect("admitted; the engine answers with the first outcome");
    assert_eq!(first.hash, second.hash);
    let queued = door.queued();
    assert_eq!(queued[0].command, queued[1].command);
}

#[tokio::test]
async fn unknown_market_asset_and_template() {
    refused(MessageKind::Order, order_with(&[("market", json!("DOGE-USDC"))]), "UNKNOWN_MARKET", "market").await;
    refused(MessageKind::Order, order_with(&[("market", json!("ALL"))]), "UNKNOWN_MARKET", "market").await;
    let door = Door::new();
    let mut fields = withdraw_fields(&alice());
    fields["asset"] = json!("DOGE");
    let params = door.signed(MessageKind::Withdraw, fields, &alice());
    refused(MessageKind::Withdraw, params, "UNKNOWN_ASSET", "asset").await;
    let mut fields = register_fields(&carol());
    fields["template"] = json!("nobody");
    let params = door.signed(MessageKind::Register, fields, &carol());
    refused(MessageKind::Register, params, "UNKNOWN_TEMPLATE", "template").await;
}

#[tokio::test]
async fn too_many_decimals() {
    for field in ["size", "price", "triggerPrice"] {
        let params = order_with(&[(field, json!("1.123456789"))]);
        refused(MessageKind::Order, params, "TOO_MANY_DECIMALS", field).await;
    }
    refused(MessageKind::Order, order_with(&[("nonce", json!("1.5"))]), "TOO_MANY_DECIMALS", "nonce").await;
}

#[tokio::test]
async fn float_or_number_instead_of_string() {
    for value in ["1.5", "15", "1e3", "-1"] {
        let value: Value = serde_json::from_str(value).expect("JSON");
        for field in ["size", "price", "clientId", "nonce", "validUntil", "account", "market", "side"] {
            refused(MessageKind::Order, order_with(&[(field, value.clone())]), "NUMBER_NOT_STRING", field).await;
        }
    }
}

#[tokio::test]
async fn wrong_json_types() {
    for value in [json!(true), json!([]), json!({})] {
        refused(MessageKind::Order, order_with(&[("price", value)]), "WRONG_TYPE", "price").await;
    }
    refused(MessageKind::Order, order_with(&[("reduceOnly", json!("false"))]), "WRONG_TYPE", "reduceOnly").await;
    refused(MessageKind::Order, json!({ "message": "x", "signature": [] }), "WRONG_TYPE", "message").await;
    for params in [json!([]), json!(null), json!("x")] {
        refused(MessageKind::Order, params, "JSON_MALFORMED", "").await;
    }
}

#[tokio::test]
async fn malformed_and_out_of_range_numbers() {
    for (field, value, reason) in [
        ("price", "abc", "DECIMAL_MALFORMED"),
        ("price", "", "DECIMAL_MALFORMED"),
        ("price", "1e5", "DECIMAL_MALFORMED"),
        ("price", "-1", "OUT_OF_RANGE"),
        ("size", "184467440737.09551616", "OUT_OF_RANGE"),
        ("clientId", "340282366920938463463374607431768211456", "OUT_OF_RANGE"),
        ("nonce", "18446744073709551616", "OUT_OF_RANGE"),
        ("validUntil", "18446744073710", "OUT_OF_RANGE"),
        ("goodTil", "0x1", "DECIMAL_MALFORMED"),
    ] {
        refused(MessageKind::Order, order_with(&[(field, json!(value))]), reason, field).await;
    }
}

#[tokio::test]
async fn unknown_and_missing_fields() {
    refused(MessageKind::Order, order_with(&[("leverage", json!("10"))]), "UNKNOWN_FIELD", "leverage").await;
    let mut params = order_with(&[]);
    params["comment"] = json!("hello");
    refused(MessageKind::Order, params, "UNKNOWN_FIELD", "comment").await;
    for field in ["account", "market", "side", "type", "size", "price", "nonce", "validUntil"] {
        refused(MessageKind::Order, order_with(&[(field, Value::Null)]), "MISSING_FIELD", field).await;
    }
    refused(MessageKind::Order, json!({ "signature": ["0x1", "0x1"] }), "MISSING_FIELD", "message").await;
    let mut params = order_with(&[]);
    params.as_object_mut().expect("an object").remove("signature");
    refused(MessageKind::Order, params, "MISSING_FIELD", "signature").await;
}

#[tokio::test]
async fn texts_that_are_no_value_or_too_long() {
    for (field, value, reason) in [
        ("side", "buy", "UNKNOWN_VALUE"),
        ("type", "ICEBERG", "UNKNOWN_VALUE"),
        ("timeInForce", "", "UNKNOWN_VALUE"),
        ("selfTrade", "CANCEL", "UNKNOWN_VALUE"),
        ("market", "", "UNKNOWN_VALUE"),
        ("market", "ETH\u{2013}USDC", "UNKNOWN_VALUE"),
        ("market", "A-MARKET-WITH-MORE-THAN-31-LETTERS", "TOO_LONG"),
    ] {
        refused(MessageKind::Order, order_with(&[(field, json!(value))]), reason, field).await;
    }
}

#[tokio::test]
async fn bad_felts_and_addresses() {
    let prime = format!("{:#x}", Felt::MAX);
    let beyond = format!("{}1", &prime[..prime.len() - 1]);
    for (value, reason) in [
        ("", "FELT_MALFORMED"),
        ("0x", "FELT_MALFORMED"),
        ("64", "FELT_MALFORMED"),
        ("0X64", "FELT_MALFORMED"),
        ("0x6g", "FELT_MALFORMED"),
        (&format!("0x{}", "0".repeat(65)), "FELT_MALFORMED"),
        (&beyond, "FELT_OUT_OF_RANGE"),
        (&format!("0x{}", "f".repeat(64)), "FELT_OUT_OF_RANGE"),
        ("0x0", "ADDRESS_OUT_OF_RANGE"),
        (&format!("{:#x}", address_bound()), "ADDRESS_OUT_OF_RANGE"),
        (&format!("{:#x}", Felt::MAX), "ADDRESS_OUT_OF_RANGE"),
    ] {
        refused(MessageKind::Order, order_with(&[("account", json!(value))]), reason, "account").await;
    }
    for recipient in ["0x0", "0x10000000000000000000000000000000000000000"] {
        let mut params = Door::new().signed(MessageKind::Withdraw, withdraw_fields(&alice()), &alice());
        params["message"]["recipient"] = json!(recipient);
        refused(MessageKind::Withdraw, params, "BAD_RECIPIENT", "recipient").await;
    }
}

#[tokio::test]
async fn malformed_signatures() {
    for signature in [json!(null), json!([]), json!(["0x1"]), json!(["0x1", "0x2", "0x3"]), json!(["1", "2"]), json!([1, 2])]
    {
        let mut params = order_with(&[]);
        params["signature"] = signature;
        refused(MessageKind::Order, params, "SIGNATURE_MALFORMED", "signature").await;
    }
    for element in [Felt::ZERO, CURVE_ORDER, Felt::MAX] {
        let mut params = order_with(&[]);
        params["signature"] = client::signature_json(&Signature { r: element, s: element });
        refused(MessageKind::Order, params, "INVALID_SIGNATURE", "signature").await;
    }
}

#[tokio::test]
async fn a_crafted_signature_that_panics_starknet_crypto() {
    let door = Door::new();
    let message = decoded(MessageKind::Order, order_fields(&alice(), 1));
    let hash = snip12::message_hash(&door.domain, &alice().account, &message);
    let order = NonZeroFelt::try_from(CURVE_ORDER).expect("not zero");
    let inverse = alice().secret.mod_inverse(&order).expect("n is prime");
    // r = -z/d: the sum of the check is the point at infinity.
    let r = CURVE_ORDER - hash.0.mul_mod(&inverse, &order);
    let signature = Signature { r, s: sign(&alice().secret, &hash).expect("in range").s };
    let library = catch_unwind(|| starknet_crypto::verify(&alice().key.0, &hash.0, &signature.r, &signature.s));
    assert!(library.is_err(), "starknet_crypto::verify no longer panics on this");
    assert!(Verifier::new().verify(&alice().key, &hash, &signature).is_err());
    let params = json!({ "message": message.wire_json(), "signature": client::signature_json(&signature) });
    let error = door.submit(MessageKind::Order, params).await.expect_err("a forgery");
    assert_eq!(error, IngressError::InvalidSignature);
    assert!(door.queued().is_empty());
    // And the door still works.
    let good = door.signed(MessageKind::Order, order_fields(&alice(), 2), &alice());
    door.submit(MessageKind::Order, good).await.expect("admitted");
}

#[tokio::test]
async fn registering_an_address_that_does_not_follow_from_the_key() {
    let door = Door::new();
    let mut fields = register_fields(&carol());
    fields["account"] = json!(alice().hex());
    let params = door.signed(MessageKind::Register, fields, &carol());
    refused(MessageKind::Register, params, "ACCOUNT_KEY_MISMATCH", "account").await;
    // The right key under the wrong template gives another address too.
    let mut fields = register_fields(&carol());
    fields["template"] = json!("other");
    let params = door.signed(MessageKind::Register, fields, &carol());
    refused(MessageKind::Register, params, "ACCOUNT_KEY_MISMATCH", "account").await;
}

#[tokio::test]
async fn registering_key_zero_or_a_key_off_the_curve() {
    let off_curve = (1..).map(Felt::from).find(|x: &Felt| keel_ingress::verify::validate_key(&StarkKey(*x)).is_err());
    for key in [Felt::ZERO, off_curve.expect("half of all x")] {
        let mut fields = register_fields(&carol());
        fields["key"] = json!(format!("{key:#x}"));
        let params = Door::new().signed(MessageKind::Register, fields, &carol());
        refused(MessageKind::Register, params, "KEY_INVALID", "key").await;
    }
}

#[tokio::test]
async fn a_cancel_that_names_no_order_or_two() {
    for (order, client_id) in [("0x0", "0"), ("0x5", "5")] {
        let fields = json!({
            "account": alice().hex(), "order": order, "clientId": client_id, "nonce": "1", "validUntil": valid_until(),
        });
        let params = Door::new().signed(MessageKind::CancelOrder, fields, &alice());
        refused(MessageKind::CancelOrder, params, "ORDER_OR_CLIENT_ID", "order").await;
    }
}

#[tokio::test]
async fn orders_to_restore_are_some_and_not_too_many_and_of_an_incident() {
    let orders = |n: u64| (1..=n).map(|n| json!(format!("{n:#x}"))).collect::<Value>();
    for (field, value, reason) in [
        ("orders", json!([]), "OUT_OF_RANGE"),
        ("orders", orders(101), "TOO_LONG"),
        ("orders", orders(1_001), "TOO_LONG"),
        ("orders", json!("0xabc"), "WRONG_TYPE"),
        ("orders", json!([7]), "NUMBER_NOT_STRING"),
        ("orders", json!(["abc"]), "FELT_MALFORMED"),
        ("orders", Value::Null, "MISSING_FIELD"),
        ("incident", json!("4294967296"), "OUT_OF_RANGE"),
        ("incident", json!("-1"), "OUT_OF_RANGE"),
        ("incident", json!(1), "NUMBER_NOT_STRING"),
        ("goodTil", json!("1.5"), "TOO_MANY_DECIMALS"),
        ("market", json!("ETH-USDC"), "UNKNOWN_FIELD"),
    ] {
        let mut fields = fields_of(MessageKind::RestoreOrders, 1);
        match value {
            Value::Null => drop(fields.as_object_mut().expect("an object").remove(field)),
            value => fields[field] = value,
        }
        let params = json!({ "message": fields, "signature": ["0x1", "0x1"] });
        refused(MessageKind::RestoreOrders, params, reason, field).await;
    }
    let mut fields = fields_of(MessageKind::RestoreOrders, 1);
    fields["orders"] = orders(100);
    let door = Door::new();
    let params = door.signed(MessageKind::RestoreOrders, fields, &alice());
    door.submit(MessageKind::RestoreOrders, params).await.expect("a hundred are taken");
}

#[test]
fn a_duplicate_field_is_refused_before_anything_is_decoded() {
    let duplicate = |field: &str| Err(IngressError::DuplicateField(field.to_string().into()));
    assert_eq!(decode::parse_json(r#"{"message":{"price":"1","price":"2"}}"#), duplicate("price"));
    assert_eq!(decode::parse_json(r#"[{"a":{},"a":{}}]"#), duplicate("a"));
    for text in ["", "{", "{}x", "{'a':1}", &"[".repeat(10_000)] {
        assert_eq!(decode::parse_json(text), Err(IngressError::JsonMalformed), "{text:.20}");
    }
    for text in [r#"{"a":[1,2.5,-3,1e400,true,null,"x"],"b":{"c":"d"}}"#, "12345678901234567890123456789.5"] {
        assert_eq!(decode::parse_json(text), Ok(serde_json::from_str(text).expect("JSON")));
    }
}
