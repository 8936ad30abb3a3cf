use super::incidents::Recorder;
use keel_ingress::Inbox;
use keel_ingress::queue::Answer;
use keel_rpc::{AdminAnswer, AdminRefusal, AdminSink};
use keel_sequencer::Control;
use keel_types::{Command, IncidentId, LossReason, LossReasons, Resume};
use std::time::Duration;
use tokio::sync::oneshot;

/// Longest an operator waits for the record.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Carries out what operators ask for.
pub struct Operator {
    control: Control,
    inbox: Inbox,
    recorder: Recorder,
}

impl Operator {
    pub fn new(control: Control, inbox: Inbox, recorder: Recorder) -> Operator {
        Operator { control, inbox, recorder }
    }
}

impl AdminSink for Operator {
    fn enter_safe_mode(&self, reason: String) -> AdminAnswer {
        tracing::warn!(reason, "an operator enters safe mode");
        let reasons = LossReasons::of(LossReason::Operator);
        let (observed, answer) = self.control.halt.report_and_wait(reasons, &self.control.clock);
        self.recorder.told(observed, reasons, &reason);
        Box::pin(wait(answer))
    }

    fn resume(&self, incident: IncidentId, operator: u8) -> AdminAnswer {
        tracing::warn!(%incident, operator, "an operator resumes");
        let (reply, answer) = oneshot::channel();
        let queued = self.inbox.submit(Command::Resume(Resume { incident, operator }), Some(reply));
        Box::pin(async move {
            queued.map_err(|error| AdminRefusal::NotNow(error.to_string()))?;
            wait(answer).await
        })
    }
}

async fn wait(answer: oneshot::Receiver<Answer>) -> Result<Answer, AdminRefusal> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(AdminRefusal::Unknown),
    }
}
