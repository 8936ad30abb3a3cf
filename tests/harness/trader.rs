use anyhow::Result;
use keel_ingress::client::signed_request;
use keel_ingress::register::account_address;
use keel_ingress::snip12::message_hash;
use keel_ingress::verify::public_key;
use keel_ingress::{Domain, Message, MessageKind, decode};
use keel_types::{Address, Felt, Genesis, StarkKey};
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What became of a request: the node's answer, its refusal, or nothing (the connection broke; the outcome is unknown).
#[derive(Clone, PartialEq, Debug)]
pub enum Ack {
    Done(Value),
    Refused(Value),
    Unknown(String),
}

impl Ack {
    /// The result; panics with the refusal otherwise.
    pub fn done(self) -> Value {
        match self {
            Ack::Done(value) => value,
            other => panic!("expected an answer, got {other:?}"),
        }
    }
}

/// A key that signs and sends.
#[derive(Clone)]
pub struct Trader {
    secret: Felt,
    domain: Domain,
    template: String,
    pub key: StarkKey,
    pub account: Address,
}

impl Trader {
    /// The account of a secret key under the chain's first template.
    pub fn new(secret: u64, genesis: &Genesis) -> Trader {
        let secret = Felt::from(secret);
        let key = public_key(&secret).expect("small secrets are in range");
        let template = &genesis.account_templates[0];
        Trader {
            account: account_address(template, &key),
            domain: Domain::new(genesis.chain_id.0),
            template: template.name.clone(),
            secret,
            key,
        }
    }

    /// Signs a message: parameters of its method, and the message's hash. Account and validity are filled in.
    pub fn sign(&self, kind: MessageKind, nonce: u64, fields: Value) -> (Value, String) {
        let mut message: Map<String, Value> = fields.as_object().cloned().expect("fields are an object");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        message.insert("account".into(), self.account.to_string().into());
        message.insert("nonce".into(), nonce.to_string().into());
        message.insert("validUntil".into(), (now + 110_000).to_string().into());
        let message: Message = decode::message(kind, &Value::Object(message), Some(&self.template)).expect("a good message");
        let hash = message_hash(&self.domain, &message.account(), &message);
        (signed_request(&self.domain, &message, &self.secret).expect("signable"), hash.to_string())
    }

    /// The message that registers this account.
    pub fn registration(&self, nonce: u64) -> Value {
        let fields = json!({ "key": self.key.to_string(), "template": self.template });
        self.sign(MessageKind::Register, nonce, fields).0
    }
}

/// One JSON-RPC call over a fresh HTTP/1.1 connection to a port on loopback. Small on purpose: what breaks when a node is killed in
/// the middle must be plain to see.
pub fn call(port: u16, path: &str, bearer: Option<&str>, method: &str, params: &Value) -> Ack {
    match try_call(port, path, bearer, method, params) {
        Err(error) => Ack::Unknown(error.to_string()),
        Ok(answer) => match (answer.get("result"), answer.get("error")) {
            (Some(result), _) => Ack::Done(result.clone()),
            (None, Some(error)) => Ack::Refused(error.clone()),
            (None, None) => Ack::Unknown(format!("neither result nor error: {answer}")),
        },
    }
}

fn try_call(port: u16, path: &str, bearer: Option<&str>, method: &str, params: &Value) -> Result<Value> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let authorization = bearer.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n{authorization}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8(answer)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| anyhow::anyhow!("no HTTP answer"))?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    serde_json::from_str(&body).map_err(|e| anyhow::anyhow!("{e}: {head}\n{body}"))
}

fn unchunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        if size == 0 || rest.len() < size {
            break;
        }
        out.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    out
}
