//! A node that comes back after days, and an account that is not ours alone.

use crate::world::World;
use alloy::network::TransactionBuilder;
use alloy::primitives::B256;
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolEvent;
use keel_contracts::ethereum::AppchainCore;
use keel_settlement::ethereum::dev::fund;
use keel_store::BatchStatus;
use keel_types::*;
use std::time::Duration;

const STATE_UPDATE: B256 = AppchainCore::LogStateUpdate::SIGNATURE_HASH;
/// As many as anvil makes in a few seconds.
const BLOCKS_AWAY: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_days_finds_every_deposit_and_settles_every_batch() {
    let test = "a_node_that_was_away_for_days_finds_every_deposit_and_settles_every_batch";
    let Some(world) = World::new(test, 3, 2).await else { return };
    world.chain.grow(2, 0);
    let node = world.start();
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
    let recipient = Address(Felt::from(7));
    let send = async |amount| {
        fund(&world.anvil.url, &world.genesis, &world.depositor, AssetId(0), amount, recipient).await.unwrap();
    };
    // The settlement layer goes on, and so does our chain, which nobody settles.
    send(1).await;
    world.anvil.mine(BLOCKS_AWAY / 2).await;
    send(2).await;
    world.anvil.mine(BLOCKS_AWAY / 2).await;
    send(3).await;
    world.chain.grow(40, 0);
    let node = world.start();
    world.until("the backlog to be seen", || node.backlog().batches > 10).await;
    assert!(node.backlog().oldest.is_some());
    world.until("every deposit", || world.received.lock().unwrap().deposits().len() == 3).await;
    world.until_batch(20, BatchStatus::Confirmed).await;
    world.until("no backlog", || node.backlog().batches == 0).await;
    let amounts: Vec<_> = world.received.lock().unwrap().deposits().iter().map(|deposit| deposit.amount).collect();
    assert_eq!((amounts, world.losses()), (vec![1, 2, 3], vec![]));
    assert_eq!(world.events(world.genesis.settlement.core, STATE_UPDATE).await, 21);
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_transaction_with_our_nonce_is_outbid_or_waited_for() {
    for (name, fee_gwei) in [("outbid", 30u128), ("waited for", 999)] {
        let test = format!("a_foreign_transaction_with_our_nonce_is_{name}");
        let Some(mut world) = World::new(&test, 3, 2).await else { return };
        world.config.replace_after = Duration::from_secs(60);
        world.anvil.freeze().await;
        // Anvil signs for the account too.
        let attestor = world.keys.attestor.address();
        world.anvil.request("anvil_impersonateAccount", serde_json::json!([attestor])).await;
        let foreign = TransactionRequest::default()
            .with_from(attestor)
            .with_to(world.depositor.address())
            .with_gas_limit(21_000)
            .with_max_fee_per_gas(fee_gwei * 1_000_000_000)
            .with_max_priority_fee_per_gas(fee_gwei * 1_000_000_000);
        let foreign = *world.anvil.provider.send_transaction(foreign).await.unwrap().tx_hash();
        world.chain.grow(2, 0);
        let node = world.start();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(world.anvil.waiting().await, 1, "{name}: one nonce, one transaction");
        world.anvil.resume();
        world.until_batch(0, BatchStatus::Confirmed).await;
        let mined = world.anvil.provider.get_transaction_receipt(foreign).await.unwrap().is_some();
        assert_eq!(mined, name == "waited for", "{name}");
        assert_eq!(world.events(world.genesis.settlement.core, STATE_UPDATE).await, 1, "{name}");
        node.stop();
    }
}
