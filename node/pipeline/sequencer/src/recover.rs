use keel_engine::Engine;
use keel_journal::{JournalError, Replay, Tail};
use keel_types::{Bytes32, Executed, Genesis, Record, Released, Seq, Ts};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
    /// Commands replayed.
    pub replayed: u64,
}

/// Failed to recover. Start-up stops; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("restore the engine from the snapshot at {seq}: {why}")]
    Restore { seq: Seq, why: String },
    #[error("replay command {seq}: {why}; the state diverged or the command breaks the engine, and needs an operator")]
    Command { seq: Seq, why: String },
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
    let (mut engine, mut tail) = match start {
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
    let (from, link) = tail.map_or((Seq(1), Bytes32::default()), |t| (t.last_seq.next(), t.hash));
    let (mut replayed, mut failure) = (0, None);
    journal.replay(from, link, &mut |record| {
        if until.is_some_and(|until| record.first_seq > until) {
            return false;
        }
        replayed += record.commands.len() as u64;
        match execute_record(&mut engine, &record) {
            Ok(released) => {
                tail = Some(Tail { last_seq: record.last_seq(), ts: record.ts, hash: released.record_hash });
                if !release(released) {
                    failure = Some(RecoverError::Stopped);
                }
            }
            Err(error) => failure = Some(error),
        }
        failure.is_none()
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok(Recovered { engine, tail, replayed }),
    }
}

/// Executes a record of the journal again. After an error the engine is as it was before the command that failed.
///
/// # Errors
/// [RecoverError::Command]: the command breaks this engine, or is a `SealBlock` with another digest.
pub fn execute_record(engine: &mut Engine, record: &Record) -> Result<Released, RecoverError> {
    let mut executed = Vec::with_capacity(record.commands.len());
    for (i, command) in record.commands.iter().enumerate() {
        let seq = Seq(record.first_seq.0 + i as u64);
        let output = apply(engine, seq, record.ts, command).map_err(|why| RecoverError::Command { seq, why })?;
        executed.push(Executed { seq, command: command.clone(), events: output.events, writes: output.writes });
    }
    Ok(Released { record_hash: record.hash(), ts: record.ts, executed })
}

/// Applies one command; a panic (a broken invariant) comes back as text and has changed nothing. [spec safe-mode, A command that breaks the engine]
pub(crate) fn apply(
    engine: &mut Engine,
    seq: Seq,
    ts: Ts,
    command: &keel_types::Command,
) -> Result<keel_engine::Output, String> {
    catch_unwind(AssertUnwindSafe(|| engine.apply(seq, ts, command))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "a panic without text".into())
    })
}
