use crate::proxy::{Fate, Proxy};
use crate::world::World;
use alloy::primitives::U256;
use keel_settlement::ethereum::Keys;
use keel_settlement::{CheckError, SettlementKeys, SubmitterState, check};
use keel_store::BatchStatus;
use keel_types::*;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const GWEI: u64 = 1_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_head_ages_when_the_settlement_layer_stands_still_or_dies() {
    let Some(mut world) = World::new("the_head_ages_when_the_settlement_layer_stands_still_or_dies", 3, 2).await else {
        return;
    };
    let node = world.start();
    world.until("a head", || node.health().head.is_some()).await;
    world.anvil.freeze().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(node.health().head_age_ms() >= 400, "{:?}", node.health());
    world.anvil.resume();
    world.until("the head to move again", || node.health().head_age_ms() < 200).await;
    world.anvil.kill();
    world.until("the head to age", || node.health().head_age_ms() >= 500).await;
    world.until_state(&node, |state| matches!(state, SubmitterState::Failing(_))).await;
    assert_eq!(world.losses(), [], "that a head is stale is the guard's judgement");
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_of_another_chain_and_keys_without_a_role_are_refused_by_name() {
    let Some(mut world) = World::new("contracts_of_another_chain_and_keys_without_a_role_are_refused_by_name", 3, 2).await
    else {
        return;
    };
    check(&world.config, &world.genesis).await.unwrap();
    type Change = fn(&mut Genesis);
    let cases: &[(&str, Change)] = &[
        ("programHash", |genesis| genesis.rules_version = 2),
        ("configHash", |genesis| genesis.fee_token = Address(Felt::from(1))),
        ("the chain id", |genesis| {
            genesis.settlement.layer = SettlementLayer::Ethereum { chain_id: 1, data: DataForm::Calldata }
        }),
        ("the core contract", |genesis| genesis.settlement.core = L1Address::ethereum([9; 20])),
        ("the bridge's exchange", |genesis| genesis.exchange = Address(Felt::from(1))),
        ("the fact registry", |genesis| genesis.settlement.registry = genesis.assets[0].token),
        ("a token of the bridge", |genesis| genesis.assets[1].token = L1Address::ethereum([8; 20])),
    ];
    for (name, change) in cases {
        let mut genesis = (*world.genesis).clone();
        change(&mut genesis);
        let error = check(&world.config, &Arc::new(genesis)).await.unwrap_err();
        let (CheckError::Differs { what, .. } | CheckError::Missing { what, .. }) = &error else {
            panic!("{name}: {error}")
        };
        assert_eq!(what, name, "{error}");
        assert!(!error.is_transient());
    }
    let nobody = "0x1111111111111111111111111111111111111111111111111111111111111111";
    let keys = |submitter: &str, attestor: &str| SettlementKeys::Ethereum(Keys::parse(submitter, attestor).unwrap());
    let submitter = format!("0x{}", alloy::hex::encode(world.keys.submitter.to_bytes()));
    for (role, wrong) in [("submitter", keys(nobody, nobody)), ("attestor", keys(&submitter, nobody))] {
        world.config.keys = wrong;
        let error = check(&world.config, &world.genesis).await.unwrap_err();
        assert!(matches!(&error, CheckError::NotAllowed { role: found, .. } if *found == role), "{role}: {error}");
    }
    world.anvil.kill();
    assert!(check(&world.config, &world.genesis).await.unwrap_err().is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitter_without_funds_says_so_and_goes_on_when_it_is_paid() {
    let Some(world) = World::new("a_submitter_without_funds_says_so_and_goes_on_when_it_is_paid", 3, 2).await else {
        return;
    };
    let submitter = world.keys.submitter.address();
    world.anvil.request("anvil_setBalance", json!([submitter, U256::ZERO])).await;
    world.chain.grow(2, 0);
    let node = world.start();
    world.until_state(&node, |state| *state == SubmitterState::OutOfFunds).await;
    assert_eq!(node.status().submitter.to_string(), "out of funds");
    world.anvil.request("anvil_setBalance", json!([submitter, U256::from(10).pow(U256::from(18))])).await;
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
}

/// Fee and hash of what waits in the pool.
async fn waiting(world: &World) -> Option<(u128, String)> {
    let content = world.anvil.request("txpool_content", json!([])).await;
    let mine = content["pending"].as_object().unwrap().values().next()?.as_object()?.values().next()?.clone();
    let fee = mine["maxFeePerGas"].as_str()?.trim_start_matches("0x").to_owned();
    Some((u128::from_str_radix(&fee, 16).ok()?, mine["hash"].as_str()?.to_owned()))
}

/// A market that a test can move: what the endpoint says is the usual tip, wei per gas.
struct Tip(Arc<AtomicU64>);

impl Tip {
    fn of(proxy: &Proxy, sent: Arc<AtomicU64>) -> Tip {
        let tip = Arc::new(AtomicU64::new(GWEI));
        let told = tip.clone();
        proxy.judge(move |method, _| match method {
            "eth_maxPriorityFeePerGas" => {
                let tip = told.load(Ordering::Acquire);
                Fate::answer(move |mut answer| {
                    answer["result"] = format!("{tip:#x}").into();
                    answer
                })
            }
            "eth_sendRawTransaction" => {
                sent.fetch_add(1, Ordering::AcqRel);
                Fate::Pass
            }
            _ => Fate::Pass,
        });
        Tip(tip)
    }

    fn set(&self, tip: u64) {
        self.0.store(tip, Ordering::Release);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_waits_too_long_is_sent_again_and_pays_more_only_if_the_market_asks_more() {
    let test = "a_transaction_that_waits_too_long_is_sent_again_and_pays_more_only_if_the_market_asks_more";
    let Some(mut world) = World::new(test, 3, 2).await else { return };
    let proxy = Proxy::start(&world.anvil.url).await;
    let sent = Arc::new(AtomicU64::new(0));
    let tip = Tip::of(&proxy, sent.clone());
    world.config.endpoints = vec![proxy.url.clone()];
    world.config.replace_after = Duration::from_millis(200);
    world.chain.grow(2, 0);
    world.anvil.freeze().await;
    let node = world.start();
    world.until_waiting().await;
    let first = waiting(&world).await.unwrap();
    let count = sent.load(Ordering::Acquire);
    world.until("it to be sent again", || sent.load(Ordering::Acquire) >= count + 4).await;
    assert_eq!(waiting(&world).await.unwrap(), first, "the market asks no more");
    tip.set(20 * GWEI);
    let mut second = first.clone();
    for _ in 0..1_000 {
        second = waiting(&world).await.unwrap();
        if second != first {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(second.0 > u128::from(20 * GWEI) && second.0 < u128::from(40 * GWEI), "{second:?} after {first:?}");
    let count = sent.load(Ordering::Acquire);
    world.until("it to be sent again", || sent.load(Ordering::Acquire) >= count + 4).await;
    assert_eq!(waiting(&world).await.unwrap(), second, "once");
    assert_eq!(world.anvil.waiting().await, 1, "one nonce, one transaction");
    world.anvil.resume();
    world.until_batch(0, BatchStatus::Confirmed).await;
    assert_eq!(world.submitted().await, 2);
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_dearer_than_the_operator_allows_waits_and_the_status_says_so() {
    let test = "a_transaction_dearer_than_the_operator_allows_waits_and_the_status_says_so";
    let Some(mut world) = World::new(test, 3, 2).await else { return };
    let proxy = Proxy::start(&world.anvil.url).await;
    let tip = Tip::of(&proxy, Arc::default());
    world.config.endpoints = vec![proxy.url.clone()];
    world.config.replace_after = Duration::from_millis(200);
    // Ten million gas at a gwei: enough for any transaction here at the market's price, and for none at a hundred times it.
    world.config.fee_max = 10_000_000 * u128::from(GWEI);
    let too_dear = |state: &SubmitterState| matches!(state, SubmitterState::Failing(why) if why.contains("fee_max"));
    world.chain.grow(2, 0);
    world.anvil.freeze().await;
    tip.set(900 * GWEI);
    let node = world.start();
    world.until_state(&node, too_dear).await;
    assert_eq!(world.anvil.waiting().await, 0, "nothing is sent");
    // The market comes down, and rises again over what waits.
    tip.set(GWEI);
    world.until_waiting().await;
    let first = waiting(&world).await.unwrap();
    tip.set(900 * GWEI);
    world.until_state(&node, too_dear).await;
    assert_eq!(waiting(&world).await.unwrap(), first, "what waits goes on waiting");
    world.anvil.resume();
    world.until_state(&node, too_dear).await;
    tip.set(GWEI);
    world.until_batch(0, BatchStatus::Confirmed).await;
    assert_eq!(world.submitted().await, 2);
    node.stop();
}
