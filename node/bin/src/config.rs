//! What an operator sets: a TOML file, then `KEEL_*` environment variables, then flags; each overrides the one before.

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The configuration of a node. Unknown fields are refused; an error names the field and where it was set.
///
/// Environment: `KEEL_RPC__LISTEN` sets `rpc.listen`. Flags: `--set rpc.listen=127.0.0.1:9944`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Holds `journal/`, `snapshots/`, `store/` and the files of one chain. One node at a time.
    pub data_dir: PathBuf,
    /// The rules of the chain.
    pub genesis: PathBuf,
    /// Keys of the node (block signing, attestation, settlement). Development only in this form.
    pub keys: PathBuf,
    /// `http://` or `https://` address that is sent each step of an incident; see the README.
    pub incident_webhook: Option<String>,
    pub log: Log,
    pub rpc: Rpc,
    pub sequencer: Sequencer,
    pub settlement: Settlement,
    pub guard: Guard,
    pub ingress: Ingress,
    pub history: History,
    pub attestor: Attestor,
}

/// Of `keel attest`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attestor {
    /// Admin address of the node that is followed: `http://127.0.0.1:9945`, or `https://` where a TLS proxy stands before it.
    pub node: String,
    /// The node's followers' secret.
    pub secret: PathBuf,
    /// The private key that signs facts: a file with 0x and hex digits, readable by the owner only.
    pub key: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter: `info`, `keel_settlement=debug,info`.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Human,
    Json,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rpc {
    /// Public JSON-RPC, HTTP and WebSocket. Loopback by default; put a TLS proxy before anything else.
    pub listen: SocketAddr,
    /// Admin JSON-RPC, JWT only.
    pub admin_listen: SocketAddr,
    /// The operator's secret: a file with 32 bytes in hex; without it `jwt.hex` in the data folder, made at first start, readable by the
    /// owner only.
    pub jwt_secret: Option<PathBuf>,
    /// Secrets of further operators, in the same form, each of its own: the first is operator 1, `jwt_secret` is operator 0. An incident with
    /// INVARIANT_BROKEN needs two; which is which stands in the journal, so keep the order.
    pub further_operator_secrets: Vec<PathBuf>,
    /// The followers' secret, in the same form; without it `follower.hex`. Whoever has it may read the journal and attest, nothing else.
    pub follower_secret: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sequencer {
    /// Longest time without a record; at most 1,000.
    pub tick_ms: u64,
    pub block_interval_ms: u64,
    pub snapshot_interval_ms: u64,
    /// Snapshots kept; at least 2, so that a torn newest one is never the only one.
    pub snapshots_kept: usize,
    /// Start although the clock disagrees with the journal.
    pub accept_clock: bool,
    /// `false` loses acknowledged orders in a power failure. Exists so that the crash test can be shown to notice.
    pub journal_sync: bool,
    /// Note the synced length of the journal's log, for crash tests.
    pub journal_note_synced: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settlement {
    /// JSON-RPC of the settlement layer.
    pub endpoint: String,
    /// Several of them, instead of `endpoint`: what they say counts when `quorum` of them say it.
    pub endpoints: Vec<String>,
    /// 0 = a majority; less than a majority is refused.
    pub quorum: usize,
    pub poll_ms: u64,
    /// A batch closes at this many blocks ...
    pub batch_blocks_max: u64,
    /// ... or this long after its first block.
    pub batch_age_ms: u64,
    /// First block of the settlement layer that can hold an event of our contracts: that of their deployment. Everything is read from there
    /// on at each start; from 0 that takes minutes on a public network.
    pub scan_from: u64,
    /// Most that one transaction of the settler may cost, in 1e-9 of the layer's fee token (gwei on Ethereum, 1e9 fri on Starknet). One
    /// that would cost more is not sent, and `node_status` says so until the market comes down. Without it 0.5 ether or 500 STRK.
    pub fee_max_gwei: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// `standard` is what safe mode promises; `short` walks the same phases in seconds, for development.
    pub profile: GuardProfile,
    /// Overrides the profile when set.
    pub custom: Option<keel_guard::Config>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardProfile {
    Standard,
    Short,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingress {
    /// Threads that check signatures; 0 = cores - 1, at least 1.
    pub signature_workers: usize,
    /// Orders that are admitted per second, of all accounts together: a tenth of it in SPOT and REDUCE_ONLY and when OPEN begins, all of it
    /// `guard.custom.phases.ramp_ms` later. Cancels are exempt.
    pub orders_per_second: u64,
    /// Budgets per connection and account, and `orders_per_second`, are multiplied by this. 1 in production; load tests raise it.
    pub budget_factor: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// Days of journal time for which orders that are over, trades, short candles, funding, transfers and liquidations are kept in the
    /// store; 0 = for ever. `keel verify` rebuilds with the same number, so change it only together with deleting `store/`.
    pub retention_days: u32,
    /// Newest blocks for which `starknet_getStorageProof` answers; 0 = for ever, else at least 8. A lowered number is caught up with at three
    /// blocks a block; a raised one brings nothing back.
    pub proof_blocks: u64,
    /// Newest blocks at which flat state (getStorageAt, getNonce, getClassHashAt) can be read; 0 = for ever, else at least `proof_blocks`,
    /// for a proof reads flat state too. The state after the last batch always stays.
    pub state_blocks: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: ".keel/node".into(),
            genesis: "genesis/dev.json".into(),
            keys: "genesis/dev-keys.json".into(),
            incident_webhook: None,
            log: Log::default(),
            rpc: Rpc::default(),
            sequencer: Sequencer::default(),
            settlement: Settlement::default(),
            guard: Guard::default(),
            ingress: Ingress::default(),
            history: History::default(),
            attestor: Attestor::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Human, filter: "info".into() }
    }
}

impl Default for Rpc {
    fn default() -> Self {
        Rpc {
            listen: SocketAddr::from(([127, 0, 0, 1], 9944)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9945)),
            jwt_secret: None,
            further_operator_secrets: vec![],
            follower_secret: None,
        }
    }
}

impl Default for Sequencer {
    fn default() -> Self {
        Sequencer {
            tick_ms: 100,
            block_interval_ms: 2_000,
            snapshot_interval_ms: 30_000,
            snapshots_kept: 3,
            accept_clock: false,
            journal_sync: true,
            journal_note_synced: false,
        }
    }
}

impl Settlement {
    /// Where the settlement layer is read.
    pub fn endpoints(&self) -> Vec<String> {
        if self.endpoints.is_empty() { vec![self.endpoint.clone()] } else { self.endpoints.clone() }
    }
}

impl Default for Settlement {
    fn default() -> Self {
        Settlement {
            endpoint: "http://127.0.0.1:8545".into(),
            endpoints: vec![],
            quorum: 0,
            poll_ms: 500,
            batch_blocks_max: 30,
            batch_age_ms: 10_000,
            scan_from: 0,
            fee_max_gwei: None,
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Guard { profile: GuardProfile::Standard, custom: None }
    }
}

impl Default for Ingress {
    fn default() -> Self {
        Ingress { signature_workers: 0, orders_per_second: 10_000, budget_factor: 1 }
    }
}

impl Default for History {
    /// 90 days: as long as an order may live (`good_til`), so a live order's fills are all there. 10,000 blocks: over five hours at the default
    /// block interval, far longer than a batch takes to settle.
    fn default() -> Self {
        History { retention_days: 90, proof_blocks: 10_000, state_blocks: 0 }
    }
}

/// Fewest blocks of history, so that a client can name `latest`, then read at that number.
const HISTORY_BLOCKS_MIN: u64 = 8;

impl History {
    /// See [History::retention_days].
    pub fn retention(&self) -> keel_store::Retention {
        keel_store::Retention::of_days(self.retention_days)
    }

    /// See [History::proof_blocks] and [History::state_blocks].
    pub fn state_retention(&self) -> keel_store::StateRetention {
        keel_store::StateRetention { proof_blocks: self.proof_blocks, state_blocks: self.state_blocks }
    }

    fn validate(&self) -> anyhow::Result<()> {
        let History { proof_blocks, state_blocks, .. } = *self;
        for (field, blocks) in [("proof_blocks", proof_blocks), ("state_blocks", state_blocks)] {
            let fits = blocks == 0 || blocks >= HISTORY_BLOCKS_MIN;
            anyhow::ensure!(fits, "configuration: history.{field} = {blocks} must be 0 or at least {HISTORY_BLOCKS_MIN}");
        }
        let covered = state_blocks == 0 || (proof_blocks != 0 && proof_blocks <= state_blocks);
        anyhow::ensure!(
            covered,
            "configuration: history.state_blocks = {state_blocks} must be 0 or at least history.proof_blocks"
        );
        Ok(())
    }
}

impl Guard {
    /// The timings in force.
    pub fn config(&self) -> keel_guard::Config {
        self.custom.unwrap_or_else(|| match self.profile {
            GuardProfile::Standard => keel_guard::Config::default(),
            GuardProfile::Short => keel_guard::Config::short(),
        })
    }
}

/// Reads defaults, then the file (which must exist when named), then the environment, then `--set` pairs, and validates.
pub fn load(file: Option<&Path>, sets: &[String]) -> anyhow::Result<Config> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(path) = file {
        anyhow::ensure!(path.is_file(), "read configuration: {} is not a file", path.display());
        figment = figment.merge(Toml::file_exact(path));
    }
    figment = figment.merge(Env::prefixed("KEEL_").split("__").filter(|key| is_configuration(key.as_str())));
    for set in sets {
        let (key, value) =
            set.split_once('=').ok_or_else(|| anyhow::anyhow!("--set {set}: expected FIELD=VALUE, as in rpc.listen=…"))?;
        figment = figment.merge(Toml::string(&toml_line(key, value)));
    }
    let config: Config = figment.extract().map_err(|error| anyhow::anyhow!("configuration: {error}"))?;
    validate(&config)?;
    Ok(config)
}

/// `KEEL_*` variables of the scripts and tests, which are no configuration. Any other unknown name is refused as a typing error.
const NOT_CONFIGURATION: &[&str] = &[
    "anvil",
    "bin",
    "cache",
    "crash_no_sync",
    "crash_rounds",
    "crash_store_folder",
    "fixtures",
    "fuzz_mutations",
    "keep",
    "money_operations",
    "money_seed",
    "proptest_commands",
    "screenshots",
    "starknet_devnet",
    "starknet_py",
    "starknet_rust",
    "streams_seconds",
    "timeout_ms",
    "write_corpus",
];

fn is_configuration(name: &str) -> bool {
    !NOT_CONFIGURATION.contains(&name.to_ascii_lowercase().as_str())
}

/// `a.b=1` as TOML; a value that is no TOML literal is text.
fn toml_line(key: &str, value: &str) -> String {
    let literal = matches!(value, "true" | "false") || value.parse::<i64>().is_ok() || value.starts_with('[');
    match literal {
        true => format!("{key} = {value}"),
        false => format!("{key} = {}", serde_json::Value::String(value.to_owned())),
    }
}

/// A million of the fee token: more is a typing error.
const FEE_MAX_GWEI: u64 = 1_000_000_000_000_000;

fn validate(config: &Config) -> anyhow::Result<()> {
    let within = |field: &str, value: u64, low: u64, high: u64| {
        anyhow::ensure!((low..=high).contains(&value), "configuration: {field} = {value} must be between {low} and {high}");
        Ok(())
    };
    within("sequencer.tick_ms", config.sequencer.tick_ms, 1, 1_000)?;
    within("sequencer.block_interval_ms", config.sequencer.block_interval_ms, 50, 60_000)?;
    within("sequencer.snapshot_interval_ms", config.sequencer.snapshot_interval_ms, 100, 86_400_000)?;
    within("sequencer.snapshots_kept", config.sequencer.snapshots_kept as u64, 2, 1_000)?;
    within("settlement.poll_ms", config.settlement.poll_ms, 50, 60_000)?;
    within("settlement.batch_blocks_max", config.settlement.batch_blocks_max, 1, 10_000)?;
    within("settlement.batch_age_ms", config.settlement.batch_age_ms, 100, 86_400_000)?;
    if let Some(fee_max) = config.settlement.fee_max_gwei {
        within("settlement.fee_max_gwei", fee_max, 1, FEE_MAX_GWEI)?;
    }
    within("history.retention_days", config.history.retention_days.into(), 0, 36_500)?;
    config.history.validate()?;
    within("ingress.orders_per_second", config.ingress.orders_per_second, 1, 1_000_000_000)?;
    within("ingress.budget_factor", config.ingress.budget_factor.into(), 1, 1_000_000)?;
    anyhow::ensure!(
        config.rpc.listen != config.rpc.admin_listen || config.rpc.listen.port() == 0,
        "configuration: rpc.admin_listen must differ from rpc.listen; admin has a port of its own"
    );
    let webhook = config.incident_webhook.as_deref();
    anyhow::ensure!(
        webhook.is_none_or(|url| crate::node::webhook::address(url).is_some()),
        "configuration: incident_webhook must be an http:// or https:// address"
    );
    let endpoints = config.settlement.endpoints();
    let http = |endpoint: &String| endpoint.starts_with("http://") || endpoint.starts_with("https://");
    anyhow::ensure!(
        endpoints.iter().all(http),
        "configuration: settlement.endpoint and settlement.endpoints must be http:// or https:// addresses"
    );
    let majority = endpoints.len() as u64 / 2 + 1;
    if config.settlement.quorum != 0 {
        within("settlement.quorum", config.settlement.quorum as u64, majority, endpoints.len() as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(toml: &str, sets: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keel.toml");
        std::fs::write(&file, toml).unwrap();
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        format!("{:#}", load(Some(&file), &sets).unwrap_err())
    }

    #[test]
    fn a_bad_field_is_named() {
        for (toml, sets, named) in [
            ("[rpc]\nlisten = \"nowhere\"", &[][..], "rpc.listen"),
            ("[rpc]\nlissen = \"127.0.0.1:1\"", &[], "lissen"),
            ("", &["sequencer.tick_ms=0"], "sequencer.tick_ms"),
            ("", &["sequencer.tick_ms=soon"], "sequencer.tick_ms"),
            ("", &["settlement.endpoint=ftp://x"], "settlement.endpoint"),
            ("", &["settlement.endpoints=[\"http://a\", \"ftp://b\"]"], "settlement.endpoints"),
            ("", &["settlement.endpoints=[\"http://a\", \"http://b\"]", "settlement.quorum=1"], "settlement.quorum"),
            ("", &["settlement.quorum=2"], "settlement.quorum"),
            ("", &["settlement.fee_max_gwei=0"], "settlement.fee_max_gwei"),
            ("", &["settlement.fee_max_gwei=0.5"], "settlement.fee_max_gwei"),
            ("[history]\nretention_days = 40000", &[], "history.retention_days"),
            ("", &["history.proof_blocks=3"], "history.proof_blocks"),
            ("", &["history.state_blocks=9999"], "history.state_blocks"),
            ("[history]\nproof_blocks = 0\nstate_blocks = 100", &[], "history.state_blocks"),
            ("[guard]\nprofile = \"hasty\"", &[], "guard.profile"),
            ("", &["ingress.orders_per_second=0"], "ingress.orders_per_second"),
            ("incident_webhook = \"hooks.example/T\"", &[], "incident_webhook"),
        ] {
            let message = error(toml, sets);
            assert!(message.contains(named), "{message:?} does not name {named}");
        }
    }

    #[test]
    fn flags_override_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keel.toml");
        std::fs::write(&file, "[sequencer]\ntick_ms = 50\nblock_interval_ms = 500").unwrap();
        let config = load(Some(&file), &["sequencer.tick_ms=20".into()]).unwrap();
        assert_eq!((config.sequencer.tick_ms, config.sequencer.block_interval_ms), (20, 500));
    }
}
