//! An endpoint between a node and anvil that a test can make behind, mute or lying, or let die in the middle of a request.

use alloy::transports::http::reqwest::Client;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of one request.
pub enum Fate {
    Pass,
    /// It never gets there, and nobody ever answers.
    Lost,
    /// It gets there, and the answer is lost.
    AnswerLost,
    /// It gets there, and the answer takes its time.
    Slow(Duration),
    /// It never gets there, and this is the result all the same.
    Instead(Value),
    /// Asked as it is, answered as this says.
    Answer(Box<dyn FnOnce(Value) -> Value + Send>),
}

impl Fate {
    pub fn answer(change: impl FnOnce(Value) -> Value + Send + 'static) -> Fate {
        Fate::Answer(Box::new(change))
    }
}

/// Decides by method and parameters.
pub type Judge = Box<dyn FnMut(&str, &Value) -> Fate + Send>;

pub struct Proxy {
    pub url: String,
    judge: Arc<Mutex<Judge>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of its own and passes everything on to `target`.
    pub async fn start(target: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(|_, _| Fate::Pass)));
        let (target, judging, client) = (target.to_owned(), judge.clone(), Client::new());
        let task = tokio::spawn(async move {
            // Dropped with the task: a proxy that is gone leaves no connection behind.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                connections.spawn(serve(stream, target.clone(), judging.clone(), client.clone()));
            }
        });
        Proxy { url, judge, task }
    }

    /// From now on.
    pub fn judge(&self, judge: impl FnMut(&str, &Value) -> Fate + Send + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    pub fn pass(&self) {
        self.judge(|_, _| Fate::Pass);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection: requests one after the other, until the client goes.
async fn serve(stream: TcpStream, target: String, judge: Arc<Mutex<Judge>>, client: Client) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await {
        let (method, params) = (request["method"].as_str().unwrap_or_default(), &request["params"]);
        let fate = (judge.lock().unwrap())(method, params);
        if matches!(fate, Fate::Lost) {
            return std::future::pending().await;
        }
        if let Fate::Instead(result) = &fate {
            let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
            if write_answer(&mut stream, &answer).await.is_err() {
                return;
            }
            continue;
        }
        let Ok(answer) = client.post(&target).json(&request).send().await else { return };
        let Ok(answer) = answer.json::<Value>().await else { return };
        let answer = match fate {
            Fate::AnswerLost => return std::future::pending().await,
            Fate::Slow(time) => {
                tokio::time::sleep(time).await;
                answer
            }
            Fate::Answer(change) => change(answer),
            Fate::Pass | Fate::Lost | Fate::Instead(_) => answer,
        };
        if write_answer(&mut stream, &answer).await.is_err() {
            return;
        }
    }
}

async fn write_answer(stream: &mut BufReader<TcpStream>, answer: &Value) -> std::io::Result<()> {
    let body = answer.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
    stream.get_mut().write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    serde_json::from_slice(&body).ok()
}
