use crate::devnet::Devnet;
use crate::process::{Child, free_port, keel_binary, root, run_keel};
use crate::trader::{Ack, call};
use crate::wait_for;
use keel_types::Genesis;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Longest a test waits for a process to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A development chain: an L1 with the contracts, publishers, and at most one node.
pub struct World {
    pub genesis: Genesis,
    pub dir: TempDir,
    pub l1: Child,
    l1_port: u16,
    /// `--set` pairs of every process: which chain, whose keys, where it settles.
    settings: Vec<String>,
    publisher: Option<Child>,
    /// Certificate that its nodes trust.
    certificate: Option<PathBuf>,
}

/// What a test may change about a node.
#[derive(Clone, Default)]
pub struct NodeOptions {
    /// Folder name inside the world's folder; the same name is the same data.
    pub name: String,
    /// `--set` pairs.
    pub sets: Vec<String>,
}

/// A second L1 with the first one's past, which goes its own way.
pub struct Fork {
    pub l1: Child,
    pub port: u16,
}

/// A running node.
pub struct Node {
    pub process: Child,
    pub port: u16,
    pub admin_port: u16,
    pub data: PathBuf,
    pub log: PathBuf,
}

impl World {
    /// `genesis/dev.json`.
    pub fn genesis() -> Genesis {
        let text = std::fs::read_to_string(root().join("genesis/dev.json")).expect("genesis/dev.json");
        keel_contracts::genesis::load(&text).expect("genesis/dev.json is good")
    }

    /// Starts anvil and deploys the contracts of `genesis/dev.json`.
    pub fn start() -> World {
        World::start_with(&[])
    }

    /// The same with more arguments for `keel dev deploy`.
    pub fn start_with(deploy: &[&str]) -> World {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let genesis = World::genesis();
        let l1_port = free_port();
        let l1 = start_l1(l1_port, &dir.path().join("anvil.log"), &[]);
        let endpoint = format!("http://127.0.0.1:{l1_port}");
        let settings = vec![format!("settlement.endpoint={endpoint}")];
        let world = World { genesis, dir, l1, l1_port, settings, publisher: None, certificate: None };
        world.keel(&[&["dev", "deploy"], deploy].concat());
        world
    }

    /// Starts starknet-devnet and deploys the contracts of a genesis like `genesis/dev.json` that settles there. Nothing where there is
    /// no devnet, which is said.
    pub fn start_on_devnet() -> Option<(World, Devnet)> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let l1_port = free_port();
        let (l1, devnet) = Devnet::start(l1_port, dir.path())?;
        let (genesis, [genesis_file, keys]) = devnet.write_chain(dir.path());
        let settings = vec![
            format!("settlement.endpoint=http://127.0.0.1:{l1_port}/rpc"),
            format!("genesis={}", genesis_file.display()),
            format!("keys={}", keys.display()),
        ];
        let world = World { genesis, dir, l1, l1_port, settings, publisher: None, certificate: None };
        world.keel(&["dev", "deploy"]);
        Some((world, devnet))
    }

    /// `--set` and its pair, for each setting of this world.
    pub fn settings(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().flat_map(|set| ["--set", set.as_str()])
    }

    /// Runs `keel` with the settings of this world to its end; its output. Panics when it fails.
    pub fn keel(&self, args: &[&str]) -> String {
        run_keel(&self.settings().chain(args.iter().copied()).collect::<Vec<_>>())
    }

    /// From now on processes of this world trust a certificate, as they would on a system that has it.
    pub fn trust(&mut self, certificate: &Path) {
        self.certificate = Some(certificate.to_owned());
    }

    /// `keel`, without arguments yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(keel_binary());
        command.current_dir(root());
        // Read by every TLS library that asks the system.
        command.envs(self.certificate.iter().map(|certificate| ("SSL_CERT_FILE", certificate)));
        command
    }

    /// Port of the L1's JSON-RPC.
    pub fn l1_port(&self) -> u16 {
        self.l1_port
    }

    /// One call to the L1.
    pub fn l1_call(&self, method: &str, params: Value) -> Ack {
        l1_call(self.l1_port, method, params)
    }

    /// Parts the L1's chain here and now (anvil only).
    pub fn fork(&self) -> Fork {
        let (port, first) = (free_port(), format!("http://127.0.0.1:{}", self.l1_port));
        let l1 = start_l1(port, &self.dir.path().join("fork.log"), &["--fork-url", &first, "--no-storage-caching"]);
        Fork { l1, port }
    }

    /// Starts a node on its folder in this world.
    pub fn node(&self, options: &NodeOptions) -> Node {
        let data = self.dir.path().join(&options.name);
        let log = self.dir.path().join(format!("{}.log", options.name));
        let (port, admin_port) = (free_port(), free_port());
        let sets = [
            format!("data_dir={}", data.display()),
            format!("rpc.listen=127.0.0.1:{port}"),
            format!("rpc.admin_listen=127.0.0.1:{admin_port}"),
            "guard.profile=short".into(),
            "sequencer.block_interval_ms=500".into(),
            "sequencer.snapshot_interval_ms=2000".into(),
            "settlement.batch_age_ms=2000".into(),
            "settlement.poll_ms=200".into(),
        ];
        let mut command = self.command();
        command.arg("run").args(self.settings());
        for set in sets.iter().chain(&options.sets) {
            command.args(["--set", set]);
        }
        let mut node = Node { process: Child::spawn(&mut command, &log), port, admin_port, data, log };
        wait_for("the node's RPC", START_TIMEOUT, || {
            if let Some(status) = node.process.ended() {
                panic!("the node ended with {status}: {}", node.log_tail());
            }
            matches!(node.call("node_status", json!({})), Ack::Done(_)).then_some(())
        });
        node
    }

    /// Starts publishers against a node; any earlier ones are stopped.
    pub fn publish_to(&mut self, node: &Node) {
        self.publisher = None;
        let mut command = Command::new(keel_binary());
        command.args(self.settings()).args(["publish", "--rpc", &node.url(), "--interval-ms", "200"]).current_dir(root());
        self.publisher = Some(Child::spawn(&mut command, &self.dir.path().join("publisher.log")));
    }

    /// Ends the publishers: prices go stale.
    pub fn stop_publishing(&mut self) {
        self.publisher = None;
    }

    /// Mints and deposits on L1. `amount` in decimal units.
    pub fn deposit(&self, account: &str, asset: &str, amount: &str) {
        self.keel(&["dev", "fund", "--account", account, "--asset", asset, "--amount", amount]);
    }
}

impl Fork {
    /// One call to it.
    pub fn call(&self, method: &str, params: Value) -> Ack {
        l1_call(self.port, method, params)
    }
}

impl Node {
    /// Public RPC address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/rpc", self.port)
    }
    /// One call to the public RPC.
    pub fn call(&self, method: &str, params: Value) -> Ack {
        call(self.port, "/rpc", None, method, &params)
    }
    /// `node_status`.
    pub fn status(&self) -> Value {
        self.call("node_status", json!({})).done()
    }
    /// Waits until the phase is the one named.
    pub fn wait_for_phase(&self, phase: &str, timeout: Duration) {
        wait_for(&format!("phase {phase}: {}", self.log.display()), timeout, || {
            matches!(self.call("node_status", json!({})), Ack::Done(s) if s["phase"] == phase).then_some(())
        });
    }
    /// The last lines of the log, for messages.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn start_l1(port: u16, log: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(anvil_binary());
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--block-time", "1", "--silent"]).args(more);
    let l1 = Child::spawn(&mut command, log);
    wait_for("anvil", START_TIMEOUT, || matches!(l1_call(port, "eth_blockNumber", json!([])), Ack::Done(_)).then_some(()));
    l1
}

/// The development settlement layer.
pub fn anvil_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("KEEL_ANVIL") {
        return path.into();
    }
    let folders = ["tests/clients", "contracts-abi"].map(|f| root().join(f).join("node_modules/@foundry-rs"));
    let candidates =
        folders.iter().flat_map(|f| ["anvil-linux-amd64", "anvil-linux-arm64"].map(|p| f.join(p).join("bin/anvil")));
    candidates.into_iter().find(|path| path.is_file()).expect("anvil: run npm install in tests/clients, or set KEEL_ANVIL")
}

fn l1_call(port: u16, method: &str, params: Value) -> Ack {
    call(port, "/", None, method, &params)
}

impl World {
    /// Registers traders and gives each money of every asset, waiting until it is credited.
    pub fn fund(&self, node: &Node, traders: &[crate::Trader], amounts: &[(&str, &str)]) {
        for trader in traders {
            node.call("trade_register", trader.registration(1)).done();
            for (asset, amount) in amounts {
                self.deposit(&trader.account.to_string(), asset, amount);
            }
        }
        for trader in traders {
            wait_for("deposits to be credited", START_TIMEOUT, || {
                let Ack::Done(account) = node.call("trade_account", json!({ "account": trader.account.to_string() })) else {
                    return None;
                };
                let balances = account["balances"].as_array()?.clone();
                let credited = |asset: &str| balances.iter().any(|b| b["asset"] == asset && b["total"] != "0");
                amounts.iter().all(|(asset, _)| credited(asset)).then_some(())
            });
        }
    }
}
