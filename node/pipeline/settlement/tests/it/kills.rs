//! The settler killed at each of its steps: no batch is skipped, none is submitted twice. [spec settlement, Batches]
//!
//! A step ends with a request to the settlement layer, or with a word to the engine. Each is cut off twice: before it gets there,
//! and after it got there, before anybody here hears of it.

use crate::proxy::{Fate, Proxy};
use crate::world::World;
use alloy::primitives::{B256, keccak256};
use alloy::sol_types::{SolCall, SolEvent};
use keel_contracts::ethereum::{AppchainCore, AttestationRegistry};
use keel_settlement::SubmitterState;
use keel_store::BatchStatus;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const STATE_UPDATE: B256 = AppchainCore::LogStateUpdate::SIGNATURE_HASH;
const ATTESTED: B256 = AttestationRegistry::FactAttested::SIGNATURE_HASH;

/// Tells a request of a step from all others, by method and what its parameters hold.
struct Step {
    name: &'static str,
    method: &'static str,
    holds: String,
}

fn hex(bytes: &[u8]) -> String {
    alloy::hex::encode(bytes)
}

/// Every step of bringing one batch, in order.
fn steps(world: &World) -> Vec<Step> {
    let topic = hex(STATE_UPDATE.as_slice());
    let selector = |selector: [u8; 4]| hex(&selector);
    let submitter = hex(world.submitter().as_slice());
    let step = |name, method, holds: &str| Step { name, method, holds: holds.to_owned() };
    vec![
        step("where the contract is", "eth_call", &selector(AppchainCore::stateBlockNumberCall::SELECTOR)),
        step("is it attested", "eth_call", &selector(AttestationRegistry::isValidCall::SELECTOR)),
        step("gas of the attestation", "eth_estimateGas", &selector(AttestationRegistry::attestCall::SELECTOR)),
        step("the attestation", "eth_sendRawTransaction", &selector(AttestationRegistry::attestCall::SELECTOR)),
        step("its receipt", "eth_getTransactionReceipt", ""),
        step("the account's nonce", "eth_getTransactionCount", &submitter),
        step("gas of the update", "eth_estimateGas", &world.update_selector()),
        step("the account's balance", "eth_getBalance", &submitter),
        step("the update, its hash noted", "eth_sendRawTransaction", &world.update_selector()),
        step("the updates' events", "eth_getLogs", &topic),
    ]
}

fn matches(step: &Step, method: &str, params: &Value) -> bool {
    method == step.method && params.to_string().to_ascii_lowercase().contains(&step.holds)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settler_killed_at_each_step_skips_no_batch_and_submits_none_twice() {
    let test = "the_settler_killed_at_each_step_skips_no_batch_and_submits_none_twice";
    let Some(mut world) = World::new(test, 3, 2).await else { return };
    let proxy = Proxy::start(&world.anvil.url).await;
    world.config.endpoints = vec![proxy.url.clone()];
    let mut batches = 0;
    for step in steps(&world) {
        for (when, lost) in [("before", true), ("after", false)] {
            world.chain.grow(2, 0);
            let cut = Arc::new(AtomicBool::new(false));
            let (flag, method, holds) = (cut.clone(), step.method, step.holds.clone());
            let step_of = Step { name: step.name, method, holds };
            proxy.judge(move |method, params| {
                // Dead is dead: nothing more gets out of that process.
                if flag.load(Ordering::Acquire) {
                    return Fate::Lost;
                }
                if !matches(&step_of, method, params) {
                    return Fate::Pass;
                }
                flag.store(true, Ordering::Release);
                if lost { Fate::Lost } else { Fate::AnswerLost }
            });
            let node = world.start();
            world.until(&format!("the cut {when}: {}", step.name), || cut.load(Ordering::Acquire)).await;
            // What was let through gets there.
            tokio::time::sleep(Duration::from_millis(50)).await;
            node.stop();
            proxy.pass();
            let node = world.start();
            world.until_batch(batches, BatchStatus::Confirmed).await;
            node.stop();
            batches += 1;
            let updates = world.events(world.genesis.settlement.core, STATE_UPDATE).await;
            assert_eq!(updates as u64, batches, "{when}: {}", step.name);
            println!("killed {when}: {}: batch {} once", step.name, batches - 1);
        }
    }
    gapless(&world, batches).await;
}

/// The engine is told, and dies with the word, or with the answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_settler_killed_while_it_tells_the_engine_tells_it_again_once() {
    let Some(world) = World::new("the_settler_killed_while_it_tells_the_engine_tells_it_again_once", 3, 2).await else {
        return;
    };
    for (batch, journaled) in [(0, false), (1, true)] {
        world.chain.grow(2, 0);
        world.received.lock().unwrap().deaf = Some(journaled);
        let node = world.start();
        world.until("the word to the engine", || world.received.lock().unwrap().unheard > batch).await;
        assert_eq!(world.status_of(batch), Some(BatchStatus::Included));
        node.stop();
        world.received.lock().unwrap().deaf = None;
        let node = world.start();
        world.until_batch(batch, BatchStatus::Confirmed).await;
        node.stop();
    }
    let told: Vec<_> = world.received.lock().unwrap().confirmations().iter().map(|c| c.batch.0).collect();
    assert_eq!(told, [0, 1], "what was journaled is not told again");
    gapless(&world, 2).await;
}

/// Random kills while the mempool holds transactions back and loses them.
#[tokio::test(flavor = "multi_thread")]
async fn random_kills_under_a_mempool_that_holds_and_drops_bring_each_batch_once() {
    let test = "random_kills_under_a_mempool_that_holds_and_drops_bring_each_batch_once";
    let Some(mut world) = World::new(test, 3, 2).await else { return };
    world.config.replace_after = Duration::from_millis(300);
    let batches = 12;
    world.chain.grow(2 * batches, 0);
    // The same moments in every run.
    let mut random = 7u64;
    let mut below = move |limit: u64| {
        random = u64::from_be_bytes(keccak256(random.to_be_bytes())[..8].try_into().unwrap());
        random % limit
    };
    let mut lives = 0;
    while world.status_of(batches - 1) < Some(BatchStatus::Included) {
        assert!(lives < 400, "it does not advance");
        lives += 1;
        let node = world.start();
        match below(4) {
            0 => world.anvil.hold(),
            1 => drop(world.anvil.request("anvil_dropAllTransactions", json!([])).await),
            _ => world.anvil.resume(),
        }
        tokio::time::sleep(Duration::from_millis(20 + below(400))).await;
        node.stop();
    }
    world.anvil.resume();
    let node = world.start();
    world.until_batch(batches - 1, BatchStatus::Confirmed).await;
    world.until_state(&node, |state| *state == SubmitterState::Idle).await;
    node.stop();
    println!("{batches} batches in {lives} lives, {} transactions", world.submitted().await);
    gapless(&world, batches).await;
}

/// Each batch is on the contract once, in order, attested once and confirmed once.
async fn gapless(world: &World, batches: u64) {
    assert_eq!(world.events(world.genesis.settlement.core, STATE_UPDATE).await as u64, batches);
    assert_eq!(world.events(world.genesis.settlement.registry, ATTESTED).await as u64, batches);
    let told: Vec<_> = world.received.lock().unwrap().confirmations().iter().map(|c| c.batch.0).collect();
    assert_eq!(told, (0..batches).collect::<Vec<_>>());
    let last = world.chain.store.header(keel_types::Height(2 * batches - 1)).unwrap().unwrap();
    let cursor = world.l1().cursor().await.unwrap();
    assert_eq!((cursor.height, cursor.root), (Some(last.height()), last.block.state_root));
    assert_eq!(world.losses(), []);
}
