//! Days that venues of this field have had, each told to a real node: prices of yesterday, a settlement layer that is two, more orders than
//! anybody takes, tokens in the escrow that nobody sent for.

use alloy::primitives::{Address as L1Account, Bytes, U256};
use alloy::sol_types::SolCall;
use keel_contracts::ethereum::TestToken;
use keel_ingress::MessageKind;
use keel_ingress::client::signed_report;
use keel_tests::{Ack, Fork, Node, NodeOptions, Route, Trader, World, call, root, run_keel, wait_for};
use keel_types::*;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(90);
const OVERLOADED: i64 = -32_046;
const PHASE_FORBIDS: i64 = -32_050;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("not a number as text: {value}"))
}

fn open_node(world: &mut World, sets: Vec<String>) -> Node {
    let node = world.node(&NodeOptions { name: "node".into(), sets });
    world.publish_to(&node);
    node.wait_for_phase("OPEN", PATIENCE);
    node
}

fn funded(world: &World, node: &Node, secret: u64, assets: &[(&str, &str)]) -> Trader {
    let trader = Trader::new(secret, &world.genesis);
    world.fund(node, std::slice::from_ref(&trader), assets);
    trader
}

/// An order far below every price: it rests. Request and hash.
fn bid(trader: &Trader, nonce: u64) -> (Value, String) {
    let fields = json!({ "market": "ETH-USDC", "side": "BUY", "type": "LIMIT", "size": "0.01", "price": "2800" });
    trader.sign(MessageKind::Order, nonce, fields)
}

fn rest_an_order(node: &Node, trader: &Trader, nonce: u64) -> String {
    let (request, hash) = bid(trader, nonce);
    node.call("trade_placeOrder", request).done();
    hash
}

fn order(node: &Node, trader: &Trader, hash: &str) -> Ack {
    node.call("trade_getOrder", json!({ "account": trader.account.to_string(), "order": hash }))
}

fn code(ack: &Ack) -> Option<i64> {
    match ack {
        Ack::Refused(error) => error["code"].as_i64(),
        Ack::Done(_) | Ack::Unknown(_) => None,
    }
}

fn total(node: &Node, account: Address, asset: &str) -> Option<String> {
    let Ack::Done(account) = node.call("trade_account", json!({ "account": account.to_string() })) else { return None };
    let balances = account["balances"].as_array()?;
    Some(balances.iter().find(|balance| balance["asset"] == asset)?["total"].as_str()?.to_owned())
}

/// Waits until a loss with this reason has closed the venue and cancelled everything.
fn wait_for_loss(node: &Node, reason: &str) {
    wait_for(&format!("{reason}: {}", node.log.display()), PATIENCE, || {
        let status = node.status();
        let reasons = status["reasons"].as_array()?;
        (status["phase"] != "OPEN" && reasons.iter().any(|told| told == reason)).then_some(())
    });
    assert_eq!(node.status()["openOrders"], "0");
}

/// Nothing opens while this much journal time passes; `meanwhile` is done over and over.
fn stays_closed(node: &Node, ms: u64, mut meanwhile: impl FnMut()) {
    let from = number(&node.status()["ts"]);
    wait_for("journal time to pass", PATIENCE, || {
        meanwhile();
        let status = node.status();
        let phase = &status["phase"];
        assert!(phase == "HALTED" || phase == "READ_ONLY", "it went on to {phase}: {status}");
        (number(&status["ts"]) >= from + ms).then_some(())
    });
}

/// The steps of the newest incident into a phase: when each was.
fn steps_into(node: &Node, phase: &str) -> Vec<u64> {
    let incident = node.status()["incident"].clone();
    let told = node.call("node_getIncident", json!({ "incident": incident })).done();
    let steps = told["timeline"].as_array().expect("a timeline");
    steps.iter().filter(|step| step["phase"] == phase).map(|step| number(&step["ts"])).collect()
}

/// The keys that sign prices in development.
fn publishers() -> Vec<Felt> {
    let text = std::fs::read_to_string(root().join("genesis/dev-keys.json")).expect("genesis/dev-keys.json");
    let keys: Value = serde_json::from_str(&text).expect("JSON");
    let key = |publisher: &Value| Felt::from_hex(publisher["private_key"].as_str().expect("a key")).expect("a number");
    keys["publishers"].as_array().expect("a list").iter().map(key).collect()
}

/// All publishers report every market at `price_percent` of where it began, with a time `ago_ms` before now. What came of it.
fn publish_old(node: &Node, genesis: &Genesis, keys: &[Felt], price_percent: u64, ago_ms: u64) -> Value {
    let ts = Ts::from_ms(now_ms() - ago_ms);
    let reports = (0..).zip(keys).flat_map(|(publisher, key)| {
        genesis.markets.iter().map(move |market| {
            let price = Price(market.initial_price.0 / 100 * price_percent / market.tick_size.0 * market.tick_size.0);
            signed_report(&genesis.chain_id.0, publisher, key, &market.name, price, ts).expect("signed")
        })
    });
    node.call("market_publishPrices", json!({ "reports": reports.collect::<Value>() })).done()
}

/// A feed that is back with the prices of before, or lags behind, looks alive: reports arrive, signed by everybody.
#[test]
fn nothing_reopens_on_prices_that_are_old_and_fresh_ones_open_it() {
    let mut world = World::start();
    let node = open_node(&mut world, vec![]);
    let trader = funded(&world, &node, 0x0f1e_0001, &[("USDC", "10000")]);
    let orders = [rest_an_order(&node, &trader, 2), rest_an_order(&node, &trader, 3)];

    world.stop_publishing();
    let silent_since = now_ms();
    wait_for_loss(&node, "ORACLE_STALE");
    for hash in &orders {
        let told = order(&node, &trader, hash).done();
        assert_eq!((&told["state"], &told["reason"]), (&json!("CANCELLED"), &json!("SAFE_MODE")), "{told}");
    }
    node.wait_for_phase("READ_ONLY", PATIENCE);
    stays_closed(&node, 4_000, || {});

    let keys = publishers();
    let before = node.call("market_list", json!({})).done();
    let prices = |list: &Value| -> Vec<Value> {
        list.as_array().expect("a list").iter().map(|row| json!([row["market"], row["mark"], row["oracle"]])).collect()
    };
    // From before the silence: every publisher said something later already.
    let told = publish_old(&node, &world.genesis, &keys, 99, now_ms() - silent_since + 60_000);
    let discarded = told["discarded"].as_array().expect("a list");
    assert_eq!(discarded.len(), keys.len() * world.genesis.markets.len(), "{told}");
    assert!(discarded.iter().all(|report| report["reason"] == "NOT_NEWER"), "{told}");
    // From after it, and ever newer, but always too old to count.
    let ago_ms = world.genesis.oracle.report_age_max_ms + 1_000;
    wait_for("reports that are old and newer than the last", PATIENCE, || {
        (now_ms() > silent_since + ago_ms + 500).then_some(())
    });
    let mut rounds = 0;
    stays_closed(&node, 4_000, || {
        let told = publish_old(&node, &world.genesis, &keys, 99, ago_ms);
        assert_eq!((&told["prices"], &told["held"], &told["discarded"]), (&json!([]), &json!([]), &json!([])), "{told}");
        rounds += 1;
    });
    assert!(rounds > 5, "{rounds} rounds are no feed");
    assert_eq!(prices(&node.call("market_list", json!({})).done()), prices(&before));
    assert_eq!(code(&node.call("trade_placeOrder", bid(&trader, 4).0)), Some(PHASE_FORBIDS));

    let fresh_since = now_ms();
    world.publish_to(&node);
    node.wait_for_phase("OPEN", PATIENCE);
    let opened = steps_into(&node, "SPOT");
    assert!(
        !opened.is_empty() && opened.iter().all(|ts| *ts >= fresh_since),
        "SPOT at {opened:?}, fresh since {fresh_since}"
    );
    assert_eq!(node.status()["openOrders"], "0", "what was cancelled stays so");
    rest_an_order(&node, &trader, 5);
}

/// Deposits on the chain behind `port`.
fn deposit_at(port: u16, account: Address, amount: &str) {
    let endpoint = format!("settlement.endpoint=http://127.0.0.1:{port}");
    let account = account.to_string();
    run_keel(&["--set", &endpoint, "dev", "fund", "--account", &account, "--asset", "USDC", "--amount", amount]);
}

/// Waits until both chains have grown by so many blocks.
fn grow(world: &World, fork: &Fork, blocks: u64) {
    let number = |ack: Ack| match ack {
        Ack::Done(number) => u64::from_str_radix(number.as_str()?.trim_start_matches("0x"), 16).ok(),
        Ack::Refused(_) | Ack::Unknown(_) => None,
    };
    let heads = || number(world.l1_call("eth_blockNumber", json!([]))).zip(number(fork.call("eth_blockNumber", json!([]))));
    let from = wait_for("the heads of both chains", PATIENCE, heads);
    wait_for("both chains to grow", PATIENCE, || {
        heads().filter(|heads| heads.0 >= from.0 + blocks && heads.1 >= from.1 + blocks)
    });
}

/// The second of two endpoints comes to lie on a fork: the same contracts and the same past, and a deposit that the first has never seen.
#[test]
fn while_two_endpoints_see_two_chains_nothing_of_either_counts_and_nothing_opens() {
    let mut world = World::start();
    let second = Route::to(world.l1_port());
    let endpoints =
        format!(r#"settlement.endpoints=["http://127.0.0.1:{}","http://127.0.0.1:{}"]"#, world.l1_port(), second.port);
    let node = open_node(&mut world, vec![endpoints]);
    let trader = funded(&world, &node, 0x0f1e_0002, &[("USDC", "10000")]);
    rest_an_order(&node, &trader, 2);
    wait_for("a batch", PATIENCE, || node.status()["settlement"]["confirmed"]["batch"].as_str().map(drop));

    let fork = world.fork();
    second.lead_to(fork.port);
    let stranger = Trader::new(0x0f1e_0003, &world.genesis);
    deposit_at(world.l1_port(), trader.account, "500");
    deposit_at(fork.port, stranger.account, "70000");
    wait_for_loss(&node, "SETTLEMENT_HEAD_STALE");
    let before = node.status()["settlement"].clone();
    // Long enough for either deposit to be final on its own chain.
    let depth = world.genesis.settlement.deposit_depth.max(world.genesis.settlement.confirm_depth);
    grow(&world, &fork, depth + 3);
    stays_closed(&node, 1_000, || {});
    let status = node.status();
    let settlement = &status["settlement"];
    assert_eq!(settlement["head"], before["head"], "the head is what a quorum says: {status}");
    assert_eq!(settlement["confirmed"], before["confirmed"], "{status}");
    assert_eq!(total(&node, trader.account, "USDC").as_deref(), Some("10000"), "a deposit that one endpoint tells of");
    assert_eq!(total(&node, stranger.account, "USDC"), None, "a deposit that the other tells of");

    second.lead_to(world.l1_port());
    let agreed_since = now_ms();
    node.wait_for_phase("OPEN", PATIENCE);
    let opened = steps_into(&node, "SPOT");
    assert!(!opened.is_empty() && opened.iter().all(|ts| *ts >= agreed_since), "SPOT at {opened:?}, agreed {agreed_since}");
    wait_for("the deposit of the chain that both see", PATIENCE, || {
        (total(&node, trader.account, "USDC").as_deref() == Some("10500")).then_some(())
    });
    assert_eq!(total(&node, stranger.account, "USDC"), None, "what only the fork had never was");
    let confirmed = number(&before["confirmed"]["batch"]);
    wait_for("further batches", PATIENCE, || {
        let batch = node.status()["settlement"]["confirmed"]["batch"].as_str()?.parse::<u64>().ok()?;
        (batch > confirmed).then_some(())
    });
}

/// One order of the flood, as it was sent, and what came back.
struct Sent {
    trader: usize,
    request: Value,
    hash: String,
    ack: Ack,
}

const ORDERS_PER_SECOND: u64 = 5;
const FLOODING: usize = 6;

/// Sends orders until so many were admitted and nine of ten of all were refused for load.
fn flood(node: &Node, traders: &[Trader], admitted_min: usize) -> Vec<Sent> {
    let (sent, done) = (Mutex::new(Vec::<Sent>::new()), AtomicBool::new(false));
    let deadline = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        for (index, trader) in traders.iter().enumerate() {
            let (sent, done) = (&sent, &done);
            scope.spawn(move || {
                for nonce in 1_000.. {
                    let (request, hash) = bid(trader, nonce);
                    let ack = call(node.port, "/rpc", None, "trade_placeOrder", &request);
                    let mut sent = sent.lock().expect("no panics while held");
                    sent.push(Sent { trader: index, request, hash, ack });
                    let admitted = sent.iter().filter(|sent| matches!(sent.ack, Ack::Done(_))).count();
                    let enough = admitted >= admitted_min && sent.len() >= 10 * admitted;
                    if enough || Instant::now() > deadline {
                        done.store(true, Ordering::Release);
                    }
                    drop(sent);
                    if done.load(Ordering::Acquire) {
                        return;
                    }
                    // Below what one connection may ask for: it is the rate of orders that refuses.
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
    });
    sent.into_inner().expect("no panics while held")
}

#[test]
fn ten_times_what_is_taken_gets_a_tenth_in_every_cancel_through_and_loses_nothing() {
    let mut world = World::start();
    let node = open_node(&mut world, vec![format!("ingress.orders_per_second={ORDERS_PER_SECOND}")]);
    let traders: Vec<Trader> = (0..=FLOODING as u64).map(|n| Trader::new(0x0f1e_0100 + n, &world.genesis)).collect();
    world.fund(&node, &traders, &[("USDC", "10000")]);
    let (quiet, flooding) = traders.split_last().expect("some");
    let incident = node.status()["incident"].clone();
    let resting: Vec<String> = (2..5)
        .map(|nonce| {
            let (request, hash) = bid(quiet, nonce);
            wait_for("the rate to have room", PATIENCE, || match node.call("trade_placeOrder", request.clone()) {
                Ack::Done(_) => Some(()),
                refused => {
                    assert_eq!(code(&refused), Some(OVERLOADED), "{refused:?}");
                    None
                }
            });
            hash
        })
        .collect();

    let over = AtomicBool::new(false);
    let (sent, cancels) = std::thread::scope(|scope| {
        let cancelling = scope.spawn(|| {
            let mut took = vec![];
            for nonce in 100.. {
                // The first three name an order, the others whatever is open.
                let (kind, method, fields) = match resting.get(took.len()) {
                    Some(hash) => (MessageKind::CancelOrder, "trade_cancelOrder", json!({ "order": hash })),
                    None => (MessageKind::CancelAll, "trade_cancelAll", json!({ "market": "ALL" })),
                };
                let request = quiet.sign(kind, nonce, fields).0;
                let asked = Instant::now();
                node.call(method, request).done();
                took.push(asked.elapsed());
                if over.load(Ordering::Acquire) && took.len() > resting.len() {
                    return took;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            unreachable!("nonces do not end")
        });
        let sent = flood(&node, flooding, 10);
        over.store(true, Ordering::Release);
        (sent, cancelling.join().expect("every cancel is taken"))
    });

    let admitted: Vec<&Sent> = sent.iter().filter(|sent| matches!(sent.ack, Ack::Done(_))).collect();
    let overloaded: Vec<&Sent> = sent.iter().filter(|sent| code(&sent.ack) == Some(OVERLOADED)).collect();
    println!(
        "{} orders, {} admitted, {} refused for load; {} cancels, the slowest {:?}",
        sent.len(),
        admitted.len(),
        overloaded.len(),
        cancels.len(),
        cancels.iter().max()
    );
    assert_eq!(admitted.len() + overloaded.len(), sent.len(), "every order has one of two answers");
    assert!(!admitted.is_empty() && overloaded.len() >= 9 * admitted.len(), "it was no flood, or nobody got in");
    let status = node.status();
    assert_eq!((&status["phase"], &status["incident"]), (&json!("OPEN"), &incident), "an overload is no loss: {status}");

    // Nothing that was acknowledged is lost, and nothing that was refused left a trace: not even its nonce is used.
    assert_eq!(number(&status["openOrders"]) as usize, admitted.len());
    for sent in &admitted {
        let told = order(&node, &flooding[sent.trader], &sent.hash).done();
        assert_eq!(told["state"], "OPEN", "{told}");
    }
    for hash in &resting {
        assert_eq!(order(&node, quiet, hash).done()["state"], "CANCELLED");
    }
    for sent in overloaded.iter().step_by(20) {
        let told = order(&node, &flooding[sent.trader], &sent.hash);
        assert!(format!("{told:?}").contains("UNKNOWN_ORDER"), "{told:?}");
    }
    let again = overloaded.last().expect("there are some");
    wait_for("the same message to be taken", PATIENCE, || match node.call("trade_placeOrder", again.request.clone()) {
        Ack::Done(answer) => {
            assert_eq!(answer["replayed"], false, "{answer}");
            Some(())
        }
        refused => {
            assert_eq!(code(&refused), Some(OVERLOADED), "{refused:?}");
            None
        }
    });
    assert_eq!(order(&node, &flooding[again.trader], &again.hash).done()["state"], "OPEN");
}

#[test]
fn tokens_that_strangers_send_to_the_escrow_keep_nothing_closed() {
    let mut world = World::start();
    let mut node = open_node(&mut world, vec![]);
    let trader = funded(&world, &node, 0x0f1e_0004, &[("USDC", "1000")]);
    let l1 = |address: L1Address| L1Account::from_word(address.0.to_bytes_be().into());
    let bridge = l1(world.genesis.settlement.bridge);
    // Anvil's tenth account, which has nothing to do with the chain.
    let stranger = "0xa0ee7a142d267c1f36714e4a8f75612f20a79720";
    for asset in &world.genesis.assets {
        let data = Bytes::from(TestToken::mintCall { to: bridge, amount: U256::from(7) }.abi_encode());
        let sent = json!([{ "from": stranger, "to": l1(asset.token), "data": data, "gas": "0x4c4b40" }]);
        let hash = world.l1_call("eth_sendTransaction", sent).done();
        let receipt = wait_for("a receipt", PATIENCE, || {
            Some(world.l1_call("eth_getTransactionReceipt", json!([hash])).done()).filter(Value::is_object)
        });
        assert_eq!(receipt["status"], "0x1", "{receipt}");
    }
    world.l1_call("anvil_setBalance", json!([bridge, "0xde0b6b3a7640000"])).done();

    node.process.kill();
    let node = world.node(&NodeOptions { name: "node".into(), sets: vec![] });
    assert_ne!(node.status()["phase"], "OPEN", "an unclean stop passes the gate");
    world.publish_to(&node);
    node.wait_for_phase("OPEN", PATIENCE);
    let told = node.call("node_getIncident", json!({ "incident": node.status()["incident"] })).done();
    assert_eq!(told["reasons"], json!(["RESTART"]), "{told}");
    assert!(told["gate"].as_array().is_some_and(|gate| gate.iter().all(|said| said["outcome"] != "BROKEN")), "{told}");
    let checks = told["report"]["checks"].to_string();
    assert!(checks.contains("escrow"), "{checks}");
    assert_eq!(total(&node, trader.account, "USDC").as_deref(), Some("1000"));
}
