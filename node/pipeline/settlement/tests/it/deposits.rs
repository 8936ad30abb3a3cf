use crate::world::{DEPLOYER, World, eth, message};
use alloy::eips::BlockId;
use alloy::primitives::U256;
use alloy::providers::Provider;
use alloy::signers::local::PrivateKeySigner;
use keel_contracts::ethereum::{AppchainCore, Bridge, HANDLE_DEPOSIT_SELECTOR, word};
use keel_settlement::ethereum::dev::{Funded, fund};
use keel_settlement::{Cancellation, DepositState, Handle};
use keel_types::*;

const RECIPIENT: Address = Address(Felt::from_hex_unchecked("0x1234"));
const USDC: AssetId = AssetId(0);

async fn send(world: &World, amount: u128) -> Funded {
    fund(&world.anvil.url, &world.genesis, &world.depositor, USDC, amount, RECIPIENT).await.unwrap()
}

fn pending(node: &Handle, deposit: &Funded) -> Option<u64> {
    node.pending_deposit(deposit.message_nonce).map(|pending| pending.depth)
}

fn nonces(world: &World) -> Vec<u64> {
    world.received.lock().unwrap().deposits().iter().map(|deposit| deposit.message_nonce).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_is_pending_until_it_is_deep_then_handed_over_once() {
    let Some(world) = World::new("a_deposit_is_pending_until_it_is_deep_then_handed_over_once", 5, 2).await else { return };
    let node = world.start();
    let sent = send(&world, 2_500_000).await;
    world.anvil.freeze().await;
    let head = world.l1().head().await.unwrap();
    if head < sent.l1_block + 5 {
        world.until("the deposit to be pending", || pending(&node, &sent) == Some(head - sent.l1_block)).await;
        assert!(nonces(&world).is_empty());
    }
    world.anvil.resume();
    world.until("the deposit", || nonces(&world) == [0]).await;
    let deposit = world.received.lock().unwrap().deposits()[0];
    assert_eq!((deposit.amount, deposit.recipient, deposit.token), (2_500_000, RECIPIENT, world.genesis.assets[0].token));
    assert_eq!(deposit.l1_block, sent.l1_block);
    assert!(deposit.depth >= 5);
    let waits = message(&world.l1(), deposit.message_hash).await.waits;
    assert!(waits, "its hash is the key of the message on the contract");
    world.until("the list of pending deposits to be empty", || pending(&node, &sent).is_none()).await;
    node.stop();

    // A new process reads everything again and hands over nothing again; a journal that was lost would get it again.
    let node = world.start();
    let second = send(&world, 7).await;
    world.until("the second deposit", || nonces(&world) == [0, second.message_nonce]).await;
    node.stop();
    *world.received.lock().unwrap() = Default::default();
    let node = world.start();
    world.until("both again, in order", || nonces(&world) == [0, second.message_nonce]).await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_deposit_that_a_reorganisation_removes_is_never_handed_over() {
    let Some(world) = World::new("a_pending_deposit_that_a_reorganisation_removes_is_never_handed_over", 200, 2).await
    else {
        return;
    };
    let node = world.start();
    let lost = send(&world, 1_000).await;
    world.until("the deposit to be pending", || pending(&node, &lost).is_some()).await;
    world.anvil.freeze().await;
    let head = world.l1().head().await.unwrap();
    world.anvil.reorganise(head - lost.l1_block + 1).await;
    world.until("the deposit to be gone", || pending(&node, &lost).is_none()).await;
    // Its nonce comes again with another message.
    world.anvil.resume();
    let kept = send(&world, 2_000).await;
    assert_eq!(kept.message_nonce, lost.message_nonce);
    world.anvil.mine(210).await;
    world.until("the other deposit", || !nonces(&world).is_empty()).await;
    let deposits = world.received.lock().unwrap().deposits();
    let amounts: Vec<_> = deposits.iter().map(|deposit| deposit.amount).collect();
    assert_eq!((amounts, world.losses()), (vec![2_000], vec![]));
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_deposit_that_a_reorganisation_removes_is_a_loss() {
    let Some(world) = World::new("a_final_deposit_that_a_reorganisation_removes_is_a_loss", 2, 2).await else { return };
    let node = world.start();
    let sent = send(&world, 1_000).await;
    world.until("the deposit", || nonces(&world) == [0]).await;
    world.anvil.freeze().await;
    let head = world.l1().head().await.unwrap();
    world.anvil.reorganise(head - sent.l1_block + 1).await;
    world.anvil.mine(3).await;
    world.until("the loss", || world.losses() == [LossReason::SettlementReorg]).await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_direct_message_credits_nothing() {
    let Some(world) = World::new("a_forged_direct_message_credits_nothing", 2, 2).await else { return };
    let node = world.start();
    let core = AppchainCore::new(eth(world.genesis.settlement.core), world.anvil.provider.clone());
    // To the letter what the bridge sends, but by somebody else and without money.
    let payload = vec![word(world.genesis.assets[0].token.0), word(RECIPIENT.0), U256::from(1_000_000)];
    let call = core.sendMessageToL2(word(world.genesis.exchange.0), HANDLE_DEPOSIT_SELECTOR, payload);
    let request = call.from(world.depositor.address()).value(U256::from(1)).gas(500_000).into_transaction_request();
    let sent = world.anvil.provider.send_transaction(request).await.unwrap();
    assert!(sent.get_receipt().await.unwrap().status());
    let real = send(&world, 5).await;
    assert_eq!(real.message_nonce, 1, "the forged message took nonce 0");
    world.until("the real deposit", || !nonces(&world).is_empty()).await;
    world.anvil.mine(20).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(nonces(&world), [1]);
    assert_eq!(node.deposit(0), None);
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_started_on_a_consumed_deposit_is_told_with_its_deadline_as_long_as_it_stands() {
    let test = "a_cancellation_started_on_a_consumed_deposit_is_told_with_its_deadline_as_long_as_it_stands";
    let Some(world) = World::new(test, 2, 4).await else { return };
    let node = world.start();
    let (kept, other) = (send(&world, 1_000).await, send(&world, 2_000).await);
    world.until("both deposits", || nonces(&world) == [kept.message_nonce, other.message_nonce]).await;
    assert_eq!(node.cancellations(), []);
    world.anvil.freeze().await;
    start_cancellation(&world, kept.message_nonce).await;
    world.until("the alert", || !node.cancellations().is_empty()).await;
    let found = node.cancellations();
    let head = world.anvil.provider.get_block(BlockId::latest()).await.unwrap().unwrap().header.timestamp;
    let five_days = 5 * 24 * 3_600_000;
    let expected = Cancellation {
        message_nonce: kept.message_nonce,
        started: Ts::from_ms(head * 1_000),
        deadline: Ts::from_ms(head * 1_000 + five_days),
    };
    assert_eq!(found, [expected]);
    assert!(
        !expected.is_due(expected.started.plus_ms(five_days / 2 - 1))
            && expected.is_due(expected.started.plus_ms(five_days / 2))
    );
    // The owner shortens the delay: what was started keeps its deadline.
    let owner = DEPLOYER.parse::<PrivateKeySigner>().unwrap().address();
    let core = AppchainCore::new(eth(world.genesis.settlement.core), world.anvil.provider.clone());
    let shorter = core.setMessageCancellationDelay(U256::from(1)).from(owner);
    let request = shorter.gas(100_000).into_transaction_request();
    let sent = world.anvil.provider.send_transaction(request).await.unwrap();
    world.anvil.mine(1).await;
    assert!(sent.get_receipt().await.unwrap().status());
    let hash = world.received.lock().unwrap().deposits()[0].message_hash;
    let message = message(&world.l1(), hash).await;
    assert_eq!(message.cancellation.unwrap().allowed_at * 1_000, expected.deadline.ms());
    assert_eq!(node.cancellations(), [expected]);
    // Its block is replaced: nobody takes anything back.
    world.anvil.reorganise(2).await;
    world.until("the alert to be over", || node.cancellations().is_empty()).await;
    node.stop();
}

async fn start_cancellation(world: &World, nonce: u64) {
    let bridge = Bridge::new(eth(world.genesis.settlement.bridge), world.anvil.provider.clone());
    let start = bridge.startDepositCancellation(U256::from(nonce));
    let request = start.from(world.depositor.address()).gas(500_000).into_transaction_request();
    let sent = world.anvil.provider.send_transaction(request).await.unwrap();
    world.anvil.mine(1).await;
    assert!(sent.get_receipt().await.unwrap().status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_whose_cancellation_was_started_is_not_consumed() {
    let Some(world) = World::new("a_deposit_whose_cancellation_was_started_is_not_consumed", 2, 2).await else { return };
    let cancelled = send(&world, 1_000).await;
    start_cancellation(&world, cancelled.message_nonce).await;
    let too_much = send(&world, 1_000_000_000_001).await;
    let good = send(&world, 5).await;
    let node = world.start();
    world.until("the good deposit", || nonces(&world) == [good.message_nonce]).await;
    for (nonce, why) in [(cancelled.message_nonce, "cancellation"), (too_much.message_nonce, "limit")] {
        let state = node.deposit(nonce);
        assert!(matches!(&state, Some(DepositState::Refused(text)) if text.contains(why)), "{state:?}");
        assert_eq!(node.pending_deposit(nonce), None);
    }
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_comes_while_halted_is_offered_again_until_it_is_credited() {
    let Some(world) = World::new("a_deposit_that_comes_while_halted_is_offered_again_until_it_is_credited", 2, 2).await
    else {
        return;
    };
    world.received.lock().unwrap().halted = true;
    let node = world.start();
    let (first, second) = (send(&world, 1).await, send(&world, 2).await);
    world.until("two offers", || nonces(&world) == [first.message_nonce; 2]).await;
    assert!(pending(&node, &first).is_some() && pending(&node, &second).is_some());
    world.received.lock().unwrap().halted = false;
    world.until("both", || world.received.lock().unwrap().consumed.len() == 2).await;
    // In order, and at one offer a second.
    assert_eq!(nonces(&world), [first.message_nonce, first.message_nonce, first.message_nonce, second.message_nonce]);
    node.stop();
}
