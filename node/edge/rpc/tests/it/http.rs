use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One HTTP request, written by hand: the tests send what no client library would.
pub fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n{more}\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).expect("the head is sent");
    // A server that refuses early may close while the body is on its way.
    let _ = socket.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    assert!(!head.to_lowercase().contains("access-control"), "CORS is off: {head}");
    (status, body.to_owned())
}

/// One HTTP request without a body: status, head in small letters, body as it came.
pub fn get(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socket.write_all(head.as_bytes()).expect("the head is sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("the server closes the connection");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    (status, head.to_lowercase(), body.to_owned())
}

/// A JSON-RPC error.
#[derive(Clone, PartialEq, Debug)]
pub struct Error {
    pub code: i64,
    pub message: String,
    pub data: Value,
}

/// Sorts a JSON-RPC answer.
pub fn read(body: &str) -> Result<Value, Error> {
    let mut answer: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {body}"));
    match answer.get("error") {
        None => Ok(answer["result"].take()),
        Some(error) => Err(Error {
            code: error["code"].as_i64().expect("a code"),
            message: error["message"].as_str().expect("a message").to_owned(),
            data: error.get("data").cloned().unwrap_or(Value::Null),
        }),
    }
}

/// One call on `path`.
pub fn call(address: SocketAddr, path: &str, method: &str, params: Value) -> Result<Value, Error> {
    call_raw(address, path, method, &params.to_string())
}

/// The same with the text of the parameters.
pub fn call_raw(address: SocketAddr, path: &str, method: &str, params: &str) -> Result<Value, Error> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":{},"params":{params}}}"#, json!(method));
    let (status, answer) = post(address, path, &[], &body);
    assert_eq!(status, 200, "{answer}");
    read(&answer)
}
