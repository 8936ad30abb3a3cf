//! Tells an address of the operator's of every step of an incident: `incident_webhook`.
//!
//! Each step is one POST of a small JSON object: `IncidentStep` of the document, with `chainId` and `genesis`. Steps come in order,
//! and again until they are taken: `incident`, `seq` and `step` name one. What is not taken within [TRY_FOR] is given up, and said in the log;
//! what was not taken when the process ended is not sent again. Nothing waits for it: it is a task of its own with a queue of
//! [STEPS_WAITING_MAX].

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
    /// With the moment until which it is tried.
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
            if self.due.try_send((Instant::now() + TRY_FOR, told)).is_err() {
                tracing::error!(incident = %step.incident, seq = %step.seq, "the webhook's queue is full; a step is not told");
            }
        }
    }
}

async fn deliver_all(client: Client, url: Url, mut waiting: mpsc::Receiver<(Instant, Value)>) {
    while let Some((until, step)) = waiting.recv().await {
        deliver(&client, &url, until, &step).await;
    }
}

/// Tries until it is taken or too old; at least once.
async fn deliver(client: &Client, url: &Url, until: Instant, step: &Value) {
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
        if Instant::now() + pause > until {
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
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn a_step_that_is_not_taken_is_tried_until_its_time_is_over_and_then_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = address(&format!("http://{}/steps", listener.local_addr().unwrap())).unwrap();
        let (asked, requests) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let _ = socket.read(&mut [0; 4_096]);
                let _ = socket.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                asked.send(()).unwrap();
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::builder().timeout(TRY_TIMEOUT).build().unwrap();
        let step = json!({ "incident": "1" });
        let tries = |until| {
            runtime.block_on(deliver(&client, &url, until, &step));
            requests.try_iter().count()
        };
        assert_eq!(tries(Instant::now()), 1, "at least once");
        assert!(tries(Instant::now() + PAUSE_FIRST * 2) <= 2);
    }

    #[test]
    fn handing_in_never_waits_and_what_waits_is_bounded() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../genesis/dev.json")).unwrap();
        let genesis = keel_contracts::genesis::load(&text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        // The task never runs, as if its receiver hung for ever.
        let webhook = Webhook::start("http://127.0.0.1:9/", &genesis).unwrap();
        let resumed = keel_types::Event::Resumed { incident: keel_types::IncidentId(1), operator: 0 };
        let executed = keel_types::Executed {
            seq: keel_types::Seq(1),
            command: keel_types::Command::Tick,
            events: vec![resumed],
            writes: vec![],
        };
        let released =
            Released { record_hash: keel_types::Bytes32::default(), ts: keel_types::Ts(1), executed: vec![executed] };
        (0..STEPS_WAITING_MAX * 2).for_each(|_| webhook.tell(&released));
        assert_eq!(webhook.due.capacity(), 0);
    }

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
