//! What is admitted, in which order, and when admission closes.

use crate::common::*;
use keel_ingress::budget::{BudgetConfig, COST_BAD_SIGNATURE};
use keel_ingress::pool::PoolConfig;
use keel_ingress::{
    Answer, ConnectionId, InboxCapacity, IngressConfig, IngressError, MessageKind, Opening, RampConfig, Shed, client,
};
use keel_types::*;
use serde_json::{Value, json};

fn small(connection: u64, account: u64) -> IngressConfig {
    IngressConfig {
        pool: PoolConfig { workers: 1, lane_capacity: 64 },
        connection: BudgetConfig { burst: connection, per_second: 1, keys_max: 100 },
        account: BudgetConfig { burst: account, per_second: 1, keys_max: 100 },
        ramp: RampConfig::default(),
    }
}

#[tokio::test]
async fn an_order_arrives_with_every_field_and_its_hash() {
    let door = Door::new();
    let params = door.signed(MessageKind::Order, order_fields(&alice(), 5), &alice());
    let admitted = door.submit(MessageKind::Order, params).await.expect("admitted");
    let queued = door.queued();
    let message = decoded(MessageKind::Order, order_fields(&alice(), 5));
    let hash = keel_ingress::snip12::message_hash(&door.domain, &alice().account, &message);
    let expected = PlaceOrder {
        signed: Signed {
            account: alice().account,
            nonce: 5,
            valid_until: Ts::from_ms(NOW_MS + 60_000),
            hash,
            session_key: StarkKey::default(),
        },
        market: MarketId(0),
        side: Side::Buy,
        order_type: OrderType::Limit,
        size: Qty(150_000_000),
        price: Price(200_025_000_000),
        trigger_price: Price(0),
        time_in_force: TimeInForce::PostOnly,
        good_til: Ts(0),
        reduce_only: false,
        self_trade: SelfTradeMode::CancelTaker,
        client_id: 77,
    };
    assert_eq!(queued[0].command, Command::Place(expected));
    assert_eq!((admitted.hash, admitted.account, admitted.kind), (hash, alice().account, MessageKind::Order));
}

#[tokio::test]
async fn the_outcome_comes_through_the_reply() {
    let door = Door::new();
    let params = door.signed(MessageKind::CancelAll, cancel_all_fields(&alice(), 1), &alice());
    let admitted = door.submit(MessageKind::CancelAll, params.clone()).await.expect("admitted");
    for submission in door.queued() {
        submission.answer(Answer::Shed(Shed::SafeMode));
    }
    assert_eq!(admitted.outcome().await, Ok(Answer::Shed(Shed::SafeMode)));
    let lost = door.submit(MessageKind::CancelAll, params).await.expect("admitted");
    drop(door.queued());
    assert_eq!(lost.outcome().await, Err(IngressError::OutcomeUnknown));
}

#[tokio::test]
async fn register_withdraw_and_cancels_become_their_commands() {
    let door = Door::new();
    let cancel = json!({ "account": alice().hex(), "clientId": "5", "nonce": "2", "validUntil": valid_until() });
    let mut one_market = cancel_all_fields(&alice(), 3);
    one_market["market"] = json!("BTC-USDC");
    for (kind, fields, trader) in [
        (MessageKind::Register, register_fields(&carol()), carol()),
        (MessageKind::Withdraw, withdraw_fields(&alice()), alice()),
        (MessageKind::CancelOrder, cancel, alice()),
        (MessageKind::CancelAll, one_market, alice()),
        (MessageKind::CancelAll, cancel_all_fields(&alice(), 4), alice()),
    ] {
        let params = door.signed(kind, fields, &trader);
        door.submit(kind, params).await.expect("admitted");
    }
    let eth = L1Address(Felt::from(0xff));
    let commands: Vec<Command> = door.queued().into_iter().map(|submission| submission.command).collect();
    let [
        Command::Cancel(cancel),
        Command::CancelAll(one),
        Command::CancelAll(all),
        Command::Register(register),
        Command::Withdraw(withdraw),
    ] = commands[..]
    else {
        panic!("cancels first, then the others, in arrival order: {commands:?}")
    };
    assert_eq!((cancel.order, cancel.client_id), (MessageHash::default(), 5));
    assert_eq!((one.market, all.market), (Some(MarketId(1)), None));
    assert_eq!((register.key, register.template), (carol().key, 0));
    assert_eq!((withdraw.asset, withdraw.amount, withdraw.recipient), (AssetId(0), Amount(1_234_000_000), eth));
}

#[tokio::test]
async fn the_account_key_may_be_named() {
    let door = Door::new();
    let mut params = door.signed(MessageKind::Order, order_fields(&alice(), 1), &alice());
    params["key"] = json!(alice().key.to_string());
    door.submit(MessageKind::Order, params).await.expect("admitted");
}

#[tokio::test]
async fn a_connection_that_asks_too_much_is_limited_and_others_are_not() {
    let door = Door::with(small(8, 1_000), InboxCapacity::default());
    let order = |nonce| door.signed(MessageKind::Order, order_fields(&alice(), nonce), &alice());
    for nonce in [1, 2] {
        door.submit(MessageKind::Order, order(nonce)).await.expect("within the budget");
    }
    let error = door.submit(MessageKind::Order, order(3)).await.expect_err("the budget is spent");
    assert_eq!(error, IngressError::RateLimited);
    let other = door.ingress.submit(MessageKind::Order, order(3), ConnectionId(2), Ts::from_ms(NOW_MS)).await;
    assert!(other.is_ok());
    let later = door.ingress.submit(MessageKind::Order, order(4), PEER, Ts::from_ms(NOW_MS + 4_000)).await;
    assert!(later.is_ok());
}

#[tokio::test]
async fn an_account_is_limited_over_all_connections() {
    let door = Door::with(small(1_000, 8), InboxCapacity::default());
    let mut answers = Vec::new();
    for nonce in 1..=3 {
        let params = door.signed(MessageKind::Order, order_fields(&alice(), nonce), &alice());
        let connection = ConnectionId(nonce);
        answers.push(door.ingress.submit(MessageKind::Order, params, connection, Ts::from_ms(NOW_MS)).await.map(|_| ()));
    }
    assert_eq!(answers, [Ok(()), Ok(()), Err(IngressError::AccountRateLimited)]);
    let params = door.signed(MessageKind::Order, order_fields(&bob(), 1), &bob());
    assert!(door.submit(MessageKind::Order, params).await.is_ok());
}

#[tokio::test]
async fn forged_messages_cost_the_forger_and_not_the_account() {
    let door = Door::with(small(COST_BAD_SIGNATURE * 2, 8), InboxCapacity::default());
    let forger = ConnectionId(66);
    let mut forged = Vec::new();
    for nonce in 0..5 {
        let params = door.signed(MessageKind::Order, order_fields(&alice(), nonce), &bob());
        forged.push(door.ingress.submit(MessageKind::Order, params, forger, Ts::from_ms(NOW_MS)).await.map(|_| ()));
    }
    assert_eq!(forged[..2], [Err(IngressError::InvalidSignature), Err(IngressError::InvalidSignature)]);
    assert_eq!(
        forged[2..],
        [Err(IngressError::RateLimited), Err(IngressError::RateLimited), Err(IngressError::RateLimited)]
    );
    let params = door.signed(MessageKind::Order, order_fields(&alice(), 1), &alice());
    assert!(door.submit(MessageKind::Order, params).await.is_ok());
}

#[tokio::test]
async fn a_full_queue_sheds_orders_before_cancels() {
    let door = Door::with(small(1_000, 1_000), InboxCapacity { system: 1, cancel: 1, order: 1 });
    let order = |nonce| door.signed(MessageKind::Order, order_fields(&alice(), nonce), &alice());
    assert!(door.submit(MessageKind::Order, order(1)).await.is_ok());
    assert_eq!(door.submit(MessageKind::Order, order(2)).await.map(|_| ()), Err(IngressError::Overloaded));
    let cancel = door.signed(MessageKind::CancelAll, cancel_all_fields(&alice(), 3), &alice());
    assert!(door.submit(MessageKind::CancelAll, cancel).await.is_ok());
}

#[tokio::test]
async fn a_closed_door_says_that_it_is_closing() {
    let door = Door::new();
    let params = door.signed(MessageKind::Order, order_fields(&alice(), 1), &alice());
    drop(door.queue.close());
    assert_eq!(door.submit(MessageKind::Order, params.clone()).await.map(|_| ()), Err(IngressError::ShuttingDown));
    door.ingress.close();
    assert_eq!(door.submit(MessageKind::Order, params).await.map(|_| ()), Err(IngressError::ShuttingDown));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_connection_sent_for_an_account_arrives_in_that_order() {
    let door = Door::new();
    let requests: Vec<(MessageKind, Value)> = (0..40)
        .map(|nonce| match nonce % 3 {
            2 => (MessageKind::CancelAll, cancel_all_fields(&alice(), nonce)),
            _ => (MessageKind::Order, order_fields(&alice(), nonce)),
        })
        .map(|(kind, fields)| (kind, door.signed(kind, fields, &alice())))
        .collect();
    // All are under way at once; each is submitted to the pool when it is first polled, in this order.
    let mut pending: Vec<_> = requests.into_iter().map(|(kind, params)| Box::pin(door.submit(kind, params))).collect();
    let mut admitted = Vec::new();
    std::future::poll_fn(|context| {
        pending.retain_mut(|request| match request.as_mut().poll(context) {
            std::task::Poll::Ready(answer) => {
                admitted.push(answer.expect("admitted"));
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    let mut queued = door.queued();
    queued.sort_by_key(|submission| submission.arrival);
    let nonces: Vec<u64> = queued.iter().filter_map(|s| s.command.signed()).map(|signed| signed.nonce).collect();
    assert_eq!(nonces, (0..40).collect::<Vec<_>>());
}

fn report(publisher: u64, signer: u64, price: u64) -> Value {
    let chain_id = genesis().chain_id.0;
    client::signed_report(
        &chain_id,
        publisher as u8,
        &publisher_secret(signer),
        "ETH-USDC",
        Price(price),
        Ts::from_ms(NOW_MS),
    )
    .expect("in range")
}

#[tokio::test]
async fn signed_price_reports_become_one_command() {
    let door = Door::new();
    // Zero passes: the engine discards it for good, and records that.
    let params = json!({ "reports": [report(0, 0, 200_012_345_678), report(2, 2, 0)] });
    let now = Ts::from_ms(NOW_MS);
    door.ingress.submit_prices(params, PEER, now).await.expect("admitted");
    let expected = [(0, 200_012_345_678), (2, 0)].map(|(publisher, price)| PriceReport {
        publisher,
        market: MarketId(0),
        price: Price(price),
        ts: now,
    });
    let commands: Vec<Command> = door.queued().into_iter().map(|submission| submission.command).collect();
    assert_eq!(commands, [Command::Prices(expected.to_vec())]);
}

#[tokio::test]
async fn price_reports_with_anything_wrong_are_refused_as_a_whole() {
    let with = |field: &str, value: Value| {
        let mut report = report(0, 0, 1);
        report[field] = value;
        report
    };
    for (report, reason, field) in [
        (report(0, 1, 5), "INVALID_SIGNATURE", "signature"),
        (with("price", json!("0.00000002")), "INVALID_SIGNATURE", "signature"),
        (with("ts", json!("1")), "INVALID_SIGNATURE", "signature"),
        (with("market", json!("BTC-USDC")), "INVALID_SIGNATURE", "signature"),
        (with("publisher", json!("1")), "INVALID_SIGNATURE", "signature"),
        (with("publisher", json!("3")), "UNKNOWN_PUBLISHER", "publisher"),
        (with("publisher", json!(0)), "NUMBER_NOT_STRING", "reports[1].publisher"),
        (with("market", json!("DOGE-USDC")), "UNKNOWN_MARKET", "market"),
        (with("price", json!(1.5)), "NUMBER_NOT_STRING", "reports[1].price"),
        (with("price", json!("-1")), "OUT_OF_RANGE", "reports[1].price"),
        (with("price", json!("0.000000001")), "TOO_MANY_DECIMALS", "reports[1].price"),
        (with("source", json!("x")), "UNKNOWN_FIELD", "reports[1].source"),
        (with("signature", json!("0x1")), "SIGNATURE_MALFORMED", "reports[1].signature"),
    ] {
        let door = Door::new();
        let params = json!({ "reports": [self::report(1, 1, 7), report] });
        let error = door.ingress.submit_prices(params.clone(), PEER, Ts::from_ms(NOW_MS)).await.expect_err("refused");
        assert_eq!((error.reason(), error.field()), (reason, field), "{params}");
        assert!(door.queued().is_empty());
    }
    let door = Door::new();
    for count in [0, keel_ingress::decode::PRICE_REPORTS_MAX + 1] {
        let params = json!({ "reports": vec![report(0, 0, 1); count] });
        let error = door.ingress.submit_prices(params, PEER, Ts::from_ms(NOW_MS)).await.expect_err("refused");
        assert_eq!(error, IngressError::TooManyReports);
    }
}

#[tokio::test]
async fn typed_data_is_served_for_every_kind_of_message() {
    let door = Door::new();
    let fields = json!({ "account": alice().hex(), "nonce": "1", "validUntil": "2" });
    let json = door.ingress.typed_data(&json!({ "type": "Session", "message": fields })).expect("well-formed");
    assert_eq!(
        json,
        json!({
            "types": {
                "StarknetDomain": [
                    { "name": "name", "type": "shortstring" }, { "name": "version", "type": "shortstring" },
                    { "name": "chainId", "type": "shortstring" }, { "name": "revision", "type": "shortstring" },
                ],
                "Session": [
                    { "name": "account", "type": "ContractAddress" }, { "name": "nonce", "type": "u128" },
                    { "name": "validUntil", "type": "timestamp" },
                ],
            },
            "primaryType": "Session",
            "domain": { "name": "Keel", "version": "1", "chainId": "KEEL_TEST", "revision": "1" },
            "message": { "account": alice().hex(), "nonce": "1", "validUntil": "2" },
        })
    );
    // Wire decimals are converted, defaults filled in.
    let json =
        door.ingress.typed_data(&json!({ "type": "Order", "message": order_fields(&alice(), 1) })).expect("well-formed");
    assert_eq!((&json["message"]["size"], &json["message"]["goodTil"]), (&json!("150000000"), &json!("0")));
    for (params, reason, field) in [
        (json!({ "type": "Mail", "message": {} }), "UNKNOWN_VALUE", "type"),
        (json!({ "type": "Order" }), "MISSING_FIELD", "message"),
        (json!({ "type": "Session", "message": {} }), "MISSING_FIELD", "account"),
        (json!({ "type": "Session", "message": {}, "x": 1 }), "UNKNOWN_FIELD", "x"),
    ] {
        let error = door.ingress.typed_data(&params).expect_err("refused");
        assert_eq!((error.reason(), error.field()), (reason, field));
    }
}

#[test]
fn peers_share_a_budget_by_address_and_ipv6_by_network() {
    let id = |text: &str| ConnectionId::of_peer(text.parse().expect("an address"));
    assert_eq!(id("10.0.0.1"), id("::ffff:10.0.0.1"));
    assert_ne!(id("10.0.0.1"), id("10.0.0.2"));
    assert_eq!(id("2001:db8:1:2::1"), id("2001:db8:1:2:ffff::9"));
    assert_ne!(id("2001:db8:1:2::1"), id("2001:db8:1:3::1"));
}

#[tokio::test]
async fn an_opening_lets_a_tenth_of_the_rate_in_and_every_cancel_and_a_bad_signature_uses_nothing_up() {
    let ramp = RampConfig { orders_per_second: 200, ramp_ms: 60_000 };
    let config = IngressConfig { ramp, ..small(100_000, 100_000) };
    // Two orders may come at once.
    let opening = Opening { phase: Phase::Spot, since: Ts::from_ms(NOW_MS - 5_000) };
    let door = Door::opening(config, InboxCapacity::default(), opening);
    for nonce in 1..4 {
        let forged = door.signed(MessageKind::Order, order_fields(&alice(), nonce), &bob());
        assert_eq!(door.submit(MessageKind::Order, forged).await.unwrap_err(), IngressError::InvalidSignature);
    }
    for (nonce, expected) in [(4, None), (5, None), (6, Some(IngressError::Overloaded)), (7, Some(IngressError::Overloaded))]
    {
        let order = door.signed(MessageKind::Order, order_fields(&alice(), nonce), &alice());
        assert_eq!(door.submit(MessageKind::Order, order).await.err(), expected, "order {nonce}");
        let cancel = door.signed(MessageKind::CancelAll, cancel_all_fields(&alice(), 100 + nonce), &alice());
        door.submit(MessageKind::CancelAll, cancel).await.expect("cancels are exempt");
    }
    assert_eq!(door.queued().len(), 6);
}
