use crate::replayer::Replayer;
use keel_engine::Engine;
use keel_journal::{JournalError, Replay, Tail};
use keel_types::{Bytes32, Command, Genesis, Released, Seq, Void};

/// Where a replay starts: genesis, or a verified snapshot taken at the end of a record.
pub enum Start {
    Genesis,
    Snapshot { tail: Tail, digest: Bytes32, engine: Vec<u8> },
}

/// The state that the journal makes.
pub struct Recovered {
    pub engine: Engine,
    /// The last record; `None` when the journal is empty and the start was genesis.
    pub tail: Option<Tail>,
    /// Commands replayed, those of voided records among them.
    pub replayed: u64,
    /// The Void that is the last record: what comes next must be safe mode. [spec safe-mode, A command that breaks the engine]
    pub void: Option<Void>,
}

/// Failed to recover. Start-up stops; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("restore the engine from the snapshot at {seq}: {why}")]
    Restore { seq: Seq, why: String },
    /// `first_seq` and `record`: the begin, end and hash of the record the command is in.
    #[error("replay command {seq}: {why}; the state diverged or the command breaks the engine, and needs an operator")]
    Command { seq: Seq, command: Box<Command>, first_seq: Seq, record: Tail, why: String },
    #[error("command {seq} stands behind a Void, and does not enter safe mode for it")]
    NoSafeMode { seq: Seq },
    #[error("replay the Void {seq} of {voided}: it is not alone in its record, or not directly behind what it voids")]
    StrayVoid { seq: Seq, voided: Seq },
    #[error("replay: stopped by the receiver of blocks")]
    Stopped,
}

/// Replays the journal from `start` to its end, or to `until`. Each record's results go to `release`, as when they were first made.
///
/// Every `SealBlock` in the journal carries the digest of the engine that wrote it; a difference is a panic in the engine and an
/// error here, so that a state which is not the state it should be never serves.
pub fn recover(
    genesis: &Genesis,
    start: Start,
    journal: &dyn Replay,
    until: Option<Seq>,
    release: &mut dyn FnMut(Released) -> bool,
) -> Result<Recovered, RecoverError> {
    let (engine, tail) = match start {
        Start::Genesis => (Engine::new(genesis).0, None),
        Start::Snapshot { tail, digest, engine } => {
            let refuse = |why| RecoverError::Restore { seq: tail.last_seq, why };
            let engine = Engine::restore(genesis, &engine).map_err(|e| refuse(e.to_string()))?;
            if engine.digest() != digest {
                return Err(refuse(format!("its digest is {}, it says {digest}", engine.digest())));
            }
            (engine, Some(tail))
        }
    };
    recover_from(engine, tail, journal, until, release)
}

/// The same from an engine that is at `tail`.
///
/// # Errors
/// As [recover].
pub fn recover_from(
    engine: Engine,
    mut tail: Option<Tail>,
    journal: &dyn Replay,
    until: Option<Seq>,
    release: &mut dyn FnMut(Released) -> bool,
) -> Result<Recovered, RecoverError> {
    let (from, link) = tail.map_or((Seq(1), Bytes32::default()), |t| (t.last_seq.next(), t.hash));
    let mut replayer = Replayer::new(engine);
    let (mut replayed, mut void, mut failure) = (0, None, None);
    // Whether the first record beyond `until` takes back the last one up to it.
    let mut voided = false;
    let mut settled = |released: Option<Released>| {
        let Some(released) = released else { return Ok(()) };
        tail = Some(Tail { last_seq: released.last_seq(), ts: released.ts, hash: released.record_hash });
        if release(released) { Ok(()) } else { Err(RecoverError::Stopped) }
    };
    journal.replay(from, link, &mut |record| {
        if until.is_some_and(|until| record.first_seq > until) {
            voided = replayer.waiting().is_some_and(|last| last.is_voided_by(&record));
            return false;
        }
        replayed += record.commands.len() as u64;
        void = record.void().cloned();
        failure = replayer.take(record).and_then(&mut settled).err();
        failure.is_none()
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    let (engine, released) = replayer.finish(voided)?;
    settled(released)?;
    Ok(Recovered { engine, tail, replayed, void })
}
