//! Every error this server answers with. Closed; each has a code, a reason that clients can branch on, and the field at fault.
//!
//! | codes | who |
//! |---|---|
//! | 10 to 68 | `starknet_*`, by the specification |
//! | -32001 to -32019, -32040 to -32049 | a request refused before the engine ([keel_ingress::IngressError]) |
//! | -32050 | the phase forbids it [spec safe-mode, What a client sees] |
//! | -32051 to -32069 | this server, below |
//! | -32100 and down | the engine refused it ([keel_types::Reject]) |
//! | -32600 to -32700 | JSON-RPC itself; -32602 for `starknet_*` parameters |
use crate::admin::AdminRefusal;
use crate::limits::{BATCH_ENTRIES_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, SUBSCRIPTIONS_PER_CONNECTION_MAX};
use crate::starknet::StarknetError;
use jsonrpsee::types::ErrorObjectOwned;
use keel_feeds::PhaseView;
use keel_ingress::IngressError;
use keel_store::StoreError;
use keel_types::{AttestationRefusal, Event, IncidentId, LossReason, Phase, Reject, Seq, Ts};
use serde_json::{Value, json};

macro_rules! own_errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $reason:literal, $text:literal;)+) => {
        $($(#[$doc])* pub const $name: i32 = $code;)+

        /// Code, reason and meaning of every error of this server itself; the source of the table in the documents.
        pub const TABLE: &[(i32, &str, &str)] = &[$(($code, $reason, $text)),+];
    };
}

own_errors! {
    /// A write inside a JSON-RPC batch.
    WRITE_IN_BATCH = -32051, "WRITE_IN_BATCH", "writes are sent one by one, not inside a JSON-RPC batch";
    /// A body above [REQUEST_BYTES_MAX].
    REQUEST_TOO_BIG = -32052, "REQUEST_TOO_BIG", "the request body is larger than the server takes";
    /// A batch of more than [BATCH_ENTRIES_MAX].
    BATCH_TOO_LONG = -32053, "BATCH_TOO_LONG", "the JSON-RPC batch has more entries than the server takes";
    /// An answer above [RESPONSE_BYTES_MAX].
    RESPONSE_TOO_BIG = -32054, "RESPONSE_TOO_BIG", "the answer would be larger than the server sends";
    /// `bridge_*`: nothing by that number.
    UNKNOWN_BATCH = -32055, "UNKNOWN_BATCH", "there is no such batch";
    /// See [UNKNOWN_BATCH].
    UNKNOWN_DEPOSIT = -32056, "UNKNOWN_DEPOSIT", "no deposit with this message nonce was seen";
    /// See [UNKNOWN_BATCH].
    UNKNOWN_WITHDRAWAL = -32057, "UNKNOWN_WITHDRAWAL", "there is no such withdrawal";
    /// A page behind the last one.
    PAGE_OUT_OF_RANGE = -32058, "PAGE_OUT_OF_RANGE", "behind the last page";
    /// An operator's command that cannot apply now.
    ADMIN_NOT_NOW = -32059, "NOT_NOW", "an operator's command that cannot apply now";
    /// A subscription inside a JSON-RPC batch.
    SUBSCRIPTION_IN_BATCH = -32060, "SUBSCRIPTION_IN_BATCH", "subscriptions are opened one by one, not inside a JSON-RPC batch";
    /// A method of the admin port that the token's secret does not open.
    ROLE_FORBIDS = -32061, "ROLE_FORBIDS", "the secret that signed the token may not do this";
    /// A stream of the journal from a place where no record begins.
    NO_RECORD_THERE = -32062, "NO_RECORD_THERE", "no record of the journal begins with this number: it is another journal";
    /// What an attestor sent is not taken; the reason is one of [keel_types::AttestationRefusal].
    ATTESTATION_REFUSED = -32063, "ATTESTATION_REFUSED", "an attestation or a report of an attestor is not taken";
    /// More subscriptions or private streams than this node serves.
    TOO_MANY_SUBSCRIPTIONS = -32064, "TOO_MANY_SUBSCRIPTIONS", "no more subscriptions on this connection, or on this node";
    /// A session's call on a connection that did not log in.
    NOT_LOGGED_IN = -32065, "NOT_LOGGED_IN", "this WebSocket has not logged in";
    /// A session's or a subscription's call that did not come over a WebSocket.
    WEB_SOCKET_ONLY = -32066, "WEB_SOCKET_ONLY", "sessions and subscriptions live on a WebSocket connection that is open";
    /// A log-in on a connection of another account.
    OTHER_SESSION = -32067, "OTHER_SESSION", "this connection is logged in for another account";
    /// A `Session` that logged in before.
    SESSION_USED = -32068, "SESSION_USED", "a Session logs in once";
    /// A `cursor` that no page gave.
    BAD_CURSOR = -32069, "BAD_CURSOR", "not the cursor of an earlier page";
    /// Parameters of a `starknet_*` method.
    INVALID_PARAMS = -32602, "INVALID_PARAMS", "the parameters of a starknet_* method are not what it takes";
    /// See [RpcError::Internal].
    INTERNAL = -32603, "INTERNAL", "internal error";
}

/// What the phase error says. [spec safe-mode, What a client sees]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PhaseData {
    pub phase: PhaseView,
    pub eta: Option<Ts>,
    pub seq: Option<Seq>,
    pub nonce_consumed: bool,
}

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RpcError {
    Starknet(StarknetError),
    /// Parameters of a `starknet_*` method.
    Params {
        field: String,
        why: &'static str,
    },
    /// Refused before the engine; nothing changed and no nonce is consumed.
    Ingress(IngressError),
    /// The engine refused a command. `order`: what became of the order that a cancel named.
    Rejected {
        /// The field of the request at fault, empty when it is none in particular.
        field: &'static str,
        reject: Reject,
        nonce_consumed: bool,
        seq: Seq,
        replayed: bool,
        order: Option<Value>,
    },
    Phase(Box<PhaseData>),
    WriteInBatch,
    SubscriptionInBatch,
    RequestTooBig,
    BatchTooLong,
    ResponseTooBig,
    UnknownBatch,
    UnknownDeposit,
    UnknownWithdrawal,
    PageOutOfRange,
    AdminNotNow(String),
    RoleForbids,
    NoRecordThere,
    Attestation(AttestationRefusal),
    TooManySubscriptions,
    NotLoggedIn,
    WebSocketOnly,
    OtherSession,
    SessionUsed,
    BadCursor,
    /// A fault of ours; the log has the cause.
    Internal,
}

impl RpcError {
    /// See [RpcError::Params].
    pub fn params(field: &str, why: &'static str) -> RpcError {
        RpcError::Params { field: field.chars().take(64).collect(), why }
    }

    /// A command of the node itself that the engine did not carry out.
    pub fn refused_by_engine(seq: Seq, events: &[Event]) -> RpcError {
        let reject = events.iter().find_map(|event| match event {
            Event::SystemRejected { reject } => Some(*reject),
            _ => None,
        });
        match reject {
            Some(reject) => RpcError::Rejected {
                field: reject.field(),
                reject,
                nonce_consumed: false,
                seq,
                replayed: false,
                order: None,
            },
            None => RpcError::Internal,
        }
    }

    fn parts(&self) -> (i32, String, Value) {
        let own = |code, reason: &str, field: &str, text: String| {
            (code, text, json!({"reason": reason, "field": field, "nonceConsumed": false}))
        };
        match self {
            RpcError::Starknet(error) => {
                let (code, text) = error.parts();
                (code, text.into(), error.data().unwrap_or_default())
            }
            RpcError::Params { field, why } => {
                let text = if field.is_empty() {
                    format!("Invalid params: {why}")
                } else {
                    format!("Invalid params: {field}: {why}")
                };
                (INVALID_PARAMS, text, json!({"reason": "INVALID_PARAMS", "field": field}))
            }
            RpcError::Ingress(error) => {
                let (code, text, mut data) = own(error.code(), error.reason(), error.field(), error.to_string());
                if *error == IngressError::OutcomeUnknown {
                    // Nobody knows yet: neither true nor false.
                    data["nonceConsumed"] = Value::Null;
                }
                (code, text, data)
            }
            RpcError::Rejected { field, reject, nonce_consumed, seq, replayed, order } => {
                let mut data = json!({
                    "reason": reject.as_str(), "field": field, "nonceConsumed": nonce_consumed,
                    "seq": seq.to_string(), "replayed": replayed,
                });
                if let Some(order) = order {
                    data["order"] = order.clone();
                }
                let of = if field.is_empty() { String::new() } else { format!(" ({field})") };
                (reject.code(), format!("{reject}{of}: refused by the engine"), data)
            }
            RpcError::Phase(data) => phase_parts(data),
            RpcError::WriteInBatch => {
                own(WRITE_IN_BATCH, "WRITE_IN_BATCH", "", "writes are sent one by one, not inside a JSON-RPC batch".into())
            }
            RpcError::SubscriptionInBatch => own(
                SUBSCRIPTION_IN_BATCH,
                "SUBSCRIPTION_IN_BATCH",
                "",
                "subscriptions are opened one by one, not inside a JSON-RPC batch".into(),
            ),
            RpcError::RequestTooBig => {
                own(REQUEST_TOO_BIG, "REQUEST_TOO_BIG", "", format!("a request body has at most {REQUEST_BYTES_MAX} bytes"))
            }
            RpcError::BatchTooLong => {
                own(BATCH_TOO_LONG, "BATCH_TOO_LONG", "", format!("a batch has at most {BATCH_ENTRIES_MAX} entries"))
            }
            RpcError::ResponseTooBig => {
                own(RESPONSE_TOO_BIG, "RESPONSE_TOO_BIG", "", format!("an answer has at most {RESPONSE_BYTES_MAX} bytes"))
            }
            RpcError::UnknownBatch => own(UNKNOWN_BATCH, "UNKNOWN_BATCH", "batch", "there is no such batch".into()),
            RpcError::UnknownDeposit => {
                own(UNKNOWN_DEPOSIT, "UNKNOWN_DEPOSIT", "messageNonce", "no deposit with this message nonce was seen".into())
            }
            RpcError::UnknownWithdrawal => {
                own(UNKNOWN_WITHDRAWAL, "UNKNOWN_WITHDRAWAL", "id", "there is no such withdrawal".into())
            }
            RpcError::PageOutOfRange => own(PAGE_OUT_OF_RANGE, "PAGE_OUT_OF_RANGE", "page", "behind the last page".into()),
            RpcError::AdminNotNow(why) => own(ADMIN_NOT_NOW, "NOT_NOW", "", why.clone()),
            RpcError::RoleForbids => {
                own(ROLE_FORBIDS, "ROLE_FORBIDS", "", "the secret that signed the token may not do this".into())
            }
            RpcError::NoRecordThere => own(
                NO_RECORD_THERE,
                "NO_RECORD_THERE",
                "fromSeq",
                "no record of this journal begins there: the follower's journal is another".into(),
            ),
            RpcError::Attestation(refusal) => own(ATTESTATION_REFUSED, refusal.as_str(), "", format!("refused: {refusal}")),
            RpcError::TooManySubscriptions => own(
                TOO_MANY_SUBSCRIPTIONS,
                "TOO_MANY_SUBSCRIPTIONS",
                "",
                format!(
                    "no more subscriptions: {SUBSCRIPTIONS_PER_CONNECTION_MAX} a connection, and a limit for all together"
                ),
            ),
            RpcError::NotLoggedIn => {
                own(NOT_LOGGED_IN, "NOT_LOGGED_IN", "", "log in on this connection first: trade_login".into())
            }
            RpcError::WebSocketOnly => own(
                WEB_SOCKET_ONLY,
                "WEB_SOCKET_ONLY",
                "",
                "sessions and subscriptions live on a WebSocket connection that is open".into(),
            ),
            RpcError::OtherSession => {
                own(OTHER_SESSION, "OTHER_SESSION", "account", "this connection is logged in for another account".into())
            }
            RpcError::SessionUsed => {
                own(SESSION_USED, "SESSION_USED", "nonce", "a Session logs in once: sign another".into())
            }
            RpcError::BadCursor => own(BAD_CURSOR, "BAD_CURSOR", "cursor", "not the next of an earlier page".into()),
            RpcError::Internal => own(INTERNAL, "INTERNAL", "", "internal error".into()),
        }
    }
}

fn phase_parts(data: &PhaseData) -> (i32, String, Value) {
    let PhaseData { phase, eta, seq, nonce_consumed } = data;
    let text = format!("the exchange is {}: this is not possible now", phase.phase);
    let mut fields = phase_fields(phase, *eta);
    fields["nonceConsumed"] = json!(nonce_consumed);
    if let Some(seq) = seq {
        fields["seq"] = json!(seq.to_string());
    }
    (Reject::PhaseForbids.code(), text, fields)
}

/// `{phase, incident, reason, reasons, since, nextPhase, eta}`, as the phase error and `node_status` show them. `reason` is the
/// first of `reasons`, empty when there never was an incident; `nextPhase` and `eta` are null where nothing follows or nobody can say.
pub fn phase_fields(phase: &PhaseView, eta: Option<Ts>) -> Value {
    let reasons: Vec<&str> = phase.reasons.iter().map(LossReason::as_str).collect();
    let next = match phase.phase {
        Phase::Halted => Some(Phase::ReadOnly),
        Phase::ReadOnly => Some(Phase::Spot),
        Phase::Spot => Some(Phase::ReduceOnly),
        Phase::ReduceOnly => Some(Phase::Open),
        Phase::Open => None,
    };
    json!({
        "phase": phase.phase.as_str(),
        "incident": (phase.incident != IncidentId(0)).then(|| phase.incident.to_string()),
        "reason": reasons.first().copied().unwrap_or_default(),
        "reasons": reasons,
        "since": phase.since.ms().to_string(),
        "nextPhase": next.map(Phase::as_str),
        "eta": eta.map(|eta| eta.ms().to_string()),
        "postOnlyUntil": (phase.post_only_until > Ts(0)).then(|| phase.post_only_until.ms().to_string()),
    })
}

impl RpcError {
    /// The same of a request whose size is its `amount`.
    pub(crate) fn of_amount(mut self) -> RpcError {
        if let RpcError::Rejected { field, .. } = &mut self
            && *field == "size"
        {
            *field = "amount";
        }
        self
    }
}

impl From<RpcError> for ErrorObjectOwned {
    fn from(error: RpcError) -> Self {
        let (code, text, data) = error.parts();
        ErrorObjectOwned::owned(code, text, (!data.is_null()).then_some(data))
    }
}

impl From<StarknetError> for RpcError {
    fn from(error: StarknetError) -> Self {
        RpcError::Starknet(error)
    }
}

impl From<IngressError> for RpcError {
    fn from(error: IngressError) -> Self {
        RpcError::Ingress(error)
    }
}

impl From<Reject> for RpcError {
    /// What a read did not find, in the engine's words for it.
    fn from(reject: Reject) -> Self {
        RpcError::Ingress(IngressError::Rejected(reject))
    }
}

impl From<StoreError> for RpcError {
    fn from(error: StoreError) -> Self {
        // Older state than this node keeps: to a client the same as a block it does not have.
        if let StoreError::NotRetained { .. } = error {
            return StarknetError::BlockNotFound.into();
        }
        tracing::error!(%error, "read the store for a request");
        RpcError::Internal
    }
}

impl From<AttestationRefusal> for RpcError {
    fn from(refusal: AttestationRefusal) -> Self {
        RpcError::Attestation(refusal)
    }
}

impl From<AdminRefusal> for RpcError {
    fn from(refusal: AdminRefusal) -> Self {
        match refusal {
            AdminRefusal::NotNow(why) => RpcError::AdminNotNow(why),
            AdminRefusal::Unknown => RpcError::Ingress(IngressError::OutcomeUnknown),
        }
    }
}
