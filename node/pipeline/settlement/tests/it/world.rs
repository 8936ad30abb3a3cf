//! Anvil with our contracts, a chain in a store, and somebody at the far end of the inbox.

use crate::anvil::Anvil;
use crate::chain::Chain;
use alloy::primitives::{Address as AlloyAddress, B256};
use alloy::providers::Provider;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use keel_batches::BatchLimits;
use keel_contracts::ethereum::AppchainCore;
use keel_ingress::queue::Answer;
use keel_ingress::{Inbox, InboxCapacity};
use keel_settlement::ethereum::Keys;
use keel_settlement::ethereum::dev::{DevKeys, deploy_dev};
use keel_settlement::protection::{SignatureFile, Statement};
use keel_settlement::{
    EngineFacts, Handle, L1, MessageState, Parts, SettlementConfig, SettlementKeys, SubmitterState, start,
};
use keel_store::BatchStatus;
use keel_types::*;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for anything; far above what any of it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Anvil's first accounts.
pub const DEPLOYER: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const SUBMITTER: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const DEPOSITOR: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
const ATTESTOR: &str = "0x03d6761ec79f61646de0017d9934726b3490d28f8e68d7407ffdfee8228207ac";

/// What came through the inbox, with the engine's rules for it: a message is consumed once, batches are confirmed in order.
#[derive(Default)]
pub struct Received {
    pub commands: Vec<Command>,
    pub consumed: BTreeSet<u64>,
    pub confirmed: Option<BatchId>,
    /// Credits nothing.
    pub halted: bool,
    /// Confirmations are not answered; `true`: they are journaled all the same.
    pub deaf: Option<bool>,
    /// Confirmations that were not answered.
    pub unheard: u64,
}

impl Received {
    fn take(&mut self, command: Command) -> Event {
        self.commands.push(command.clone());
        match command {
            Command::Deposit(_) if self.halted => Event::SystemRejected { reject: Reject::PhaseForbids },
            Command::Deposit(deposit) if !self.consumed.insert(deposit.message_nonce) => {
                Event::SystemRejected { reject: Reject::DepositAlreadyConsumed }
            }
            Command::Deposit(deposit) => Event::Deposited {
                account: deposit.recipient,
                asset: AssetId(0),
                amount: Amount(deposit.amount as i128),
                message_nonce: deposit.message_nonce,
            },
            Command::BatchConfirmed(BatchConfirmed { batch, .. })
                if batch.0 == self.confirmed.map_or(0, |before| before.0 + 1) =>
            {
                self.confirmed = Some(batch);
                Event::BatchConfirmed { batch }
            }
            _ => Event::SystemRejected { reject: Reject::WrongBatch },
        }
    }

    pub fn deposits(&self) -> Vec<Deposit> {
        let deposits = self.commands.iter().filter_map(|command| match command {
            Command::Deposit(deposit) => Some(*deposit),
            _ => None,
        });
        deposits.collect()
    }

    pub fn confirmations(&self) -> Vec<BatchConfirmed> {
        let confirmations = self.commands.iter().filter_map(|command| match command {
            Command::BatchConfirmed(confirmed) => Some(*confirmed),
            _ => None,
        });
        confirmations.collect()
    }
}

pub struct World {
    pub anvil: Anvil,
    pub genesis: Arc<Genesis>,
    pub chain: Chain,
    pub received: Arc<Mutex<Received>>,
    pub losses: Losses,
    pub config: SettlementConfig,
    /// What the attestor's key has signed.
    pub signatures: TempDir,
    pub keys: Keys,
    pub depositor: PrivateKeySigner,
}

impl World {
    /// Anvil with the contracts of a genesis with these depths; `None` without anvil.
    pub async fn new(test: &str, deposit_depth: u64, confirm_depth: u64) -> Option<World> {
        World::with_data(test, deposit_depth, confirm_depth, DataForm::Calldata).await
    }

    /// The same, with data in this form.
    pub async fn with_data(test: &str, deposit_depth: u64, confirm_depth: u64, data: DataForm) -> Option<World> {
        let anvil = Anvil::start(test).await?;
        let genesis = Arc::new(genesis(deposit_depth, confirm_depth, data));
        let keys = Keys::parse(SUBMITTER, ATTESTOR).unwrap();
        let dev = DevKeys {
            deployer: DEPLOYER.parse().unwrap(),
            submitter: keys.submitter.address(),
            attestors: vec![keys.attestor.address()],
            threshold: 1,
            guardian: AlloyAddress::ZERO,
        };
        deploy_dev(&anvil.url, &genesis, &dev).await.unwrap();
        let (signatures, file) = new_signatures();
        let mut config = SettlementConfig::new(vec![anvil.url.clone()], 20, SettlementKeys::Ethereum(keys.clone()), file);
        config.limits = BatchLimits { blocks_max: 2, age_ms: 1_000_000, words_max: 100_000 };
        let chain = Chain::new(&genesis);
        let depositor = DEPOSITOR.parse().unwrap();
        Some(World {
            anvil,
            genesis,
            chain,
            received: Arc::default(),
            losses: Arc::default(),
            config,
            signatures,
            keys,
            depositor,
        })
    }

    /// A node's settlement, with a new inbox. What was received before is remembered, as a journal would.
    pub fn start(&self) -> Handle {
        start_node(&self.config, &self.genesis, &self.chain, &self.received, &self.losses)
    }

    pub fn l1(&self) -> L1 {
        L1::connect(std::slice::from_ref(&self.anvil.url), 0, self.genesis.clone()).unwrap()
    }

    pub fn status_of(&self, batch: u64) -> Option<BatchStatus> {
        self.chain.store.batch_header(BatchId(batch)).unwrap().map(|header| header.status)
    }

    pub async fn until_batch(&self, batch: u64, status: BatchStatus) {
        self.until(&format!("batch {batch} {}", status.as_str()), || self.status_of(batch) >= Some(status)).await;
    }

    /// Waits until it is so.
    pub async fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !so() {
            assert!(start.elapsed() < PATIENCE, "waited in vain: {what}; losses {:?}", self.losses.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn until_state(&self, handle: &Handle, so: impl Fn(&SubmitterState) -> bool) {
        self.until(&format!("a state of the submitter, which is {:?}", handle.status().submitter), || {
            so(&handle.status().submitter)
        })
        .await;
    }

    /// Waits until a transaction waits.
    pub async fn until_waiting(&self) {
        for _ in 0..500 {
            if self.anvil.waiting().await > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no transaction came");
    }

    /// The account that sends.
    pub fn submitter(&self) -> AlloyAddress {
        self.keys.submitter.address()
    }

    /// Of the state update, in hexadecimal digits.
    pub fn update_selector(&self) -> String {
        let selector = match self.genesis.settlement.layer {
            SettlementLayer::Ethereum { data: DataForm::Blobs, .. } => AppchainCore::updateStateKzgDACall::SELECTOR,
            _ => AppchainCore::updateStateWithDataCall::SELECTOR,
        };
        alloy::hex::encode(selector)
    }

    /// Transactions that the node ever got into a block.
    pub async fn submitted(&self) -> u64 {
        let mut count = 0;
        for account in [self.keys.attestor.address(), self.keys.submitter.address()] {
            count += self.anvil.provider.get_transaction_count(account).await.unwrap();
        }
        count
    }

    /// The hash of a log's first topic, counted over the whole chain.
    pub async fn events(&self, contract: L1Address, signature: B256) -> usize {
        let filter = alloy::rpc::types::Filter::new().address(eth(contract)).event_signature(signature);
        self.anvil.provider.get_logs(&filter.from_block(0)).await.unwrap().len()
    }

    pub fn losses(&self) -> Vec<LossReason> {
        self.losses.lock().unwrap().iter().map(|(reason, _)| *reason).collect()
    }
}

/// Of a key that has never signed, in a new folder.
pub fn new_signatures() -> (TempDir, SignatureFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = SignatureFile { folder: folder.path().to_owned(), statement: Some(Statement(None)) };
    (folder, file)
}

/// What became of a message for our chain, at the newest block.
pub async fn message(l1: &L1, hash: Bytes32) -> MessageState {
    let (_, at) = l1.newest().await.unwrap();
    l1.message(hash, at).await.unwrap()
}

pub type Losses = Arc<Mutex<Vec<(LossReason, String)>>>;

/// A node's settlement, with a new inbox.
pub fn start_node(
    config: &SettlementConfig,
    genesis: &Arc<Genesis>,
    chain: &Chain,
    received: &Arc<Mutex<Received>>,
    losses: &Losses,
) -> Handle {
    let (inbox, receiver) = Inbox::new(InboxCapacity::default());
    let taker = received.clone();
    // Ends when the last writer is gone and the test with it: `drain` wakes up to see.
    let alive = Arc::downgrade(received);
    std::thread::spawn(move || {
        let mut unheard = vec![];
        while alive.strong_count() > 1 {
            for submission in receiver.drain(100, Duration::from_millis(20)) {
                let mut received = taker.lock().unwrap();
                if let (Some(journaled), Command::BatchConfirmed(_)) = (received.deaf, &submission.command) {
                    if journaled {
                        received.take(submission.command.clone());
                    }
                    received.unheard += 1;
                    unheard.push(submission);
                    continue;
                }
                let event = received.take(submission.command.clone());
                submission.answer(Answer::Done { seq: Seq(1), ts: Ts(1), events: vec![event] });
            }
        }
    });
    let (consumed, confirmed, losses) = (received.clone(), received.clone(), losses.clone());
    let parts = Parts {
        genesis: genesis.clone(),
        store: chain.store.clone(),
        inbox,
        engine: Arc::new(EngineFacts {
            deposit_consumed: Box::new(move |nonce| consumed.lock().unwrap().consumed.contains(&nonce)),
            last_confirmed: Box::new(move || confirmed.lock().unwrap().confirmed),
        }),
        on_loss: Arc::new(move |reason, why| losses.lock().unwrap().push((reason, why.to_owned()))),
    };
    start(config, parts, &tokio::runtime::Handle::current()).unwrap()
}

pub fn genesis(deposit_depth: u64, confirm_depth: u64, data: DataForm) -> Genesis {
    let deployer = DEPLOYER.parse::<PrivateKeySigner>().unwrap().address();
    let created = |nonce: u64| L1Address::ethereum(deployer.create(nonce).0.0);
    let felt = |value: u64| Felt::from(value);
    let asset = |symbol: &str, nonce, quantums_per_l1_unit| AssetSpec {
        symbol: symbol.into(),
        token: created(nonce),
        quantums_per_l1_unit,
        deposit_max: Amount(1_000_000 * 100_000_000),
    };
    Genesis {
        chain_id: FeltBytes(felt(0x4b45)),
        rules_version: 1,
        ts: Ts(1),
        exchange: Address(felt(1_111)),
        operator: Address(felt(2_222)),
        fee_token: Address(felt(3_333)),
        sequencer: Address(felt(77)),
        block_key: StarkKey(felt(5)),
        settlement: SettlementSpec {
            layer: SettlementLayer::Ethereum { chain_id: 31_337, data },
            core: created(4),
            bridge: created(5),
            registry: created(3),
            deposit_depth,
            confirm_depth,
        },
        account_templates: vec![],
        fee_account: Address(felt(11)),
        insurance_account: Address(felt(12)),
        assets: vec![asset("USDC", 0, 100), asset("ETH", 1, 1), asset("BTC", 2, 1)],
        markets: vec![],
        oracle: OracleSpec { publishers: vec![], quorum: 1, report_age_max_ms: 1, stale_ms: 1 },
        limits: EngineLimits { orders_per_account_market: 1, nonces_per_account: 1, fills_per_command: 1 },
    }
}

/// As alloy has addresses.
pub fn eth(address: L1Address) -> AlloyAddress {
    address.to_ethereum().expect("160 bits").into()
}
