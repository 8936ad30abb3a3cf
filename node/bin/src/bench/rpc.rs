use crate::trade::Wallet;
use crate::wiring::{by_name, client};
use anyhow::{Context, Result, ensure};
use jsonrpsee::core::client::ClientT;
use jsonrpsee::http_client::HttpClient;
use keel_ingress::MessageKind;
use keel_types::{Felt, Genesis, MarketSpec};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest the benchmark waits for the exchange to open and for its deposits.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// Orders an account may have open in one market; stays below the limit of `genesis/dev.json`.
const ORDERS_PER_ACCOUNT: usize = 900;

/// What to measure.
pub struct Options {
    pub rpc: String,
    /// Orders in all, signed before the clock starts.
    pub orders: usize,
    /// Requests under way at once, each on its own connection.
    pub connections: usize,
}

/// Places resting orders and times each from request to durable acknowledgement. `fund(account)` brings quote money.
pub async fn run(genesis: &Genesis, options: &Options, fund: impl AsyncFn(&str) -> Result<()>) -> Result<()> {
    let rpc = client(&options.rpc)?;
    wait("the exchange to open", async || Ok(call(&rpc, "node_status", json!({})).await?["phase"] == "OPEN")).await?;
    let wallets = wallets(genesis, options.orders)?;
    for wallet in &wallets {
        let fields = [("key", json!(wallet.key.to_string())), ("template", json!(genesis.account_templates[0].name))];
        call(&rpc, "trade_register", wallet.sign(MessageKind::Register, fields)?).await?;
        fund(&wallet.account.to_string()).await?;
    }
    for wallet in &wallets {
        let account = json!({ "account": wallet.account.to_string() });
        wait("deposits", async || Ok(call(&rpc, "trade_account", account.clone()).await?["collateral"] != "0")).await?;
    }
    let mut signed = (0..options.orders).map(|n| order(genesis, &wallets, n)).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..options.connections {
        let share = signed.split_off(signed.len().saturating_sub(options.orders.div_ceil(options.connections)));
        let rpc = client(&options.rpc)?;
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(share.len());
            for request in share {
                let sent = Instant::now();
                let answer = call(&rpc, "trade_placeOrder", request).await?;
                ensure!(answer["state"] == "OPEN", "an order did not rest: {answer}");
                times.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            Ok(times)
        });
    }
    let mut times = vec![];
    while let Some(result) = tasks.join_next().await {
        times.extend(result.context("a connection panicked")??);
    }
    let seconds = started.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |quantile: f64| times[((times.len() - 1) as f64 * quantile) as usize];
    println!(
        "rpc: {:.0} signed orders/s to durable acknowledgement ({} orders, {} connections); p50 {:.1} ms, p99 {:.1} ms",
        times.len() as f64 / seconds,
        times.len(),
        options.connections,
        at(0.5),
        at(0.99)
    );
    Ok(())
}

async fn call(rpc: &HttpClient, method: &str, params: Value) -> Result<Value> {
    rpc.request(method, by_name(params)?).await.with_context(|| method.to_owned())
}

async fn wait(what: &str, ready: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    while !ready().await? {
        ensure!(Instant::now() < deadline, "bench: waited {READY_TIMEOUT:?} for {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Fresh accounts, enough for the orders.
fn wallets(genesis: &Genesis, orders: usize) -> Result<Vec<Wallet>> {
    let start = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    (0..orders.div_ceil(ORDERS_PER_ACCOUNT)).map(|i| Wallet::new(Felt::from(start + i as u64), genesis)).collect()
}

/// A bid of the smallest size, 20% to 40% under the first market's price: it rests.
fn order(genesis: &Genesis, wallets: &[Wallet], n: usize) -> Result<Value> {
    let market: &MarketSpec = &genesis.markets[0];
    let ticks = market.initial_price.0 / market.tick_size.0;
    let price = (ticks * 6 / 10 + (n as u64 * 7_919) % (ticks / 5)) * market.tick_size.0;
    let lots = market.notional_min.0 * i128::from(keel_types::QUANTUMS_PER_UNIT)
        / i128::from(price)
        / i128::from(market.lot_size.0);
    let size = (lots as u64 + 1) * market.lot_size.0;
    let fields = [
        ("market", json!(market.name)),
        ("side", json!("BUY")),
        ("type", json!("LIMIT")),
        ("size", json!(keel_types::Qty(size).to_string())),
        ("price", json!(keel_types::Price(price).to_string())),
        ("timeInForce", json!("POST_ONLY")),
    ];
    wallets[n % wallets.len()].sign(MessageKind::Order, fields)
}
