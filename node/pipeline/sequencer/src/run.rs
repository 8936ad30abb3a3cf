use crate::halt::Halt;
use crate::order::order_batch;
use crate::replayer::apply;
use crate::{Clock, Loss, Vitals};
use crossbeam_channel::Receiver;
use keel_blocks::{DiffCounter, LAG_MAX};
use keel_engine::Engine;
use keel_ingress::queue::{Answer, InboxReceiver, Shed, Submission};
use keel_journal::{Journal, JournalError, Tail};
use keel_types::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Most commands in one record. 4,096: at 60 k commands/s a batch is under 70 ms, and a record stays under 1 MiB.
pub const RECORD_COMMANDS_MAX: usize = 4_096;
/// Most Ticks one record takes in for work that is due (expiries, triggers, switches), each one piece of it: what users sent in the
/// meantime must not wait for a storm to end. At some 20 us a piece a record grows by 20 ms.
pub const DUE_TICKS_PER_RECORD_MAX: usize = 1_000;
/// And no longer than this in one record: a piece that is dear (a deleveraging, an account with many orders) must not keep cancels waiting.
const DUE_TIME_PER_RECORD_MAX: Duration = Duration::from_millis(20);
/// How often the loop looks for a detection while nothing arrives: the most that waiting for a command adds to safe mode.
const HALT_LOOK: Duration = Duration::from_millis(5);
/// Questions to the engine that may wait; each comes from a gate or a tool, not from clients.
const INSPECTIONS_MAX: usize = 16;

/// Times of the loop.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Longest time without a record. [DESIGN, Determinism: 100 ms]
    pub tick: Duration,
    /// A block closes this long after the one before, or at its limits.
    pub block_interval: Duration,
    /// A snapshot is taken at the first seal after this time.
    pub snapshot_interval: Duration,
    /// Where batches settle, by genesis: a block closes before it cannot settle there by itself.
    pub layer: SettlementLayer,
}

/// Receives a durable record with its results and the answers that may now be given. Called in order. `false` stops the loop.
pub type ReleaseSink = Box<dyn FnMut(Arc<Released>, Vec<(usize, oneshot::Sender<Answer>)>) -> bool + Send>;
/// Receives an encoded engine at the end of a sealed record. Must not block for long.
pub type SnapshotSink = Box<dyn FnMut(SnapshotDue) + Send>;

/// Where results go.
pub struct Outputs {
    pub release: ReleaseSink,
    pub snapshot: SnapshotSink,
}

/// An engine to be written as a snapshot.
pub struct SnapshotDue {
    pub tail: Tail,
    pub height: Height,
    pub digest: Bytes32,
    pub engine: Vec<u8>,
}

/// A question to the engine between two records, answered on the loop's thread.
type Inspect = Box<dyn FnOnce(&Engine) + Send>;

/// How others steer the loop.
#[derive(Clone)]
pub struct Control {
    pub clock: Arc<Clock>,
    pub halt: Arc<Halt>,
    /// Finish: drain, seal, snapshot, return.
    pub stop: Arc<AtomicBool>,
    /// With `stop`: finish nothing. What is queued stays unexecuted and unanswered.
    pub abandon: Arc<AtomicBool>,
    /// Close the block at the next record even if its time has not come.
    pub seal_now: Arc<AtomicBool>,
    /// Height of the last block the commitment thread finished.
    pub committed: Arc<AtomicU64>,
    pub vitals: Arc<Vitals>,
    inspect: (crossbeam_channel::Sender<Inspect>, Receiver<Inspect>),
    inspect_sealed: (crossbeam_channel::Sender<Inspect>, Receiver<Inspect>),
}

impl Control {
    /// Fresh controls.
    pub fn new(clock: Arc<Clock>, committed: Arc<AtomicU64>) -> Control {
        Control {
            clock,
            halt: Arc::default(),
            stop: Arc::default(),
            abandon: Arc::default(),
            seal_now: Arc::default(),
            committed,
            vitals: Arc::default(),
            inspect: crossbeam_channel::bounded(INSPECTIONS_MAX),
            inspect_sealed: crossbeam_channel::bounded(INSPECTIONS_MAX),
        }
    }

    /// Asks the engine something between two records. `None` when the loop has ended or does not answer in `timeout`.
    pub fn inspect<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine) -> T + Send + 'static,
        timeout: Duration,
    ) -> Option<T> {
        ask(&self.inspect.0, question, timeout)
    }

    /// Closes the block now and asks the engine as of that seal, so that the answer can be compared with the block's state.
    pub fn inspect_sealed<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine) -> T + Send + 'static,
        timeout: Duration,
    ) -> Option<T> {
        self.seal_now.store(true, Ordering::Release);
        ask(&self.inspect_sealed.0, question, timeout)
    }
}

fn ask<T: Send + 'static>(
    channel: &crossbeam_channel::Sender<Inspect>,
    question: impl FnOnce(&Engine) -> T + Send + 'static,
    timeout: Duration,
) -> Option<T> {
    let (answer, answered) = crossbeam_channel::bounded(1);
    let ask: Inspect = Box::new(move |engine| {
        // The asker may have given up waiting.
        let _ = answer.send(question(engine));
    });
    channel.send_timeout(ask, timeout).ok()?;
    answered.recv_timeout(timeout).ok()
}

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The journal's outcome is unknown: leave the process, restart and replay. [DESIGN, Rules]
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A command broke the engine. Its writes were dropped and its record was not released; reads go on, execution does not.
    #[error("execute command {seq} ({command}): {why}")]
    EngineBroken { seq: Seq, command: String, why: String },
    #[error("release results: a receiver is gone")]
    ReceiverGone,
}

/// One thread owns it.
pub struct Sequencer<J> {
    engine: Engine,
    journal: J,
    inbox: InboxReceiver,
    control: Control,
    outputs: Outputs,
    config: Config,
    /// The last record of the journal.
    tail: Tail,
    /// Drained but not yet executed, in execution order: what came after a block that closed at its limit.
    waiting: VecDeque<Submission>,
    /// Chain state touched since the last seal.
    diff: DiffCounter,
    sealed_at: Instant,
    snapshot_at: Instant,
    ticked_at: Instant,
}

/// A record in the making.
#[derive(Default)]
struct Batch {
    executed: Vec<Executed>,
    replies: Vec<(usize, oneshot::Sender<Answer>)>,
    sealed: bool,
    /// Ticks taken in for work that was due.
    due_ticks: usize,
    /// Time those took.
    due_time: Duration,
}

impl<J: Journal> Sequencer<J> {
    /// Takes over a recovered engine.
    pub fn new(
        engine: Engine,
        journal: J,
        inbox: InboxReceiver,
        control: Control,
        outputs: Outputs,
        config: Config,
    ) -> Self {
        let tail = journal.tail().unwrap_or(Tail { last_seq: Seq(0), ts: Ts(0), hash: Bytes32::default() });
        assert_eq!(engine.last_seq(), tail.last_seq, "the engine is not at the end of the journal");
        let now = Instant::now();
        let (waiting, diff) = (VecDeque::new(), DiffCounter::new(config.layer));
        Sequencer {
            engine,
            journal,
            inbox,
            control,
            outputs,
            config,
            tail,
            waiting,
            diff,
            sealed_at: now,
            snapshot_at: now,
            ticked_at: now,
        }
    }

    /// Runs until told to stop or until it must not go on.
    pub fn run(mut self) -> Result<(), Stop> {
        while !self.control.stop.load(Ordering::Acquire) {
            self.control.vitals.turn();
            self.answer_inspections();
            match self.control.halt.take() {
                Some(loss) => self.enter_safe_mode(loss)?,
                None => {
                    let batch = self.next_batch();
                    self.process(batch)?;
                }
            }
        }
        self.finish()
    }

    /// What to execute next: what waits, else what arrives before the next tick; work that is due does not wait for either.
    fn next_batch(&mut self) -> VecDeque<Submission> {
        if !self.waiting.is_empty() {
            return std::mem::take(&mut self.waiting);
        }
        let due = self.engine.due(self.control.clock.now());
        let end = Instant::now() + if due { Duration::ZERO } else { self.config.tick };
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let drained = self.inbox.drain(RECORD_COMMANDS_MAX, left.min(HALT_LOOK));
            if !drained.is_empty() || left <= HALT_LOOK || self.control.halt.pending() {
                return order_batch(drained).into();
            }
        }
    }

    /// Executes, makes durable, releases: one record.
    fn process(&mut self, mut queue: VecDeque<Submission>) -> Result<(), Stop> {
        let ts = self.control.clock.next();
        let mut batch = Batch::default();
        // Expiries run on ticks: traffic must not starve them.
        if self.ticked_at.elapsed() >= self.config.tick && !self.control.halt.pending() {
            queue.push_front(system(Command::Tick));
        }
        // A detection in the middle of a batch: what is left is answered by `enter_safe_mode`, unexecuted.
        while !self.control.halt.pending() && !batch.sealed {
            // What is due comes before what was sent later.
            let in_time = batch.due_ticks < DUE_TICKS_PER_RECORD_MAX && batch.due_time < DUE_TIME_PER_RECORD_MAX;
            let due = in_time && self.engine.due(ts);
            let submission = if due { Some(system(Command::Tick)) } else { queue.pop_front() };
            let Some(submission) = submission else { break };
            let start = Instant::now();
            self.execute(&mut batch, ts, submission)?;
            if due {
                batch.due_ticks += 1;
                batch.due_time += start.elapsed();
            }
            if self.diff.is_full() {
                self.wait_for_commitment();
                self.seal(&mut batch, ts)?;
            }
        }
        self.waiting.extend(queue);
        // After a detection not even a block is closed: the record of the loss comes first.
        if !batch.sealed && self.seal_is_due() && !self.control.halt.pending() {
            self.seal(&mut batch, ts)?;
        }
        self.commit(batch, ts)
    }

    fn execute(&mut self, batch: &mut Batch, ts: Ts, submission: Submission) -> Result<(), Stop> {
        let Submission { command, reply, .. } = submission;
        let seq = Seq(self.tail.last_seq.0 + batch.executed.len() as u64 + 1);
        if let Command::Void(_) = command {
            let (command, why) = (format!("{command:?}"), "operators append it to the journal of a stopped node".into());
            return Err(Stop::EngineBroken { seq, command, why });
        }
        let output = apply(&mut self.engine, seq, ts, &command).map_err(|why| {
            let command = format!("{command:?}");
            Stop::EngineBroken { seq, command, why }
        })?;
        self.diff.add(&output.events, &output.writes);
        if matches!(command, Command::Tick) {
            self.ticked_at = Instant::now();
        }
        if let Some(reply) = reply {
            batch.replies.push((batch.executed.len(), reply));
        }
        batch.executed.push(Executed { seq, command, events: output.events, writes: output.writes });
        Ok(())
    }

    /// Closes the block. Always the last command of its record, so that a snapshot at a record's end is a snapshot at a block's end.
    fn seal(&mut self, batch: &mut Batch, ts: Ts) -> Result<(), Stop> {
        let seal = SealBlock { height: Height(self.engine.height().0 + 1), engine_digest: self.engine.digest() };
        self.execute(batch, ts, system(Command::SealBlock(seal)))?;
        self.diff.reset();
        self.sealed_at = Instant::now();
        self.control.seal_now.store(false, Ordering::Release);
        batch.sealed = true;
        Ok(())
    }

    fn seal_is_due(&self) -> bool {
        let asked = self.control.seal_now.load(Ordering::Acquire);
        (asked || self.sealed_at.elapsed() >= self.config.block_interval) && self.commitment_lag() < LAG_MAX
    }

    fn commitment_lag(&self) -> u64 {
        self.engine.height().0.saturating_sub(self.control.committed.load(Ordering::Acquire))
    }

    /// A full block must close before anything else executes; while the commitment thread is 9 blocks behind, everything waits.
    fn wait_for_commitment(&self) {
        while self.commitment_lag() >= LAG_MAX && !self.control.stop.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The synced append, and only then the release.
    fn commit(&mut self, batch: Batch, ts: Ts) -> Result<(), Stop> {
        if batch.executed.is_empty() {
            return Ok(());
        }
        let commands = batch.executed.iter().map(|e| e.command.clone()).collect();
        let record = Record { prev: self.tail.hash, first_seq: self.tail.last_seq.next(), ts, commands };
        self.control.vitals.appending(|| self.journal.append(&record))?;
        self.tail = self.journal.tail().expect("a record was just appended");
        if batch.sealed {
            self.control.inspect_sealed.1.try_iter().for_each(|question| question(&self.engine));
        }
        let released = Released { record_hash: self.tail.hash, ts, executed: batch.executed };
        if !(self.outputs.release)(Arc::new(released), batch.replies) {
            return Err(Stop::ReceiverGone);
        }
        // Behind the release: a record that could still be voided is in no snapshot.
        let due = batch.sealed && self.snapshot_at.elapsed() >= self.config.snapshot_interval;
        if due && !self.control.halt.pending() {
            self.take_snapshot();
        }
        Ok(())
    }

    /// Queued commands are answered, none is executed; the record is alone in its batch. [spec safe-mode, What it does]
    fn enter_safe_mode(&mut self, loss: Loss) -> Result<(), Stop> {
        let queued = self.waiting.drain(..).chain(self.inbox.drain(usize::MAX, Duration::ZERO));
        let (system_commands, users): (Vec<_>, Vec<_>) = queued.partition(|s| s.command.account().is_none());
        for submission in users {
            shed(submission, Shed::SafeMode);
        }
        let phase = self.engine.phase();
        // A new loss during reopening returns to HALTED in the same incident. [spec safe-mode, Reopening]
        let incident = match phase.phase {
            Phase::Open => IncidentId(phase.incident.0 + 1),
            _ => IncidentId(phase.incident.0.max(1)),
        };
        let command = EnterSafeMode { incident, reasons: loss.reasons, observed_ts: loss.observed_ts };
        let (ts, mut batch) = (self.control.clock.next(), Batch::default());
        self.execute(&mut batch, ts, system(Command::EnterSafeMode(command)))?;
        batch.replies.extend(loss.replies.into_iter().map(|reply| (0, reply)));
        self.commit(batch, ts)?;
        // A phase step and an operator's word were given without knowing of this loss.
        let stale = |s: &Submission| matches!(s.command, Command::SetPhase(_) | Command::Resume(_));
        let (steps, others): (Vec<_>, Vec<_>) = system_commands.into_iter().partition(stale);
        steps.into_iter().for_each(|submission| shed(submission, Shed::SafeMode));
        self.waiting.extend(others);
        self.control.seal_now.store(true, Ordering::Release);
        Ok(())
    }

    fn take_snapshot(&mut self) {
        self.snapshot_at = Instant::now();
        let due = SnapshotDue {
            tail: self.tail,
            height: self.engine.height(),
            digest: self.engine.digest(),
            engine: self.engine.snapshot(),
        };
        (self.outputs.snapshot)(due);
    }

    fn answer_inspections(&self) {
        self.control.inspect.1.try_iter().for_each(|question| question(&self.engine));
    }

    /// A stop that was asked for: what is queued is executed, the block sealed, a snapshot taken.
    fn finish(mut self) -> Result<(), Stop> {
        if self.control.abandon.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut queue: VecDeque<_> = self.waiting.drain(..).collect();
        queue.extend(order_batch(self.inbox.close()));
        while !queue.is_empty() && !self.control.halt.pending() {
            self.process(queue)?;
            queue = std::mem::take(&mut self.waiting);
        }
        queue.into_iter().for_each(|s| shed(s, Shed::ShuttingDown));
        // A loss detected while stopping is not forgotten: the next start goes on from its record.
        while let Some(loss) = self.control.halt.take() {
            self.enter_safe_mode(loss)?;
        }
        let (ts, mut batch) = (self.control.clock.next(), Batch::default());
        self.seal(&mut batch, ts)?;
        self.commit(batch, ts)?;
        self.take_snapshot();
        Ok(())
    }
}

fn system(command: Command) -> Submission {
    Submission { command, reply: None, arrival: 0 }
}

fn shed(submission: Submission, why: Shed) {
    if let Some(reply) = submission.reply {
        // The asker may be gone; nothing was executed either way.
        let _ = reply.send(Answer::Shed(why));
    }
}
