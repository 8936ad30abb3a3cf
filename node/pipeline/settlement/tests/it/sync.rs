//! The state rebuilt from the settlement layer alone, on anvil. [spec settlement, Data availability]

use crate::chain::felt;
use crate::world::World;
use keel_batches::Batch;
use keel_settlement::{DataError, DataSource, History, HistoryError, Reached, Sync, SyncError, blob_path};
use keel_store::{BatchStatus, Replica};
use keel_types::*;

fn sync(world: &World, folder: &tempfile::TempDir, depth: u64) -> Sync {
    sync_from(world, folder, depth, DataSource::None)
}

fn sync_from(world: &World, folder: &tempfile::TempDir, depth: u64, blobs: DataSource) -> Sync {
    Sync {
        history: History::connect(std::slice::from_ref(&world.anvil.url), 0, &world.genesis, blobs).unwrap(),
        replica: Replica::open(folder.path(), world.genesis.hash()).unwrap(),
        scan_from: 0,
        depth,
    }
}

/// One round of a process of its own: the folder is opened and closed.
async fn round(world: &World, folder: &tempfile::TempDir, depth: u64) -> Result<Reached, SyncError> {
    sync(world, folder, depth).catch_up(|_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_rebuilt_from_an_empty_folder_and_goes_on_where_it_was() {
    let Some(world) = World::new("the_state_is_rebuilt", 1, 2).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let nothing = round(&world, &folder, 0).await.unwrap();
    assert_eq!((nothing.applied, nothing.head), (0, None));

    world.chain.grow(3, 0);
    let recipient = L1Address::ethereum([7; 20]);
    let withdrawal = Withdrawal {
        id: 1,
        account: Address(felt(40)),
        asset: AssetId(0),
        amount: Amount(500),
        token: world.genesis.assets[0].token,
        recipient,
        l1_amount: 5,
        hash: MessageHash(felt(41)),
    };
    world.chain.grow_with(world.chain.withdrawal(&withdrawal));
    world.chain.grow(2, 0);
    let handle = world.start();
    world.until_batch(2, BatchStatus::Confirmed).await;
    let reached = round(&world, &folder, world.genesis.settlement.confirm_depth).await.unwrap();
    let head = reached.head.unwrap();
    assert_eq!((reached.applied, head.batch, head.last_block), (3, BatchId(2), Height(5)));
    let header = world.chain.store.header(Height(5)).unwrap().unwrap();
    assert_eq!((head.root, head.block_hash), (header.block.state_root, header.hash));

    // Asked deeper than it was before, or by somebody who is behind, it says nothing: what is applied stays.
    let same = round(&world, &folder, world.l1().head().await.unwrap()).await.unwrap();
    assert_eq!((same.applied, same.head.unwrap().batch), (0, BatchId(2)));

    world.chain.grow(4, 7);
    world.until_batch(4, BatchStatus::Confirmed).await;
    let mut told = Vec::new();
    let next = sync(&world, &folder, 0);
    let reached = next.catch_up(|head| told.push(head.batch)).await.unwrap();
    assert_eq!((reached.applied, told), (2, vec![BatchId(3), BatchId(4)]));
    assert_eq!(next.replica.recompute_roots().unwrap().state, reached.head.unwrap().root);
    world
        .chain
        .store
        .state_at(Height(9))
        .unwrap()
        .each_storage(|contract, slot, value| {
            assert_eq!(next.replica.storage(&contract, &slot).unwrap(), value);
            Ok(())
        })
        .unwrap();
    let again = next.catch_up(|_| panic!("nothing is new")).await.unwrap();
    assert_eq!(again.applied, 0);
    handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_in_blobs_is_rebuilt_from_a_beacon_api_and_from_an_archive_up_to_the_first_blob_that_is_missing() {
    let Some(world) = World::with_data("a_state_in_blobs_is_rebuilt", 1, 2, DataForm::Blobs).await else { return };
    world.chain.grow(6, 0);
    let handle = world.start();
    world.until_batch(2, BatchStatus::Confirmed).await;
    handle.stop();
    let header = world.chain.store.header(Height(5)).unwrap().unwrap();
    let archive = tempfile::tempdir().unwrap();
    let mut hashes = Vec::new();
    for id in (0..3).map(BatchId) {
        let data = Batch::load(&world.chain.store, id).unwrap().unwrap().1.content.data;
        for (blob, commitment) in data.blobs().iter().zip(data.commitments()) {
            let path = blob_path(archive.path(), commitment.versioned_hash());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, blob.as_bytes()).unwrap();
            hashes.push(commitment.versioned_hash());
        }
    }
    let archive = archive.path().to_owned();
    for source in [DataSource::Beacon(world.anvil.url.clone()), DataSource::Archive(archive.clone())] {
        let folder = tempfile::tempdir().unwrap();
        let head = sync_from(&world, &folder, 0, source).catch_up(|_| {}).await.unwrap().head.unwrap();
        assert_eq!((head.batch, head.root, head.block_hash), (BatchId(2), header.block.state_root, header.hash));
    }
    let folder = tempfile::tempdir().unwrap();
    let none = sync(&world, &folder, 0).catch_up(|_| {}).await.unwrap_err();
    assert!(matches!(none, SyncError::History(HistoryError::Data { batch: BatchId(0), why: DataError::NoSource })));
    let last = *hashes.last().unwrap();
    std::fs::remove_file(blob_path(&archive, last)).unwrap();
    let torn = sync_from(&world, &folder, 0, DataSource::Archive(archive));
    let error = torn.catch_up(|_| {}).await.unwrap_err();
    let SyncError::History(HistoryError::Data { batch: BatchId(2), why: DataError::Missing { hash, .. } }) = &error else {
        panic!("{error}")
    };
    assert!(*hash == last && error.is_transient(), "{error}");
    assert_eq!(torn.replica.head().unwrap().unwrap().batch, BatchId(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_applied_when_it_is_deep_and_one_that_was_taken_back_is_named() {
    let Some(world) = World::new("a_batch_is_applied_when_it_is_deep", 1, 2).await else { return };
    let (folder, careful) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    world.chain.grow(2, 0);
    let handle = world.start();
    world.until_batch(0, BatchStatus::Included).await;
    handle.stop();
    world.anvil.freeze().await;
    let hasty = round(&world, &folder, 0).await.unwrap();
    assert_eq!(hasty.head.map(|head| head.batch), Some(BatchId(0)));
    let waits = round(&world, &careful, 1_000).await.unwrap();
    assert_eq!((waits.applied, waits.head), (0, None));
    // Everything since the contracts were deployed is replaced by empty blocks.
    let head = world.l1().head().await.unwrap();
    let settled = sync(&world, &folder, 0).replica.head().unwrap().unwrap().l1_block;
    world.anvil.reorganise(head - settled + 1).await;
    let error = round(&world, &folder, 0).await.unwrap_err();
    assert!(matches!(error, SyncError::Reorganised { batch: BatchId(0) }), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_behind_or_beside_the_contract_is_refused() {
    let Some(world) = World::new("a_folder_that_is_beside_the_contract", 1, 0).await else { return };
    world.chain.grow(4, 0);
    let handle = world.start();
    world.until_batch(1, BatchStatus::Included).await;
    handle.stop();
    let folder = tempfile::tempdir().unwrap();
    // The scan begins after the first batch: it is missing.
    let first = sync(&world, &folder, 0).history.updates(0, world.l1().head().await.unwrap()).await.unwrap()[0].clone();
    let late = Sync { scan_from: first.l1_block + 1, ..sync(&world, &folder, 0) };
    let error = late.catch_up(|_| {}).await.unwrap_err();
    assert!(matches!(&error, SyncError::Rebuild(error) if error.batch == BatchId(0)), "{error}");
    drop(late);
    // Updates of a contract that is not there.
    let mut genesis = (*world.genesis).clone();
    genesis.settlement.core = L1Address::ethereum([9; 20]);
    let history = History::connect(std::slice::from_ref(&world.anvil.url), 0, &genesis, DataSource::None).unwrap();
    let beside = Sync { history, ..sync(&world, &folder, 0) };
    let error = beside.catch_up(|_| {}).await.unwrap_err();
    assert!(matches!(error, SyncError::History(HistoryError::L1(_))) && !error.is_transient(), "{error}");
    drop(beside);
    // A chain of another name, at the same contracts.
    let mut renamed = (*world.genesis).clone();
    renamed.chain_id.0 += Felt::ONE;
    let history = History::connect(std::slice::from_ref(&world.anvil.url), 0, &renamed, DataSource::None).unwrap();
    let elsewhere = Sync { history, ..sync(&world, &folder, 0) };
    let error = elsewhere.catch_up(|_| {}).await.unwrap_err();
    let other = matches!(error, SyncError::History(HistoryError::OtherChain { batch: BatchId(0) }));
    assert!(other && !error.is_transient(), "{error}");
    drop(elsewhere);
    // The same chain, on another layer with the same contracts.
    let mut moved = (*world.genesis).clone();
    moved.settlement.layer = SettlementLayer::Ethereum { chain_id: 1, data: DataForm::Calldata };
    let history = History::connect(std::slice::from_ref(&world.anvil.url), 0, &moved, DataSource::None).unwrap();
    let beside = Sync { history, ..sync(&world, &folder, 0) };
    let error = beside.catch_up(|_| {}).await.unwrap_err();
    assert!(matches!(error, SyncError::History(HistoryError::OtherLayer { .. })) && !error.is_transient(), "{error}");
    drop(beside);
    let nobody = History::connect(&["http://127.0.0.1:1".into()], 0, &world.genesis, DataSource::None).unwrap();
    let unanswered = Sync { history: nobody, ..sync(&world, &folder, 0) };
    assert!(unanswered.catch_up(|_| {}).await.unwrap_err().is_transient());
    assert_eq!(unanswered.replica.head().unwrap(), None);
}
