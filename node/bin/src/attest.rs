//! `keel attest`: a second node that follows the first, executes its journal again, compares, and signs.

pub mod client;
mod stream;

use crate::config::Config;
use crate::node::data::DataDir;
use anyhow::{Context, Result};
use client::{CallError, Client};
use keel_attestor::{FollowError, Follower, FollowerConfig, SignError, Signer, Verdict};
use keel_rpc::JwtSecret;
use keel_settlement::attestation::{AttestorKey, Scheme};
use keel_settlement::protection::{Protection, ProtectionError, Statement};
use keel_types::*;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stream::{Page, StreamEnd};
use tokio::runtime::Runtime;

/// Exit status when the state diverged. A supervisor need not start it again: it would find the same.
const DIVERGED: u8 = 3;
/// Between two looks at the node's batches, and the longest that a stop waits.
const POLL: Duration = Duration::from_millis(200);
/// Pages of the journal that wait to be executed; more stay in the node's journal.
const PAGES_WAITING_MAX: usize = 4;
/// Pauses before the node is tried again, doubled each time between these.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Longest wait for a block that was executed.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs until SIGTERM or SIGINT, or until it must not go on.
pub fn run(config: &Config, statement: Option<Statement>) -> Result<ExitCode> {
    let genesis = Arc::new(crate::genesis(&config.genesis)?);
    let scheme = Scheme::of(&genesis);
    let secret = JwtSecret::from_file(&config.attestor.secret).context("configuration: attestor.secret")?;
    let key = read_key(&config.attestor.key, &scheme).context("configuration: attestor.key")?;
    let data = DataDir::lock(&config.data_dir)?;
    let protection = Protection::open(&data.signatures(), genesis.hash(), key.id(), statement)?;
    let runtime = crate::runtime()?;
    let node = Client::new(&config.attestor.node, secret).context("configuration: attestor.node")?;
    let mut attestor = Attestor {
        node,
        signer: Signer::new(scheme, key, protection),
        runtime,
        stop: Arc::default(),
        next: None,
        looked: Instant::now(),
        warned: String::new(),
    };
    attestor.stop_on_signals();
    tracing::info!(attestor = %attestor.signer.attestor(), node = config.attestor.node, "attesting");
    let follower = FollowerConfig {
        folder: data.path().to_owned(),
        genesis,
        snapshot_interval: Duration::from_millis(config.sequencer.snapshot_interval_ms),
        retention: config.history.state_retention(),
    };
    let followed = Follower::open(follower).map_err(Halt::from).and_then(|mut follower| {
        tracing::info!(next = %follower.next(), height = %follower.height(), "following");
        let ended = attestor.follow(&mut follower);
        let closed = follower.close().map_err(Halt::from);
        ended.and(closed)
    });
    match followed {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Halt::Follow(FollowError::Diverged(divergence))) => {
            attestor.report(divergence);
            Ok(ExitCode::from(DIVERGED))
        }
        Err(halt) => Err(halt.into()),
    }
}

/// Why an attestor stops by itself.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("attest: {0}")]
    Follow(#[from] FollowError),
    #[error("attest: {0}")]
    Sign(#[from] SignError),
    /// The follower has records that the node does not have, or other ones.
    #[error("attest: the node's journal is another than the one in this folder: no record of it begins with {0}")]
    OtherJournal(Seq),
}

struct Attestor {
    node: Client,
    signer: Signer,
    runtime: Runtime,
    stop: Arc<AtomicBool>,
    /// The batch to ask for next; `None` after a connection was made.
    next: Option<BatchId>,
    looked: Instant,
    /// What was last complained about: said once.
    warned: String,
}

impl Attestor {
    fn stop_on_signals(&self) {
        let stop = self.stop.clone();
        self.runtime.spawn(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return tracing::error!("signals cannot be listened for");
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.store(true, Ordering::Release);
        });
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// One connection after the other, each from where the journal here ends.
    fn follow(&mut self, follower: &mut Follower) -> Result<(), Halt> {
        let mut pause = RECONNECT.0;
        while !self.stopping() {
            let from = follower.next();
            let (pages, received) = tokio::sync::mpsc::channel(PAGES_WAITING_MAX);
            let stream = self.runtime.spawn(stream::follow(self.node.websocket(), self.node.token(), from, pages));
            self.next = None;
            self.take_pages(follower, received)?;
            stream.abort();
            let end = self.runtime.block_on(stream);
            if follower.next() > from {
                pause = RECONNECT.0;
            }
            match end {
                Ok(StreamEnd::NoRecordThere) => return Err(Halt::OtherJournal(from)),
                Ok(StreamEnd::Lost(why)) => self.warn(format!("the node is lost: {why}")),
                Err(_) => {}
            }
            let until = Instant::now() + pause;
            while Instant::now() < until && !self.stopping() {
                std::thread::sleep(pause.min(POLL));
            }
            pause = (pause * 2).min(RECONNECT.1);
        }
        Ok(())
    }

    /// Until the stream ends, or a stop.
    fn take_pages(&mut self, follower: &mut Follower, mut pages: tokio::sync::mpsc::Receiver<Page>) -> Result<(), Halt> {
        while !self.stopping() {
            let page = self.runtime.block_on(async { tokio::time::timeout(POLL, pages.recv()).await });
            match page {
                Ok(Some(page)) => follower.take(&page)?,
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
            if self.looked.elapsed() >= POLL {
                self.attest(follower)?;
                self.looked = Instant::now();
            }
        }
        Ok(())
    }

    /// Compares what the node announces with what came out here, and signs it.
    fn attest(&mut self, follower: &mut Follower) -> Result<(), Halt> {
        let next = match self.next {
            Some(next) => next,
            // The node may have lost what was sent: everything that is not confirmed is looked at again.
            None => match self.runtime.block_on(self.node.batches(BatchId(u64::MAX), self.signer.attestor())) {
                Ok(page) => page.unconfirmed_from.min(follower.next_batch()?),
                Err(error) => {
                    self.warn(format!("the node's batches: {error}"));
                    return Ok(());
                }
            },
        };
        let page = match self.runtime.block_on(self.node.batches(next, self.signer.attestor())) {
            Ok(page) => page,
            Err(error) => {
                self.warn(format!("the node's batches: {error}"));
                return Ok(());
            }
        };
        self.next = Some(next);
        for (announced, attested) in page.batches {
            let computed = match follower.check(&announced, BLOCK_TIMEOUT)? {
                Verdict::Agreed(computed) => computed,
                Verdict::NotYet => return Ok(()),
                Verdict::OtherRange { announced: (first, last), before } => {
                    let batch = announced.batch;
                    self.warn(format!(
                        "not signed: batch {batch} is announced as blocks {first} to {last}, and was {before:?}"
                    ));
                    return Ok(());
                }
            };
            if !attested
                && computed.batch >= page.unconfirmed_from
                && !self.sign_and_send(&computed, page.unconfirmed_from)?
            {
                return Ok(());
            }
            self.next = Some(BatchId(computed.batch.0 + 1));
        }
        Ok(())
    }

    /// `false`: the node did not take it, ask again later.
    fn sign_and_send(&mut self, computed: &BatchClaim, unconfirmed_from: BatchId) -> Result<bool, Halt> {
        let attestation = match self.signer.attest(computed, unconfirmed_from) {
            Ok(attestation) => attestation,
            // Given up by an operator's statement, or signed otherwise: others must attest it.
            Err(SignError::Protection(error @ (ProtectionError::NotAbove { .. } | ProtectionError::OtherFact { .. }))) => {
                tracing::warn!(%error, "not signed");
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        };
        match self.runtime.block_on(self.node.attest(&attestation)) {
            Ok(gathered) => {
                let Gathered { have, need } = gathered;
                tracing::info!(batch = %computed.batch, last_block = %computed.last_block, fact = %computed.fact, have, need, "attested");
                Ok(true)
            }
            Err(error) => {
                self.warn(format!("batch {} was signed and not taken: {error}", computed.batch));
                Ok(false)
            }
        }
    }

    /// Tells the node, and the operator.
    fn report(&mut self, divergence: Divergence) {
        let Divergence { what, batch, height, announced, computed } = divergence;
        tracing::error!(%what, ?batch, %height, %announced, %computed, "STATE DIVERGED: nothing is signed any more");
        let report = match self.signer.report(divergence) {
            Ok(report) => report,
            Err(error) => return tracing::error!(%error, "the divergence cannot be reported"),
        };
        // A node that does not answer now must hear of it all the same.
        while !self.stopping() {
            match self.runtime.block_on(self.node.diverged(&report)) {
                Ok(()) => return tracing::error!("the node was told of the divergence"),
                Err(CallError::Refused { reason, .. }) if reason != AttestationRefusal::AttestorsUnknown.as_str() => {
                    return tracing::error!(reason, "the node does not take the report of the divergence");
                }
                Err(error) => self.warn(format!("the report of the divergence: {error}")),
            }
            std::thread::sleep(POLL);
        }
    }

    fn warn(&mut self, what: String) {
        if what != self.warned {
            tracing::warn!("{what}");
            self.warned = what;
        }
    }
}

/// A key in a file that only its owner reads. Errors never show it.
pub fn read_key(path: &Path, scheme: &Scheme) -> Result<AttestorKey> {
    use std::os::unix::fs::PermissionsExt;
    let read = || format!("read the key {}", path.display());
    let mode = std::fs::metadata(path).with_context(read)?.permissions().mode();
    anyhow::ensure!(mode & 0o077 == 0, "the key {} can be read by others: chmod 600", path.display());
    let text = std::fs::read_to_string(path).with_context(read)?;
    Ok(AttestorKey::parse(scheme, text.trim())?)
}
