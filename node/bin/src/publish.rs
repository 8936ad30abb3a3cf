//! `keel publish`: price publishers for development. Each publisher walks a random price path and signs it; a real deployment
//! replaces this process by its own publishers, which send the same message.

use crate::wiring::{by_name, client};
use anyhow::Result;
use jsonrpsee::core::client::ClientT;
use keel_ingress::client::signed_report;
use keel_types::{Felt, Genesis, Price, Ts};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Largest step of a price between two rounds: 5 basis points. Far below any `oracle_move_max`.
const STEP_PPM_MAX: i64 = 500;
/// Prices stay within this of their start, so that a long demo does not drift out of its books.
const RANGE_PPM: i64 = 20_000;

/// What the publishers do.
pub struct Options {
    pub rpc: String,
    pub interval: Duration,
    /// Seed of the price path.
    pub seed: u64,
    /// Stop after this many rounds.
    pub rounds: Option<u64>,
}

/// Publishes until stopped. A node that cannot be reached is tried again at the next round.
pub async fn run(genesis: &Genesis, keys: &[Felt], options: &Options) -> Result<()> {
    anyhow::ensure!(keys.len() == genesis.oracle.publishers.len(), "publish: keys and genesis publishers differ in number");
    let client = client(&options.rpc)?;
    let mut path = PricePath::new(genesis, options.seed);
    let mut tick = tokio::time::interval(options.interval);
    let mut round = 0;
    while options.rounds.is_none_or(|rounds| round < rounds) {
        tick.tick().await;
        let reports = reports(genesis, keys, &path.step())?;
        let answer: Result<Value, _> = client.request("market_publishPrices", by_name(json!({ "reports": reports }))?).await;
        if let Err(error) = answer {
            tracing::warn!(%error, "the node did not take the prices");
        }
        round += 1;
    }
    Ok(())
}

fn reports(genesis: &Genesis, keys: &[Felt], prices: &[Price]) -> Result<Vec<Value>> {
    let now = Ts::from_ms(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64);
    let mut reports = vec![];
    for (publisher, key) in keys.iter().enumerate() {
        for (market, price) in genesis.markets.iter().zip(prices) {
            reports.push(signed_report(&genesis.chain_id.0, publisher as u8, key, &market.name, *price, now)?);
        }
    }
    Ok(reports)
}

/// A bounded random walk per market, in whole ticks; markets of the same base move together.
struct PricePath {
    start: Vec<(Price, Price)>,
    offset_ppm: Vec<i64>,
    base: Vec<usize>,
    random: u64,
}

impl PricePath {
    fn new(genesis: &Genesis, seed: u64) -> PricePath {
        let first_part = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
        let bases: Vec<String> = genesis.markets.iter().map(|m| first_part(&m.name)).collect();
        let base = bases.iter().map(|b| bases.iter().position(|other| other == b).expect("it is in the list")).collect();
        PricePath {
            start: genesis.markets.iter().map(|m| (m.initial_price, m.tick_size)).collect(),
            offset_ppm: vec![0; genesis.markets.len()],
            base,
            random: seed.max(1),
        }
    }

    fn step(&mut self) -> Vec<Price> {
        for i in 0..self.offset_ppm.len() {
            // xorshift64: the path only has to look alive and be the same for the same seed.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let step = (self.random % (2 * STEP_PPM_MAX as u64 + 1)) as i64 - STEP_PPM_MAX;
            self.offset_ppm[i] = (self.offset_ppm[i] + step).clamp(-RANGE_PPM, RANGE_PPM);
        }
        let price = |(i, (start, tick)): (usize, &(Price, Price))| {
            let moved = i128::from(start.0) * i128::from(1_000_000 + self.offset_ppm[self.base[i]]) / 1_000_000;
            Price(moved as u64 / tick.0 * tick.0)
        };
        self.start.iter().enumerate().map(price).collect()
    }
}
