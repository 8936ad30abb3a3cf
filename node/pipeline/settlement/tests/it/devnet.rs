//! The settlement loops on starknet-devnet: the claims of the other files, on the other layer.

mod endpoints;

use crate::chain::{Chain, felt};
use crate::world::{Losses, Received, genesis, message, new_signatures, start_node};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use keel_batches::{Batch, BatchLimits, Batcher, facts};
use keel_contracts::starknet::settlement::{ContractCall, attest, attestation_digest, register_data, update_state};
use keel_settlement::starknet::Keys;
use keel_settlement::starknet::dev::{DevAccount, DevKeys, Funded, balance, claim, deploy_dev, execute, fund, place};
use keel_settlement::{
    BlockTag, CheckError, DataSource, DepositState, Handle, History, L1, SettlementConfig, SettlementKeys, SubmitterState,
    Sync, check, withdrawal_claim,
};
use keel_store::{BatchStatus, Replica};
use keel_types::*;
use serde_json::{Value, json};
use starknet::signers::SigningKey;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for anything; far above what any of it takes.
const PATIENCE: Duration = Duration::from_secs(120);
const USDC: AssetId = AssetId(0);
const RECIPIENT: Address = Address(Felt::from_hex_unchecked("0x1234"));
const ATTESTOR: &str = "0x77";

/// A devnet process of one test: a free port on loopback, a block for each transaction, ended by its own id.
struct Devnet {
    process: Child,
    url: String,
    provider: DynProvider,
}

fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("KEEL_STARKNET_DEVNET") {
        return Some(path.into());
    }
    let home = PathBuf::from(std::env::var_os("HOME")?);
    Some(home.join(".cache/keel/starknet-devnet-0.10.1/bin/starknet-devnet")).filter(|path| path.is_file())
}

impl Devnet {
    fn start(test: &str) -> Option<Devnet> {
        let Some(binary) = binary() else {
            println!("SKIPPED: {test}: no starknet-devnet");
            return None;
        };
        let mut process = Command::new(binary)
            .args(["--host", "127.0.0.1", "--port", "0", "--seed", "5", "--accounts", "4", "--chain-id", "TESTNET"])
            .args(["--state-archive-capacity", "full"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starknet-devnet starts");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let listening = "listening on ";
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.contains(listening)).expect("devnet listens");
        let address = line.split(listening).nth(1).unwrap().trim().to_owned();
        // Read on, or it blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://{address}/rpc");
        let provider = ProviderBuilder::new().connect_http(url.parse().unwrap()).erased();
        Some(Devnet { process, url, provider })
    }

    async fn request(&self, method: &'static str, params: Value) -> Value {
        self.provider.raw_request(method.into(), params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn accounts(&self) -> Vec<DevAccount> {
        let accounts = self.request("devnet_getPredeployedAccounts", json!({})).await;
        let field = |account: &Value, name: &str| Felt::from_hex(account[name].as_str().unwrap()).unwrap();
        let account = |account: &Value| DevAccount {
            address: L1Address(field(account, "address")),
            key: starknet_key(field(account, "private_key")),
        };
        accounts.as_array().unwrap().iter().map(account).collect()
    }
}

fn starknet_key(secret: Felt) -> SigningKey {
    SigningKey::from_secret_scalar(secret)
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct World {
    devnet: Devnet,
    genesis: Arc<Genesis>,
    chain: Chain,
    received: Arc<Mutex<Received>>,
    losses: Losses,
    config: SettlementConfig,
    submitter: DevAccount,
    depositor: DevAccount,
    keys: Keys,
    ticker: tokio::task::JoinHandle<()>,
    _signatures: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl World {
    async fn new(test: &str, deposit_depth: u64, confirm_depth: u64) -> Option<World> {
        World::with_attestors(test, deposit_depth, confirm_depth, &[], 1).await
    }

    /// The same, with attestors beside the node's own, and how many of all it takes.
    async fn with_attestors(
        test: &str,
        deposit_depth: u64,
        confirm_depth: u64,
        others: &[SigningKey],
        threshold: u32,
    ) -> Option<World> {
        let devnet = Devnet::start(test)?;
        let [deployer, submitter, depositor, guardian] = <[DevAccount; 4]>::try_from(devnet.accounts().await).ok().unwrap();
        let hex = |felt: Felt| format!("{felt:#x}");
        let keys = Keys::parse(&hex(submitter.address.0), &hex(submitter.key.secret_scalar()), ATTESTOR).unwrap();
        let others = others.iter().map(|key| key.verifying_key().scalar());
        let dev = DevKeys {
            deployer,
            submitter: submitter.address,
            attestors: others.chain([keys.attestor_key()]).collect(),
            threshold,
            guardian: guardian.address,
        };
        let mut genesis = genesis(deposit_depth, confirm_depth, DataForm::Blobs);
        let chain_id = FeltBytes(Felt::from_bytes_be_slice(b"SN_SEPOLIA"));
        genesis.settlement.layer = SettlementLayer::Starknet { chain_id };
        // Exchange and fee token of the tests stand where they stand.
        place(&mut genesis, &dev, |_| {});
        let genesis = Arc::new(genesis);
        deploy_dev(&devnet.url, &genesis, &dev).await.unwrap();
        let (signatures, file) = new_signatures();
        let mut config = SettlementConfig::new(vec![devnet.url.clone()], 50, SettlementKeys::Starknet(keys.clone()), file);
        config.limits = BatchLimits { blocks_max: 2, age_ms: 1_000_000, ..config.limits };
        let chain = Chain::new(&genesis);
        let miner = devnet.provider.clone();
        let ticker = tokio::spawn(async move {
            loop {
                let _ = miner.raw_request::<_, Value>("devnet_createBlock".into(), json!({})).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let (received, losses) = Default::default();
        Some(World {
            devnet,
            genesis,
            chain,
            received,
            losses,
            config,
            submitter,
            depositor,
            keys,
            ticker,
            _signatures: signatures,
        })
    }

    fn start(&self) -> Handle {
        start_node(&self.config, &self.genesis, &self.chain, &self.received, &self.losses)
    }

    fn l1(&self) -> L1 {
        L1::connect(std::slice::from_ref(&self.devnet.url), 1, self.genesis.clone()).unwrap()
    }

    fn status_of(&self, batch: u64) -> Option<BatchStatus> {
        self.chain.store.batch_header(BatchId(batch)).unwrap().map(|header| header.status)
    }

    fn nonces(&self) -> Vec<u64> {
        self.received.lock().unwrap().deposits().iter().map(|deposit| deposit.message_nonce).collect()
    }

    fn losses(&self) -> Vec<LossReason> {
        self.losses.lock().unwrap().iter().map(|(reason, _)| *reason).collect()
    }

    async fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !so() {
            assert!(start.elapsed() < PATIENCE, "waited in vain: {what}; losses {:?}", self.losses.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_batch(&self, batch: u64, status: BatchStatus) {
        self.until(&format!("batch {batch} {}", status.as_str()), || self.status_of(batch) >= Some(status)).await;
    }

    async fn send(&self, amount: u128) -> Funded {
        fund(&self.devnet.url, &self.genesis, &self.depositor, USDC, amount, RECIPIENT).await.unwrap()
    }

    /// The contract's reason for refusing the calls.
    async fn refusal(&self, from: &DevAccount, call: ContractCall) -> String {
        execute(&self.devnet.url, &self.genesis, from, vec![call]).await.unwrap_err().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_batches_are_confirmed_over_restarts_and_the_contract_has_our_root() {
    let test = "twenty_batches_are_confirmed_over_restarts_and_the_contract_has_our_root";
    let Some(world) = World::new(test, 2, 2).await else { return };
    world.chain.grow(40, 0);
    // A new process every other batch: each takes up what the one before it left.
    for batch in (1..20).step_by(2) {
        let node = world.start();
        world.until_batch(batch, BatchStatus::Submitted).await;
        node.stop();
    }
    let node = world.start();
    world.until_batch(19, BatchStatus::Confirmed).await;
    node.stop();
    let cursor = world.l1().cursor().await.unwrap();
    let header = world.chain.store.header(Height(39)).unwrap().unwrap();
    assert_eq!((cursor.height, cursor.root, cursor.hash), (Some(Height(39)), header.block.state_root, header.hash));
    let told: Vec<_> = world.received.lock().unwrap().confirmations().iter().map(|told| told.batch.0).collect();
    assert_eq!(told, (0..20).collect::<Vec<_>>(), "each once, in order");
    let (head, updates) = (world.l1().head().await.unwrap(), world.l1());
    assert_eq!(updates.state_updates(0, head).await.unwrap().len(), 20);
    assert_eq!(world.losses(), []);
}

/// Words of the program output. [spec starknet (d)]
const PREV_ROOT: usize = 0;
const NEW_ROOT: usize = 1;
const PREV_NUMBER: usize = 2;
const NEW_NUMBER: usize = 3;
const PREV_HASH: usize = 4;
const CONFIG_HASH: usize = 7;

impl World {
    /// A batch of our store.
    fn load(&self, batch: u64) -> Batch {
        Batch::load(&self.chain.store, BatchId(batch)).unwrap().unwrap().1
    }

    /// A fact signed by these attestors, in the order in which the registry wants them.
    fn signed(&self, fact: Felt, attestors: &[&SigningKey]) -> ContractCall {
        let spec = &self.genesis.settlement;
        let digest = attestation_digest(spec.layer.chain_id(), spec.registry, fact);
        let sign = |key: &&SigningKey| {
            let signature = key.sign(&digest).unwrap();
            [key.verifying_key().scalar(), signature.r, signature.s]
        };
        let mut signatures: Vec<_> = attestors.iter().map(sign).collect();
        signatures.sort_unstable();
        attest(spec.registry, fact, &signatures)
    }

    async fn check_refusals(&self, cases: Vec<(&str, &DevAccount, ContractCall, &str)>) {
        for (name, from, call, reason) in cases {
            let found = self.refusal(from, call).await;
            assert!(found.contains(reason), "{name}: {found}");
        }
    }

    async fn execute(&self, from: &DevAccount, call: ContractCall) {
        execute(&self.devnet.url, &self.genesis, from, vec![call]).await.unwrap();
    }
}

/// The fact of a program output with these chunks of data.
fn fact_of(batch: &Batch, output: &[Felt]) -> Felt {
    Felt::from_bytes_be(&facts(&batch.content.data, batch.content.program_hash, output).1.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_contract_must_not_take_is_refused_with_its_own_reason() {
    let Some(world) = World::new("what_the_contract_must_not_take_is_refused_with_its_own_reason", 2, 2).await else {
        return;
    };
    world.chain.grow(2, 0);
    let node = world.start();
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
    world.chain.grow(2, 0);
    Batcher::new(world.chain.store.clone(), &world.genesis, world.config.limits).step().unwrap();
    let (replayed, batch) = (world.load(0), world.load(1));
    let core = world.genesis.settlement.core;
    let (old_data, data) = (replayed.content.data.chunk_hashes(), batch.content.data.chunk_hashes());
    let (operator, stranger) = (&world.submitter, &world.depositor);
    let own = update_state(core, &batch.output, &data);
    let chunk = batch.content.data.chunks().next().unwrap();
    world
        .check_refusals(vec![
            ("data not sent", operator, own.clone(), "DATA_CHUNK_NOT_REGISTERED"),
            ("data of a stranger", stranger, register_data(core, chunk), "ONLY_OPERATOR"),
            ("no data", operator, register_data(core, &[]), "DATA_CHUNK_EMPTY"),
        ])
        .await;
    for chunk in batch.content.data.chunks() {
        world.execute(operator, register_data(core, chunk)).await;
    }
    let changed = |index: usize| {
        let mut output = batch.output.clone();
        output[index] += Felt::ONE;
        output
    };
    let with = |output: &[Felt]| update_state(core, output, &data);
    let longer = [&batch.output[..], &[Felt::ZERO]].concat();
    world
        .check_refusals(vec![
            ("a replayed batch", operator, update_state(core, &replayed.output, &old_data), "INVALID_PREV_BLOCK_NUMBER"),
            ("a wrong number", operator, with(&changed(PREV_NUMBER)), "INVALID_PREV_BLOCK_NUMBER"),
            ("a wrong config hash", operator, with(&changed(CONFIG_HASH)), "INVALID_CONFIG_HASH"),
            ("no attestation", operator, own.clone(), "NO_STATE_TRANSITION_PROOF"),
            ("a wrong root, not attested", operator, with(&changed(NEW_ROOT)), "NO_STATE_TRANSITION_PROOF"),
            ("a stranger", stranger, own.clone(), "ONLY_OPERATOR"),
        ])
        .await;
    // Even what the attestors sign does not pass when it does not follow the contract's own state, or is no whole output.
    let behind = {
        let mut output = batch.output.clone();
        output[NEW_NUMBER] = replayed.output[NEW_NUMBER];
        output
    };
    for (name, output, reason) in [
        ("a wrong previous root", changed(PREV_ROOT), "INVALID_PREVIOUS_ROOT"),
        ("a wrong previous hash", changed(PREV_HASH), "INVALID_PREV_BLOCK_HASH"),
        ("a number that does not rise", behind, "INVALID_NEW_BLOCK_NUMBER"),
        ("a word too many", longer, "STARKNET_OUTPUT_TOO_LONG"),
    ] {
        world.execute(stranger, world.signed(fact_of(&batch, &output), &[&world.keys.attestor])).await;
        world.check_refusals(vec![(name, operator, with(&output), reason)]).await;
    }
    // Attested, with the data of another batch in the place of its own, or with none.
    world.execute(stranger, world.signed(fact_of(&batch, &batch.output), &[&world.keys.attestor])).await;
    let twice = [&data[..], &data[..]].concat();
    world
        .check_refusals(vec![
            ("swapped data", operator, update_state(core, &batch.output, &old_data), "NO_STATE_TRANSITION_PROOF"),
            ("missing data", operator, update_state(core, &batch.output, &[]), "NO_STATE_TRANSITION_PROOF"),
            ("data twice", operator, update_state(core, &batch.output, &twice), "NO_STATE_TRANSITION_PROOF"),
        ])
        .await;
    // None of it moved the contract: the batch goes through.
    let node = world.start();
    world.until_batch(1, BatchStatus::Confirmed).await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_attestation_less_than_it_takes_is_refused_and_so_is_every_count_that_only_looks_like_enough() {
    let test = "one_attestation_less_than_it_takes_is_refused_and_so_is_every_count_that_only_looks_like_enough";
    let [second, third, stranger] = [78, 79, 99].map(|secret| starknet_key(felt(secret)));
    let others = [second.clone(), third.clone()];
    let Some(world) = World::with_attestors(test, 2, 2, &others, 2).await else { return };
    world.chain.grow(2, 0);
    let node = world.start();
    let waits = Gathered { have: 1, need: 2 };
    world
        .until(
            "one of two attestations",
            || matches!(node.status().submitter, SubmitterState::Attesting { gathered, .. } if gathered == waits),
        )
        .await;
    node.stop();
    let batch = world.load(0);
    let (fact, spec) = (fact_of(&batch, &batch.output), &world.genesis.settlement);
    let (operator, anybody, own) = (&world.submitter, &world.depositor, &world.keys.attestor);
    for chunk in batch.content.data.chunks() {
        world.execute(operator, register_data(spec.core, chunk)).await;
    }
    let update = update_state(spec.core, &batch.output, &batch.content.data.chunk_hashes());
    // Good, but over another fact.
    let elsewhere = {
        let (mut call, other) = (world.signed(fact, &[own, &second]), world.signed(fact + Felt::ONE, &[own, &second]));
        call.calldata[2..].copy_from_slice(&other.calldata[2..]);
        call
    };
    world
        .check_refusals(vec![
            ("nobody's", anybody, world.signed(fact, &[]), "TOO_FEW_SIGNATURES"),
            ("k - 1", anybody, world.signed(fact, &[own]), "TOO_FEW_SIGNATURES"),
            ("k - 1 and the same again", anybody, world.signed(fact, &[own, own]), "SIGNERS_NOT_ASCENDING"),
            ("k - 1 and a stranger's", anybody, world.signed(fact, &[own, &stranger]), "a signer is not an attestor"),
            ("k of another fact", anybody, elsewhere, "BAD_SIGNATURE"),
            ("the update", operator, update, "NO_STATE_TRANSITION_PROOF"),
        ])
        .await;
    // Any two of the three will do, the node's own not among them.
    world.execute(anybody, world.signed(fact, &[&second, &third])).await;
    let node = world.start();
    world.until_batch(0, BatchStatus::Confirmed).await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_several_chunks_settles_and_the_state_is_rebuilt_from_them_alone() {
    let test = "a_batch_of_several_chunks_settles_and_the_state_is_rebuilt_from_them_alone";
    let Some(world) = World::new(test, 2, 2).await else { return };
    world.chain.grow(1, 0);
    // Of two words each that no compression makes smaller.
    world.chain.grow_wide(2_500);
    world.chain.grow(2, 0);
    let node = world.start();
    world.until_batch(1, BatchStatus::Confirmed).await;
    node.stop();
    let chunks = world.load(0).content.data.chunk_hashes();
    assert!(chunks.len() >= 2, "{} chunks", chunks.len());
    let folder = tempfile::tempdir().unwrap();
    let replica = Replica::open(folder.path(), world.genesis.hash()).unwrap();
    let sync = |source| Sync {
        history: History::connect(std::slice::from_ref(&world.devnet.url), 0, &world.genesis, source).unwrap(),
        replica: replica.clone(),
        scan_from: 0,
        depth: 0,
    };
    // Where an operator names an archive, the chunks are read there and nowhere else.
    let empty = tempfile::tempdir().unwrap();
    let error = sync(DataSource::Archive(empty.path().to_owned())).catch_up(|_| {}).await.unwrap_err();
    assert!(error.to_string().contains(&format!("{:#x}", chunks[0])), "{error}");
    let reached = sync(DataSource::None).catch_up(|_| {}).await.unwrap();
    let head = reached.head.unwrap();
    let cursor = world.l1().cursor().await.unwrap();
    assert_eq!((reached.applied, head.batch), (2, BatchId(1)));
    assert_eq!((Some(head.last_block), head.root, head.block_hash), (cursor.height, cursor.root, cursor.hash));
    assert_eq!(replica.recompute_roots().unwrap().state, cursor.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_is_pending_until_it_is_deep_and_a_withdrawal_is_paid_once() {
    let Some(world) = World::new("a_deposit_is_pending_until_it_is_deep_and_a_withdrawal_is_paid_once", 4, 2).await else {
        return;
    };
    let node = world.start();
    let (sent, too_much) = (world.send(50_000).await, world.send(1_000_000_000_001).await);
    world.until("the deposit", || world.nonces() == [sent.message_nonce]).await;
    let deposit = world.received.lock().unwrap().deposits()[0];
    assert_eq!((deposit.amount, deposit.recipient, deposit.token), (50_000, RECIPIENT, world.genesis.assets[0].token));
    assert!(deposit.depth >= 4 && deposit.l1_block == sent.l1_block);
    world.until("the refusal", || matches!(node.deposit(too_much.message_nonce), Some(DepositState::Refused(_)))).await;
    assert!(message(&world.l1(), deposit.message_hash).await.waits, "its hash is the key of the message");

    world.chain.grow(1, 0);
    let payload = vec![deposit.token.0, RECIPIENT.0, felt(50_000)];
    world.chain.grow_with(world.chain.deposit(sent.message_nonce, payload));
    let owner = L1Address(Felt::from_hex_unchecked("0x4242424242424242424242424242424242424242424242424242424242"));
    let withdrawal = Withdrawal {
        id: 1,
        account: RECIPIENT,
        asset: USDC,
        amount: Amount(2_000_000),
        l1_amount: 20_000,
        token: deposit.token,
        recipient: owner,
        hash: MessageHash(felt(1)),
    };
    world.chain.grow_with(world.chain.withdrawal(&withdrawal));
    world.chain.grow(1, 0);
    let way = withdrawal_claim(&world.genesis, &withdrawal);
    world.until_batch(0, BatchStatus::Confirmed).await;
    assert!(!message(&world.l1(), deposit.message_hash).await.waits, "the batch consumed it");
    world.until_batch(1, BatchStatus::Confirmed).await;
    assert!(node.claimable(way.message_hash).await.unwrap());
    let (url, genesis) = (&world.devnet.url, &world.genesis);
    claim(url, genesis, &world.depositor, &way).await.unwrap();
    assert_eq!(balance(url, genesis, USDC, owner).await.unwrap(), 20_000);
    assert!(!node.claimable(way.message_hash).await.unwrap());
    let again = claim(url, genesis, &world.depositor, &way).await.unwrap_err().to_string();
    assert!(again.contains("INVALID_MESSAGE_TO_CONSUME"), "{again}");
    let figures = &node.escrow().await.unwrap().tokens[0];
    assert_eq!((figures.claims[&1].amount, figures.deposits.len()), (20_000, 2));
    assert_eq!(figures.counter, 50_000 + 1_000_000_000_001 - 20_000);
    assert_eq!(world.losses(), []);
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_deposit_that_a_reorganisation_removes_is_a_loss() {
    let Some(world) = World::new("a_final_deposit_that_a_reorganisation_removes_is_a_loss", 1, 2).await else { return };
    let node = world.start();
    let sent = world.send(1_000).await;
    world.until("the deposit", || world.nonces() == [0]).await;
    let from = json!({ "starting_block_id": { "block_number": sent.l1_block } });
    world.devnet.request("devnet_abortBlocks", from).await;
    world.until("the loss", || world.losses().contains(&LossReason::SettlementReorg)).await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_of_another_chain_and_keys_without_a_role_are_refused_by_name() {
    let Some(mut world) = World::new("contracts_of_another_chain_and_keys_without_a_role_are_refused_by_name", 2, 2).await
    else {
        return;
    };
    check(&world.config, &world.genesis).await.unwrap();
    type Change = fn(&mut Genesis);
    let cases: &[(&str, Change)] = &[
        ("programHash", |genesis| genesis.rules_version = 2),
        ("configHash", |genesis| genesis.fee_token = Address(Felt::ONE)),
        ("the chain id", |genesis| genesis.settlement.layer = SettlementLayer::Starknet { chain_id: FeltBytes(Felt::ONE) }),
        ("the core contract", |genesis| genesis.settlement.core = L1Address(felt(9))),
        ("the bridge's exchange", |genesis| genesis.exchange = Address(Felt::ONE)),
        ("the fact registry", |genesis| genesis.settlement.registry = genesis.assets[0].token),
        ("a token of the bridge", |genesis| genesis.assets[1].token = L1Address(felt(8))),
    ];
    for (name, change) in cases {
        let mut genesis = (*world.genesis).clone();
        change(&mut genesis);
        let error = check(&world.config, &Arc::new(genesis)).await.unwrap_err();
        let (CheckError::Differs { what, .. } | CheckError::Missing { what, .. }) = &error else {
            panic!("{name}: {error}")
        };
        assert_eq!(what, name, "{error}");
    }
    let hex = |felt: Felt| format!("{felt:#x}");
    let own = &world.keys;
    let keys = |account: Felt, attestor: &str| {
        SettlementKeys::Starknet(Keys::parse(&hex(account), &hex(own.submitter.secret_scalar()), attestor).unwrap())
    };
    for (role, wrong) in [("submitter", keys(felt(5), ATTESTOR)), ("attestor", keys(own.account.0, "0x5"))] {
        let config = SettlementConfig { keys: wrong, ..world.config.clone() };
        let error = check(&config, &world.genesis).await.unwrap_err();
        assert!(matches!(&error, CheckError::NotAllowed { role: found, .. } if *found == role), "{role}: {error}");
    }
    assert_eq!(world.l1().block(BlockTag::Number(u64::MAX / 2)).await.unwrap(), None);
    let _ = world.devnet.process.kill();
    assert!(check(&world.config, &world.genesis).await.unwrap_err().is_transient());
    let node = world.start();
    world.until("the failure", || matches!(node.status().submitter, SubmitterState::Failing(_))).await;
    node.stop();
}
