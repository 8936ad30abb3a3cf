use crate::chain::{Chain, felt};
use crate::proxy::{Fate, Proxy};
use crate::world::{DEPLOYER, World, eth};
use alloy::primitives::{B256, U256};
use alloy::providers::Provider;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolEvent};
use keel_batches::{Batch, BatchLimits, Batcher, CloseReason};
use keel_contracts::ethereum::{
    AppchainCore, AttestationRegistry, attestation_digest, attestation_signatures, fact, transition_fact_with_data, word,
};
use keel_settlement::protection::Statement;
use keel_settlement::{L1Error, Refusal, SubmitterState};
use keel_store::BatchStatus;
use keel_types::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const STATE_UPDATE: B256 = AppchainCore::LogStateUpdate::SIGNATURE_HASH;
const ATTESTED: B256 = AttestationRegistry::FactAttested::SIGNATURE_HASH;

#[tokio::test(flavor = "multi_thread")]
async fn three_batches_are_confirmed_and_the_contract_has_our_root() {
    let Some(world) = World::new("three_batches_are_confirmed_and_the_contract_has_our_root", 3, 2).await else { return };
    world.chain.grow(7, 0);
    let node = world.start();
    world.until_batch(2, BatchStatus::Confirmed).await;
    let cursor = world.l1().cursor().await.unwrap();
    let header = world.chain.store.header(Height(5)).unwrap().unwrap();
    assert_eq!((cursor.height, cursor.root, cursor.hash), (Some(Height(5)), header.block.state_root, header.hash));
    let told = world.received.lock().unwrap().confirmations();
    let told: Vec<_> = told.iter().map(|c| (c.batch.0, c.last_block.0, c.root.0)).collect();
    let root = |height: u64| world.chain.store.header(Height(height)).unwrap().unwrap().block.state_root;
    assert_eq!(told, [(0, 1, root(1)), (1, 3, root(3)), (2, 5, root(5))]);
    world.until_state(&node, |state| *state == SubmitterState::Idle).await;
    assert_eq!((world.submitted().await, world.status_of(3)), (6, None));
    // Asked for, the last block is settled too.
    node.close_batch_at(Height(6));
    world.until_batch(3, BatchStatus::Confirmed).await;
    let (_, batch) = Batch::load(&world.chain.store, BatchId(3)).unwrap().unwrap();
    assert_eq!(batch.content.closed, CloseReason::OnDemand);
    let submission = node.submission(BatchId(3)).unwrap();
    assert_eq!(Some(submission.l1_tx_hash), world.received.lock().unwrap().confirmations().last().map(|c| c.l1_tx_hash));
    assert!(submission.l1_block.is_some() && world.losses().is_empty());
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_between_any_two_steps_submit_nothing_twice() {
    let Some(world) = World::new("restarts_between_any_two_steps_submit_nothing_twice", 3, 2).await else { return };
    world.chain.grow(4, 0);
    world.anvil.freeze().await;
    for batch in 0..2 {
        // The attestation waits in no block: the node dies, the next one finds it waiting.
        for life in 0..2 {
            let node = world.start();
            world
                .until_state(&node, |state| {
                    *state == SubmitterState::Attesting { batch: BatchId(batch), gathered: Gathered { have: 1, need: 1 } }
                })
                .await;
            world.until_waiting().await;
            assert_eq!(world.status_of(batch), Some(BatchStatus::Built), "life {life}");
            node.stop();
        }
        world.anvil.mine(1).await;
        // Attested, and nobody was there to note it. The update is sent, and the node dies again, twice.
        for life in 0..2 {
            let node = world.start();
            world.until_batch(batch, BatchStatus::Submitted).await;
            world.until_waiting().await;
            node.stop();
            assert_eq!(world.submitted().await, 2 * batch + 1, "life {life}");
        }
        world.anvil.mine(1).await;
    }
    world.anvil.resume();
    let node = world.start();
    world.until_batch(1, BatchStatus::Confirmed).await;
    world.until_state(&node, |state| *state == SubmitterState::Idle).await;
    node.stop();
    assert_eq!(world.submitted().await, 4);
    assert_eq!(world.anvil.waiting().await, 0);
    assert_eq!(world.events(world.genesis.settlement.core, STATE_UPDATE).await, 2);
    assert_eq!(world.events(world.genesis.settlement.registry, ATTESTED).await, 2);
    assert_eq!(world.received.lock().unwrap().confirmations().len(), 2);
}

/// What refused the update in its block has passed: the same is sent anew, with the next nonce.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_was_reverted_in_its_block_is_sent_anew() {
    let Some(world) = World::new("an_update_that_was_reverted_in_its_block_is_sent_anew", 3, 2).await else { return };
    world.chain.grow(2, 0);
    world.anvil.freeze().await;
    let node = world.start();
    world.until_waiting().await;
    world.anvil.mine(1).await;
    world.until_batch(0, BatchStatus::Submitted).await;
    world.until_waiting().await;
    // A governor's hand comes before it in the block.
    let core = AppchainCore::new(eth(world.genesis.settlement.core), world.anvil.provider.clone());
    let governor = DEPLOYER.parse::<PrivateKeySigner>().unwrap().address();
    let tip = 100_000_000_000;
    let removal = core.unregisterOperator(world.submitter()).from(governor).gas(200_000);
    let removal = removal.max_fee_per_gas(2 * tip).max_priority_fee_per_gas(tip).into_transaction_request();
    let removal = *world.anvil.provider.send_transaction(removal).await.unwrap().tx_hash();
    let receipt = async |hash| world.anvil.provider.get_transaction_receipt(hash).await.unwrap();
    world.anvil.mine(1).await;
    assert!(receipt(removal).await.unwrap().status());
    let update = node.submission(BatchId(0)).unwrap().l1_tx_hash;
    assert!(!receipt(B256::from(update.0)).await.unwrap().status(), "in a block, without effect");
    world.until_state(&node, |state| matches!(state, SubmitterState::Failing(why) if why.contains("ONLY_OPERATOR"))).await;
    let back = core.registerOperator(world.submitter()).from(governor).gas(200_000).into_transaction_request();
    let _ = world.anvil.provider.send_transaction(back).await.unwrap();
    world.anvil.resume();
    world.until_batch(0, BatchStatus::Confirmed).await;
    assert_ne!(node.submission(BatchId(0)).unwrap().l1_tx_hash, update);
    assert_eq!(world.events(world.genesis.settlement.core, STATE_UPDATE).await, 1);
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_is_brought_back_to_the_contracts_batches() {
    let Some(mut world) = World::new("a_lost_store_is_brought_back_to_the_contracts_batches", 3, 2).await else { return };
    world.chain.grow(6, 0);
    let node = world.start();
    world.until_batch(2, BatchStatus::Confirmed).await;
    node.stop();
    // The same blocks, replayed into a new store; limits that would have cut elsewhere.
    world.chain = Chain::new(&world.genesis);
    world.chain.grow(4, 0);
    world.config.limits = BatchLimits { blocks_max: 3, ..world.config.limits };
    let node = world.start();
    world.until_state(&node, |state| *state == SubmitterState::CatchingUp).await;
    assert_eq!(world.status_of(0), None, "batches were cut before the contract was asked");
    world.chain.grow(5, 0);
    world.until_batch(3, BatchStatus::Confirmed).await;
    let ends: Vec<_> = (0..4).map(|id| world.chain.store.batch_header(BatchId(id)).unwrap().unwrap().last_block.0).collect();
    assert_eq!(ends, [1, 3, 5, 8]);
    assert_eq!(world.events(world.genesis.settlement.core, STATE_UPDATE).await, 4);
    let told: Vec<_> = world.received.lock().unwrap().confirmations().iter().map(|c| c.batch.0).collect();
    assert_eq!(told, [0, 1, 2, 3], "what the engine knows is not told again");
    assert_eq!(world.losses(), []);
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_signed_keeps_its_end_when_the_store_is_lost_before_the_contract_has_it() {
    let name = "a_batch_that_was_signed_keeps_its_end_when_the_store_is_lost_before_the_contract_has_it";
    let Some(mut world) = World::new(name, 3, 2).await else { return };
    let submitter = world.submitter();
    let funds = world.anvil.provider.get_balance(submitter).await.unwrap();
    let give = async |world: &World, funds: U256| {
        world.anvil.request("anvil_setBalance", serde_json::json!([submitter, funds])).await;
    };
    give(&world, U256::ZERO).await;
    world.chain.grow(2, 0);
    let node = world.start();
    world.until_state(&node, |state| *state == SubmitterState::OutOfFunds).await;
    node.stop();
    let signed = std::fs::read_to_string(world.signatures.path().join("signed")).unwrap();
    assert!(signed.contains("batch 0 block 1 "), "{signed}");

    // The same blocks, replayed into a new store; limits that would have cut elsewhere.
    world.chain = Chain::new(&world.genesis);
    world.chain.grow(1, 0);
    world.config.limits = BatchLimits { blocks_max: 3, ..world.config.limits };
    let node = world.start();
    world.until_state(&node, |state| *state == SubmitterState::CatchingUp).await;
    world.chain.grow(4, 0);
    world.until("a batch after it", || world.chain.store.batch_header(BatchId(1)).unwrap().is_some()).await;
    node.stop();
    let end =
        |world: &World, batch| world.chain.store.batch_header(BatchId(batch)).unwrap().map(|header| header.last_block.0);
    assert_eq!((end(&world, 0), end(&world, 1)), (Some(1), Some(4)));
    assert!(
        std::fs::read_to_string(world.signatures.path().join("signed"))
            .unwrap()
            .starts_with(signed.split("blake3").next().unwrap())
    );

    // And the file is lost too: nothing is made or signed until an operator states what may have been.
    world.chain = Chain::new(&world.genesis);
    world.chain.grow(5, 0);
    world.config.signatures.folder = world.signatures.path().join("new");
    world.config.signatures.statement = None;
    give(&world, funds).await;
    let node = world.start();
    world.until_state(&node, |state| matches!(state, SubmitterState::Failing(why) if why.contains("--signed-up-to"))).await;
    assert_eq!(end(&world, 0), None);
    node.stop();
    world.config.signatures.statement = Some(Statement(Some(Height(1))));
    let node = world.start();
    // The batch of blocks 0 to 2 ends above what was stated.
    world.until_batch(0, BatchStatus::Confirmed).await;
    assert_eq!(end(&world, 0), Some(2));
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_behind_what_was_confirmed_is_waited_for_where_the_store_was_lost() {
    let name = "a_contract_behind_what_was_confirmed_is_waited_for_where_the_store_was_lost";
    let Some(world) = World::new(name, 3, 2).await else { return };
    world.chain.grow(2, 0);
    // The journal says so; where on the settlement layer it was, the store said.
    world.received.lock().unwrap().confirmed = Some(BatchId(0));
    let node = world.start();
    world.until_state(&node, |state| matches!(state, SubmitterState::Failing(why) if why.contains("behind"))).await;
    assert_eq!((world.losses(), world.submitted().await), (vec![], 0));
    world.received.lock().unwrap().confirmed = None;
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_on_the_contract_that_is_not_ours_stops_submission() {
    let Some(mut world) = World::new("a_root_on_the_contract_that_is_not_ours_stops_submission", 3, 2).await else { return };
    world.chain.grow(2, 0);
    let node = world.start();
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
    let before = world.submitted().await;
    // Another history with the same genesis.
    world.chain = Chain::new(&world.genesis);
    world.chain.grow(6, 1_000);
    let node = world.start();
    world.until_state(&node, |state| matches!(state, SubmitterState::Stopped(_))).await;
    assert_eq!(world.losses(), [LossReason::SettlementMismatch]);
    assert_eq!((world.submitted().await, world.status_of(0)), (before, None));
    node.stop();
}

/// A node that was stopped and goes on answers what waited of the block it makes, and what follows of the block before.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_reading_of_the_contract_is_no_mismatch() {
    let Some(mut world) = World::new("a_torn_reading_of_the_contract_is_no_mismatch", 3, 2).await else { return };
    let proxy = Proxy::start(&world.anvil.url).await;
    world.config.endpoints = vec![proxy.url.clone()];
    let number = alloy::hex::encode(AppchainCore::stateBlockNumberCall::SELECTOR);
    let torn = Arc::new(AtomicBool::new(false));
    let tear = torn.clone();
    world.chain.grow(2, 0);
    let node = world.start();
    world.until_batch(0, BatchStatus::Confirmed).await;
    world.chain.grow(1, 0);
    // Once: the number of a block that we have, with the root and the hash of the one before it.
    proxy.judge(move |method, params| {
        let asked = method == "eth_call" && params[0].to_string().contains(&number);
        if asked && !tear.swap(true, Ordering::SeqCst) {
            return Fate::answer(|mut answer| {
                answer["result"] = serde_json::json!(format!("{:#066x}", 2));
                answer
            });
        }
        Fate::Pass
    });
    world.until("the torn reading", || torn.load(Ordering::SeqCst)).await;
    world.chain.grow(1, 0);
    world.until_batch(1, BatchStatus::Confirmed).await;
    assert_eq!(world.losses(), []);
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_batch_that_is_gone_from_the_contract_is_a_reorg() {
    let Some(world) = World::new("a_confirmed_batch_that_is_gone_from_the_contract_is_a_reorg", 3, 1).await else { return };
    let snapshot = world.anvil.request("evm_snapshot", serde_json::json!([])).await;
    world.chain.grow(2, 0);
    let node = world.start();
    world.until_batch(0, BatchStatus::Confirmed).await;
    world.anvil.freeze().await;
    world.anvil.request("evm_revert", serde_json::json!([snapshot])).await;
    // A chain this short may be a node that lags behind.
    let waits = |state: &SubmitterState| matches!(state, SubmitterState::Failing(why) if why.contains("was confirmed at"));
    world.until_state(&node, waits).await;
    assert_eq!(world.losses(), []);
    world.anvil.resume();
    world.until_state(&node, |state| matches!(state, SubmitterState::Stopped(_))).await;
    assert!(world.losses().contains(&LossReason::SettlementReorg));
    node.stop();
}

/// The update waits behind the attestation's nonce: without it nobody would ever take it into a block.
#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_that_a_reorganisation_took_back_is_sent_again_before_the_update_that_waits_for_it() {
    let test = "an_attestation_that_a_reorganisation_took_back_is_sent_again_before_the_update_that_waits_for_it";
    let Some(mut world) = World::new(test, 3, 2).await else { return };
    // Sending the same again does not help, and shall not seem to.
    world.config.replace_after = Duration::from_secs(3_600);
    let proxy = Proxy::start(&world.anvil.url).await;
    world.config.endpoints = vec![proxy.url.clone()];
    let (hold, selector) = (world.anvil.holder(), world.update_selector());
    let sent = Arc::new(AtomicBool::new(false));
    let flag = sent.clone();
    proxy.judge(move |method, params| {
        if method == "eth_sendRawTransaction" && params.to_string().contains(&selector) && !flag.swap(true, Ordering::AcqRel)
        {
            hold();
        }
        Fate::Pass
    });
    world.chain.grow(2, 0);
    let node = world.start();
    world.until("the update to be sent", || sent.load(Ordering::Acquire)).await;
    world.anvil.freeze().await;
    assert_eq!((world.submitted().await, world.anvil.waiting().await), (1, 1), "the attestation in a block, the update not");
    let filter = alloy::rpc::types::Filter::new().address(eth(world.genesis.settlement.registry)).from_block(0);
    let attested = world.anvil.provider.get_logs(&filter.event_signature(ATTESTED)).await.unwrap()[0].block_number.unwrap();
    let head = world.anvil.provider.get_block_number().await.unwrap();
    world.anvil.reorganise(head - attested + 1).await;
    assert_eq!(world.submitted().await, 0);
    world.anvil.resume();
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganised_batch_goes_back_to_submitted_and_is_brought_again() {
    let Some(world) = World::new("a_reorganised_batch_goes_back_to_submitted_and_is_brought_again", 3, 40).await else {
        return;
    };
    world.chain.grow(2, 0);
    let node = world.start();
    world.until_batch(0, BatchStatus::Included).await;
    world.anvil.freeze().await;
    let included = node.submission(BatchId(0)).unwrap().l1_block.unwrap();
    let head = world.l1().head().await.unwrap();
    // The attestation stays, the update goes.
    world.anvil.reorganise(head - included + 1).await;
    world.until("the batch to be SUBMITTED again", || world.status_of(0) == Some(BatchStatus::Submitted)).await;
    assert_eq!(world.l1().cursor().await.unwrap().height, None);
    assert_eq!(node.submission(BatchId(0)).unwrap().l1_block, None);
    world.anvil.resume();
    world.until_batch(0, BatchStatus::Confirmed).await;
    assert_eq!(world.events(world.genesis.settlement.core, STATE_UPDATE).await, 1);
    assert_eq!(world.received.lock().unwrap().confirmations().len(), 1);
    assert_eq!(world.losses(), []);
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_message_is_not_on_the_contract_is_not_submitted() {
    let Some(world) = World::new("a_batch_whose_message_is_not_on_the_contract_is_not_submitted", 3, 2).await else {
        return;
    };
    world.chain.grow(1, 0);
    let never_sent = world.chain.deposit(5, vec![world.genesis.assets[0].token.0, felt(7), felt(8)]);
    world.chain.grow_with(never_sent);
    let node = world.start();
    world.until_state(&node, |state| matches!(state, SubmitterState::Failing(why) if why.contains("message 5"))).await;
    assert!(world.losses().contains(&LossReason::SettlementReorg));
    assert_eq!((world.submitted().await, world.status_of(0)), (0, Some(BatchStatus::Built)));
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_root_an_unattested_fact_and_a_stranger_are_refused_by_name() {
    let Some(world) = World::new("a_wrong_root_an_unattested_fact_and_a_stranger_are_refused_by_name", 3, 2).await else {
        return;
    };
    world.chain.grow(2, 0);
    let node = world.start();
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
    world.chain.grow(2, 0);
    Batcher::new(world.chain.store.clone(), &world.genesis, world.config.limits).step().unwrap();
    let (_, batch) = Batch::load(&world.chain.store, BatchId(1)).unwrap().unwrap();
    let words = |felts: &[Felt]| felts.iter().copied().map(word).collect::<Vec<U256>>();
    let (output, data) = (words(&batch.output), words(batch.content.data.words()));
    let core = AppchainCore::new(eth(world.genesis.settlement.core), world.anvil.provider.clone());
    let submitter = world.keys.submitter.address();
    let refused = async |output: Vec<U256>, from| {
        let error = core.updateStateWithData(output, data.clone()).from(from).call().await.unwrap_err();
        match L1Error::from(error) {
            L1Error::Refused(refusal) => refusal,
            other => panic!("{other}"),
        }
    };
    assert_eq!(refused(output.clone(), world.depositor.address()).await, Refusal::NotOperator);
    let changed = |index: usize| {
        let mut changed = output.clone();
        changed[index] += U256::from(1);
        changed
    };
    assert_eq!(refused(changed(2), submitter).await, Refusal::PrevBlockNumber);
    assert_eq!(refused(changed(7), submitter).await, Refusal::ConfigHash);
    assert_eq!(refused(changed(1), submitter).await, Refusal::NotAttested);
    for (index, refusal) in [(0, Refusal::PrevRoot), (4, Refusal::PrevBlockHash)] {
        // Even what attestors sign does not pass when it does not follow the contract's own state.
        let output = changed(index);
        attest(&world, fact(batch.content.program_hash, transition_fact_with_data(&output, &data))).await;
        assert_eq!(refused(output, submitter).await, refusal);
    }
}

async fn attest(world: &World, fact: B256) {
    let registry = eth(world.genesis.settlement.registry);
    let digest = attestation_digest(31_337, registry, fact);
    let signature = world.keys.attestor.sign_hash_sync(&digest).unwrap();
    let signatures = attestation_signatures(digest, &[signature]).unwrap();
    let registry = AttestationRegistry::new(registry, world.anvil.provider.clone());
    // From one of anvil's own accounts: anybody may bring signatures.
    let call = registry.attest(fact, signatures).from(world.depositor.address()).gas(500_000);
    let hash = call.into_transaction_request();
    let hash = alloy::providers::Provider::send_transaction(&world.anvil.provider, hash).await.unwrap();
    assert!(hash.get_receipt().await.unwrap().status());
}
