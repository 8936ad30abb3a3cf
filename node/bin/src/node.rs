//! `keel run`: recover, wire, serve, stop.

mod attest;
pub mod data;
pub mod incidents;
mod integrity;
mod monitor;
mod operator;
mod settle;
mod sources;
mod status;
pub mod webhook;

pub use sources::disk_space;

use crate::config::Config;
use crate::gate::{GateParts, Owed};
use crate::keys::Keys;
use crate::void::Shown;
use anyhow::{Context, Result, anyhow};
use attest::{Divergences, Served};
use data::{DataDir, ReleasedNote};
use incidents::Recorder;
use keel_blocks::{BlockKey, BlockWorker, WorkerConfig};
use keel_engine::Engine;
use keel_feeds::{FeedsSeed, Published, ReleaseSender, Sink, View, start_feeds, start_history, start_releaser};
use keel_ingress::budget::BudgetConfig;
use keel_ingress::pool::PoolConfig;
use keel_ingress::{Inbox, InboxCapacity, Ingress, IngressConfig, RampConfig};
use keel_journal::{Journal, LocalJournal, Tail};
use keel_rpc::{AdminConfig, FollowerConfig, JwtSecret, OperatorSecrets, RpcContext};
use keel_sequencer::{Clock, Control, Outputs, Sequencer, SnapshotDue, Start, Stop, recover};
use keel_settlement::protection::{SignatureFile, Statement};
use keel_store::snapshots::{Snapshot, SnapshotHeader, Snapshots};
use keel_store::{HistoryWriter, Store, StoreError};
use keel_types::*;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest a stopping node waits for its commitment thread to finish the last block.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest it then waits for readers of the store, an abandoned gate among them.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest a node that failed goes on answering what was asked before.
const ABANDON_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest a start waits for the record of its restart: far above what a synced append takes.
const SAFE_MODE_AWAITED: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT, or until it must not go on.
pub fn run(config: Config, statement: Option<Statement>) -> Result<()> {
    let genesis = Arc::new(crate::genesis(&config.genesis)?);
    let keys = Keys::load(&config.keys)?;
    let data = DataDir::lock(&config.data_dir)?;
    let runtime = crate::runtime()?;
    let store = Store::open(&data.store(), genesis.hash()).context("open the store")?;
    let store = store.with_state_retention(config.history.state_retention());
    let started = Running::start(&config, genesis, store.clone(), (&keys, statement), &data, &runtime);
    let stopped = started.and_then(|node| {
        let ended = runtime.block_on(node.until_stop(&data))?;
        node.stop(ended, &data, &runtime)
    });
    drop(runtime);
    if !store.close(CLOSE_TIMEOUT) {
        tracing::warn!("a thread still holds the store; it is recovered at the next start");
    }
    stopped
}

/// Why a running node stops.
enum Ended {
    Signal {
        /// A command broke the engine before.
        broken: bool,
    },
    /// The sequencer's loop is over, which without a signal is a failure.
    Sequencer,
    /// Blocks or history cannot be written.
    Worker(anyhow::Error),
}

/// Everything that runs.
struct Running {
    control: Control,
    sequencer: std::cell::RefCell<Option<JoinHandle<Result<(), Stop>>>>,
    blocks: BlockWorker,
    history: JoinHandle<Result<(), StoreError>>,
    releaser: JoinHandle<()>,
    feeds: JoinHandle<()>,
    ingress: Ingress,
    servers: keel_rpc::ServerHandles,
    monitor: monitor::Monitor,
    settlement: keel_settlement::Handle,
    published: Published,
}

impl Running {
    fn start(
        config: &Config,
        genesis: Arc<Genesis>,
        store: Store,
        (keys, statement): (&Keys, Option<Statement>),
        data: &DataDir,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Running> {
        let _entered = runtime.enter();
        let options = keel_journal::Options {
            sync: config.sequencer.journal_sync,
            note_synced_length: config.sequencer.journal_note_synced,
        };
        let journal = LocalJournal::open(&data.journal(), options)?;
        let reader = journal.reader();
        let snapshots = Arc::new(Snapshots::open(&data.snapshots(), genesis.hash(), config.sequencer.snapshots_kept)?);
        let blocks = start_blocks(&genesis, &store, keys)?;
        let (mut history, history_thread) =
            start_history(HistoryWriter::new(store.clone())?.with_retention(config.history.retention()));

        let shown = Shown::read(data, &store, &snapshots)?;
        let recovered = recover_node(&genesis, &journal, (&store, &shown), &snapshots, &blocks, &mut history)?;
        let tail = recovered.tail;
        let note = data.note_released(tail.map_or(Seq(0), |tail| tail.last_seq))?;
        let settings = settle::config(config, &genesis, keys, SignatureFile { folder: data.signatures(), statement })?;
        if tail.is_none() {
            settings.begin_signatures(&genesis)?;
        }
        let clock = Arc::new(Clock::start(tail.map(|t| t.ts), config.sequencer.accept_clock)?);
        let downtime_ms_max = config.guard.config().thresholds.downtime_max_ms;
        let restart = data.needs_safe_mode(tail, recovered.void.as_ref(), clock.now(), downtime_ms_max)?;
        let confirmed = recovered.engine.next_batch().0.checked_sub(1).map(BatchId);
        let view = View::of_engine(genesis.clone(), &recovered.engine);
        let published = Published::new(view.clone());
        let (feeds, stream, feeds_thread) = start_feeds(FeedsSeed::read(view, &store).context("start the streams")?);
        std::fs::create_dir_all(data.incidents()).context("make the incidents folder")?;
        let recorder = Recorder::start(data.incidents(), clock.clone())?;
        let sinks = vec![stream, history, announcer(config, &genesis, recorder.clone())?];
        let (release, releaser) = start_releaser(published.clone(), sinks);

        let control = Control::new(clock.clone(), blocks.committed());
        if let Some((reason, why)) = &restart {
            tracing::warn!(%reason, why, "starting in safe mode");
            let observed = control.halt.report(LossReasons::of(*reason), &clock);
            recorder.told(observed, LossReasons::of(*reason), why);
        }
        let (inbox, receiver) = Inbox::new(InboxCapacity::default());
        let outputs = outputs((note, release), &blocks, snapshots.clone(), genesis.hash(), recorder.clone())?;
        let times = keel_sequencer::Config {
            tick: Duration::from_millis(config.sequencer.tick_ms),
            block_interval: Duration::from_millis(config.sequencer.block_interval_ms),
            snapshot_interval: Duration::from_millis(config.sequencer.snapshot_interval_ms),
            layer: genesis.settlement.layer,
        };
        let sequencer = Sequencer::new(recovered.engine, journal, receiver, control.clone(), outputs, times);
        let thread = std::thread::Builder::new().name("sequencer".into());
        let sequencer = thread.spawn(move || sequencer.run()).context("start the sequencer")?;

        let settlement = settle::start(
            &settings,
            settle::Node {
                genesis: &genesis,
                store: &store,
                published: &published,
                inbox: &inbox,
                control: &control,
                recorder: &recorder,
                confirmed,
            },
            runtime.handle(),
        )?;
        let desk = settlement.desk();
        let ingress = Ingress::new(ingress_config(config), genesis.clone(), Arc::new(published.clone()), inbox.clone());
        let (handle, rules, on) = (settlement.clone(), genesis.clone(), runtime.handle().clone());
        let escrow = move |owed: &Owed| settle::check_escrow(&handle, owed, &rules, &on);
        let replay = data.path().join("divergence.tmp");
        let divergences = Divergences::new(desk.clone(), genesis.clone(), reader.clone(), replay);
        let follower = FollowerConfig {
            secret: JwtSecret::from_file(&data.secret(config.rpc.follower_secret.as_deref(), "follower.hex")?)?,
            journal: reader.clone(),
            desk: Arc::new(Served(desk)),
        };
        let gate = GateParts {
            genesis: genesis.clone(),
            control: control.clone(),
            store: store.clone(),
            snapshots,
            journal: reader,
            key: keys.block,
            escrow: Box::new(escrow),
        };
        let failing = sources::Failing::default();
        let integrity = integrity::LastIntegrity::load(&data.incidents());
        let watched = monitor::Watched {
            published: published.clone(),
            inbox: inbox.clone(),
            settlement: settlement.clone(),
            divergences,
            recorder: recorder.clone(),
            integrity: integrity.clone(),
        };
        let monitor = monitor::start(config, gate, watched, data, failing.clone())?;
        let status = Arc::new(status::Status {
            settlement: settlement.clone(),
            guard: config.guard.config(),
            failing,
            halt: control.halt.clone(),
            integrity,
            recorder: recorder.clone(),
        });
        let context = RpcContext { genesis, published: published.clone(), feeds, ingress: ingress.clone(), store, status };
        let admin =
            AdminConfig { listen: config.rpc.admin_listen, operators: operators(config, data)?, follower: Some(follower) };
        let rpc = keel_rpc::Config { public: config.rpc.listen, admin: Some(admin) };
        let sink = Arc::new(operator::Operator::new(control.clone(), inbox, recorder));
        if restart.is_some() {
            await_safe_mode(&published, &sequencer);
        }
        let servers = runtime.block_on(keel_rpc::start(context, rpc, sink))?;
        tracing::info!(rpc = %servers.public.address(), data = %data.path().display(), "keel is running");
        let sequencer = std::cell::RefCell::new(Some(sequencer));
        Ok(Running {
            control,
            sequencer,
            blocks,
            history: history_thread,
            releaser,
            feeds: feeds_thread,
            ingress,
            servers,
            monitor,
            settlement,
            published,
        })
    }

    /// Waits for a signal, or for something that must not go on.
    async fn until_stop(&self, data: &DataDir) -> Result<Ended> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let mut look = tokio::time::interval(Duration::from_millis(50));
        let mut broken = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(Ended::Signal { broken }),
                _ = interrupt.recv() => return Ok(Ended::Signal { broken }),
                _ = look.tick() => {}
            }
            if let Ok(error) = self.blocks.errors().try_recv() {
                return Ok(Ended::Worker(anyhow!(error).context("build blocks")));
            }
            if self.monitor.is_finished() {
                return Ok(Ended::Worker(anyhow!("the guard ended; nothing may trade unwatched")));
            }
            if self.history.is_finished() || self.releaser.is_finished() || self.feeds.is_finished() {
                return Ok(Ended::Worker(anyhow!("the history, the published view or the streams cannot be written")));
            }
            if !broken && self.sequencer_finished() {
                match self.sequencer_result() {
                    // Reads go on, labelled with the last durable state; execution does not. [spec safe-mode, A command that breaks the engine]
                    Err(Stop::EngineBroken { seq, command, why }) => {
                        tracing::error!(%seq, command, why, "a command broke the engine: INVARIANT_BROKEN; execution has stopped");
                        data.note_engine_broken(seq)?;
                        // No record of it can follow; the status page says why all stands still.
                        self.control.halt.report(LossReasons::of(LossReason::InvariantBroken), &self.control.clock);
                        broken = true;
                    }
                    Err(error) => {
                        tracing::error!(%error, "the sequencer stopped; restart to recover");
                        return Ok(Ended::Sequencer);
                    }
                    Ok(()) => return Ok(Ended::Sequencer),
                }
            }
        }
    }

    fn sequencer_finished(&self) -> bool {
        self.sequencer.borrow().as_ref().is_some_and(|thread| thread.is_finished())
    }

    fn sequencer_result(&self) -> Result<(), Stop> {
        match self.sequencer.borrow_mut().take() {
            None => Ok(()),
            Some(thread) => thread.join().unwrap_or(Err(Stop::ReceiverGone)),
        }
    }

    /// Ends what reads the store or answers, and finishes nothing: the next start goes on from the journal.
    fn abandon(self, failure: anyhow::Error, runtime: &tokio::runtime::Runtime) -> anyhow::Error {
        self.ingress.close();
        self.monitor.stop();
        // Nothing may be executed that nobody watches, or that nobody can be told of.
        self.control.abandon.store(true, std::sync::atomic::Ordering::Release);
        self.control.stop.store(true, std::sync::atomic::Ordering::Release);
        self.settlement.stop();
        if runtime.block_on(async { tokio::time::timeout(ABANDON_TIMEOUT, self.servers.stop()).await }).is_err() {
            tracing::warn!("clients are cut off");
        }
        failure
    }

    /// Drains, seals, takes a snapshot, finishes the block, and notes that the stop was clean.
    fn stop(self, ended: Ended, data: &DataDir, runtime: &tokio::runtime::Runtime) -> Result<()> {
        let failure = match ended {
            Ended::Worker(error) => Some(error),
            Ended::Sequencer => Some(anyhow!("the sequencer stopped without being asked")),
            Ended::Signal { broken: true } => {
                Some(anyhow!("stopped after a command broke the engine; the next start needs operators"))
            }
            Ended::Signal { broken: false } => None,
        };
        if let Some(failure) = failure {
            return Err(self.abandon(failure, runtime));
        }
        tracing::info!("stopping");
        // While commands are still taken: who asked for it has no orders left at an exchange that is away.
        runtime.block_on(self.servers.lose_sessions());
        self.ingress.close();
        self.monitor.stop();
        self.control.stop.store(true, std::sync::atomic::Ordering::Release);
        let result = self.sequencer_result();
        runtime.block_on(self.servers.stop());
        self.settlement.stop();
        result?;
        let Running { blocks, history, releaser, feeds, published, .. } = self;
        releaser.join().map_err(|_| anyhow!("the releaser panicked"))?;
        feeds.join().map_err(|_| anyhow!("the streams panicked"))?;
        let at = published.at();
        history.join().map_err(|_| anyhow!("the history writer panicked"))??;
        blocks.wait_for(at.height, STOP_TIMEOUT);
        blocks.stop()?;
        data.note_clean_stop(at.seq)?;
        tracing::info!(seq = %at.seq, height = %at.height, "stopped");
        Ok(())
    }
}

/// Until the record of the restart is published: nobody is told OPEN by a venue that is about to close. Where it cannot be written soon,
/// what is published is served all the same. [spec safe-mode, The guarantee]
fn await_safe_mode(published: &Published, sequencer: &JoinHandle<Result<(), Stop>>) {
    let end = Instant::now() + SAFE_MODE_AWAITED;
    while published.phase().phase != Phase::Halted && !sequencer.is_finished() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// In the order of their indices.
pub fn operators(config: &Config, data: &DataDir) -> Result<OperatorSecrets> {
    let first = data.secret(config.rpc.jwt_secret.as_deref(), "jwt.hex")?;
    let paths = std::iter::once(&first).chain(&config.rpc.further_operator_secrets);
    let secrets = paths.map(|path| JwtSecret::from_file(path)).collect::<Result<_, _>>()?;
    Ok(OperatorSecrets::new(secrets)?)
}

fn start_blocks(genesis: &Arc<Genesis>, store: &Store, keys: &Keys) -> Result<BlockWorker> {
    let (_, genesis_writes) = Engine::new(genesis);
    let key = Some(BlockKey::new(keys.block, genesis)?);
    let config = WorkerConfig { genesis: genesis.clone(), genesis_writes, store: store.clone(), key };
    BlockWorker::start(config).context("start the commitment thread")
}

/// Where a replay from this snapshot starts.
pub fn start_of(snapshot: Snapshot) -> Start {
    let header = snapshot.header;
    let tail = Tail { last_seq: header.seq, ts: header.ts, hash: header.record_hash };
    Start::Snapshot { tail, digest: header.engine_digest, engine: snapshot.bytes }
}

/// The newest snapshot that blocks and history reach back to, then the journal: blocks and history get what they miss.
fn recover_node(
    genesis: &Genesis,
    journal: &LocalJournal,
    (store, shown): (&Store, &Shown),
    snapshots: &Snapshots,
    blocks: &BlockWorker,
    history: &mut Sink,
) -> Result<keel_sequencer::Recovered> {
    let reach = store.resume_after()?;
    let journal_end = journal.tail().map_or(Seq(0), |t| t.last_seq);
    anyhow::ensure!(
        reach <= journal_end,
        "recover: the store is at command {reach}, the journal ends at {journal_end}: the journal lost what was released, or the data folders do not belong together"
    );
    shown.ensure_within(journal_end)?;
    let (snapshot, passed_over) = snapshots.newest(|header| header.seq <= reach)?;
    for error in passed_over {
        tracing::warn!(%error, "snapshot passed over");
    }
    let start = snapshot.map_or(Start::Genesis, start_of);
    let from = if let Start::Snapshot { tail, .. } = &start { tail.last_seq } else { Seq(0) };
    let feed = blocks.feed();
    let recovered = recover(genesis, start, journal, None, &mut |released| {
        let released = Arc::new(released);
        feed.send(released.clone()) && history(&released)
    })
    .map_err(|error| crate::void::explain(error, journal_end, shown))?;
    let violations = recovered.engine.check();
    anyhow::ensure!(violations.is_empty(), "recover: {violations:?}");
    tracing::info!(%from, replayed = recovered.replayed, digest = %recovered.engine.digest(), "recovered");
    Ok(recovered)
}

/// Notes when a safe-mode record was published, and tells the webhook of each step. Behind the other sinks, and never waits.
fn announcer(config: &Config, genesis: &Genesis, recorder: Recorder) -> Result<Sink> {
    let webhook = config.incident_webhook.as_deref().map(|url| webhook::Webhook::start(url, genesis)).transpose()?;
    Ok(Box::new(move |released| {
        recorder.announced(released);
        if let Some(webhook) = &webhook {
            webhook.tell(released);
        }
        true
    }))
}

/// Releases are noted, then go to blocks, the view and history; snapshots to a writer that is skipped while busy.
fn outputs(
    (note, release): (ReleasedNote, ReleaseSender),
    blocks: &BlockWorker,
    snapshots: Arc<Snapshots>,
    genesis: Bytes32,
    recorder: Recorder,
) -> Result<Outputs> {
    let feed = blocks.feed();
    let (due, writer) = crossbeam_channel::bounded::<SnapshotDue>(1);
    std::thread::Builder::new().name("snapshots".into()).spawn(move || {
        for SnapshotDue { tail, height, digest, engine } in writer {
            let header = SnapshotHeader {
                genesis,
                seq: tail.last_seq,
                ts: tail.ts,
                height,
                record_hash: tail.hash,
                engine_digest: digest,
            };
            if let Err(error) = snapshots.write(&header, &engine) {
                tracing::error!(%error, "a snapshot was not written; recovery takes an older one");
            }
        }
    })?;
    Ok(Outputs {
        release: Box::new(move |released, replies| {
            if let Err(error) = note.write(released.last_seq()) {
                tracing::error!(%error, "what is released cannot be noted: nothing is");
                return false;
            }
            recorder.durable(&released);
            feed.send(released.clone()) && release.send(released, replies)
        }),
        snapshot: Box::new(move |snapshot| {
            if due.try_send(snapshot).is_err() {
                tracing::warn!("the last snapshot is still being written; this one is skipped");
            }
        }),
    })
}

fn ingress_config(config: &Config) -> IngressConfig {
    let factor = u64::from(config.ingress.budget_factor);
    let raised = |budget: BudgetConfig| BudgetConfig {
        burst: budget.burst * factor,
        per_second: budget.per_second * factor,
        ..budget
    };
    let mut pool = PoolConfig::default();
    if config.ingress.signature_workers > 0 {
        pool.workers = config.ingress.signature_workers;
    }
    let ramp = RampConfig {
        orders_per_second: config.ingress.orders_per_second * factor,
        ramp_ms: config.guard.config().phases.ramp_ms,
    };
    IngressConfig { pool, connection: raised(BudgetConfig::CONNECTION), account: raised(BudgetConfig::ACCOUNT), ramp }
}
