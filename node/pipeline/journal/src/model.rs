//! A journal in memory that fails on purpose.
//!
//! Fault model: an append may be refused before anything was stored, or may be stored and then report failure (the outcome
//! a caller cannot tell apart from the first). After either, every append fails. A crash keeps what was stored. An append may also hang.

use crate::{Journal, JournalError, Replay, Tail, check_continues};
use keel_types::{Bytes32, Record, Seq};
use std::sync::{Arc, Condvar, Mutex};

/// What the next append does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing is stored, failure is reported.
    Lost,
    /// The record is stored, failure is reported.
    StoredButReportedLost,
}

/// See the module.
#[derive(Clone, Default)]
pub struct ModelJournal {
    shared: Arc<Mutex<Shared>>,
    /// While it is set appends hang.
    held: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Default)]
struct Shared {
    records: Vec<Record>,
    fault: Option<(usize, Fault)>,
    broken: bool,
}

impl ModelJournal {
    /// The append after `appends` further ones meets `fault`.
    pub fn fail_after(&self, appends: usize, fault: Fault) {
        let mut shared = self.shared.lock().expect("no panics while held");
        shared.fault = Some((appends, fault));
    }
    /// From now on appends hang, as on a disk that does not answer; or go on.
    pub fn hold(&self, held: bool) {
        *self.held.0.lock().expect("no panics while held") = held;
        self.held.1.notify_all();
    }
    /// Everything that is durable.
    pub fn records(&self) -> Vec<Record> {
        self.shared.lock().expect("no panics while held").records.clone()
    }
    /// The same storage after a restart.
    pub fn reopen(&self) -> ModelJournal {
        let records = self.records();
        ModelJournal { shared: Arc::new(Mutex::new(Shared { records, fault: None, broken: false })), held: Arc::default() }
    }
}

impl Journal for ModelJournal {
    fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let held = self.held.0.lock().expect("no panics while held");
        drop(self.held.1.wait_while(held, |held| *held).expect("no panics while held"));
        let mut shared = self.shared.lock().expect("no panics while held");
        if shared.broken {
            return Err(JournalError::Sticky);
        }
        let tail = shared.records.last().map(Tail::of);
        check_continues(tail.as_ref(), record)?;
        if let Some((left, fault)) = shared.fault {
            if left == 0 {
                shared.broken = true;
                if fault == Fault::StoredButReportedLost {
                    shared.records.push(record.clone());
                }
                return Err(JournalError::Append { first_seq: record.first_seq, why: "injected".into() });
            }
            shared.fault = Some((left - 1, fault));
        }
        shared.records.push(record.clone());
        Ok(())
    }

    fn tail(&self) -> Option<Tail> {
        self.shared.lock().expect("no panics while held").records.last().map(Tail::of)
    }
}

impl Replay for ModelJournal {
    fn replay(&self, from: Seq, link: Bytes32, visit: &mut dyn FnMut(Record) -> bool) -> Result<(), JournalError> {
        let mut expected = link;
        for record in self.records().into_iter().filter(|r| r.first_seq >= from) {
            if record.prev != expected {
                return Err(JournalError::Corrupt { seq: record.first_seq, why: "broken link".into() });
            }
            expected = record.hash();
            if !visit(record) {
                return Ok(());
            }
        }
        Ok(())
    }
}
