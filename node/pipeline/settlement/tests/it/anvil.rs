//! An anvil process of one test: a free port on loopback, no mining of its own, ended by its own id.

use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two blocks while the test lets time run.
const BLOCK_INTERVAL: Duration = Duration::from_millis(40);

pub struct Anvil {
    process: Child,
    pub url: String,
    pub provider: DynProvider,
    mining: Arc<AtomicBool>,
    ticker: tokio::task::JoinHandle<()>,
}

/// `KEEL_ANVIL`, or the npm package where the repository installs it.
fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("KEEL_ANVIL") {
        return Some(path.into());
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).expect("the crate is three folders deep");
    let places = ["contracts-abi", "tests/clients"].map(|place| repository.join(place).join("node_modules/@foundry-rs"));
    let platforms = ["anvil-linux-amd64", "anvil-linux-arm64", "anvil-darwin-amd64", "anvil-darwin-arm64"];
    let candidates = places.iter().flat_map(|place| platforms.map(|platform| place.join(platform).join("bin/anvil")));
    candidates.into_iter().find(|path| path.is_file())
}

impl Anvil {
    /// `None`, said loudly, where no anvil is installed.
    pub async fn start(test: &str) -> Option<Anvil> {
        let Some(binary) = binary() else {
            println!("SKIPPED: {test}: no anvil: install contracts-abi's npm packages or set KEEL_ANVIL");
            return None;
        };
        let mut process = Command::new(binary)
            .args(["--host", "127.0.0.1", "--port", "0", "--chain-id", "31337", "--no-mining"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("Listening on "));
        let address = line.expect("anvil listens").trim_start_matches("Listening on ").to_owned();
        // Read on, or anvil blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://{address}");
        let provider = ProviderBuilder::new().connect_http(url.parse().unwrap());
        provider.client().set_poll_interval(Duration::from_millis(20));
        let provider = provider.erased();
        let mining = Arc::new(AtomicBool::new(true));
        let (flag, miner) = (mining.clone(), provider.clone());
        let ticker = tokio::spawn(async move {
            loop {
                if flag.load(Ordering::Acquire) {
                    let _ = miner.raw_request::<_, Value>("evm_mine".into(), json!([])).await;
                }
                tokio::time::sleep(BLOCK_INTERVAL).await;
            }
        });
        Some(Anvil { process, url, provider, mining, ticker })
    }

    /// No block from now on, until `resume`; one may be under way.
    pub fn hold(&self) {
        self.mining.store(false, Ordering::Release);
    }

    /// What holds, for where the anvil is not at hand.
    pub fn holder(&self) -> impl Fn() + Send + Sync + 'static {
        let mining = self.mining.clone();
        move || mining.store(false, Ordering::Release)
    }

    /// Time stands still, until `resume`. A block that was being mined is mined.
    pub async fn freeze(&self) {
        self.hold();
        tokio::time::sleep(4 * BLOCK_INTERVAL).await;
    }

    pub fn resume(&self) {
        self.mining.store(true, Ordering::Release);
    }

    pub async fn mine(&self, blocks: u64) {
        self.request("anvil_mine", json!([blocks])).await;
    }

    /// Replaces the last blocks by empty ones.
    pub async fn reorganise(&self, depth: u64) {
        self.request("anvil_reorg", json!([depth, []])).await;
    }

    pub async fn request(&self, method: &'static str, params: Value) -> Value {
        self.provider.raw_request(method.into(), params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Transactions that wait.
    pub async fn waiting(&self) -> u64 {
        let status = self.request("txpool_status", json!([])).await;
        let count = |name: &str| u64::from_str_radix(status[name].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        count("pending") + count("queued")
    }

    /// Like a power cut for the settlement layer.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.ticker.abort();
        self.kill();
    }
}
