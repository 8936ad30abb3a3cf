//! A WebSocket by hand, as `http` is: it reads when the test says so and not before.
use crate::http::{Error, read};
use crate::schema::Spec;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One connection. Everything of Starknet's that it receives is checked against the document of its version.
pub struct Ws {
    socket: TcpStream,
    spec: Option<Arc<Spec>>,
    last_id: u64,
    /// Notifications that came while an answer was waited for.
    waiting: VecDeque<Value>,
    pub checked: Cell<usize>,
}

/// How long anything is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(30);

impl Ws {
    /// Connects; `version` is that of the document, `v0.9.0`.
    pub fn open(address: SocketAddr, path: &str, version: &'static str) -> Ws {
        Ws { spec: spec_of(version), ..Ws::open_with(address, path, &[]) }
    }

    /// Connects with more headers; nothing is checked against a document.
    pub fn open_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Ws {
        let (socket, status) = Ws::handshake(address, path, headers);
        assert_eq!(status, 101);
        Ws { socket, spec: None, last_id: 0, waiting: VecDeque::new(), checked: Cell::new(0) }
    }

    /// Asks for a WebSocket; the status of the answer.
    pub fn handshake(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (TcpStream, u16) {
        let mut socket = TcpStream::connect(address).expect("the server listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
        );
        socket.write_all(head.as_bytes()).expect("sent");
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        (socket, status)
    }

    fn write_frame(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        // A mask of zeros leaves the text as it is.
        frame.extend([0; 4]);
        frame.extend(payload);
        self.socket.write_all(&frame).expect("sent");
    }

    /// One frame: whether it is the last of its message, opcode, payload.
    fn read_frame(&mut self) -> (bool, u8, Vec<u8>) {
        let mut head = [0; 2];
        self.socket.read_exact(&mut head).expect("a frame in time");
        let length = match head[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                self.socket.read_exact(&mut length).expect("a length");
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.socket.read_exact(&mut length).expect("a length");
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        let mut payload = vec![0; length as usize];
        self.socket.read_exact(&mut payload).expect("a payload");
        (head[0] & 0x80 != 0, head[0] & 0x0f, payload)
    }

    /// The next message; pings are answered.
    fn receive(&mut self) -> Value {
        let mut text = Vec::new();
        loop {
            match self.read_frame() {
                (_, 0x9, payload) => self.write_frame(0xa, &payload),
                (_, 0xa, _) => {}
                (_, 0x8, _) => panic!("the server closed the connection"),
                (last, _, payload) => {
                    text.extend(payload);
                    if last {
                        return serde_json::from_slice(&text).expect("JSON");
                    }
                }
            }
        }
    }

    /// Sends a request and does not wait for its answer.
    pub fn send(&mut self, method: &str, params: &Value) -> u64 {
        self.last_id += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params});
        self.write_frame(0x1, request.to_string().as_bytes());
        self.last_id
    }

    /// Sends a request and waits for its answer.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, Error> {
        let id = self.send(method, &params);
        loop {
            let message = self.receive();
            if message["id"] == id {
                let answer = read(&message.to_string());
                self.check(|spec| match &answer {
                    Ok(result) => spec.assert_result(method, result),
                    // Errors of JSON-RPC and of this server have codes below zero; any other must be listed for the method.
                    Err(error) if error.code >= 0 => spec.assert_error(method, error),
                    Err(_) => {}
                });
                return answer;
            }
            self.waiting.push_back(message);
        }
    }

    /// Text that no request is.
    pub fn send_text(&mut self, text: &str) -> Value {
        self.write_frame(0x1, text.as_bytes());
        self.receive()
    }

    fn check(&self, check: impl FnOnce(&Spec)) {
        if let Some(spec) = &self.spec {
            check(spec);
            self.checked.set(self.checked.get() + 1);
        }
    }

    /// Subscribes; the id, which is text.
    pub fn subscribe(&mut self, method: &str, params: Value) -> String {
        let id = self.call(method, params.clone()).unwrap_or_else(|error| panic!("{method} {params}: {error:?}"));
        id.as_str().expect("an id is text").to_owned()
    }

    /// The next notification as it is.
    pub fn next_message(&mut self) -> Value {
        match self.waiting.pop_front() {
            Some(message) => message,
            None => self.receive(),
        }
    }

    /// The next notification: its method, its subscription, its result.
    pub fn next(&mut self) -> (String, String, Value) {
        let mut message = self.next_message();
        let names: Vec<String> = message.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(names, ["jsonrpc", "method", "params"], "{message}");
        let method = message["method"].as_str().expect("a method").to_owned();
        self.check(|spec| assert_notification(spec, &method, &message["params"]));
        let id = message["params"]["subscription_id"].as_str().expect("a subscription").to_owned();
        (method, id, message["params"]["result"].take())
    }

    /// The next notification, as it came.
    pub fn notification(&mut self) -> Value {
        self.waiting.pop_front().unwrap_or_else(|| self.receive())
    }

    /// The next one, which must be of this subscription.
    pub fn next_of(&mut self, subscription: &str) -> Value {
        let (method, id, result) = self.next();
        assert_eq!(id, subscription, "{method}: {result}");
        result
    }

    /// The next message, which must be the answer to a request.
    pub fn receive_answer(&mut self) -> Value {
        loop {
            let message = self.receive();
            if message.get("id").is_some() {
                return message;
            }
        }
    }

    /// As [Ws::next], where answers to [Ws::send] may come first.
    pub fn next_beside_answers(&mut self) -> (String, String, Value) {
        loop {
            let message = self.receive();
            if message.get("id").is_none() {
                self.waiting.push_back(message);
                return self.next();
            }
            assert!(message["result"].is_string(), "{message}");
        }
    }

    /// Checks nothing against the document from here on: where there is much that is alike.
    pub fn leave_unchecked(&mut self) {
        self.spec = None;
    }

    /// Panics if a notification comes within this time.
    pub fn assert_silent_for(&mut self, time: Duration) {
        assert_eq!(self.waiting.pop_front(), None);
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).expect("a timeout");
            let is_there = self.socket.peek(&mut [0; 1]).is_ok_and(|count| count > 0);
            self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            if is_there {
                match self.read_frame() {
                    (_, 0x9, payload) => self.write_frame(0xa, &payload),
                    (_, _, payload) => panic!("not silent: {}", String::from_utf8_lossy(&payload)),
                }
            }
        }
    }
}

/// A notification's parameters are those of the method of its name, no more and no less.
fn assert_notification(spec: &Spec, method: &str, params: &Value) {
    assert_eq!(params.as_object().map(|params| params.len()), Some(2), "{method}: {params}");
    assert!(params.get("subscription_id").is_some() && params.get("result").is_some(), "{method}: {params}");
    spec.assert_params(method, params);
}

/// The documents of a version, read once for all connections.
fn spec_of(version: &'static str) -> Option<Arc<Spec>> {
    static SPECS: Mutex<BTreeMap<&str, Option<Arc<Spec>>>> = Mutex::new(BTreeMap::new());
    let mut specs = SPECS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    specs.entry(version).or_insert_with(|| Spec::open(version, "schemas of subscriptions").map(Arc::new)).clone()
}

#[test]
fn the_check_of_notifications_finds_what_is_wrong() {
    for version in ["v0.9.0", "v0.10.2"] {
        let Some(spec) = spec_of(version) else { return };
        let fails = |method: &str, params: Value| {
            let check = || assert_notification(&spec, method, &params);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err()
        };
        let status = |status: &str| json!({"transaction_hash": "0x1", "status": {"finality_status": status}});
        let of = |id: Value, result: Value| json!({"subscription_id": id, "result": result});
        let method = "starknet_subscriptionTransactionStatus";
        assert!(!fails(method, of(json!("7"), status("PRE_CONFIRMED"))));
        assert!(fails(method, of(json!(7), status("PRE_CONFIRMED"))), "an id is text");
        assert!(fails(method, of(json!("7"), status("PENDING"))));
        assert!(fails(method, json!({"subscription": "7", "result": status("PRE_CONFIRMED")})));
        assert!(fails("starknet_subscriptionNewHeads", of(json!("7"), json!({}))));
        assert!(fails("starknet_subscriptionEvents", of(json!("7"), json!({}))));
        assert!(fails("starknet_subscriptionNewTransaction", of(json!("7"), json!({}))));
        assert!(fails("starknet_subscriptionNewTransactionReceipts", of(json!("7"), json!({}))));
    }
}
