//! Several endpoints: a quorum of them is the settlement layer.

use crate::anvil::Anvil;
use crate::proxy::{Fate, Proxy};
use crate::world::World;
use keel_settlement::ethereum::dev::fund;
use keel_settlement::{Note, SubmitterState, check};
use keel_store::BatchStatus;
use keel_types::*;
use serde_json::{Value, json};
use std::time::Duration;

const RECIPIENT: Address = Address(Felt::from_hex_unchecked("0x1234"));
const USDC: AssetId = AssetId(0);
/// How the node asks for the newest block.
const NEWEST: &str = "eth_getBlockByNumber latest";
const MOST: &str = "0xffffffffffffffffffffffffffffffff";

async fn deposit(world: &World, amount: u128) -> u64 {
    fund(&world.anvil.url, &world.genesis, &world.depositor, USDC, amount, RECIPIENT).await.unwrap().message_nonce
}

fn credited(world: &World) -> Vec<(u64, u128)> {
    world.received.lock().unwrap().deposits().iter().map(|deposit| (deposit.message_nonce, deposit.amount)).collect()
}

/// A world whose node reads by three endpoints of one anvil, each of which can be told to misbehave.
async fn three(test: &str) -> Option<(World, [Proxy; 3])> {
    let mut world = World::new(test, 2, 2).await?;
    let proxies =
        [Proxy::start(&world.anvil.url).await, Proxy::start(&world.anvil.url).await, Proxy::start(&world.anvil.url).await];
    world.config.endpoints = proxies.iter().map(|proxy| proxy.url.clone()).collect();
    Some((world, proxies))
}

/// Changes the answers to `asked`: a method, and perhaps what its parameters hold.
fn lie(asked: &'static str, change: fn(&mut Value)) -> impl FnMut(&str, &Value) -> Fate + Send + 'static {
    let (lied, holds) = asked.split_once(' ').unwrap_or((asked, ""));
    move |method, params| match method == lied && params.to_string().contains(holds) {
        true => Fate::answer(move |mut answer| {
            change(&mut answer["result"]);
            answer
        }),
        false => Fate::Pass,
    }
}

/// What one of three may do wrong without stopping or fooling the node.
#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_of_three_that_lags_lies_or_is_mute_changes_nothing() {
    let Some((world, proxies)) = three("one_endpoint_of_three_that_lags_lies_or_is_mute_changes_nothing").await else {
        return;
    };
    let node = world.start();
    type Lie = (&'static str, &'static str, fn(&mut Value));
    let lies: &[Lie] = &[
        ("is honest", "none", |_| {}),
        ("invents a deposit", "eth_getLogs", |logs| {
            for log in logs.as_array_mut().unwrap() {
                log["data"] = log["data"].as_str().unwrap().replace('1', "2").into();
            }
        }),
        ("hides every event", "eth_getLogs", |logs| *logs = json!([])),
        ("shows another chain", "eth_getBlockByNumber", |block| {
            block["hash"] = format!("0x{}", "ab".repeat(32)).into();
        }),
        ("stands at block 0", NEWEST, |block| block["number"] = "0x0".into()),
        ("is far ahead", NEWEST, |block| block["number"] = "0xffffffffff".into()),
        ("has no newest block", NEWEST, |block| *block = Value::Null),
        ("says that every message was cancelled", "eth_call", |word| *word = format!("0x{}", "0".repeat(64)).into()),
        ("says that nothing was ever sent", "eth_getTransactionCount", |count| *count = "0x0".into()),
        ("wants all the gas there is", "eth_estimateGas", |gas| *gas = "0xffffffffffffffff".into()),
        ("wants no gas", "eth_estimateGas", |gas| *gas = "0x0".into()),
        ("asks a tip of all the ether there is", "eth_maxPriorityFeePerGas", |tip| *tip = MOST.into()),
        ("asks no tip", "eth_maxPriorityFeePerGas", |tip| *tip = "0x0".into()),
        ("names a base fee that nobody can double", "eth_getBlockByNumber", |block| block["baseFeePerGas"] = MOST.into()),
        ("names no base fee", "eth_getBlockByNumber", |block| block["baseFeePerGas"] = "0x0".into()),
        ("says that every transaction failed", "eth_getTransactionReceipt", |receipt| {
            if receipt.is_object() {
                receipt["status"] = "0x0".into();
            }
        }),
    ];
    let mut amounts = vec![];
    for (round, (name, method, change)) in lies.iter().enumerate() {
        proxies[round % 3].judge(lie(method, *change));
        amounts.push((deposit(&world, 1_000 + round as u128).await, 1_000 + round as u128));
        world.chain.grow(2, 0);
        world.until(&format!("the deposit while one {name}"), || credited(&world).len() > round).await;
        world.until_batch(round as u64, BatchStatus::Confirmed).await;
        proxies[round % 3].pass();
    }
    // Two endpoints answer and one hangs, then one is dead.
    for (round, fate) in [(|| Fate::Lost) as fn() -> Fate, || Fate::AnswerLost].into_iter().enumerate() {
        proxies[1].judge(move |_, _| fate());
        let round = lies.len() + round;
        amounts.push((deposit(&world, 1_000 + round as u128).await, 1_000 + round as u128));
        world.chain.grow(2, 0);
        world.until("the deposit while one is mute", || credited(&world).len() > round).await;
        world.until_batch(round as u64, BatchStatus::Confirmed).await;
    }
    assert_eq!(credited(&world), amounts);
    assert_eq!(world.losses(), []);
    node.stop();
}

/// One that never advances, and one that is honest and slow: the third has nobody to agree with before the slow one is heard.
#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_behind_and_a_slow_one_do_not_make_the_head_stand_still() {
    let test = "one_endpoint_behind_and_a_slow_one_do_not_make_the_head_stand_still";
    let Some((world, proxies)) = three(test).await else { return };
    let stuck = world.l1().head().await.unwrap();
    proxies[0].judge(move |method, params| match method == "eth_getBlockByNumber" && params[0] == "latest" {
        true => Fate::answer(move |mut answer| {
            answer["result"]["number"] = format!("{stuck:#x}").into();
            answer
        }),
        false => Fate::Pass,
    });
    proxies[1].judge(|_, _| Fate::Slow(Duration::from_millis(600)));
    let node = world.start();
    world.until("a head that advances", || node.health().head.is_some_and(|head| head > stuck + 20)).await;
    world.until("a head that advances again", || node.health().head.is_some_and(|head| head > stuck + 60)).await;
    world.chain.grow(2, 0);
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
}

/// What waits is found again by what a quorum says of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_waits_is_taken_up_by_a_node_with_a_lying_endpoint() {
    let test = "a_transaction_that_waits_is_taken_up_by_a_node_with_a_lying_endpoint";
    let Some((world, proxies)) = three(test).await else { return };
    proxies[0].judge(lie("eth_getTransactionByHash", |transaction| {
        if transaction.is_object() {
            transaction["maxFeePerGas"] = MOST.into();
            transaction["maxPriorityFeePerGas"] = MOST.into();
        }
    }));
    world.chain.grow(2, 0);
    world.anvil.freeze().await;
    let node = world.start();
    world.until_state(&node, |state| matches!(state, SubmitterState::Attesting { .. })).await;
    world.until_waiting().await;
    world.anvil.mine(1).await;
    world.until_batch(0, BatchStatus::Submitted).await;
    world.until_waiting().await;
    node.stop();
    let sent = Note::of(&world.chain.store.batch_header(BatchId(0)).unwrap().unwrap()).submit_tx;
    let node = world.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.anvil.waiting().await, 1, "one nonce, one transaction");
    world.anvil.resume();
    world.until_batch(0, BatchStatus::Confirmed).await;
    assert_eq!(node.submission(BatchId(0)).map(|found| found.l1_tx_hash), sent);
    node.stop();
}

/// A single endpoint is believed, and still no number of it ends the settler.
#[tokio::test(flavor = "multi_thread")]
async fn a_price_beyond_all_bounds_is_a_state_of_the_submitter_until_it_passes() {
    let test = "a_price_beyond_all_bounds_is_a_state_of_the_submitter_until_it_passes";
    let Some(mut world) = World::new(test, 3, 2).await else { return };
    let proxy = Proxy::start(&world.anvil.url).await;
    world.config.endpoints = vec![proxy.url.clone()];
    for (batch, (asked, change)) in [
        ("eth_maxPriorityFeePerGas", (|tip| *tip = MOST.into()) as fn(&mut Value)),
        (NEWEST, |block| block["baseFeePerGas"] = MOST.into()),
    ]
    .into_iter()
    .enumerate()
    {
        proxy.judge(lie(asked, change));
        world.chain.grow(2, 0);
        let node = world.start();
        world.until_state(&node, |state| matches!(state, SubmitterState::Failing(why) if why.contains("gas costs"))).await;
        assert_eq!(world.submitted().await, 2 * batch as u64, "{asked}");
        proxy.pass();
        world.until_batch(batch as u64, BatchStatus::Confirmed).await;
        node.stop();
    }
}

/// Two of three lie, each in its own way, or are gone: there is no quorum for anything.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_nothing_is_journaled_or_confirmed_and_the_head_ages() {
    let Some((world, proxies)) = three("without_a_quorum_nothing_is_journaled_or_confirmed_and_the_head_ages").await else {
        return;
    };
    let node = world.start();
    world.until("a head", || node.health().head.is_some()).await;
    for (proxy, other) in proxies.iter().zip(["aa", "bb"]) {
        proxy.judge(move |method, _| match method {
            "eth_getBlockByNumber" => Fate::answer(move |mut answer| {
                answer["result"]["hash"] = format!("0x{}", other.repeat(32)).into();
                answer
            }),
            _ => Fate::Pass,
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    deposit(&world, 77).await;
    world.chain.grow(2, 0);
    world.until("the head to age", || node.health().head_age_ms() >= 800).await;
    world.until_state(&node, |state| matches!(state, SubmitterState::Failing(why) if why.contains("endpoints agree"))).await;
    assert_eq!(credited(&world), []);
    assert!(world.status_of(0) <= Some(BatchStatus::Built));
    proxies.iter().for_each(Proxy::pass);
    world.until_batch(0, BatchStatus::Confirmed).await;
    world.until("the deposit", || credited(&world) == [(0, 77)]).await;
    assert_eq!(world.losses(), []);
    node.stop();
}

/// The endpoints are of two chains that part: what only one of them has is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn two_endpoints_of_two_chains_have_no_head_between_them() {
    let test = "two_endpoints_of_two_chains_have_no_head_between_them";
    let Some(mut world) = World::new(test, 2, 2).await else { return };
    let Some(other) = Anvil::start(test).await else { return };
    world.config.endpoints = vec![world.anvil.url.clone(), other.url.clone()];
    let node = world.start();
    deposit(&world, 5).await;
    world.until("the head to be missed", || node.health().head_age_ms() >= 800).await;
    // Two anvils of the same second begin with the same blocks: that much they agree on, and no more.
    let ends = shared_blocks(&world.anvil, &other).await;
    let head = node.health().head;
    assert!(head.is_none_or(|head| head < ends), "{head:?}, and the chains part at {ends}");
    assert_eq!(credited(&world), vec![]);
    assert!(check(&world.config, &world.genesis).await.unwrap_err().is_transient());
    node.stop();
}

/// The first block in which the chains differ.
async fn shared_blocks(one: &Anvil, other: &Anvil) -> u64 {
    for number in 0.. {
        let at = json!([format!("{number:#x}"), false]);
        let (one, other) = (one.request("eth_getBlockByNumber", at.clone()), other.request("eth_getBlockByNumber", at));
        if one.await["hash"] != other.await["hash"] {
            return number;
        }
    }
    unreachable!("chains are finite")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_that_is_no_majority_is_refused() {
    let Some(mut world) = World::new("a_quorum_that_is_no_majority_is_refused", 2, 2).await else { return };
    for (endpoints, quorum) in [(0, 0), (1, 2), (2, 1), (3, 1), (4, 2)] {
        world.config.endpoints = vec![world.anvil.url.clone(); endpoints];
        world.config.quorum = quorum;
        let error = check(&world.config, &world.genesis).await.unwrap_err();
        assert!(error.to_string().contains("no majority"), "{quorum} of {endpoints}: {error}");
    }
    world.config.endpoints = vec![world.anvil.url.clone(); 3];
    world.config.quorum = 3;
    check(&world.config, &world.genesis).await.unwrap();
}
