use crate::chain::felt;
use crate::world::{World, message};
use keel_settlement::ethereum::dev::{balance, claim, fund};
use keel_settlement::{EscrowFigures, EscrowOwed, Handle, withdrawal_claim};
use keel_store::BatchStatus;
use keel_types::*;

const USDC: AssetId = AssetId(0);
const RECIPIENT: L1Address = L1Address(Felt::from_hex_unchecked("0x4242424242424242424242424242424242424242"));

fn withdrawal(world: &World, id: u64, l1_amount: u128) -> Withdrawal {
    Withdrawal {
        id,
        account: Address(felt(9)),
        asset: USDC,
        amount: Amount(l1_amount as i128 * 100),
        l1_amount,
        token: world.genesis.assets[0].token,
        recipient: RECIPIENT,
        hash: MessageHash(felt(id)),
    }
}

/// Whether the escrow is exactly what these totals (in units of the token) leave.
async fn escrow(node: &Handle, credited: i128, withdrawn: i128, consumed: bool) -> (bool, EscrowFigures) {
    let figures = node.escrow().await.unwrap();
    let owed = EscrowOwed { liabilities: (credited - withdrawn) * 100, withdrawn: withdrawn * 100 };
    (figures.tokens[0].sum(owed, |_| consumed).unwrap().holds(), figures)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_is_claimable_once_after_its_batch_and_the_escrow_adds_up_throughout() {
    let test = "a_withdrawal_is_claimable_once_after_its_batch_and_the_escrow_adds_up_throughout";
    let Some(world) = World::new(test, 3, 2).await else { return };
    let node = world.start();
    assert!(escrow(&node, 0, 0, false).await.0, "nothing yet");
    let sent = fund(&world.anvil.url, &world.genesis, &world.depositor, USDC, 50_000, Address(felt(9))).await.unwrap();
    assert!(escrow(&node, 0, 0, false).await.0, "sent");
    world.until("the deposit", || world.received.lock().unwrap().consumed.contains(&sent.message_nonce)).await;
    assert!(escrow(&node, 50_000, 0, true).await.0, "credited");
    assert!(!escrow(&node, 50_000, 0, false).await.0, "credited twice");

    world.chain.grow(1, 0);
    let payload = vec![world.genesis.assets[0].token.0, felt(9), felt(50_000)];
    world.chain.grow_with(world.chain.deposit(sent.message_nonce, payload));
    let withdrawal = withdrawal(&world, 1, 20_000);
    world.chain.grow_with(world.chain.withdrawal(&withdrawal));
    world.chain.grow(1, 0);
    let way = withdrawal_claim(&world.genesis, &withdrawal);
    world.until_batch(0, BatchStatus::Confirmed).await;
    let waits = message(&world.l1(), deposit_hash(&world)).await.waits;
    assert!(!waits, "the batch consumed the deposit's message");
    world.until_batch(1, BatchStatus::Confirmed).await;
    assert!(node.claimable(way.message_hash).await.unwrap());
    assert!(escrow(&node, 50_000, 20_000, true).await.0, "withdrawn, not claimed");

    claim(&world.anvil.url, &world.genesis, &world.depositor, &way).await.unwrap();
    assert_eq!(balance(&world.anvil.url, &world.genesis, USDC, RECIPIENT).await.unwrap(), 20_000);
    assert!(!node.claimable(way.message_hash).await.unwrap());
    let (holds, figures) = escrow(&node, 50_000, 20_000, true).await;
    assert!(holds, "claimed: {figures:?}");
    assert_eq!((figures.tokens[0].counter, figures.tokens[0].claims[&1].amount), (30_000, 20_000));
    let again = claim(&world.anvil.url, &world.genesis, &world.depositor, &way).await.unwrap_err();
    assert!(again.to_string().contains("INVALID_MESSAGE_TO_CONSUME"), "{again}");
    assert_eq!(balance(&world.anvil.url, &world.genesis, USDC, RECIPIENT).await.unwrap(), 20_000);
    assert_eq!(world.losses(), []);
    node.stop();
}

fn deposit_hash(world: &World) -> Bytes32 {
    world.received.lock().unwrap().deposits()[0].message_hash
}
