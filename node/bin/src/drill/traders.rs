//! Who trades during a drill: one that rests orders, two that meet each other all the time.

use super::network::{Network, PATIENCE};
use crate::trade::Wallet;
use crate::{dev, wiring};
use anyhow::{Result, ensure};
use jsonrpsee::core::ClientError;
use jsonrpsee::core::client::ClientT;
use keel_ingress::MessageKind;
use keel_types::{Felt, Genesis};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where they trade; its price in genesis is 3,000.
pub const MARKET: &str = "ETH-USDC";
/// Orders that rest, and those that wait for a trigger, when the fault comes.
const RESTING: u64 = 10;
const CONDITIONAL: u64 = 2;
/// Between two orders of one that trades.
const PAUSE: Duration = Duration::from_millis(15);
/// Longest it waits for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// One in so many times it hangs up sooner, as a client whose connection breaks: what becomes of the order it does not hear.
const HASTY: u64 = 4;
const HASTY_PATIENCE: Duration = Duration::from_millis(3);

/// What became of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Acknowledged,
    Refused,
    /// None came.
    Silence,
}

/// An order that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub order: String,
    pub answer: Answer,
}

/// The traders of one drill, registered and with money.
pub struct Traders {
    maker: Arc<Wallet>,
    takers: [Arc<Wallet>; 2],
}

impl Traders {
    /// Registers them and deposits for them.
    pub async fn join(network: &Network) -> Result<Traders> {
        let wallet = |n: u64, genesis: &Genesis| Wallet::new(Felt::from(0xd211_0000 + n), genesis).map(Arc::new);
        let [maker, buyer, seller] =
            [wallet(0, &network.genesis)?, wallet(1, &network.genesis)?, wallet(2, &network.genesis)?];
        for wallet in [&maker, &buyer, &seller] {
            network.call("trade_register", wallet.registration()?).await?;
            for (asset, amount) in [("USDC", "100000"), ("ETH", "50")] {
                dev::fund(&network.config, &wallet.account.to_string(), asset, amount).await?;
            }
        }
        let end = Instant::now() + PATIENCE;
        for wallet in [&maker, &buyer, &seller] {
            while balances(network, wallet).await? < 2 {
                ensure!(Instant::now() < end, "the deposits are not credited");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(Traders { maker, takers: [buyer, seller] })
    }

    /// Rests orders; their hashes.
    pub async fn rest(&self, network: &Network) -> Result<Vec<String>> {
        let mut orders = vec![];
        for n in 0..RESTING + CONDITIONAL {
            let price = (2_800 + n).to_string();
            let fields = match n < RESTING {
                true => order("BUY", &price),
                // Far above: not triggered.
                false => {
                    [order("BUY", "4500"), vec![("type", json!("STOP_LIMIT")), ("triggerPrice", json!("4000"))]].concat()
                }
            };
            let (request, hash) = self.maker.sign_hashed(MessageKind::Order, fields)?;
            network.call("trade_placeOrder", request).await?;
            orders.push(hash.to_string());
        }
        Ok(orders)
    }

    /// Whose orders rest.
    pub fn maker(&self) -> String {
        self.maker.account.to_string()
    }

    /// Accounts of those that meet each other.
    pub fn takers(&self) -> [String; 2] {
        self.takers.each_ref().map(|wallet| wallet.account.to_string())
    }

    /// Begins to send orders that meet, until told to stop.
    pub fn trade(&self, network: &Network) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        for (wallet, side) in self.takers.iter().zip(["BUY", "SELL"]) {
            tasks.spawn(send(network.rpc().to_owned(), wallet.clone(), side, stop.clone()));
        }
        Load { stop, tasks }
    }
}

/// Orders on their way.
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<Result<Vec<Sent>>>,
}

impl Load {
    /// Ends it; everything that was sent.
    pub async fn finish(mut self) -> Result<Vec<Sent>> {
        self.stop.store(true, Ordering::Release);
        let mut sent = vec![];
        while let Some(done) = self.tasks.join_next().await {
            sent.extend(done??);
        }
        Ok(sent)
    }
}

async fn send(rpc: String, wallet: Arc<Wallet>, side: &'static str, stop: Arc<AtomicBool>) -> Result<Vec<Sent>> {
    let client = wiring::client(&rpc)?;
    let mut sent = vec![];
    for n in 0u64.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        // Two whole units around the price: the sides overlap.
        let price = 2_998 + (n * 7 + u64::from(side == "SELL") * 3) % 5;
        let (request, hash) = wallet.sign_hashed(MessageKind::Order, order(side, &price.to_string()))?;
        let answer = client.request::<Value, _>("trade_placeOrder", wiring::by_name(request)?);
        let patience = if n % HASTY == 0 { HASTY_PATIENCE } else { ANSWER_MAX };
        let answer = match tokio::time::timeout(patience, answer).await {
            Ok(Ok(_)) => Answer::Acknowledged,
            Ok(Err(ClientError::Call(_))) => Answer::Refused,
            Ok(Err(_)) | Err(_) => Answer::Silence,
        };
        sent.push(Sent { order: hash.to_string(), answer });
        tokio::time::sleep(PAUSE).await;
    }
    Ok(sent)
}

fn order(side: &str, price: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("market", json!(MARKET)),
        ("side", json!(side)),
        ("type", json!("LIMIT")),
        ("size", json!("0.01")),
        ("price", json!(price)),
    ]
}

async fn balances(network: &Network, wallet: &Wallet) -> Result<usize> {
    let account = network.call("trade_account", json!({ "account": wallet.account.to_string() })).await?;
    let balances = account["balances"].as_array().cloned().unwrap_or_default();
    Ok(balances.iter().filter(|balance| balance["total"] != "0").count())
}
