//! The status page: `GET /status`, and what it shows as data: `GET /status.json` for programs, `GET /metrics` for alarms.
//! [spec safe-mode, What it does, in order]
//!
//! Invariant: it is answered from memory alone, however long the engine, the journal or the disk hangs. The one figure that comes out of the
//! store (the settlement backlog) is read beside the request, and shown with its age.
//!
//! It is public and opened by everybody at once on a bad day: one page for all is drawn [STATUS_DRAWN_EVERY], and a request keeps no connection.
mod html;
mod json;
mod metrics;
mod shown;
mod words;

use crate::context::{SettlementStatus, Shared};
use crate::jwt::encode_base64url;
use crate::limits::{STATUS_DRAWN_EVERY, STATUS_SETTLEMENT_READ_EVERY, STATUS_SETTLEMENT_WAIT_MAX};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use jsonrpsee::server::{HttpBody, HttpResponse};
use keel_store::{BatchHeader, BatchStatus};
use sha2::{Digest, Sha256};
use shown::Shown;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What a path of the page answers with.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Html,
    Json,
    Metrics,
}

impl Form {
    /// Which form a path asks for.
    pub fn of(path: &str) -> Option<Form> {
        match path {
            "/status" => Some(Form::Html),
            "/status.json" => Some(Form::Json),
            "/metrics" => Some(Form::Metrics),
            _ => None,
        }
    }
}

/// The page and what it remembers between two requests.
pub(crate) struct StatusPage {
    shared: Arc<Shared>,
    policy: HeaderValue,
    settlement: Arc<Mutex<Option<Settlement>>>,
    /// A read of the settlement's figures is under way; it may hang with the disk.
    reading: Arc<AtomicBool>,
    drawn: Mutex<Option<Drawn>>,
}

/// What was read of the settlement layer, and when.
#[derive(Clone)]
struct Settlement {
    read: Instant,
    status: SettlementStatus,
    /// The newest batch that is confirmed.
    confirmed: Option<BatchHeader>,
}

/// The page as everybody gets it for a moment.
struct Drawn {
    at: Instant,
    html: Arc<str>,
    json: Arc<str>,
    metrics: Arc<str>,
}

impl StatusPage {
    pub fn new(shared: Arc<Shared>) -> Arc<StatusPage> {
        let policy = format!(
            "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            source_hash(STYLE),
            source_hash(SCRIPT)
        );
        Arc::new(StatusPage {
            shared,
            policy: HeaderValue::from_str(&policy).expect("ASCII"),
            settlement: Arc::default(),
            reading: Arc::default(),
            drawn: Mutex::default(),
        })
    }

    /// Answers a request of any method.
    pub fn answer(
        self: Arc<Self>,
        form: Form,
        method: &Method,
    ) -> Pin<Box<dyn Future<Output = HttpResponse> + Send + 'static>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Box::pin(async move {
                let mut refused =
                    self.response(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "GET or HEAD.\n");
                refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                refused
            });
        }
        Box::pin(async move {
            self.read_settlement().await;
            let (content_type, body) = self.draw(|drawn| match form {
                Form::Html => ("text/html; charset=utf-8", drawn.html.clone()),
                Form::Json => ("application/json", drawn.json.clone()),
                Form::Metrics => ("text/plain; version=0.0.4; charset=utf-8", drawn.metrics.clone()),
            });
            self.response(StatusCode::OK, content_type, &body)
        })
    }

    /// Starts a read of the settlement's figures when they are old and none is under way, and waits for it a little.
    async fn read_settlement(&self) {
        let fresh = lock(&self.settlement).as_ref().is_some_and(|last| last.read.elapsed() < STATUS_SETTLEMENT_READ_EVERY);
        if fresh || self.reading.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shared, slot, reading) = (self.shared.clone(), self.settlement.clone(), Reading(self.reading.clone()));
        let read = tokio::task::spawn_blocking(move || {
            let _reading = reading;
            let status = shared.status.settlement();
            let confirmed = shared.store.latest_batch_with(BatchStatus::Confirmed).unwrap_or_else(|error| {
                tracing::warn!(%error, "the status page lacks the last confirmed batch");
                None
            });
            *lock(&slot) = Some(Settlement { read: Instant::now(), status, confirmed });
        });
        // Late or not: the page shows what there is.
        let _ = tokio::time::timeout(STATUS_SETTLEMENT_WAIT_MAX, read).await;
    }

    fn draw<T>(&self, answer: impl FnOnce(&Drawn) -> T) -> T {
        let mut drawn = lock(&self.drawn);
        let fresh = drawn.take().filter(|drawn| drawn.at.elapsed() < STATUS_DRAWN_EVERY);
        let now = fresh.unwrap_or_else(|| {
            let shown = Shown::read(&self.shared, lock(&self.settlement).clone());
            let json = json::json(&shown).to_string();
            Drawn {
                at: Instant::now(),
                html: html::page(&shown, STYLE, SCRIPT).into(),
                json: json.into(),
                metrics: metrics::metrics(&shown).into(),
            }
        });
        let answer = answer(&now);
        *drawn = Some(now);
        answer
    }

    fn response(&self, status: StatusCode, content_type: &'static str, body: &str) -> HttpResponse {
        let mut response = HttpResponse::new(HttpBody::from(body.to_owned()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            // Connections are what the exchange itself has few of.
            (header::CONNECTION, "close"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        response
    }
}

/// Says that the read is over, however it ended.
struct Reading(Arc<AtomicBool>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Values that no panic leaves half-changed: a poisoned lock is taken over.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How a Content-Security-Policy names the one text that may be in the page. [CSP 3, 6.7.3]
fn source_hash(text: &str) -> String {
    let base64 = encode_base64url(&Sha256::digest(text)).replace('-', "+").replace('_', "/");
    format!("sha256-{base64}=")
}
