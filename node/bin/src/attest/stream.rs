//! The journal of the node that is followed, as it comes. What is not taken here stays there: nothing is read from the socket while pages
//! wait, so the node reads on from its own disk when there is room again.

use http::HeaderMap;
use jsonrpsee::client_transport::ws::{Url, WsTransportClientBuilder};
use jsonrpsee::core::client::{ReceivedMessage, TransportReceiverT, TransportSenderT};
use keel_types::{Bytes32, Seq};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// Records as the node sent them: first number, hash, bytes.
pub type Page = Vec<(Seq, Bytes32, Vec<u8>)>;

/// A node makes a record every 100 ms and pings every 5 s: silence this long is a lost connection.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Largest message: a record of 4,096 commands in hex is far below it.
const MESSAGE_BYTES_MAX: u32 = 64 << 20;

/// Why a stream ended.
#[derive(Debug)]
pub enum StreamEnd {
    /// The node has no record that begins there.
    NoRecordThere,
    Lost(String),
}

/// Sends the records from `from` on to `pages`, until the connection or the receiver is gone.
pub async fn follow(address: String, token: HeaderMap, from: Seq, pages: Sender<Page>) -> StreamEnd {
    match pump(&address, token, from, &pages).await {
        Ok(end) => end,
        Err(why) => StreamEnd::Lost(why),
    }
}

async fn pump(address: &str, token: HeaderMap, from: Seq, pages: &Sender<Page>) -> Result<StreamEnd, String> {
    let url = Url::parse(address).map_err(|error| error.to_string())?;
    let builder = WsTransportClientBuilder::default().set_headers(token).max_response_size(MESSAGE_BYTES_MAX);
    let (mut sender, mut receiver) = builder.build(url).await.map_err(|error| error.to_string())?;
    let params = json!({"fromSeq": from.to_string()});
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "admin_subscribeJournal", "params": params});
    sender.send(request.to_string()).await.map_err(|error| error.to_string())?;
    loop {
        let received = tokio::time::timeout(SILENCE_MAX, receiver.receive()).await;
        let message = match received.map_err(|_| "it is silent".to_owned())? {
            Ok(ReceivedMessage::Text(text)) => text.into_bytes(),
            Ok(ReceivedMessage::Bytes(bytes)) => bytes,
            Ok(ReceivedMessage::Pong) => continue,
            Err(error) => return Err(error.to_string()),
        };
        let message: Value = serde_json::from_slice(&message).map_err(|error| error.to_string())?;
        if let Some(error) = message.get("error") {
            return match error["data"]["reason"].as_str() {
                Some("NO_RECORD_THERE") => Ok(StreamEnd::NoRecordThere),
                _ => Err(error["message"].to_string()),
            };
        }
        if message["method"] != "admin_journal" {
            continue; // the answer to the request
        }
        let page = page(&message["params"]["result"]).ok_or("it sent what is no page of a journal")?;
        if pages.send(page).await.is_err() {
            return Err("this side ended it".into());
        }
    }
}

fn page(result: &Value) -> Option<Page> {
    let record = |record: &Value| {
        let text = |name: &str| record[name].as_str();
        Some((Seq(text("firstSeq")?.parse().ok()?), text("hash")?.parse().ok()?, hex::decode(text("record")?).ok()?))
    };
    result["records"].as_array()?.iter().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_are_pages() {
        let hash = Bytes32([0xab; 32]);
        let record = json!({"firstSeq": "7", "hash": hash.to_string(), "record": "00ff7A"});
        assert_eq!(page(&json!({"records": [record]})), Some(vec![(Seq(7), hash, vec![0, 0xff, 0x7a])]));
        for (field, bad) in
            [("firstSeq", json!(7)), ("hash", json!("0x12")), ("record", json!("0g")), ("record", json!("abc"))]
        {
            let mut broken = record.clone();
            broken[field] = bad;
            assert_eq!(page(&json!({"records": [broken]})), None, "{field}");
        }
        assert_eq!(page(&json!({})), None);
    }
}
