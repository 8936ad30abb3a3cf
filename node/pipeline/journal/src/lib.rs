//! The journal: the one authority. Every command is in a durable record before anything that came of it leaves the process.
//!
//! Invariant: nothing here looks inside a command. A record is appended whole, or the journal is broken for good.
#![forbid(unsafe_code)]

mod local;
pub mod model;

pub use local::{JournalReader, LocalJournal, Options, StoredRecord, SyncedLength};

use keel_types::{Bytes32, Record, Seq, Ts};
use std::path::PathBuf;

/// The end of a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// Sequence number of the last command.
    pub last_seq: Seq,
    /// Time of the last record.
    pub ts: Ts,
    /// Hash of the last record.
    pub hash: Bytes32,
}

impl Tail {
    /// The tail that `record` makes.
    pub fn of(record: &Record) -> Tail {
        Tail { last_seq: record.last_seq(), ts: record.ts, hash: record.hash() }
    }
}

/// Where records are made durable. Local today; a journal held by a cluster fits the same trait.
pub trait Journal: Send {
    /// Appends one record. When this returns `Ok` the record survives a crash of the machine.
    /// An error is final: the outcome of the append is unknown and every later append fails. Never retried. [DESIGN, Rules]
    fn append(&mut self, record: &Record) -> Result<(), JournalError>;
    /// The last record, if any.
    fn tail(&self) -> Option<Tail>;
}

/// Reads records in order.
pub trait Replay {
    /// Visits every record whose first command is at or after `from`, oldest first, checking the hash chain, until the end or until
    /// `visit` returns `false`. `link` is the hash that the first visited record must carry as `prev`.
    fn replay(&self, from: Seq, link: Bytes32, visit: &mut dyn FnMut(Record) -> bool) -> Result<(), JournalError>;
}

/// Failed to ...
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("open journal {path:?}: {why}")]
    Open { path: PathBuf, why: String },
    #[error("append record {first_seq} to the journal (outcome unknown, restart and replay): {why}")]
    Append { first_seq: Seq, why: String },
    #[error("append to the journal: an earlier append failed and its outcome is unknown")]
    Sticky,
    #[error("append record {found} to the journal: it must continue at {expected}")]
    OutOfOrder { expected: Seq, found: Seq },
    #[error("read the journal at {seq}: {why}")]
    Corrupt { seq: Seq, why: String },
}

/// Checks that `record` continues `tail`: next sequence number, the hash link, later time, at least one command.
fn check_continues(tail: Option<&Tail>, record: &Record) -> Result<(), JournalError> {
    let (next, link, ts) = tail.map_or((Seq(1), Bytes32::default(), Ts(0)), |t| (t.last_seq.next(), t.hash, t.ts));
    if record.first_seq != next {
        return Err(JournalError::OutOfOrder { expected: next, found: record.first_seq });
    }
    let corrupt = |why: &str| Err(JournalError::Corrupt { seq: record.first_seq, why: why.into() });
    if record.commands.is_empty() {
        return corrupt("the record is empty");
    }
    if record.prev != link {
        return corrupt("the record does not link to the one before");
    }
    if record.ts <= ts {
        return corrupt("time does not move forward");
    }
    Ok(())
}
