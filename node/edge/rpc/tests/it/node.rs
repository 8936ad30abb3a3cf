//! A node whose commands are not journaled: what was executed is released at once. Everything else is the real part. Its journal, which
//! followers read, holds what a test appends to it.
use crate::http::{Error, call};
use crate::openrpc::Document;
use keel_blocks::{BlockWorker, Wait, WorkerConfig};
use keel_commitment::StateDiff;
use keel_engine::Engine;
use keel_feeds::{FeedsSeed, PhaseView, Published, View, start_feeds, start_history, start_releaser};
use keel_ingress::client::signed_request;
use keel_ingress::queue::{Answer, Inbox, InboxCapacity, InboxReceiver, Shed};
use keel_ingress::register::account_address;
use keel_ingress::verify::public_key;
use keel_ingress::{Domain, Ingress, IngressConfig, MessageKind, decode};
use keel_journal::{LocalJournal, Options};
use keel_rpc::incidents::{Detection, GateRecord, Observations};
use keel_rpc::*;
use keel_store::{BatchHeader, HistoryWriter, OpenBlock, OpenTransaction, Receipt, Store, Transaction};
use keel_types::*;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

pub const DEV_GENESIS: &str = include_str!("../../../../../genesis/dev.json");
pub const SECRET: &str = "0x5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed";
/// Of a second operator.
pub const SECOND_SECRET: &str = "0x2ec02ec02ec02ec02ec02ec02ec02ec02ec02ec02ec02ec02ec02ec02ec02ec0";
pub const FOLLOWER_SECRET: &str = "0xf0110f0110f0110f0110f0110f0110f0110f0110f0110f0110f0110f0110f011";

/// What stood in the open block.
pub struct Opened {
    pub transactions: Vec<Transaction>,
    pub receipts: Vec<Receipt>,
    pub diff: StateDiff,
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

/// How long a test waits for the open block to have what was executed.
const OPEN_BLOCK_LAG_MAX: Duration = Duration::from_secs(30);
/// The transaction of the settlement layer that made every deposit of the tests.
pub const L1_TX_HASH: Bytes32 = Bytes32([0xf4; 32]);

/// A node with its servers.
pub struct Node {
    pub genesis: Arc<Genesis>,
    store: Option<Store>,
    pub published: Published,
    pub inbox: Inbox,
    pub status: Arc<Status>,
    pub journal: Mutex<LocalJournal>,
    pub desk: Arc<Desk>,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    blocks: Option<BlockWorker>,
    /// Everything that was executed.
    released: Arc<Mutex<Vec<Arc<Released>>>>,
    /// Commands are taken from the queue only while this is set.
    pub executing: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    sequencer: Option<JoinHandle<()>>,
    nonce: AtomicU64,
    servers: Option<ServerHandles>,
    runtime: Option<tokio::runtime::Runtime>,
    document: OnceLock<Document>,
    _dir: tempfile::TempDir,
}

/// What the binary would know of guard and settlement layer: set by the test.
pub struct Status {
    pub deposit: Mutex<Option<(u64, DepositState)>>,
    pub remembered: Remembered,
    /// While it is locked, whoever asks for the settlement layer's figures waits, as for a disk that hangs.
    pub disk: Mutex<()>,
    pub failing: Mutex<Vec<(&'static str, String)>>,
    pub loss: Mutex<Option<(LossReasons, Ts)>>,
    pub integrity: Mutex<Option<Integrity>>,
    /// This node has no ticks: by default any silence is normal.
    pub silence_max_ms: AtomicU64,
    /// How often the settlement layer's figures were asked for, and how often the limits, which every drawing of the status page does.
    pub asked: (AtomicU64, AtomicU64),
}

/// What the guard would remember of incidents: set by the test.
#[derive(Default)]
pub struct Remembered {
    pub detections: Mutex<Vec<Detection>>,
    pub gate: Mutex<Option<(IncidentId, GateRecord)>>,
}

impl Observations for Remembered {
    fn detections(&self, after: Ts, until: Ts, limit: usize) -> Vec<Detection> {
        let detections = self.detections.lock().expect("no test panics while holding it");
        let chosen = detections.iter().filter(|found| found.observed > after && found.observed <= until);
        chosen.take(limit).cloned().collect()
    }
    fn gate(&self, incident: IncidentId) -> Option<GateRecord> {
        let gate = self.gate.lock().expect("no test panics while holding it");
        gate.clone().filter(|(of, _)| *of == incident).map(|(_, gate)| gate)
    }
}

impl Default for Status {
    fn default() -> Status {
        Status {
            deposit: Mutex::default(),
            remembered: Remembered::default(),
            disk: Mutex::default(),
            failing: Mutex::new(vec![("disk", "no answer for 7 s".into())]),
            loss: Mutex::default(),
            integrity: Mutex::default(),
            silence_max_ms: AtomicU64::new(u64::MAX),
            asked: Default::default(),
        }
    }
}

impl NodeStatus for Status {
    fn phase_eta(&self, phase: &PhaseView) -> Option<Ts> {
        (phase.phase != Phase::Open).then(|| phase.since.plus_ms(1_000))
    }
    fn failing_monitors(&self) -> Vec<(&'static str, String)> {
        self.failing.lock().expect("no test panics while holding it").clone()
    }
    fn settlement(&self) -> SettlementStatus {
        self.asked.0.fetch_add(1, Ordering::Relaxed);
        drop(self.disk.lock());
        SettlementStatus { head: Some(17), head_age_ms: Some(250), submitter: "idle".into(), ..SettlementStatus::default() }
    }
    fn deposit(&self, message_nonce: u64) -> Option<DepositState> {
        let deposit = self.deposit.lock().expect("no test panics while holding it");
        deposit.clone().filter(|(nonce, _)| *nonce == message_nonce).map(|(_, deposit)| deposit)
    }
    /// The note of a test: transaction hash, then the block's number if there is one.
    fn submission(&self, batch: &BatchHeader) -> Option<Submission> {
        let (hash, block) = batch.note.split_first_chunk::<32>()?;
        let l1_block = block.try_into().ok().map(u64::from_be_bytes);
        Some(Submission { l1_tx_hash: Bytes32(*hash), l1_block })
    }
    fn observations(&self) -> &dyn Observations {
        &self.remembered
    }
    fn loss(&self) -> Option<(LossReasons, Ts)> {
        *self.loss.lock().expect("no test panics while holding it")
    }
    fn integrity(&self) -> Option<Integrity> {
        self.integrity.lock().expect("no test panics while holding it").clone()
    }
    fn ages_max(&self) -> AgesMax {
        self.asked.1.fetch_add(1, Ordering::Relaxed);
        let released = self.silence_max_ms.load(Ordering::Relaxed);
        AgesMax { released, settlement_head: 60_000, settlement_backlog: 1_800_000 }
    }
}

/// Settlement's part of the admin port: keeps what it is given, and knows batches 0 to 4 by name only.
#[derive(Default)]
pub struct Desk {
    pub taken: Mutex<(Vec<Attestation>, Vec<DivergenceReport>)>,
}

impl AttestationDesk for Desk {
    fn batches(&self, _: BatchId, _: AttestorId) -> Result<Announced, keel_batches::BatchError> {
        Ok(Announced { unconfirmed_from: BatchId(3), batches: vec![] })
    }
    fn attest(&self, attestation: Attestation) -> Result<Gathered, AttestationRefusal> {
        if attestation.batch > BatchId(4) {
            return Err(AttestationRefusal::UnknownBatch);
        }
        let mut taken = self.taken.lock().expect("no test panics while holding it");
        taken.0.push(attestation);
        Ok(Gathered { have: taken.0.len(), need: 2 })
    }
    fn diverged(&self, report: DivergenceReport) -> Result<(), AttestationRefusal> {
        self.taken.lock().expect("no test panics while holding it").1.push(report);
        Ok(())
    }
}

/// The guard's part of the admin port: operators' commands go into the queue.
struct Guard {
    inbox: Inbox,
    published: Published,
}

impl Guard {
    fn submit(&self, command: Command) -> AdminAnswer {
        let (reply, answer) = oneshot::channel();
        let queued = self.inbox.submit(command, Some(reply));
        Box::pin(async move {
            queued.map_err(|error| AdminRefusal::NotNow(error.to_string()))?;
            answer.await.map_err(|_| AdminRefusal::Unknown)
        })
    }
}

impl AdminSink for Guard {
    fn enter_safe_mode(&self, _reason: String) -> AdminAnswer {
        let phase = self.published.phase();
        let incident = IncidentId(phase.incident.0 + u32::from(phase.phase == Phase::Open));
        let reasons = LossReasons::of(LossReason::Operator);
        self.submit(Command::EnterSafeMode(EnterSafeMode { incident, reasons, observed_ts: self.published.at().ts }))
    }
    fn resume(&self, incident: IncidentId, operator: u8) -> AdminAnswer {
        self.submit(Command::Resume(Resume { incident, operator }))
    }
}

/// A key with its account under the first template.
#[derive(Clone, Copy)]
pub struct Wallet {
    pub secret: Felt,
    pub key: StarkKey,
    pub account: Address,
}

impl Node {
    pub fn start() -> Node {
        let genesis = Arc::new(keel_contracts::genesis::load(DEV_GENESIS).expect("the development genesis is valid"));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&dir.path().join("store"), genesis.hash()).expect("a new store");
        let (engine, genesis_writes) = Engine::new(&genesis);
        let view = View::of_engine(genesis.clone(), &engine);
        let published = Published::new(view.clone());
        let (feeds, stream, _) = start_feeds(FeedsSeed::read(view, &store).expect("an empty history"));
        let config = WorkerConfig { genesis: genesis.clone(), genesis_writes, store: store.clone(), key: None };
        let blocks = BlockWorker::start(config).expect("blocks can be built");
        let (history, _) = start_history(HistoryWriter::new(store.clone()).expect("an empty history"));
        let feed = blocks.feed();
        let released = Arc::new(Mutex::new(Vec::new()));
        let record = released.clone();
        let sinks: Vec<keel_feeds::Sink> = vec![
            stream,
            Box::new(move |released| feed.send(released.clone())),
            history,
            Box::new(move |released| {
                record.lock().expect("no test panics while holding it").push(released.clone());
                true
            }),
        ];
        let (releaser, _) = start_releaser(published.clone(), sinks);

        let (inbox, receiver) = Inbox::new(InboxCapacity::default());
        let (stop, executing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
        let flags = (stop.clone(), executing.clone());
        let sequencer = std::thread::spawn(move || {
            sequence(engine, &receiver, &flags.0, &flags.1, |released, replies| {
                assert!(releaser.send(released, replies), "the releaser runs");
            })
        });
        let ingress = Ingress::new(IngressConfig::default(), genesis.clone(), Arc::new(published.clone()), inbox.clone());
        let status = Arc::new(Status::default());
        let context = RpcContext {
            genesis: genesis.clone(),
            published: published.clone(),
            feeds,
            ingress,
            store: store.clone(),
            status: status.clone(),
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let operators = [SECRET, SECOND_SECRET].map(|secret| JwtSecret::from_hex(secret).expect("a good secret"));
        let operators = OperatorSecrets::new(operators.into()).expect("two operators");
        let journal = LocalJournal::open(&dir.path().join("journal"), Options::default()).expect("a new journal");
        let desk = Arc::new(Desk::default());
        let follower = FollowerConfig {
            secret: JwtSecret::from_hex(FOLLOWER_SECRET).expect("a good secret"),
            journal: journal.reader(),
            desk: desk.clone(),
        };
        let config = Config { public: any, admin: Some(AdminConfig { listen: any, operators, follower: Some(follower) }) };
        let guard = Arc::new(Guard { inbox: inbox.clone(), published: published.clone() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let handles = runtime.block_on(keel_rpc::start(context, config, guard)).expect("ports are free");
        let (public, admin) = (handles.public.address(), handles.admin.as_ref().expect("asked for").address());
        Node {
            genesis,
            store: Some(store),
            published,
            inbox,
            status,
            journal: Mutex::new(journal),
            desk,
            public,
            admin,
            blocks: Some(blocks),
            released,
            executing,
            stop,
            sequencer: Some(sequencer),
            nonce: AtomicU64::new(0),
            servers: Some(handles),
            runtime: Some(runtime),
            document: OnceLock::new(),
            _dir: dir,
        }
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("taken only by drop")
    }

    /// A command of the node itself, executed and published.
    pub fn system(&self, command: Command) -> Vec<Event> {
        let (reply, answer) = oneshot::channel();
        self.inbox.submit(command, Some(reply)).expect("the queue has room");
        let answer = answer.blocking_recv();
        let blocks = self.blocks.as_ref().expect("running").errors();
        match answer.unwrap_or_else(|_| panic!("no answer; blocks: {:?}", blocks.try_recv())) {
            Answer::Done { events, .. } => events,
            Answer::Shed(shed) => panic!("{shed:?}"),
        }
    }

    /// Closes the block and waits until it is in the store.
    pub fn seal(&self) -> Height {
        let height = Height(self.published.at().height.0 + 1);
        // The digest is filled in where the engine is.
        let events = self.system(Command::SealBlock(SealBlock { height, engine_digest: Bytes32::default() }));
        assert!(events.contains(&Event::BlockSealed { height }), "{events:?}");
        let blocks = self.blocks.as_ref().expect("running");
        assert_eq!(blocks.wait_for(height, Duration::from_secs(30)), Wait::Committed);
        height
    }

    /// Waits until everything that was executed since the last block stands in the open block; the last that changed something must not be
    /// a fill, whose transaction others may still join.
    pub fn open(&self) -> Opened {
        let records = self.released.lock().expect("no test panics while holding it").clone();
        let mut executed = records.iter().flat_map(|record| &record.executed);
        let last = executed.rfind(|executed| !executed.writes.is_empty()).expect("something changed").seq;
        let deadline = std::time::Instant::now() + OPEN_BLOCK_LAG_MAX;
        loop {
            let open = self.store().open_block(OpenBlock::clone);
            if open.transactions.last().is_some_and(|open| open.receipt.last_seq >= last) {
                let part = |open: &std::sync::Arc<OpenTransaction>| (open.transaction.clone(), open.receipt.clone());
                let (transactions, receipts) = open.transactions.iter().map(part).unzip();
                return Opened { transactions, receipts, diff: open.diff };
            }
            assert!(std::time::Instant::now() < deadline, "command {last} is not in the open block: {open:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn wallet(&self, seed: u64) -> Wallet {
        let secret = Felt::from(0x5ec2e7 + seed);
        let key = public_key(&secret).expect("a good secret");
        Wallet { secret, key, account: account_address(&self.genesis.account_templates[0], &key) }
    }

    /// A message with nonce and validUntil, signed: the parameters of its method.
    pub fn sign(&self, wallet: &Wallet, kind: MessageKind, fields: Value) -> Value {
        let mut message = json!({
            "account": wallet.account.to_string(),
            "nonce": (self.nonce.fetch_add(1, Ordering::Relaxed) + 1).to_string(),
            "validUntil": (now_ms() + 60_000).to_string(),
        });
        message.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let message = decode::message(kind, &message, Some("keel")).expect("a good message");
        signed_request(&Domain::new(self.genesis.chain_id.0), &message, &wallet.secret).expect("signs")
    }

    /// Every answer is what the node's own document says it is.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, Error> {
        let answer = call(self.public, "/rpc", method, params);
        self.document().assert_documented(method, &answer);
        answer
    }

    /// What `rpc.discover` says.
    pub fn document(&self) -> &Document {
        self.document.get_or_init(|| {
            Document(call(self.public, "/rpc", "rpc.discover", json!({})).expect("the node describes itself"))
        })
    }

    /// Names of the methods that are registered.
    pub fn methods(&self) -> &[String] {
        self.servers.as_ref().expect("running").methods()
    }

    /// Gives a wallet quantums of two assets, with two messages from `nonce` on, and registers it.
    pub fn fund(&self, wallet: &Wallet, nonce: u64) {
        for (i, units) in [(0u64, 100_000u128), (1, 50)] {
            let asset = &self.genesis.assets[i as usize];
            let quantums = units * u128::from(QUANTUMS_PER_UNIT) / u128::from(asset.quantums_per_l1_unit);
            let events = self.system(self.deposit(nonce + i, asset.token, wallet.account, quantums));
            assert!(events.iter().any(|event| matches!(event, Event::Deposited { .. })), "{events:?}");
        }
        let request = self.sign(wallet, MessageKind::Register, json!({"key": wallet.key.to_string(), "template": "keel"}));
        self.call("trade_register", request).expect("registered");
    }

    pub fn deposit(&self, message_nonce: u64, token: L1Address, recipient: Address, amount: u128) -> Command {
        let message = keel_batches::MessageToL2 {
            from: self.genesis.settlement.bridge,
            to: self.genesis.exchange.0,
            nonce: message_nonce,
            selector: keel_contracts::starknet::starknet_keccak("handle_deposit"),
            payload: vec![token.0, recipient.0, Felt::from(amount)],
        };
        Command::Deposit(Deposit {
            message_nonce,
            token,
            recipient,
            amount,
            message_hash: message.hash(self.genesis.settlement.layer),
            l1_block: 10,
            l1_block_hash: Bytes32([3; 32]),
            depth: 3,
            l1_tx_hash: L1_TX_HASH,
        })
    }

    /// What a publisher of the development genesis signs, as parameters; `price` in whole units of quote.
    pub fn price_report(&self, publisher: u8, market: &str, price: u64) -> Value {
        let keys: Value = serde_json::from_str(include_str!("../../../../../genesis/dev-keys.json")).expect("JSON");
        let secret = keys["publishers"][usize::from(publisher)]["private_key"].as_str().expect("a key");
        let secret = Felt::from_hex(secret).expect("a felt");
        let (price, ts) = (Price(price * QUANTUMS_PER_UNIT), Ts::from_ms(now_ms()));
        keel_ingress::client::signed_report(&self.genesis.chain_id.0, publisher, &secret, market, price, ts).expect("signs")
    }

    /// All three publishers agree on every market's genesis price.
    pub fn publish_prices(&self) {
        let ts = Ts::from_ms(now_ms());
        let markets = 0..self.genesis.markets.len() as u16;
        let reports = markets.flat_map(|i| {
            let price = self.genesis.markets[usize::from(i)].initial_price;
            (0..3).map(move |publisher| PriceReport { publisher, market: MarketId(i), price, ts })
        });
        self.system(Command::Prices(reports.collect()));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(sequencer) = self.sequencer.take() {
            let _ = sequencer.join();
        }
        if let (Some(runtime), Some(servers)) = (self.runtime.take(), self.servers.take()) {
            runtime.block_on(servers.stop());
        }
        if let Some(blocks) = self.blocks.take() {
            let _ = blocks.stop();
        }
        let closed = self.store.take().is_none_or(|store| store.close(Duration::from_secs(30)));
        assert!(closed || std::thread::panicking(), "a thread still holds the store");
    }
}

/// Order of arrival, one record per drain, nothing durable.
fn sequence(
    mut engine: Engine,
    inbox: &InboxReceiver,
    stop: &AtomicBool,
    executing: &AtomicBool,
    release: impl Fn(Arc<Released>, Vec<(usize, oneshot::Sender<Answer>)>),
) {
    while !stop.load(Ordering::Acquire) {
        if !executing.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let mut batch = inbox.drain(1_000, Duration::from_millis(20));
        batch.sort_by_key(|submission| submission.arrival);
        if batch.is_empty() {
            continue;
        }
        let ts = Ts::from_ms(now_ms()).max(Ts(engine.last_ts().0 + 1));
        let (mut executed, mut replies) = (Vec::new(), Vec::new());
        for submission in batch {
            let mut command = submission.command;
            if let Command::SealBlock(seal) = &mut command {
                seal.engine_digest = engine.digest();
            }
            // As the real sequencer: what waits when the node halts is answered, not executed.
            if engine.phase().phase == Phase::Halted && command.signed().is_some() {
                if let Some(reply) = submission.reply {
                    // The asker may be gone.
                    let _ = reply.send(Answer::Shed(Shed::SafeMode));
                }
                continue;
            }
            let seq = engine.last_seq().next();
            let output = engine.apply(seq, ts, &command);
            if let Some(reply) = submission.reply {
                replies.push((executed.len(), reply));
            }
            executed.push(Executed { seq, command, events: output.events, writes: output.writes });
        }
        if !executed.is_empty() {
            release(Arc::new(Released { record_hash: Bytes32::default(), ts, executed }), replies);
        }
    }
}
