//! From a detected loss to every order cancelled, durable and announced, in the node's own pipeline: journal with sync, view, streams,
//! history and blocks. [spec safe-mode, What it does: p99 under 100 ms with 100,000 open orders on two cores]

use super::chain::Folder;
use anyhow::{Context, Result, ensure};
use keel_blocks::{BlockWorker, Wait, WorkerConfig};
use keel_engine::Engine;
use keel_feeds::streams::{Subscription, Topic};
use keel_feeds::{FeedsSeed, Published, View, start_feeds, start_history, start_releaser};
use keel_ingress::queue::Answer;
use keel_ingress::{Inbox, InboxCapacity};
use keel_journal::{LocalJournal, Options as JournalOptions};
use keel_sequencer::{Clock, Config, Control, Outputs, Sequencer};
use keel_store::{HistoryWriter, Store};
use keel_types::*;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const ACCOUNTS: u64 = 500;
/// Longest any step of the preparation may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Commands that wait for execution at most, while orders are placed.
const WAITING_MAX: usize = 8_192;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 100_000)]
    orders: u64,
    #[arg(long, default_value_t = 20)]
    runs: usize,
}

/// Places the orders, reports a loss, and reopens, so many times.
pub fn run(options: &Options) -> Result<()> {
    let text = std::fs::read_to_string("genesis/dev.json").context("safe-mode bench: read genesis/dev.json")?;
    let genesis = Arc::new(keel_contracts::genesis::load(&text)?);
    let folder = Folder::new(None, "safe-mode")?;
    let mut venue = Venue::start(genesis, folder.path())?;
    venue.fund()?;
    let mut times = [vec![], vec![], vec![]];
    for _ in 0..options.runs {
        venue.place(options.orders)?;
        times.iter_mut().zip(venue.lose()?).for_each(|(times, time)| times.push(time));
        venue.reopen()?;
    }
    venue.stop()?;
    let orders = options.orders;
    for (what, times) in ["cancelled and durable", "published", "told on the node stream"].into_iter().zip(times) {
        let (p50, p99) = (percentile(times.clone(), 50), percentile(times, 99));
        println!(
            "safe mode, {orders} open orders: detected to {what} p50 {p50:.0} ms, p99 {p99:.0} ms ({} runs)",
            options.runs
        );
    }
    Ok(())
}

fn closed(closed: keel_feeds::streams::Closed) -> anyhow::Error {
    anyhow::anyhow!("the node stream ended: {closed:?}")
}

fn percentile(mut times: Vec<f64>, percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() * percent).div_ceil(100).max(1) - 1]
}

struct Venue {
    genesis: Arc<Genesis>,
    control: Control,
    inbox: Inbox,
    published: Published,
    /// The `node` channel, as a client of the WebSocket hears it.
    node: Subscription,
    blocks: BlockWorker,
    /// When the record of the last halt was durable.
    durable_at: Arc<Mutex<Option<Instant>>>,
    sequencer: std::thread::JoinHandle<Result<(), keel_sequencer::Stop>>,
    nonce: u64,
    messages: u64,
    incident: u32,
}

impl Venue {
    fn start(genesis: Arc<Genesis>, folder: &std::path::Path) -> Result<Venue> {
        let store = Store::open(&folder.join("store"), genesis.hash())?;
        let journal = LocalJournal::open(&folder.join("journal"), JournalOptions::default())?;
        let (engine, genesis_writes) = Engine::new(&genesis);
        let view = View::of_engine(genesis.clone(), &engine);
        let published = Published::new(view.clone());
        let (feeds, stream, _) = start_feeds(FeedsSeed::read(view, &store)?);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let node = runtime.block_on(feeds.subscribe(Topic::Node, None));
        let node = node.map_err(|refusal| anyhow::anyhow!("subscribe to node: {refusal:?}"))?;
        let config = WorkerConfig { genesis: genesis.clone(), genesis_writes, store: store.clone(), key: None };
        let blocks = BlockWorker::start(config)?;
        let (history, _) = start_history(HistoryWriter::new(store)?);
        let (release, _) = start_releaser(published.clone(), vec![stream, history]);
        let control = Control::new(Arc::new(Clock::start(None, false)?), blocks.committed());
        let (inbox, receiver) = Inbox::new(InboxCapacity { order: WAITING_MAX * 2, ..InboxCapacity::default() });
        let (feed, durable_at) = (blocks.feed(), Arc::new(Mutex::new(None)));
        let noted = durable_at.clone();
        let outputs = Outputs {
            release: Box::new(move |released, replies| {
                if released.executed.iter().any(|executed| matches!(executed.command, Command::EnterSafeMode(_))) {
                    *noted.lock().unwrap_or_else(|e| e.into_inner()) = Some(Instant::now());
                }
                feed.send(released.clone()) && release.send(released, replies)
            }),
            snapshot: Box::new(|_| {}),
        };
        let times = Config {
            tick: Duration::from_millis(100),
            block_interval: Duration::from_secs(2),
            snapshot_interval: Duration::from_secs(3_600),
            layer: genesis.settlement.layer,
        };
        let sequencer = Sequencer::new(engine, journal, receiver, control.clone(), outputs, times);
        let sequencer = std::thread::spawn(move || sequencer.run());
        Ok(Venue {
            genesis,
            control,
            inbox,
            published,
            node,
            blocks,
            durable_at,
            sequencer,
            nonce: 0,
            messages: 0,
            incident: 0,
        })
    }

    /// Queues a command; waits while too many wait before it.
    fn send(&self, command: Command) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.inbox.len() >= WAITING_MAX {
            ensure!(Instant::now() < end, "the sequencer takes nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self.inbox.submit(command, None)?)
    }

    /// Queues a command and waits for what came of it.
    fn ask(&self, command: Command) -> Result<Vec<Event>> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.inbox.submit(command, Some(reply))?;
        match answer.blocking_recv().context("the sequencer ended")? {
            Answer::Done { events, .. } => Ok(events),
            Answer::Shed(why) => anyhow::bail!("not executed: {why:?}"),
        }
    }

    fn signed(&mut self, account: u64) -> Signed {
        self.nonce += 1;
        Signed {
            account: Address(Felt::from(0x5afe_0000 + account)),
            nonce: self.nonce,
            valid_until: self.control.clock.now().plus_ms(60_000),
            hash: MessageHash(Felt::from(self.nonce) * Felt::from(0x9E37_79B9_7F4A_7C15_u64)),
            session_key: StarkKey::default(),
        }
    }

    fn prices(&self) -> Result<()> {
        let ts = self.control.clock.now();
        let markets = self.genesis.markets.iter().enumerate();
        let publishers = 0..self.genesis.oracle.publishers.len() as u8;
        let reports = markets.flat_map(|(market, spec)| {
            let report =
                move |publisher| PriceReport { publisher, market: MarketId(market as u16), price: spec.initial_price, ts };
            publishers.clone().map(report)
        });
        self.ask(Command::Prices(reports.collect())).map(drop)
    }

    fn fund(&mut self) -> Result<()> {
        for n in 0..ACCOUNTS {
            let signed = self.signed(n);
            let recipient = signed.account;
            self.send(Command::Register(Register { signed, key: StarkKey(Felt::from(n + 1)), template: 0 }))?;
            for asset in self.genesis.assets.clone() {
                self.messages += 1;
                let quantums = asset.deposit_max.0.min(1_000_000 * i128::from(QUANTUMS_PER_UNIT));
                self.send(Command::Deposit(Deposit {
                    message_nonce: self.messages,
                    token: asset.token,
                    recipient,
                    amount: (quantums / i128::from(asset.quantums_per_l1_unit)) as u128,
                    message_hash: Bytes32::default(),
                    l1_block: 1,
                    l1_block_hash: Bytes32::default(),
                    depth: 3,
                    l1_tx_hash: Bytes32::default(),
                }))?;
            }
        }
        self.prices()
    }

    /// Orders of all accounts in all markets, on both sides, none of which meets another.
    fn place(&mut self, orders: u64) -> Result<()> {
        for n in 0..orders {
            if n % 20_000 == 0 {
                self.prices()?;
            }
            let market = (n / 2 % self.genesis.markets.len() as u64) as usize;
            let spec = self.genesis.markets[market].clone();
            let side = if n % 2 == 0 { Side::Buy } else { Side::Sell };
            let ticks = (spec.initial_price.0 / spec.tick_size.0) as i128;
            let away = (ticks / 200 + ticks * i128::from(n % 997) / 40_000) * side.sign();
            let price = Price((ticks - away) as u64 * spec.tick_size.0);
            let lots =
                spec.notional_min.0 * i128::from(QUANTUMS_PER_UNIT) / i128::from(price.0) / i128::from(spec.lot_size.0);
            let command = PlaceOrder {
                signed: self.signed(n % ACCOUNTS),
                market: MarketId(market as u16),
                side,
                order_type: OrderType::Limit,
                size: Qty((lots as u64 + 1) * spec.lot_size.0),
                price,
                trigger_price: Price(0),
                time_in_force: TimeInForce::Gtc,
                good_til: Ts(0),
                reduce_only: false,
                self_trade: SelfTradeMode::CancelTaker,
                client_id: 0,
            };
            self.send(Command::Place(command))?;
        }
        let open = || self.published.read(|view| view.orders().open_count() as u64);
        let end = Instant::now() + PATIENCE;
        while open() < orders {
            ensure!(Instant::now() < end, "{} of {orders} orders are open", open());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.settle_down()
    }

    /// Waits until the block of what was executed is built: in a running venue that is behind by two seconds, not by a hundred thousand
    /// orders.
    fn settle_down(&self) -> Result<()> {
        self.control.seal_now.store(true, Ordering::Release);
        let height = Height(self.published.at().height.0 + 1);
        ensure!(self.blocks.wait_for(height, PATIENCE) == Wait::Committed, "block {height} was not built");
        std::thread::sleep(Duration::from_secs(1));
        Ok(())
    }

    /// Milliseconds from the detection to the record's durability, to HALTED in the published view, and to who listens.
    fn lose(&mut self) -> Result<[f64; 3]> {
        self.incident += 1;
        while self.node.try_next().map_err(closed)?.is_some() {}
        let (mut published, mut told) = (None, None);
        let start = Instant::now();
        self.control.halt.report(LossReasons::of(LossReason::OracleStale), &self.control.clock);
        while published.is_none() || told.is_none() {
            ensure!(start.elapsed() < PATIENCE, "no record of the loss");
            std::thread::sleep(Duration::from_micros(200));
            if published.is_none() && self.published.phase().incident == IncidentId(self.incident) {
                published = Some(Instant::now());
            }
            if told.is_none() && self.node.try_next().map_err(closed)?.is_some() {
                told = Some(Instant::now());
            }
        }
        let durable = self.durable_at.lock().unwrap_or_else(|e| e.into_inner()).take();
        ensure!(self.published.read(|view| view.orders().open_count()) == 0, "an order is left");
        let times = [durable, published, told].map(|at| at.map(|at| at.duration_since(start).as_secs_f64() * 1e3));
        let [Some(durable), Some(published), Some(told)] = times else { anyhow::bail!("announced before it was durable") };
        Ok([durable, published, told])
    }

    fn reopen(&mut self) -> Result<()> {
        self.settle_down()?;
        let incident = IncidentId(self.incident);
        for phase in [Phase::ReadOnly, Phase::Spot, Phase::ReduceOnly, Phase::Open] {
            let (post_only_until, integrity_report) = (Ts(0), Bytes32([1; 32]));
            self.ask(Command::SetPhase(SetPhase { incident, phase, post_only_until, integrity_report }))?;
        }
        ensure!(self.published.phase().phase == Phase::Open, "it did not open again");
        Ok(())
    }

    fn stop(self) -> Result<()> {
        self.control.stop.store(true, Ordering::Release);
        let ended = self.sequencer.join().map_err(|_| anyhow::anyhow!("the sequencer panicked"))?;
        Ok(ended?)
    }
}
