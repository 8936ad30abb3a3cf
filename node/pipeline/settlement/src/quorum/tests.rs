use super::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[test]
fn each_figure_is_the_one_that_a_quorum_reaches() {
    for (name, answers, needed, expected) in [
        ("a liar above", vec![json!("0x10"), json!("0xffffffff"), json!("0x11")], 2, json!("0x11")),
        ("a liar below", vec![json!("0x10"), json!("0x0"), json!("0x11")], 2, json!("0x10")),
        ("two of two", vec![json!("0x10"), json!("0x11")], 2, json!("0x10")),
        ("numbers of JSON", vec![json!(7), json!(9), json!(8)], 2, json!(8)),
        (
            "field by field",
            vec![json!([{ "gas": "0x1", "price": "0x9" }]), json!([{ "gas": "0x2", "price": "0x8" }])],
            2,
            json!([{ "gas": "0x1", "price": "0x8" }]),
        ),
    ] {
        assert_eq!(reached(&answers.iter().collect::<Vec<_>>(), needed), expected, "{name}");
    }
}

#[test]
fn figures_of_another_shape_are_not_compared() {
    let honest = json!([{ "gas": "0x1", "unit": "FRI" }]);
    assert_eq!(shape(&honest), shape(&json!([{ "gas": "0xfffff", "unit": "FRI" }])));
    for other in [
        json!([{ "gas": "0x1", "unit": "WEI" }]),
        json!([{ "gas": "0x1" }]),
        json!([]),
        json!(null),
        json!([{ "gas": null, "unit": "FRI" }]),
        json!([{ "gas": "0x1ffffffffffffffffffffffffffffffff", "unit": "FRI" }]),
    ] {
        assert_ne!(shape(&honest), shape(&other), "{other}");
    }
}

#[test]
fn only_what_is_named_and_there_gets_through() {
    let found = only(&json!({ "a": 1, "b": null, "c": [2], "d": 3 }), &["a", "b", "c", "e"]);
    assert_eq!(found, json!({ "a": 1, "c": [2] }));
    assert_eq!(only(&Value::Null, &["a"]), Value::Null);
}

/// Every method alike.
struct Plain(Rule);

impl Dialect for Plain {
    fn rule(&self, _: &Request) -> Rule {
        self.0
    }

    fn told(&self, _: &str, result: Value) -> Value {
        result
    }

    fn key(&self, _: &str, answer: &Answer) -> Value {
        json!([answer.as_ref().ok(), answer.as_ref().err().map(|fault| fault.code)])
    }

    fn number(&self, _: &Value) -> Option<u64> {
        None
    }

    fn numbered(&self, params: &Value, _: u64) -> Value {
        params.clone()
    }

    fn answer_bytes_max(&self, _: &str) -> usize {
        1 << 20
    }
}

/// An endpoint that answers everything the same, after a while.
async fn endpoint(body: Value, after: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.read_exact(&mut [0; 64]).await.unwrap();
            tokio::time::sleep(after).await;
            let body = body.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn of_refusals_the_most_common_counts_and_not_the_last() {
    let refusal = |code: i64| json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": code, "message": "no" } });
    let now = Duration::ZERO;
    let liar = endpoint(refusal(7), Duration::from_millis(300)).await;
    let endpoints = [endpoint(refusal(5), now).await, endpoint(refusal(5), now).await, liar];
    let quorum = Quorum::new(&endpoints, 0, &Plain(Rule::Any)).unwrap();
    let answer = quorum.ask(Request { method: "any".into(), params: json!([]) }).await.unwrap();
    assert_eq!(answer.unwrap_err().code, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_left_at_its_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // A server answers what was asked: before, the client hangs up.
        stream.read_exact(&mut [0; 64]).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n").await.unwrap();
        while stream.write_all(&[b' '; 1 << 16]).await.is_ok() {}
    });
    let quorum = Quorum::new(&[address], 0, &Plain(Rule::Same)).unwrap();
    let error = quorum.ask(Request { method: "any".into(), params: json!([]) }).await.unwrap_err();
    assert!(matches!(&error, AskError::Silent(why) if why.contains("an answer of more than")), "{error}");
}
