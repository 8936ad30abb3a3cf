//! The node's side of attesting: what followers are told, and what a report of a difference leads to.

use anyhow::{Context, Result};
use keel_attestor::{FollowError, Follower, FollowerConfig};
use keel_batches::BatchError;
use keel_journal::JournalReader;
use keel_rpc::{Announced, AttestationDesk};
use keel_settlement::attestation::Desk;
use keel_store::StateRetention;
use keel_types::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Between two replays from scratch: an attestor that reports something new every second must not take a processor for good.
const REPLAY_PAUSE: Duration = Duration::from_secs(600);
/// Bytes of the journal that a replay takes at once.
const REPLAY_PAGE_BYTES: usize = 1 << 20;
/// Longest wait for a block of a replay.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(600);

/// What the admin port serves to followers.
pub struct Served(pub Arc<Desk>);

impl AttestationDesk for Served {
    fn batches(&self, from: BatchId, attestor: AttestorId) -> Result<Announced, BatchError> {
        let unconfirmed_from = self.0.unconfirmed_from()?;
        let batches = self.0.batches(from, attestor, keel_rpc::limits::ANNOUNCED_BATCHES_MAX)?;
        Ok(Announced { unconfirmed_from, batches })
    }
    fn attest(&self, attestation: Attestation) -> Result<Gathered, AttestationRefusal> {
        self.0.attest(&attestation)
    }
    fn diverged(&self, report: DivergenceReport) -> Result<(), AttestationRefusal> {
        self.0.diverged(&report)
    }
}

/// Reports of attestors, and our own replay from scratch that confirms them or does not. [spec safe-mode, STATE_DIVERGED]
#[derive(Clone)]
pub struct Divergences {
    desk: Arc<Desk>,
    genesis: Arc<Genesis>,
    journal: JournalReader,
    /// Where the replay lives while it runs.
    folder: PathBuf,
    replays: Arc<Mutex<Replays>>,
}

#[derive(Default)]
struct Replays {
    running: bool,
    /// When the last one ended.
    ended: Option<Instant>,
    /// What was looked at, by attestor.
    done: BTreeMap<AttestorId, Bytes32>,
    confirmed: bool,
}

impl Divergences {
    pub fn new(desk: Arc<Desk>, genesis: Arc<Genesis>, journal: JournalReader, folder: PathBuf) -> Divergences {
        Divergences { desk, genesis, journal, folder, replays: Arc::default() }
    }

    /// What the guard sees; starts a replay when there is a report that none has looked at.
    ///
    /// # Errors
    /// The reports cannot be read.
    pub fn sample(&self) -> Result<keel_guard::Divergence> {
        let reports = self.desk.divergences().context("reports of attestors")?;
        let mut replays = self.lock();
        let news = reports.iter().find(|report| replays.done.get(&report.attestor) != Some(&report.divergence.hash()));
        let rested = replays.ended.is_none_or(|ended| ended.elapsed() >= REPLAY_PAUSE);
        if let Some(report) = news
            && !replays.running
            && rested
        {
            replays.running = true;
            self.replay(report.attestor, report.divergence);
        }
        Ok(keel_guard::Divergence { confirmed: replays.confirmed, attestors: reports.len() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Replays> {
        self.replays.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn replay(&self, attestor: AttestorId, divergence: Divergence) {
        let this = self.clone();
        let work = move || {
            let result = this.differs(&divergence);
            let mut replays = this.lock();
            (replays.running, replays.ended) = (false, Some(Instant::now()));
            // One that failed is made again, after a pause.
            if result.is_ok() {
                replays.done.insert(attestor, divergence.hash());
            }
            match result {
                Ok(true) => {
                    tracing::error!(height = %divergence.height, "our own replay differs too: the report of an attestor is confirmed");
                    replays.confirmed = true;
                }
                Ok(false) => {
                    tracing::warn!(height = %divergence.height, "our own replay agrees with this node, not with the attestor that reported a difference");
                }
                Err(error) => tracing::error!("the replay that a report of an attestor asks for: {error:#}"),
            }
        };
        if let Err(error) = std::thread::Builder::new().name("divergence".into()).spawn(work) {
            tracing::error!(%error, "the replay could not start");
            self.lock().running = false;
        }
    }

    /// Whether a second node, made from genesis and the journal alone, comes to something else than this one up to the reported block.
    fn differs(&self, divergence: &Divergence) -> Result<bool> {
        remove(&self.folder)?;
        let result = self.differs_in(divergence);
        remove(&self.folder)?;
        result
    }

    fn differs_in(&self, divergence: &Divergence) -> Result<bool> {
        let retention = StateRetention { proof_blocks: 0, state_blocks: 0 };
        let (folder, genesis) = (self.folder.clone(), self.genesis.clone());
        let config = FollowerConfig { folder, genesis, snapshot_interval: Duration::MAX, retention };
        let mut second = Follower::open(config).context("start a second node")?;
        let compared = self.compare(&mut second, divergence);
        let closed = second.close().context("close the second node");
        match compared {
            Ok(()) => closed.map(|()| false),
            Err(FollowError::Diverged(found)) => {
                tracing::error!(?found, "replay from scratch");
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn compare(&self, second: &mut Follower, divergence: &Divergence) -> Result<(), FollowError> {
        let end = self.journal.durable();
        while second.next() <= end && second.height() <= divergence.height {
            let page = self.journal.page(second.next(), REPLAY_PAGE_BYTES)?;
            let page = page.into_iter().map(|record| {
                let hash = Bytes32(*blake3::hash(&record.bytes).as_bytes());
                (record.first_seq, hash, record.bytes)
            });
            second.take(&page.collect::<Vec<_>>())?;
        }
        let Some(batch) = divergence.batch else { return Ok(()) };
        // Every batch up to the reported one: an earlier difference is one too.
        while second.next_batch()? <= batch {
            let claims = self.desk.batches(second.next_batch()?, AttestorId::default(), 1)?;
            let Some((claim, _)) = claims.first() else { return Ok(()) };
            if !matches!(second.check(claim, BLOCK_TIMEOUT)?, keel_attestor::Verdict::Agreed(_)) {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("remove the replay's folder"),
        _ => Ok(()),
    }
}
