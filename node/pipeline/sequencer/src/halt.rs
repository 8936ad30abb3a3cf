use crate::Clock;
use keel_ingress::queue::Answer;
use keel_types::{LossReasons, Ts};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;

/// A detected loss, waiting to become the next record.
#[derive(Debug, Default)]
pub struct Loss {
    pub reasons: LossReasons,
    /// Journal time of the first detection.
    pub observed_ts: Ts,
    /// Who waits for the record: operators.
    pub(crate) replies: Vec<oneshot::Sender<Answer>>,
}

/// Where the guard says "stop". The sequencer looks before every command, so that none executes after a detection. [spec safe-mode]
#[derive(Default)]
pub struct Halt {
    /// The flag alone is read on the hot path.
    pending: AtomicBool,
    loss: Mutex<Option<Loss>>,
}

impl Halt {
    /// Reports a loss; when that was: from this moment on no command begins. Several before the record is written become one, dated by
    /// the first.
    pub fn report(&self, reasons: LossReasons, clock: &Clock) -> Ts {
        self.add(reasons, clock, None)
    }

    /// Reports a loss and gets the record's answer once it is durable and published.
    pub fn report_and_wait(&self, reasons: LossReasons, clock: &Clock) -> (Ts, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        (self.add(reasons, clock, Some(reply)), answer)
    }

    fn add(&self, reasons: LossReasons, clock: &Clock, reply: Option<oneshot::Sender<Answer>>) -> Ts {
        let mut slot = self.loss.lock().unwrap_or_else(|e| e.into_inner());
        self.pending.store(true, Ordering::SeqCst);
        // Behind the flag: a record with a later time finds it raised and executes nothing.
        let observed_ts = clock.now();
        let loss = slot.get_or_insert_with(|| Loss { observed_ts, ..Loss::default() });
        loss.reasons = loss.reasons.with(reasons);
        loss.replies.extend(reply);
        observed_ts
    }

    /// Whether a loss waits.
    pub fn pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }

    /// Reasons and first detection of the loss that waits. Never waits for the sequencer.
    pub fn waiting(&self) -> Option<(LossReasons, Ts)> {
        let loss = self.loss.lock().unwrap_or_else(|e| e.into_inner());
        loss.as_ref().map(|loss| (loss.reasons, loss.observed_ts))
    }

    /// Takes the loss for the record that is about to be written.
    pub(crate) fn take(&self) -> Option<Loss> {
        let mut loss = self.loss.lock().unwrap_or_else(|e| e.into_inner());
        self.pending.store(false, Ordering::SeqCst);
        loss.take()
    }
}
