//! A development network of one drill: a settlement layer with the contracts, publishers, and the node, each a process or a task of its own.

use crate::attest::client::Client;
use crate::config::Config;
use crate::keys::Keys;
use crate::node::data::new_secret;
use crate::publish::{self, Options, Source, Steer};
use crate::{dev, wiring};
use anyhow::{Context, Result, bail, ensure};
use jsonrpsee::core::client::ClientT;
use jsonrpsee::core::params::ArrayParams;
use jsonrpsee::http_client::HttpClient;
use keel_rpc::JwtSecret;
use keel_types::{Felt, Genesis};
use serde_json::{Value, json};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Longest a process takes to be ready, a phase to come, a process to end.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(5);
/// Longest one look at the node's status takes: it may be stopped.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// Between two rounds of the publishers.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// What one drill changes about the network.
#[derive(Default)]
pub struct Setup {
    /// `FIELD=VALUE` of the node.
    pub sets: Vec<String>,
    /// Environment of the node.
    pub envs: Vec<(String, String)>,
    /// Attestors of the registry besides the node's own, by address.
    pub attestors: Vec<String>,
}

/// It ends, with every process of it, when dropped.
pub struct Network {
    pub genesis: Arc<Genesis>,
    /// Of whoever is no node: deployer, depositor.
    pub config: Config,
    pub folder: PathBuf,
    setup: Setup,
    rpc: String,
    admin: String,
    l1: HttpClient,
    anvil: Child,
    node: Option<Child>,
    steer: watch::Sender<Steer>,
    /// Ends with it.
    _publisher: tokio::task::JoinSet<()>,
}

impl Network {
    /// Starts everything in a folder that is made anew, and waits until the node is OPEN.
    pub async fn start(config: &Config, anvil: &Path, folder: PathBuf, setup: Setup) -> Result<Network> {
        let [l1_port, rpc_port, admin_port] = free_ports()?;
        let mut config = config.clone();
        config.settlement.endpoint = format!("http://127.0.0.1:{l1_port}");
        config.settlement.endpoints = vec![];
        let genesis = Arc::new(crate::genesis(&config.genesis)?);
        let mut command = Command::new(anvil);
        // A block a second, and one for each transaction: nobody waits for money.
        command.args([
            "--host",
            "127.0.0.1",
            "--block-time",
            "1",
            "--mixed-mining",
            "--silent",
            "--port",
            &l1_port.to_string(),
        ]);
        let mut anvil =
            spawn(&mut command, &folder.join("anvil.log")).with_context(|| format!("start {}", anvil.display()))?;
        let l1 = wiring::client(&config.settlement.endpoint)?;
        let end = Instant::now() + PATIENCE;
        while l1.request::<Value, _>("eth_chainId", ArrayParams::new()).await.is_err() {
            ensure!(Instant::now() < end, "the settlement layer does not answer: see {}", folder.display());
            tokio::time::sleep(LOOK).await;
        }
        ensure!(anvil.try_wait()?.is_none(), "another settlement layer has its port: see {}", folder.display());
        let attestors = [setup.attestors.as_slice(), &[dev::own_attestor(&config)?]].concat();
        // A majority, as the registry asks for.
        dev::deploy(&config, &attestors, attestors.len() as u64 / 2 + 1).await.context("deploy the contracts")?;

        let (steer, steered) = watch::channel(Steer::Walk);
        let rpc = format!("http://127.0.0.1:{rpc_port}/rpc");
        let options = Options {
            rpc: rpc.clone(),
            interval: PUBLISH_INTERVAL,
            source: Source::Steered { seed: 1, steer: steered },
            rounds: None,
        };
        let (keys, rules) = (Keys::load(&config.keys)?, genesis.clone());
        let mut publisher = tokio::task::JoinSet::new();
        publisher.spawn(async move {
            if let Err(error) = publish::run(&rules, &keys.publishers, &options).await {
                tracing::error!(error = format!("{error:#}"), "the publishers ended");
            }
        });
        let admin = format!("http://127.0.0.1:{admin_port}");
        let mut network =
            Network { genesis, config, folder, setup, rpc, admin, l1, anvil, node: None, steer, _publisher: publisher };
        network.second_operator()?;
        network.start_node().await?;
        network.phase("OPEN").await?;
        Ok(network)
    }

    /// JSON-RPC of the node.
    pub fn rpc(&self) -> &str {
        &self.rpc
    }

    /// The data folder of the node.
    pub fn data(&self) -> PathBuf {
        self.folder.join("node")
    }

    fn second_operator(&self) -> Result<()> {
        std::fs::write(self.operator_secret(1), new_secret()?).context("write the second operator's secret")
    }

    fn operator_secret(&self, operator: usize) -> PathBuf {
        match operator {
            0 => self.data().join("jwt.hex"),
            other => self.folder.join(format!("operator-{other}.hex")),
        }
    }

    /// Starts the node on its folder, and waits until it answers.
    pub async fn start_node(&mut self) -> Result<()> {
        let address = |url: &str| url.trim_start_matches("http://").trim_end_matches("/rpc").to_owned();
        let mut sets = vec![
            format!("data_dir={}", self.data().display()),
            format!("genesis={}", self.config.genesis.display()),
            format!("keys={}", self.config.keys.display()),
            format!("rpc.listen={}", address(&self.rpc)),
            format!("rpc.admin_listen={}", address(&self.admin)),
            format!("rpc.further_operator_secrets=[{:?}]", self.operator_secret(1).display().to_string()),
            format!("settlement.endpoint={}", self.config.settlement.endpoint),
            "settlement.batch_age_ms=2000".into(),
            "settlement.poll_ms=200".into(),
            "sequencer.block_interval_ms=500".into(),
            "ingress.budget_factor=100".into(),
            "guard.profile=short".into(),
        ];
        sets.extend_from_slice(&self.setup.sets);
        let mut command = Command::new(std::env::current_exe().context("find this binary")?);
        // What configures a real node on this machine, its webhook among it, is not for this one.
        let configured = std::env::vars_os().map(|(name, _)| name);
        configured.filter(|name| name.to_string_lossy().starts_with("KEEL_")).for_each(|name| {
            command.env_remove(name);
        });
        command.arg("run").envs(self.setup.envs.iter().cloned());
        for set in sets {
            command.args(["--set", &set]);
        }
        self.node = Some(spawn(&mut command, &self.log()).context("start the node")?);
        let end = Instant::now() + PATIENCE;
        while self.status().await.is_none() {
            if let Some(ended) = self.node_ended()? {
                bail!("the node ended with {ended}: see {}", self.log().display());
            }
            ensure!(Instant::now() < end, "the node does not answer: see {}", self.log().display());
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Where the node logs.
    pub fn log(&self) -> PathBuf {
        self.folder.join("node.log")
    }

    /// Its process.
    pub fn node_id(&self) -> Result<u32> {
        self.node.as_ref().and_then(Child::id).context("the node does not run")
    }

    /// That of the settlement layer.
    pub fn l1_id(&self) -> Result<u32> {
        self.anvil.id().context("the settlement layer does not run")
    }

    fn node_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.node.as_mut().context("the node does not run")?.try_wait()?)
    }

    /// Waits until the node's process is gone.
    pub async fn await_node_end(&mut self) -> Result<ExitStatus> {
        let node = self.node.as_mut().context("the node does not run")?;
        Ok(tokio::time::timeout(PATIENCE, node.wait()).await.context("the node does not end")??)
    }

    /// Kills the node at once.
    pub async fn kill_node(&mut self) -> Result<()> {
        Ok(self.node.as_mut().context("the node does not run")?.kill().await?)
    }

    /// What the publishers say from now on.
    pub fn publish(&self, what: Steer) {
        self.steer.send_replace(what);
    }

    /// One call to the node.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        wiring::request(&self.rpc, method, params).await
    }

    /// `node_status`; `None` when nothing answers now.
    pub async fn status(&self) -> Option<Value> {
        tokio::time::timeout(LOOK_MAX, self.call("node_status", json!({}))).await.ok()?.ok()
    }

    /// Waits for a status.
    pub async fn until(&self, what: &str, mut so: impl FnMut(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await;
            if let Some(status) = status.clone().filter(&mut so) {
                return Ok(status);
            }
            let last = status.unwrap_or_default();
            ensure!(Instant::now() < end, "waited in vain for {what}; the last status is {last}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits for a phase.
    pub async fn phase(&self, phase: &str) -> Result<Value> {
        self.until(phase, |status| status["phase"] == phase).await
    }

    /// One call of an operator, by its number.
    pub async fn operate(&self, operator: usize, method: &str, params: Value) -> Result<Value> {
        let secret = JwtSecret::from_file(&self.operator_secret(operator))?;
        Client::new(&self.admin, secret)?.call(method, params).await.with_context(|| method.to_owned())
    }

    /// The admin port, as a follower has it.
    pub fn follower(&self) -> Result<Client> {
        Client::new(&self.admin, JwtSecret::from_file(&self.data().join("follower.hex"))?)
    }

    /// One call to the settlement layer.
    pub async fn l1(&self, method: &str, params: &[Value]) -> Result<Value> {
        let mut array = ArrayParams::new();
        for param in params {
            array.insert(param)?;
        }
        let answer: Result<Value, _> = self.l1.request(method, array).await;
        answer.with_context(|| method.to_owned())
    }

    /// A transaction from an account of the settlement layer, until it is in a block. `to` is a contract, `words` are its arguments.
    pub async fn transact(&self, from: &str, to: &str, function: &str, words: &[Felt]) -> Result<()> {
        let call = json!({ "from": from, "to": to, "data": call_data(function, words), "gas": "0x4c4b40" });
        let hash = self.l1("eth_sendTransaction", &[call]).await?;
        let end = Instant::now() + PATIENCE;
        loop {
            let receipt = self.l1("eth_getTransactionReceipt", std::slice::from_ref(&hash)).await?;
            if receipt.is_object() {
                ensure!(receipt["status"] == "0x1", "{function} was reverted: {receipt}");
                return Ok(());
            }
            ensure!(Instant::now() < end, "{function} is in no block");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A call of a function of words.
pub fn call_data(function: &str, words: &[Felt]) -> String {
    let selector = keel_commitment::hash::keccak256(function.as_bytes());
    let words = words.iter().flat_map(|word| word.to_bytes_be());
    let bytes: Vec<u8> = selector[..4].iter().copied().chain(words).collect();
    format!("0x{}", hex::encode(bytes))
}

/// With its output in `log`, killed when it is dropped.
fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    let out = File::options().create(true).append(true).open(log).with_context(|| format!("open {}", log.display()))?;
    let err = out.try_clone()?;
    Ok(command.stdin(Stdio::null()).stdout(out).stderr(err).kill_on_drop(true).spawn()?)
}

/// Different ones, free a moment ago, on loopback.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners: Vec<TcpListener> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let ports: Vec<u16> =
        listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<Result<_, std::io::Error>>()?;
    Ok(ports.try_into().expect("as many as asked for"))
}

/// Sends a signal by its name, such as `STOP`.
pub async fn signal(process: u32, name: &str) -> Result<()> {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status().await?;
    ensure!(sent.success(), "send {name} to {process}");
    Ok(())
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64)
}
