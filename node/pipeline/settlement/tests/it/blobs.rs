//! Batches whose data goes in blobs, on a node of the newest fork; and everything about one that the contracts refuse.

use crate::anvil::Anvil;
use crate::world::{DEPLOYER, World};
use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address as AlloyAddress, B256, Bytes, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolEvent};
use keel_batches::Batch;
use keel_contracts::ethereum::{
    AppchainCore, AttestationRegistry, DeployPlan, ListedToken, attestation_digest, attestation_signatures, deploy, fact,
    transition_fact_with_blobs, word,
};
use keel_settlement::L1Error;
use keel_store::BatchStatus;
use keel_types::*;
use std::collections::BTreeSet;

const BATCHES: u64 = 20;
const STATE_UPDATE: B256 = AppchainCore::LogStateUpdate::SIGNATURE_HASH;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_batches_by_blobs_are_accepted_and_every_bad_one_is_refused_by_name() {
    let test = "twenty_batches_by_blobs_are_accepted_and_every_bad_one_is_refused_by_name";
    let Some(world) = World::with_data(test, 3, 2, DataForm::Blobs).await else { return };
    world.chain.grow(2 * BATCHES, 0);
    let node = world.start();
    for id in 0..BATCHES {
        world.until_batch(id, BatchStatus::Confirmed).await;
    }
    println!("{:>5} {:>6} {:>8} {:>9} {:>9}", "batch", "blobs", "gas", "blob gas", "calldata");
    for id in 0..BATCHES {
        let tx = B256::from(node.submission(BatchId(id)).unwrap().l1_tx_hash.0);
        let receipt = world.anvil.provider.get_transaction_receipt(tx).await.unwrap().unwrap();
        let sent = world.anvil.provider.get_transaction_by_hash(tx).await.unwrap().unwrap();
        let calldata = alloy::consensus::Transaction::input(&sent).len();
        let blobs = alloy::consensus::Transaction::blob_versioned_hashes(&sent).map_or(0, <[B256]>::len);
        assert_eq!(blobs, batch_of(&world, id).blobs().len());
        assert!(blobs > 0 && receipt.status());
        println!(
            "{id:>5} {blobs:>6} {:>8} {:>9} {calldata:>9}",
            receipt.gas_used,
            receipt.blob_gas_used.unwrap_or_default()
        );
    }
    assert_eq!(world.events(world.genesis.settlement.core, STATE_UPDATE).await as u64, BATCHES);
    node.stop();
    // Nodes refuse an account's transactions of one kind while another kind of its waits.
    let (blobs, plain) = (kinds_of(&world, world.submitter()).await, kinds_of(&world, world.keys.attestor.address()).await);
    assert_eq!((blobs, plain), (BTreeSet::from([3]), BTreeSet::from([2])));

    let last = Update::of(&batch_of(&world, BATCHES - 1));
    let core = AlloyAddress::from(world.genesis.settlement.core.to_ethereum().unwrap());
    let replayed = last.call(&world.anvil, core, world.submitter()).await;
    assert!(replayed.unwrap_err().contains("INVALID_PREV_BLOCK_NUMBER"), "a replayed batch");
    refusals(&world).await;
}

/// Types of all transactions that an account ever sent.
async fn kinds_of(world: &World, account: AlloyAddress) -> BTreeSet<u8> {
    let mut kinds = BTreeSet::new();
    for number in 0..=world.anvil.provider.get_block_number().await.unwrap() {
        let block = world.anvil.provider.get_block_by_number(number.into()).full().await.unwrap().unwrap();
        let sent = block.transactions.into_transactions().filter(|sent| sent.as_recovered().signer() == account);
        kinds.extend(sent.map(|sent| alloy::consensus::Typed2718::ty(&sent)));
    }
    kinds
}

fn batch_of(world: &World, id: u64) -> Batch {
    Batch::load(&world.chain.store, BatchId(id)).unwrap().unwrap().1
}

/// The call that brings a batch, and the blobs beside it.
#[derive(Clone)]
struct Update {
    output: Vec<U256>,
    proofs: Vec<Bytes>,
    blobs: Vec<B256>,
}

impl Update {
    fn of(batch: &Batch) -> Update {
        let hashes = batch.content.data.commitments().iter().map(|commitment| B256::from(commitment.versioned_hash().0));
        Update {
            output: batch.output.iter().copied().map(word).collect(),
            proofs: batch.point_proofs().unwrap().iter().map(|proof| Bytes::copy_from_slice(&proof.0)).collect(),
            blobs: hashes.collect(),
        }
    }

    fn fact(&self, program_hash: Felt) -> B256 {
        fact(program_hash, transition_fact_with_blobs(&self.output))
    }

    /// Whether the contract would take it now; the reason, if not.
    async fn call(&self, anvil: &Anvil, core: AlloyAddress, from: AlloyAddress) -> Result<(), String> {
        let call = AppchainCore::updateStateKzgDACall { programOutput: self.output.clone(), kzgProofs: self.proofs.clone() };
        let mut request = TransactionRequest::default().with_from(from).with_to(core).with_input(call.abi_encode());
        if !self.blobs.is_empty() {
            request.blob_versioned_hashes = Some(self.blobs.clone());
            request.max_fee_per_blob_gas = Some(1_000_000_000);
        }
        match anvil.provider.call(request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(L1Error::from(error).to_string()),
        }
    }
}

/// Contracts whose registry asks two of three attestors, and a first batch changed in one way at a time.
async fn refusals(world: &World) {
    let key = |n: u8| PrivateKeySigner::from_bytes(&B256::repeat_byte(n)).unwrap();
    let attestors = [key(1), key(2), key(3)];
    let batch = batch_of(world, 0);
    let good = Update::of(&batch);
    let program_hash = batch.content.program_hash;
    let plan = DeployPlan {
        attestors: attestors.iter().map(PrivateKeySigner::address).collect(),
        threshold: 2,
        attestors_change_delay_s: 1,
        cancellation_delay_min_s: 1,
        program_hash,
        config_hash: batch.content.config_hash,
        exchange: world.genesis.exchange.0,
        guardian: AlloyAddress::ZERO,
        operator: world.submitter(),
        tokens: vec![ListedToken {
            address: world.genesis.assets[0].token.to_ethereum().unwrap().into(),
            cap: U256::from(1_000),
        }],
    };
    let wallet = EthereumWallet::from(DEPLOYER.parse::<PrivateKeySigner>().unwrap());
    let deployer = ProviderBuilder::new().wallet(wallet).connect_http(world.anvil.url.parse().unwrap());
    let contracts = deploy(deployer, &plan).await.unwrap();
    let (core, registry) = (*contracts.core.address(), *contracts.registry.address());
    // `signers` of the attestors sign; the registry's word on it.
    let attest = async |update: &Update, signers: usize| -> Result<(), String> {
        let fact = update.fact(program_hash);
        let digest = attestation_digest(31_337, registry, fact);
        let signatures: Vec<_> = attestors[..signers].iter().map(|key| key.sign_hash_sync(&digest).unwrap()).collect();
        let signatures = attestation_signatures(digest, &signatures).unwrap();
        let registry = AttestationRegistry::new(registry, world.anvil.provider.clone());
        let call = registry.attest(fact, signatures).from(world.depositor.address()).gas(500_000);
        call.call().await.map_err(|error| L1Error::from(error).to_string())?;
        let sent = world.anvil.provider.send_transaction(call.into_transaction_request()).await.unwrap();
        assert!(sent.get_receipt().await.unwrap().status());
        Ok(())
    };
    let changed = |index: usize| {
        let mut changed = good.clone();
        changed.output[index] += U256::from(1);
        changed
    };
    let other = Update::of(&batch_of(world, 1));
    let swapped = Update { blobs: other.blobs.clone(), ..good.clone() };
    let bare = Update { blobs: vec![], ..good.clone() };
    let unproven = Update { proofs: vec![], ..good.clone() };
    let disproven = Update { proofs: other.proofs.clone(), ..good.clone() };
    // What, how many of three sign it, what is refused with.
    let table: Vec<(&str, Update, usize, &str)> = vec![
        ("no attestation", good.clone(), 0, "NO_STATE_TRANSITION_PROOF"),
        ("one attestation of two needed", good.clone(), 1, "TooFewSignatures"),
        ("wrong previous root", changed(0), 2, "INVALID_PREVIOUS_ROOT"),
        ("wrong new root, which nobody signs", changed(1), 0, "NO_STATE_TRANSITION_PROOF"),
        ("wrong previous number", changed(2), 2, "INVALID_PREV_BLOCK_NUMBER"),
        ("wrong previous hash", changed(4), 2, "INVALID_PREV_BLOCK_HASH"),
        ("wrong config hash", changed(7), 2, "INVALID_CONFIG_HASH"),
        ("said to be by calldata", changed(8), 2, "UNEXPECTED_KZG_DA_FLAG"),
        ("another batch's blob", swapped, 2, "POINT_EVALUATION_PRECOMPILE_CALL_FAILED"),
        ("no blob", bare, 2, "INVALID_BLOB_INDEX"),
        ("no proof", unproven, 2, "INVALID_NUMBER_OF_KZG_PROOFS"),
        ("another batch's proof", disproven, 2, "POINT_EVALUATION_PRECOMPILE_CALL_FAILED"),
        ("another value", changed(14), 2, "POINT_EVALUATION_PRECOMPILE_CALL_FAILED"),
    ];
    for (name, update, signers, reason) in table {
        let attested = if signers > 0 { attest(&update, signers).await } else { Ok(()) };
        let refused = match attested {
            Ok(()) => update.call(&world.anvil, core, world.submitter()).await.expect_err(name),
            Err(refused) => {
                let then = update.call(&world.anvil, core, world.submitter()).await.expect_err(name);
                assert!(then.contains("NO_STATE_TRANSITION_PROOF"), "{name}: {then}");
                refused
            }
        };
        assert!(refused.contains(reason), "{name}: {refused}");
        println!("refused: {name}: {reason}");
    }
    let stranger = good.call(&world.anvil, core, world.depositor.address()).await.unwrap_err();
    assert!(stranger.contains("ONLY_OPERATOR"), "{stranger}");
    attest(&good, 2).await.unwrap();
    good.call(&world.anvil, core, world.submitter()).await.unwrap();
}
