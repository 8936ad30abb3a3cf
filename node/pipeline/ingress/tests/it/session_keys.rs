//! Session keys and unsigned cancels: what they may do, and what is refused before the engine.

use crate::common::*;
use keel_ingress::budget::BudgetConfig;
use keel_ingress::message::SessionCancel;
use keel_ingress::pool::PoolConfig;
use keel_ingress::{Answer, ConnectionId, InboxCapacity, IngressConfig, IngressError, MessageKind, RampConfig, Shed};
use keel_types::*;
use serde_json::{Value, json};

/// A message of alice, signed by a session key that the request names.
fn by_session_key(door: &Door, kind: MessageKind, signer: &Trader) -> Value {
    let mut params = door.signed(kind, fields_of(kind, 1), signer);
    params["sessionKey"] = json!(signer.key.to_string());
    params
}

fn reason(error: IngressError) -> (&'static str, String) {
    (error.reason(), error.field().to_owned())
}

#[tokio::test]
async fn a_session_key_signs_what_trades_and_nothing_else() {
    for kind in MessageKind::ALL.iter().copied() {
        let door = Door::new();
        let admitted = door.submit(kind, by_session_key(&door, kind, &session())).await;
        if kind.session_key_may_sign() {
            let hash = admitted.unwrap_or_else(|error| panic!("{kind:?}: {error}")).hash;
            let queued = door.queued();
            let signed = queued[0].command.signed().expect("a user's command");
            assert_eq!(
                (signed.session_key, signed.account, signed.hash),
                (session().key, alice().account, hash),
                "{kind:?}"
            );
        } else {
            assert_eq!(admitted.map(|_| ()).map_err(reason), Err(("SESSION_KEY_FORBIDDEN", "key".into())), "{kind:?}");
            assert!(door.queued().is_empty());
        }
    }
}

#[tokio::test]
async fn the_main_key_leaves_the_session_key_at_zero() {
    for kind in MessageKind::ALL.iter().copied() {
        let door = Door::new();
        let params = door.signed(kind, fields_of(kind, 1), &alice());
        door.submit(kind, params).await.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let queued = door.queued();
        assert_eq!(queued[0].command.signed().map(|signed| signed.session_key), Some(StarkKey::default()), "{kind:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_a_live_one_of_the_account_is_refused() {
    let kind = MessageKind::Order;
    let named = |signer: &Trader, key: &str| {
        let mut params = Door::new().signed(kind, fields_of(kind, 1), signer);
        params["sessionKey"] = json!(key);
        params
    };
    let text = |trader: Trader| trader.key.to_string();
    let mut also_named = named(&session(), &text(session()));
    also_named["key"] = json!(text(alice()));
    let mut of_bob = Door::new().signed(kind, order_fields(&bob(), 1), &session());
    of_bob["sessionKey"] = json!(text(session()));
    let mut of_nobody = Door::new().signed(kind, order_fields(&carol(), 1), &session());
    of_nobody["sessionKey"] = json!(text(session()));
    for (name, params, expected) in [
        ("never granted", named(&bob(), &text(bob())), ("UNKNOWN_SESSION_KEY", "key")),
        ("the main key", named(&alice(), &text(alice())), ("UNKNOWN_SESSION_KEY", "key")),
        ("of another account", of_bob, ("UNKNOWN_SESSION_KEY", "key")),
        ("of an account that is not registered", of_nobody, ("UNKNOWN_ACCOUNT", "account")),
        ("expired long ago", named(&old_session(), &text(old_session())), ("SESSION_KEY_EXPIRED", "key")),
        ("named, but the main key signed", named(&alice(), &text(session())), ("INVALID_SIGNATURE", "signature")),
        ("two keys that differ", also_named, ("KEY_NOT_AUTHORIZED", "key")),
        ("not a felt", named(&session(), "session"), ("FELT_MALFORMED", "sessionKey")),
        ("zero", named(&session(), "0x0"), ("UNKNOWN_SESSION_KEY", "key")),
    ] {
        let door = Door::new();
        let error = door.submit(kind, params).await.expect_err(name);
        assert_eq!((error.reason(), error.field()), expected, "{name}");
        assert!(door.queued().is_empty(), "{name}");
    }
    let mut number = named(&session(), "0x1");
    number["sessionKey"] = json!(7);
    let error = Door::new().submit(kind, number).await.expect_err("a number");
    assert_eq!(reason(error), ("NUMBER_NOT_STRING", "sessionKey".into()));
    let unnamed = Door::new().signed(kind, fields_of(kind, 1), &session());
    let error = Door::new().submit(kind, unnamed).await.expect_err("the main key did not sign");
    assert_eq!(reason(error), ("INVALID_SIGNATURE", "signature".into()));
}

#[tokio::test]
async fn a_key_that_expired_a_moment_ago_is_left_to_the_engine_which_may_know_the_outcome() {
    let door = Door::new();
    door.submit(MessageKind::Order, by_session_key(&door, MessageKind::Order, &late_session())).await.expect("admitted");
    assert_eq!(door.queued().len(), 1);
}

#[tokio::test]
async fn one_message_under_two_keys_is_one_message() {
    let door = Door::new();
    let main = door.signed(MessageKind::Order, fields_of(MessageKind::Order, 1), &alice());
    let first = door.submit(MessageKind::Order, main).await.expect("admitted");
    let second = door.submit(MessageKind::Order, by_session_key(&door, MessageKind::Order, &session())).await;
    assert_eq!(first.hash, second.expect("admitted").hash);
}

#[tokio::test]
async fn a_grant_arrives_with_its_terms_and_its_markets_as_a_set() {
    let door = Door::new();
    let kind = MessageKind::SessionKey;
    door.submit(kind, door.signed(kind, fields_of(kind, 1), &alice())).await.expect("admitted");
    let queued = door.queued();
    let Command::SessionKey(grant) = &queued[0].command else { panic!("{queued:?}") };
    let terms = SessionTerms {
        expiry: Ts::from_ms(NOW_MS + 3_600_000),
        markets: vec![MarketId(0), MarketId(1)],
        max_order_notional: Amount(25_050_000_000),
    };
    assert_eq!((grant.key, &grant.terms), (session().key, &terms));
}

#[tokio::test]
async fn each_new_field_that_is_bad_is_named() {
    use MessageKind::*;
    let off_curve = "0x5";
    for (kind, field, value, expected) in [
        (SessionKey, "scope", json!("TRADE_AND_WITHDRAW"), ("UNKNOWN_VALUE", "scope")),
        (SessionKey, "scope", json!("trade"), ("UNKNOWN_VALUE", "scope")),
        (SessionKey, "markets", json!(["ETH-USDC", "DOGE-USDC"]), ("UNKNOWN_VALUE", "markets")),
        (SessionKey, "markets", json!("ETH-USDC"), ("WRONG_TYPE", "markets")),
        (SessionKey, "markets", json!(vec!["ETH-USDC"; 1_001]), ("TOO_LONG", "markets")),
        (SessionKey, "maxOrderNotional", json!("1.123456789"), ("TOO_MANY_DECIMALS", "maxOrderNotional")),
        (SessionKey, "maxOrderNotional", json!("-1"), ("OUT_OF_RANGE", "maxOrderNotional")),
        (SessionKey, "expiry", json!("18446744073710"), ("OUT_OF_RANGE", "expiry")),
        (SessionKey, "key", json!("0x0"), ("KEY_INVALID", "key")),
        (SessionKey, "key", json!(off_curve), ("KEY_INVALID", "key")),
        (RevokeSessionKey, "key", json!("key"), ("FELT_MALFORMED", "key")),
        (ModifyOrder, "order", json!("0x"), ("FELT_MALFORMED", "order")),
        (ModifyOrder, "size", json!(1), ("NUMBER_NOT_STRING", "size")),
        (ModifyOrder, "price", json!("1e3"), ("DECIMAL_MALFORMED", "price")),
        (ScheduleCancel, "at", json!("1.5"), ("TOO_MANY_DECIMALS", "at")),
        (ScheduleCancel, "at", json!(null), ("WRONG_TYPE", "at")),
        (Transfer, "recipient", json!("0x0"), ("ADDRESS_OUT_OF_RANGE", "recipient")),
        (Transfer, "asset", json!("DOGE"), ("UNKNOWN_ASSET", "asset")),
        (Transfer, "amount", json!("-1"), ("OUT_OF_RANGE", "amount")),
        (Session, "market", json!("ETH-USDC"), ("UNKNOWN_FIELD", "market")),
    ] {
        let door = Door::new();
        let mut fields = fields_of(kind, 1);
        fields[field] = value;
        // What is well-formed is signed as it stands; the rest is refused before its signature is looked at.
        let decoded = keel_ingress::decode::message(kind, &fields, None);
        let params = match decoded {
            Ok(_) => door.signed(kind, fields, &alice()),
            Err(_) => json!({ "message": fields, "signature": ["0x1", "0x1"] }),
        };
        let error = door.submit(kind, params).await.expect_err(&format!("{kind:?} {field}"));
        assert_eq!((error.reason(), error.field()), expected, "{kind:?}");
        assert!(door.queued().is_empty(), "{kind:?} {field}");
    }
}

#[tokio::test]
async fn valid_until_lies_two_minutes_ahead_for_what_trades_and_a_day_for_the_rest() {
    for kind in MessageKind::ALL.iter().copied() {
        let two_minutes = matches!(
            kind,
            MessageKind::Order
                | MessageKind::ModifyOrder
                | MessageKind::CancelOrder
                | MessageKind::CancelAll
                | MessageKind::ScheduleCancel
                | MessageKind::Session
        );
        let ahead = if two_minutes { 120_000 } else { 86_400_000 };
        assert_eq!(kind.valid_until_ahead_ms_max(), ahead, "{kind:?}");
        // A minute more is the engine's to judge: its clock is another.
        for (ms, admitted) in [(ahead + 60_000, true), (ahead + 60_001, false)] {
            let door = Door::new();
            let mut fields = fields_of(kind, 1);
            fields["validUntil"] = json!((NOW_MS + ms).to_string());
            let answer = door.submit(kind, door.signed(kind, fields, &alice())).await.map(|_| ()).map_err(reason);
            let expected = if admitted { Ok(()) } else { Err(("VALID_UNTIL_TOO_FAR", "validUntil".into())) };
            assert_eq!(answer, expected, "{kind:?} {ms}");
        }
    }
}

#[tokio::test]
async fn messages_begun_in_a_row_reach_the_queue_in_that_order() {
    let door = Door::new();
    let kinds = [MessageKind::Order, MessageKind::ModifyOrder, MessageKind::CancelAll, MessageKind::Order];
    let begun: Vec<_> = (1..)
        .zip(kinds)
        .map(|(nonce, kind)| {
            let params = door.signed(kind, fields_of(kind, nonce), &alice());
            door.ingress.begin(kind, params, PEER, Ts::from_ms(NOW_MS)).expect("well-formed")
        })
        .collect();
    // Awaited in any order.
    for message in begun.into_iter().rev() {
        message.admitted().await.expect("admitted");
    }
    let mut queued = Vec::new();
    while queued.len() < kinds.len() {
        queued.extend(door.queued());
    }
    queued.sort_by_key(|submission| submission.arrival);
    let nonces: Vec<u64> = queued.iter().filter_map(|s| s.command.signed()).map(|signed| signed.nonce).collect();
    assert_eq!(nonces, [1, 2, 3, 4]);
}

#[tokio::test]
async fn an_unsigned_cancel_becomes_its_command_and_is_answered() {
    let door = Door::new();
    let (order, all) = (MessageHash(Felt::from(0xabc)), Some(MarketId(1)));
    let account = alice().account;
    let mut replies = Vec::new();
    for cancel in [SessionCancel::Order { order, client_id: 0 }, SessionCancel::All { market: all }] {
        replies.push(door.ingress.submit_session_cancel(account, cancel, PEER, Ts::from_ms(NOW_MS)).await.expect("taken"));
    }
    replies.push(door.ingress.submit_disconnected(account, PEER).await.expect("taken"));
    let mut commands = Vec::new();
    for submission in door.queued() {
        commands.push(submission.command.clone());
        submission.answer(Answer::Shed(Shed::SafeMode));
    }
    assert_eq!(
        commands,
        [
            Command::SessionCancel(keel_types::SessionCancel { account, order, client_id: 0 }),
            Command::SessionCancelAll(SessionCancelAll { account, market: all, disconnected: false }),
            Command::SessionCancelAll(SessionCancelAll { account, market: None, disconnected: true }),
        ]
    );
    for reply in replies {
        assert_eq!(reply.await, Ok(Answer::Shed(Shed::SafeMode)));
    }
}

#[tokio::test]
async fn an_unsigned_cancel_never_overtakes_the_order_before_it() {
    let door = Door::new();
    let params = door.signed(MessageKind::Order, fields_of(MessageKind::Order, 1), &alice());
    let order = door.ingress.begin(MessageKind::Order, params, PEER, Ts::from_ms(NOW_MS)).expect("well-formed");
    let cancel = SessionCancel::All { market: None };
    door.ingress.submit_session_cancel(alice().account, cancel, PEER, Ts::from_ms(NOW_MS)).await.expect("taken");
    order.admitted().await.expect("admitted");
    // One at a time: the lane of cancels is drained first, but not past the account's own order.
    let first = door.queue.drain(1, std::time::Duration::ZERO);
    assert!(matches!(first[0].command, Command::Place(_)), "{first:?}");
}

#[tokio::test]
async fn unsigned_cancels_are_on_both_budgets_and_a_lost_connection_is_on_none() {
    let config = |connection, account| IngressConfig {
        pool: PoolConfig { workers: 1, lane_capacity: 64 },
        connection: BudgetConfig { burst: connection, per_second: 1, keys_max: 100 },
        account: BudgetConfig { burst: account, per_second: 1, keys_max: 100 },
        ramp: RampConfig::default(),
    };
    let cancel = SessionCancel::All { market: None };
    for (connection, account, expected) in [(2, 100, IngressError::RateLimited), (100, 2, IngressError::AccountRateLimited)]
    {
        let door = Door::with(config(connection, account), InboxCapacity::default());
        let send = || door.ingress.submit_session_cancel(alice().account, cancel, PEER, Ts::from_ms(NOW_MS));
        for _ in 0..2 {
            send().await.expect("within the budget");
        }
        assert_eq!(send().await.map(|_| ()), Err(expected));
        for _ in 0..3 {
            door.ingress.submit_disconnected(alice().account, PEER).await.expect("on no budget");
        }
        assert_eq!(door.queued().len(), 5);
        let other = door.ingress.submit_session_cancel(bob().account, cancel, ConnectionId(2), Ts::from_ms(NOW_MS)).await;
        assert!(other.is_ok());
    }
}

#[test]
fn the_fields_of_an_unsigned_cancel_are_those_of_the_signed_one() {
    let order = |fields: Value| SessionCancel::decode_order(fields.as_object().expect("an object"));
    let all = |fields: Value| SessionCancel::decode_all(fields.as_object().expect("an object"), &genesis());
    let hash = MessageHash(Felt::from(0xabc));
    assert_eq!(order(json!({"order": "0xabc"})), Ok(SessionCancel::Order { order: hash, client_id: 0 }));
    assert_eq!(order(json!({"clientId": "7"})), Ok(SessionCancel::Order { order: MessageHash::default(), client_id: 7 }));
    assert_eq!(order(json!({})), Err(IngressError::OrderOrClientId));
    assert_eq!(order(json!({"order": "0xabc", "clientId": "7"})), Err(IngressError::OrderOrClientId));
    assert_eq!(order(json!({"clientId": 7})).map_err(reason), Err(("NUMBER_NOT_STRING", "clientId".into())));
    assert_eq!(order(json!({"account": "0x1"})).map_err(reason), Err(("UNKNOWN_FIELD", "account".into())));
    assert_eq!(all(json!({"market": "ALL"})), Ok(SessionCancel::All { market: None }));
    assert_eq!(all(json!({"market": "BTC-USDC"})), Ok(SessionCancel::All { market: Some(MarketId(1)) }));
    assert_eq!(all(json!({})).map_err(reason), Err(("MISSING_FIELD", "market".into())));
    assert_eq!(all(json!({"market": "DOGE"})).map_err(reason), Err(("UNKNOWN_MARKET", "market".into())));
}
