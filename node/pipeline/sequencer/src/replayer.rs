use crate::recover::RecoverError;
use keel_engine::{Engine, Output};
use keel_journal::Tail;
use keel_types::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Executes a journal again, one record behind what it was given: the next record may be the [Void] of the last, which then is not
/// executed. Whoever reads a journal executes it through this, so that a Void means the same to all.
/// [spec safe-mode, A command that breaks the engine]
pub struct Replayer {
    engine: Engine,
    /// Given, and not yet executed.
    waiting: Option<Record>,
}

impl Replayer {
    /// Goes on from `engine`, which is at the end of a record.
    pub fn new(engine: Engine) -> Replayer {
        Replayer { engine, waiting: None }
    }

    /// The state before the record that waits.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The command with which the next record begins.
    pub fn next(&self) -> Seq {
        self.waiting.as_ref().map_or(self.engine.last_seq(), Record::last_seq).next()
    }

    /// Takes the next record, and settles the one before it: that one with its results, if there is one. A voided record comes out with
    /// its commands and without results, so that whoever counts commands misses none.
    ///
    /// # Errors
    /// The record before breaks this engine, or this one is a Void in the wrong place, or stands behind a Void and is no safe mode. The engine is as it was before the command that
    /// failed, and nothing more is to be given.
    pub fn take(&mut self, record: Record) -> Result<Option<Released>, RecoverError> {
        let voids = self.waiting.as_ref().is_some_and(|before| before.is_voided_by(&record));
        if let (false, Some(void)) = (voids, record.void()) {
            return Err(RecoverError::StrayVoid { seq: record.first_seq, voided: void.seq });
        }
        if self.waiting.as_ref().is_some_and(|before| before.void().is_some()) && !record.is_safe_mode_of_void() {
            return Err(RecoverError::NoSafeMode { seq: record.first_seq });
        }
        let before = self.waiting.replace(record);
        before.map(|before| self.settle(before, voids)).transpose()
    }

    /// Settles the last record: none follows. `voided`: whether the record behind it is its Void, where there is one that is not taken.
    ///
    /// # Errors
    /// As [Replayer::take].
    pub fn finish(mut self, voided: bool) -> Result<(Engine, Option<Released>), RecoverError> {
        let last = self.waiting.take();
        let released = last.map(|last| self.settle(last, voided)).transpose()?;
        Ok((self.engine, released))
    }

    /// The record that is not yet executed.
    pub fn waiting(&self) -> Option<&Record> {
        self.waiting.as_ref()
    }

    fn settle(&mut self, record: Record, voided: bool) -> Result<Released, RecoverError> {
        let (tail, ts, first_seq) = (Tail::of(&record), record.ts, record.first_seq);
        if voided {
            tracing::warn!(seq = %first_seq, last = %tail.last_seq, hash = %tail.hash, "a voided record is not executed");
        }
        let mut executed = Vec::with_capacity(record.commands.len());
        for (i, command) in (0..).zip(record.commands) {
            let seq = Seq(first_seq.0 + i);
            let output = if voided {
                self.engine.pass_over(seq, ts);
                Output::default()
            } else {
                apply(&mut self.engine, seq, ts, &command).map_err(|why| {
                    let command = Box::new(command.clone());
                    RecoverError::Command { seq, command, first_seq, record: tail, why }
                })?
            };
            executed.push(Executed { seq, command, events: output.events, writes: output.writes });
        }
        Ok(Released { record_hash: tail.hash, ts, executed })
    }
}

/// Applies one command; a panic (a broken invariant) comes back as text and has changed nothing. [spec safe-mode, A command that breaks the engine]
pub(crate) fn apply(engine: &mut Engine, seq: Seq, ts: Ts, command: &Command) -> Result<Output, String> {
    catch_unwind(AssertUnwindSafe(|| engine.apply(seq, ts, command))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "a panic without text".into())
    })
}
