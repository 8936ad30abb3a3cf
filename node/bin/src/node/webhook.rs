//! Tells an address of the operator's of every step of an incident: `incident_webhook`.
//!
//! Each step is one POST of a small JSON object: `IncidentStep` of the document, with `chainId` and `genesis`. Steps come in order, at
//! least once: `incident`, `seq` and `step` name one. What is not taken within [TRY_FOR] is given up, and said in the log. Nothing waits for
//! it: it is a task of its own with a queue of [STEPS_WAITING_MAX].

use anyhow::{Context, Result};
use keel_store::IncidentStep;
use keel_types::{Genesis, Released};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Longest one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the first failed try; each is twice the one before, up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long a step is tried for, from when it happened: an operator who has not heard of it by then has heard otherwise.
const TRY_FOR: Duration = Duration::from_secs(300);
/// Steps that may wait; an incident has some six. More are given up.
const STEPS_WAITING_MAX: usize = 256;

/// Where steps are handed in.
#[derive(Clone)]
pub struct Webhook {
    due: mpsc::Sender<(Instant, Value)>,
    chain: Value,
}

/// Reads an address; `None` unless it is http or https with a host.
pub fn address(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

impl Webhook {
    /// Starts the task on the runtime that is entered.
    ///
    /// # Errors
    /// The address is none; the system has no certificates that can be read.
    pub fn start(text: &str, genesis: &Genesis) -> Result<Webhook> {
        let url = address(text).context("configuration: incident_webhook is no http:// or https:// address")?;
        let client = Client::builder().timeout(TRY_TIMEOUT).connect_timeout(TRY_TIMEOUT).redirect(Policy::none());
        let client = client.build().context("start the webhook")?;
        let (due, waiting) = mpsc::channel(STEPS_WAITING_MAX);
        tokio::spawn(deliver_all(client, url, waiting));
        let chain = json!({ "chainId": keel_rpc::short_string(&genesis.chain_id.0), "genesis": genesis.hash().to_string() });
        Ok(Webhook { due, chain })
    }

    /// Hands in the steps of a record. Never waits.
    pub fn tell(&self, released: &Released) {
        let steps = released.executed.iter().flat_map(|executed| IncidentStep::of(executed, released.ts));
        for step in steps {
            let mut told = keel_rpc::incidents::step(&step);
            if let (Value::Object(told), Value::Object(chain)) = (&mut told, self.chain.clone()) {
                told.extend(chain);
            }
            if self.due.try_send((Instant::now(), told)).is_err() {
                tracing::error!(incident = %step.incident, seq = %step.seq, "the webhook's queue is full; a step is not told");
            }
        }
    }
}

async fn deliver_all(client: Client, url: Url, mut waiting: mpsc::Receiver<(Instant, Value)>) {
    while let Some((since, step)) = waiting.recv().await {
        deliver(&client, &url, since, &step).await;
    }
}

/// Tries until it is taken or too old; at least once.
async fn deliver(client: &Client, url: &Url, since: Instant, step: &Value) {
    let (mut pause, mut failures) = (PAUSE_FIRST, 0u32);
    loop {
        let request = client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(step.to_string());
        // Without the address: its path or query may be a secret.
        let why = match request.send().await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => format!("status {}", answer.status()),
            Err(error) => error.without_url().to_string(),
        };
        failures += 1;
        if since.elapsed() + pause > TRY_FOR {
            tracing::error!(why, failures, %step, "the webhook did not take a step; given up");
            return;
        }
        if failures == 1 {
            tracing::warn!(why, "the webhook did not take a step; tried again");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_or_https_with_a_host() {
        for good in ["http://127.0.0.1:9/hook?key=1", "https://hooks.example/T/B"] {
            assert!(address(good).is_some(), "{good}");
        }
        for bad in ["", "ftp://host/", "file:///etc/passwd", "hooks.example/T", "http://"] {
            assert!(address(bad).is_none(), "{bad}");
        }
    }
}
