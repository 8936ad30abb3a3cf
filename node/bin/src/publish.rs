//! `keel publish`: price publishers for development. All publishers of genesis sign one price path, a recorded one or a random walk;
//! a real deployment replaces this process by its own publishers, each with its own key and sources, which send the same message.
//!
//! A recorded path is a CSV file: one row `ms,market,price` for each change of a price, with `ms` the milliseconds since the start
//! of the replay, never falling; `market` a name of genesis; `price` a decimal. A first row `ms,market,price`, blank rows and rows
//! that begin with `#` are passed over. A market has its initial price of genesis until its first row, and keeps its last one at the
//! end, when the replay goes on with it: publishers that fall silent would make the market stale.

use crate::wiring::{by_name, client};
use anyhow::{Context, Result, ensure};
use jsonrpsee::core::client::ClientT;
use keel_ingress::client::signed_report;
use keel_ingress::decimal::parse_quantums;
use keel_types::{Felt, Genesis, Price, Ts};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Largest step of a price between two rounds: 5 basis points. Far below any `oracle_move_max`.
const STEP_PPM_MAX: i64 = 500;
/// Prices stay within this of their start, so that a long demo does not drift out of its books.
const RANGE_PPM: i64 = 20_000;

/// What the publishers do.
pub struct Options {
    pub rpc: String,
    pub interval: Duration,
    /// Where prices come from.
    pub source: Source,
    /// Stop after this many rounds.
    pub rounds: Option<u64>,
}

/// Where prices come from.
pub enum Source {
    /// A random walk from this seed.
    Generated { seed: u64 },
    /// A recorded path.
    Recorded(RecordedPath),
    /// A random walk from this seed, or what somebody says that they say instead.
    Steered { seed: u64, steer: watch::Receiver<Steer> },
}

/// What publishers that are steered say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steer {
    Walk,
    Nothing,
    Zero,
    /// Half again as much as the walk and the walk, by turns: no median confirms the one before.
    Leap,
}

/// Publishes until stopped. A node that cannot be reached is tried again at the next round.
pub async fn run(genesis: &Genesis, keys: &[Felt], options: &Options) -> Result<()> {
    ensure!(keys.len() == genesis.oracle.publishers.len(), "publish: keys and genesis publishers differ in number");
    let client = client(&options.rpc)?;
    let mut walk = None;
    let start = Instant::now();
    let mut tick = tokio::time::interval(options.interval);
    let mut round = 0;
    while options.rounds.is_none_or(|rounds| round < rounds) {
        tick.tick().await;
        round += 1;
        let (seed, steer) = match &options.source {
            Source::Recorded(_) => (0, Steer::Walk),
            Source::Generated { seed } => (*seed, Steer::Walk),
            Source::Steered { seed, steer } => (*seed, *steer.borrow()),
        };
        let mut prices = match &options.source {
            Source::Recorded(path) => path.at(start.elapsed()),
            _ => walk.get_or_insert_with(|| PricePath::new(genesis, seed)).step(),
        };
        match steer {
            Steer::Walk => {}
            Steer::Nothing => continue,
            Steer::Zero => prices.fill(Price(0)),
            Steer::Leap if round % 2 == 0 => prices.iter_mut().for_each(|price| price.0 += price.0 / 2),
            Steer::Leap => {}
        }
        let reports = reports(genesis, keys, &prices)?;
        let answer: Result<Value, _> = client.request("market_publishPrices", by_name(json!({ "reports": reports }))?).await;
        if let Err(error) = answer {
            tracing::warn!(%error, "the node did not take the prices");
        }
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

/// A price path read from a file; see the top of this module.
pub struct RecordedPath {
    /// Prices at the start, by market.
    initial: Vec<Price>,
    /// Time since the start, index of the market, its price from then on; in order of time.
    rows: Vec<(Duration, usize, Price)>,
}

impl RecordedPath {
    /// From the text of the file. An error names its row.
    pub fn parse(text: &str, genesis: &Genesis) -> Result<RecordedPath> {
        let mut rows: Vec<(Duration, usize, Price)> = vec![];
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || (rows.is_empty() && line == "ms,market,price") {
                continue;
            }
            let row = recorded_row(line, genesis).with_context(|| format!("price path, row {number}: {line:?}"))?;
            ensure!(rows.last().is_none_or(|last| last.0 <= row.0), "price path, row {number}: time goes back");
            rows.push(row);
        }
        ensure!(!rows.is_empty(), "price path: no row");
        Ok(RecordedPath { initial: genesis.markets.iter().map(|market| market.initial_price).collect(), rows })
    }

    /// The price of every market some time after the start.
    fn at(&self, elapsed: Duration) -> Vec<Price> {
        let mut prices = self.initial.clone();
        for (_, market, price) in self.rows.iter().take_while(|row| row.0 <= elapsed) {
            prices[*market] = *price;
        }
        prices
    }
}

fn recorded_row(line: &str, genesis: &Genesis) -> Result<(Duration, usize, Price)> {
    let mut cells = line.split(',').map(str::trim);
    let (Some(ms), Some(name), Some(price), None) = (cells.next(), cells.next(), cells.next(), cells.next()) else {
        anyhow::bail!("expected ms,market,price");
    };
    let ms = ms.parse().context("ms is not a whole number")?;
    let market = genesis.market_id(name).with_context(|| format!("{name:?} is no market of genesis"))?;
    let price = parse_quantums(price).map_err(|error| anyhow::anyhow!("price is {error}"))?;
    let price = u64::try_from(price).context("price is out of range")?;
    Ok((Duration::from_millis(ms), usize::from(market.0), Price(price)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genesis() -> Genesis {
        keel_contracts::genesis::load(include_str!("../../../genesis/dev.json")).expect("the development genesis is valid")
    }

    #[test]
    fn a_recorded_path_is_replayed_as_it_stands() {
        let genesis = genesis();
        let text = "ms,market,price\n# calm\n0,ETH-USDC,3000\n\n500,ETH-USDC,2999.5\n500,BTC-USDC-PERP,1\n1000,ETH-USDC,0\n";
        let path = RecordedPath::parse(text, &genesis).expect("a good path");
        let id = |name: &str| usize::from(genesis.market_id(name).expect("listed").0);
        let (eth, btc) = (id("ETH-USDC"), id("BTC-USDC-PERP"));
        for (ms, eth_price, btc_price) in [
            (0, 300_000_000_000, genesis.markets[btc].initial_price.0),
            (499, 300_000_000_000, genesis.markets[btc].initial_price.0),
            (500, 299_950_000_000, 100_000_000),
            // A publisher may send zero: what becomes of it is the engine's.
            (1_000, 0, 100_000_000),
            (99_000, 0, 100_000_000),
        ] {
            let prices = path.at(Duration::from_millis(ms));
            assert_eq!((prices[eth].0, prices[btc].0, prices.len()), (eth_price, btc_price, genesis.markets.len()), "{ms}");
        }
    }

    #[test]
    fn a_bad_row_is_refused_by_its_number() {
        for (text, expected) in [
            ("", "no row"),
            ("ms,market,price\n", "no row"),
            ("0,ETH-USDC", "row 1"),
            ("0,ETH-USDC,1,2", "row 1"),
            ("0,ETH-USDC,3000\n-1,ETH-USDC,3000", "row 2"),
            ("0,NO-SUCH,3000", "row 1"),
            ("0,ETH-USDC,1e3", "row 1"),
            ("0,ETH-USDC,1.123456789", "row 1"),
            ("0,ETH-USDC,-1", "row 1"),
            ("5,ETH-USDC,3000\n4,ETH-USDC,3000", "row 2: time goes back"),
        ] {
            let error = RecordedPath::parse(text, &genesis()).err().unwrap_or_else(|| panic!("taken: {text:?}"));
            assert!(format!("{error:#}").contains(expected), "{text:?}: {error:#}");
        }
    }
}
