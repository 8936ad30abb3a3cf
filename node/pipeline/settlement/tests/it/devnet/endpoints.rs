//! Several endpoints of one Starknet, and a mempool that holds what the market has left behind.

use super::*;
use crate::proxy::{Fate, Proxy};

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

const NEWEST: &str = "starknet_getBlockWithTxHashes latest";

async fn three(test: &str) -> Option<(World, [Proxy; 3])> {
    let mut world = World::new(test, 2, 2).await?;
    let url = world.devnet.url.clone();
    let proxies = [Proxy::start(&url).await, Proxy::start(&url).await, Proxy::start(&url).await];
    world.config.endpoints = proxies.iter().map(|proxy| proxy.url.clone()).collect();
    Some((world, proxies))
}

/// What one of three may do wrong without stopping or fooling the node.
#[tokio::test(flavor = "multi_thread")]
async fn one_starknet_endpoint_of_three_that_lags_lies_or_is_mute_changes_nothing() {
    let test = "one_starknet_endpoint_of_three_that_lags_lies_or_is_mute_changes_nothing";
    let Some((world, proxies)) = three(test).await else { return };
    let node = world.start();
    type Lie = (&'static str, &'static str, fn(&mut Value));
    let lies: &[Lie] = &[
        ("is honest", "none", |_| {}),
        ("invents a deposit", "starknet_getEvents", |result| {
            for event in result["events"].as_array_mut().unwrap() {
                event["data"][0] = "0x999".into();
            }
        }),
        ("hides every event", "starknet_getEvents", |result| *result = json!({ "events": [] })),
        ("has events without end", "starknet_getEvents", |result| result["continuation_token"] = "more".into()),
        ("shows another chain", "starknet_getBlockWithTxHashes", |block| block["block_hash"] = "0xabab".into()),
        ("stands at block 0", NEWEST, |block| block["block_number"] = 0.into()),
        ("is far ahead", NEWEST, |block| block["block_number"] = u64::MAX.into()),
        ("answers every call with nothing", "starknet_call", |words| {
            words.as_array_mut().into_iter().flatten().for_each(|word| *word = "0x0".into());
        }),
        ("says that nothing was ever sent", "starknet_getNonce", |nonce| *nonce = "0x0".into()),
        ("wants all the money there is", "starknet_estimateFee", |fees| {
            fees[0]["l2_gas_price"] = format!("{:#x}", u128::MAX).into();
        }),
        ("wants no money", "starknet_estimateFee", |fees| {
            fees[0]["l2_gas_price"] = "0x0".into();
            fees[0]["l2_gas_consumed"] = "0x0".into();
        }),
        ("says that every transaction failed", "starknet_getTransactionStatus", |status| {
            if status.is_object() {
                *status =
                    json!({ "finality_status": "ACCEPTED_ON_L2", "execution_status": "REVERTED", "failure_reason": "" });
            }
        }),
    ];
    for (round, (name, asked, change)) in lies.iter().enumerate() {
        proxies[round % 3].judge(lie(asked, *change));
        let sent = world.send(1_000 + round as u128).await;
        world.chain.grow(2, 0);
        world.until(&format!("the deposit while one {name}"), || world.nonces().contains(&sent.message_nonce)).await;
        world.until_batch(round as u64, BatchStatus::Confirmed).await;
        proxies[round % 3].pass();
    }
    // Two endpoints answer and one hangs.
    proxies[1].judge(|_, _| Fate::Lost);
    let round = lies.len();
    world.send(1_000 + round as u128).await;
    world.chain.grow(2, 0);
    world.until("the deposit while one is mute", || world.nonces().len() > round).await;
    world.until_batch(round as u64, BatchStatus::Confirmed).await;
    let amounts: Vec<u128> = world.received.lock().unwrap().deposits().iter().map(|deposit| deposit.amount).collect();
    assert_eq!(amounts, (0..=round as u128).map(|round| 1_000 + round).collect::<Vec<_>>());
    assert_eq!(world.losses(), []);
    node.stop();
}

/// Two of three lie, each in its own way: there is no quorum for anything.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_of_starknet_endpoints_nothing_is_journaled_or_confirmed() {
    let test = "without_a_quorum_of_starknet_endpoints_nothing_is_journaled_or_confirmed";
    let Some((world, proxies)) = three(test).await else { return };
    proxies[0].judge(lie("starknet_getBlockWithTxHashes", |block| block["block_hash"] = "0xaa".into()));
    proxies[1].judge(lie("starknet_getBlockWithTxHashes", |block| block["block_hash"] = "0xbb".into()));
    let node = world.start();
    world.send(77).await;
    world.chain.grow(2, 0);
    let differ = |state: SubmitterState| matches!(state, SubmitterState::Failing(why) if why.contains("endpoints agree"));
    world.until("the endpoints to differ", || differ(node.status().submitter)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((world.nonces(), node.status().head), (vec![], None));
    assert!(world.status_of(0) <= Some(BatchStatus::Built));
    proxies.iter().for_each(Proxy::pass);
    world.until_batch(0, BatchStatus::Confirmed).await;
    world.until("the deposit", || world.nonces() == [0]).await;
    assert_eq!(world.losses(), []);
    node.stop();
}

/// The first transaction waits in the proxy's mempool for ever, as where its price is below the market's; others pass. All that were
/// sent are kept.
fn hold_first(proxy: &Proxy) -> Arc<Mutex<Vec<Value>>> {
    let sent = Arc::new(Mutex::new(Vec::<Value>::new()));
    let all = sent.clone();
    proxy.judge(move |method, params| match method {
        "starknet_addInvokeTransaction" => {
            let transaction = &params["invoke_transaction"];
            let mut all = all.lock().unwrap();
            all.push(transaction.clone());
            match all[0] == *transaction {
                true => Fate::Instead(json!({ "transaction_hash": "0x1" })),
                false => Fate::Pass,
            }
        }
        "starknet_getTransactionStatus" | "starknet_getTransactionByHash" => {
            let (held, hash) = (all.lock().unwrap().first().cloned(), params["transaction_hash"].clone());
            let status = method == "starknet_getTransactionStatus";
            Fate::answer(move |mut answer| {
                // Devnet does not know what the mempool holds.
                if let (Some(mut held), true) = (held, answer.get("error").is_some()) {
                    held["transaction_hash"] = hash;
                    let result = if status { json!({ "finality_status": "RECEIVED" }) } else { held };
                    answer = json!({ "jsonrpc": "2.0", "id": answer["id"], "result": result });
                }
                answer
            })
        }
        _ => Fate::Pass,
    });
    sent
}

fn price(transaction: &Value) -> u128 {
    let price = transaction["resource_bounds"]["l2_gas"]["max_price_per_unit"].as_str().unwrap();
    u128::from_str_radix(price.trim_start_matches("0x"), 16).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starknet_transaction_that_the_market_has_left_behind_is_sent_again_with_higher_bounds_and_the_same_nonce() {
    let test = "a_starknet_transaction_that_the_market_has_left_behind_is_sent_again_with_higher_bounds_and_the_same_nonce";
    let Some(mut world) = World::new(test, 2, 2).await else { return };
    let proxy = Proxy::start(&world.devnet.url).await;
    let sent = hold_first(&proxy);
    world.config.endpoints = vec![proxy.url.clone()];
    world.config.replace_after = Duration::from_secs(1);
    world.chain.grow(2, 0);
    let node = world.start();
    world.until("it to be sent again", || sent.lock().unwrap().len() >= 3).await;
    let first = sent.lock().unwrap()[0].clone();
    assert!(sent.lock().unwrap().iter().all(|again| *again == first), "the market asks no more: the same again");
    let count = sent.lock().unwrap().len();
    let risen = json!({ "l2_gas_price_fri": u64::try_from(4 * price(&first)).unwrap(), "generate_block": true });
    world.devnet.request("devnet_setGasPrice", risen).await;
    world.until("it to be replaced", || sent.lock().unwrap()[count..].iter().any(|again| *again != first)).await;
    let replaced = sent.lock().unwrap()[count..].iter().find(|again| **again != first).unwrap().clone();
    assert_eq!(replaced["nonce"], first["nonce"]);
    assert!(price(&replaced) >= price(&first) * 4, "{} after {}", price(&replaced), price(&first));
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starknet_transaction_dearer_than_the_operator_allows_waits_and_the_status_says_so() {
    let test = "a_starknet_transaction_dearer_than_the_operator_allows_waits_and_the_status_says_so";
    let Some(mut world) = World::new(test, 2, 2).await else { return };
    let generous = std::mem::replace(&mut world.config.fee_max, 1);
    world.chain.grow(2, 0);
    let node = world.start();
    let too_dear = |state: SubmitterState| matches!(state, SubmitterState::Failing(why) if why.contains("fee_max"));
    world.until("the limit to be told", || too_dear(node.status().submitter)).await;
    assert_eq!(world.status_of(0), Some(BatchStatus::Built));
    node.stop();
    world.config.fee_max = generous;
    let node = world.start();
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
}
