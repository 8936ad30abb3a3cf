use crate::{Ack, Node, Trader, call};
use keel_ingress::MessageKind;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// One signed order that was sent, and what came back.
#[derive(Clone, Debug)]
pub struct Sent {
    pub account: String,
    pub order: String,
    /// The request, to be sent again word for word.
    pub request: Value,
    pub ack: Ack,
}

/// Traders that send orders around one price until stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Sent>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// One thread per trader. Sides alternate between traders, prices overlap by a few ticks, so that some orders match and some rest.
    /// `first_nonce` must be higher than any nonce used before.
    pub fn start(node: &Node, traders: &[Trader], market: &str, price: u64, size: &str, first_nonce: u64) -> Load {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(vec![])));
        let port = node.port;
        let spawn = |(index, trader): (usize, &Trader)| {
            let (trader, market, size) = (trader.clone(), market.to_owned(), size.to_owned());
            let (stop, sent) = (stop.clone(), sent.clone());
            std::thread::spawn(move || {
                let side = if index % 2 == 0 { "BUY" } else { "SELL" };
                for n in 0.. {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    // -2..=2 whole units around the price: the two sides overlap.
                    let at = price + (n * 7 + index as u64 * 3) % 5 - 2;
                    let fields =
                        json!({ "market": market, "side": side, "type": "LIMIT", "size": size, "price": at.to_string() });
                    let (request, order) = trader.sign(MessageKind::Order, first_nonce + n, fields);
                    let ack = call(port, "/rpc", None, "trade_placeOrder", &request);
                    let broken = matches!(ack, Ack::Unknown(_));
                    let account = trader.account.to_string();
                    sent.lock().expect("no panics while held").push(Sent { account, order, request, ack });
                    if broken {
                        return; // the node is gone
                    }
                }
            })
        };
        let threads = traders.iter().enumerate().map(spawn).collect();
        Load { stop, sent, threads }
    }

    /// Stops sending and returns everything sent.
    pub fn finish(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().expect("a load thread does not panic");
        }
        std::mem::take(&mut self.sent.lock().expect("no panics while held"))
    }

    /// Orders acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let sent = self.sent.lock().expect("no panics while held");
        sent.iter().filter(|s| matches!(s.ack, Ack::Done(_))).count()
    }
}
