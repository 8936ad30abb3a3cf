//! Watches for the sender of a message that we consumed taking it back: once it is gone, no batch that consumed it can be settled.
//! [spec safe-mode, SETTLEMENT_CANCELLATION]

use crate::backoff::Backoff;
use crate::deposits::{SCAN_BLOCKS, read_deposit};
use crate::error::L1Error;
use crate::layer::L1;
use crate::start::EngineFacts;
use crate::view::View;
use keel_types::{Bytes32, Ts};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A cancellation that was started on a message which was consumed and is not settled: it must be settled before `deadline`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancellation {
    pub message_nonce: u64,
    /// By the clock of the settlement layer.
    pub started: Ts,
    /// From then on the sender may end it, and take the money back.
    pub deadline: Ts,
}

impl Cancellation {
    /// Whether half of the time is over. [spec safe-mode, SETTLEMENT_CANCELLATION]
    pub fn is_due(&self, now: Ts) -> bool {
        now.ms() >= self.started.ms() + self.deadline.ms().saturating_sub(self.started.ms()) / 2
    }
}

/// The loop.
#[derive(Clone)]
pub(crate) struct CancellationWatch {
    pub(crate) l1: L1,
    pub(crate) engine: Arc<EngineFacts>,
    pub(crate) view: View,
    pub(crate) poll: Duration,
    /// First block that is read at the next look.
    pub(crate) next: u64,
    /// By nonce: the messages whose cancellation was started, until they are gone for good.
    pub(crate) started: BTreeMap<u64, Started>,
}

/// A message whose cancellation was started.
#[derive(Clone, Copy)]
pub(crate) struct Started {
    hash: Bytes32,
    /// The newest block when it was first seen not to wait any more.
    gone: Option<u64>,
}

impl CancellationWatch {
    /// Runs for ever.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(self.poll);
        loop {
            let pause = match self.cycle().await {
                Ok(()) => {
                    backoff.reset();
                    self.poll
                }
                Err(error) => {
                    let pause = backoff.next();
                    tracing::warn!(%error, ?pause, "cancellations of messages cannot be read");
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn cycle(&mut self) -> Result<(), L1Error> {
        let (head, head_hash) = self.l1.newest().await?;
        while head >= self.next {
            let to = head.min(self.next.saturating_add(SCAN_BLOCKS - 1));
            for log in self.l1.cancellations(self.next, to).await? {
                if let Ok(deposit) = read_deposit(self.l1.genesis(), &log, head) {
                    let found = Started { hash: deposit.message_hash, gone: None };
                    self.started.insert(deposit.message_nonce, found);
                }
            }
            if to < head {
                self.next = to + 1;
                continue;
            }
            // The newest are read again: a reorganisation may move them.
            self.next = (head + 1).saturating_sub(self.l1.genesis().settlement.confirm_depth).max(self.next);
            break;
        }
        let found = self.look(head, head_hash).await?;
        self.view.set_cancellations(found);
        Ok(())
    }

    async fn look(&mut self, head: u64, head_hash: Bytes32) -> Result<Vec<Cancellation>, L1Error> {
        let (before, confirm_depth) = (self.view.cancellations(), self.l1.genesis().settlement.confirm_depth);
        let mut found = vec![];
        for (nonce, Started { hash, gone }) in self.started.clone() {
            // Anybody starts as many as he likes; only what was consumed is asked for.
            if !(self.engine.deposit_consumed)(nonce) {
                continue;
            }
            let message = self.l1.message(hash, head_hash).await?;
            if !message.waits {
                let gone = gone.unwrap_or(head);
                // A reorganisation may bring it back.
                if head.saturating_sub(gone) > confirm_depth {
                    self.started.remove(&nonce);
                } else {
                    self.started.insert(nonce, Started { hash, gone: Some(gone) });
                }
                continue;
            }
            self.started.insert(nonce, Started { hash, gone: None });
            let Some(times) = message.cancellation else { continue };
            let [started, deadline] =
                [times.started, times.allowed_at].map(|seconds| Ts::from_ms(seconds.saturating_mul(1_000)));
            let cancellation = Cancellation { message_nonce: nonce, started, deadline };
            if !before.contains(&cancellation) {
                let deadline = deadline.ms();
                tracing::error!(
                    nonce,
                    deadline,
                    "a cancellation of a consumed message was started: it must be settled before"
                );
            }
            found.push(cancellation);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_is_due_at_half_its_time() {
        let at = |ms| Ts::from_ms(ms);
        let cancellation = Cancellation { message_nonce: 0, started: at(1_000), deadline: at(3_000) };
        assert_eq!([1_999, 2_000, 9_000].map(|ms| cancellation.is_due(at(ms))), [false, true, true]);
        let endless = Cancellation { deadline: Ts(u64::MAX), ..cancellation };
        assert!(!endless.is_due(at(2_000)));
    }
}
