//! `keel`: the exchange in one binary.
#![forbid(unsafe_code)]

mod attest;
mod batch;
mod bench;
mod config;
mod db;
mod dev;
mod drill;
mod gate;
mod incident;
mod keys;
mod node;
mod publish;
mod receipt;
mod rehearse;
mod replay;
mod status;
mod sync;
mod trade;
mod void;
mod wiring;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use config::{Config, LogFormat};
use keel_settlement::protection::Statement;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// An exchange appchain in one binary: it orders and matches signed trades, commits its state as a Starknet chain and settles it.
#[derive(Parser)]
#[command(name = "keel", version)]
struct Cli {
    /// Configuration file (TOML). Without it: defaults, environment and flags.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Sets one field, as in `--set rpc.listen=127.0.0.1:9944`. May be repeated; overrides file and environment.
    #[arg(long = "set", value_name = "FIELD=VALUE", global = true)]
    sets: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a node until SIGTERM or SIGINT.
    Run {
        /// States that the attestor's key has signed nothing above this block, anywhere (`none`: it has never signed). Needed once, where
        /// its file of signatures is lost; a false statement can make it sign two facts for one height.
        #[arg(long, value_name = "BLOCK|none")]
        signed_up_to: Option<Statement>,
    },
    /// Follows a node: takes its journal, executes it again, compares, and signs the facts of batches that came out the same. Ends with
    /// status 3 when the state diverged.
    Attest {
        /// States that the key has signed nothing above this block, anywhere (`none`: it has never signed). Needed once, for a new key or
        /// one whose file of signatures is lost; a false statement can make it sign two facts for one height.
        #[arg(long, value_name = "BLOCK|none")]
        signed_up_to: Option<Statement>,
    },
    /// Asks a running node how it is.
    Status {
        #[arg(long, default_value = "http://127.0.0.1:9944/rpc")]
        rpc: String,
    },
    /// Checks the data of a stopped node: roots from flat state, every node of the tries, the block index; then replays the whole journal into
    /// a second node and compares everything.
    Verify {
        /// Checks every block's index instead of a thousand of them.
        #[arg(long)]
        full: bool,
    },
    /// Replays the journal of a stopped node into a new data folder, as a second node would.
    Replay {
        /// Where the second node's store is written; must not exist.
        #[arg(long)]
        out: PathBuf,
    },
    /// Executes a node's last batches once more with this binary, beside that node, and compares digests, state and root: before an upgrade.
    Rehearse {
        /// How many.
        #[arg(long, default_value_t = 10)]
        batches: u64,
    },
    /// Looks at the store of a node.
    #[command(subcommand)]
    Db(db::Db),
    /// Looks at settlement batches: shows, decodes, verifies, archives.
    #[command(subcommand)]
    Batch(batch::BatchCommand),
    /// Rebuilds the state of the chain from the settlement layer alone.
    Sync(Box<sync::SyncCommand>),
    /// Reads the settled state that `keel sync` rebuilt.
    #[command(subcommand)]
    State(sync::State),
    /// A small trading client: keys, register, place, cancel, watch the book.
    Trade(Box<trade::Trade>),
    /// Price publishers for development: sign a random walk for every market, or a recorded path. A real deployment has its own.
    Publish {
        #[arg(long, default_value = "http://127.0.0.1:9944/rpc")]
        rpc: String,
        #[arg(long, default_value_t = 500)]
        interval_ms: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Replays a recorded price path instead: a CSV file of `ms,market,price`, milliseconds from the start.
        #[arg(long, conflicts_with = "seed")]
        path: Option<PathBuf>,
    },
    /// Development chain: contracts and money on a local settlement layer.
    #[command(subcommand)]
    Dev(dev::Dev),
    /// Receipts: of an order that safe mode cancelled, checked against the settled state; of a liquidation, derived again from what it was
    /// decided on.
    #[command(subcommand)]
    Receipt(receipt::Receipt),
    /// What happened in an incident: its timeline, its causes, and what each account lost.
    #[command(subcommand)]
    Incident(incident::IncidentCommand),
    /// Trains for a loss: a development network of its own, a fault made on purpose, how long each step of safe mode took, whether its promises
    /// were kept, and the incident's report.
    Drill(drill::DrillCommand),
    /// Takes back the last record of a stopped node, which breaks the engine and was acknowledged to nobody: two operators together.
    #[command(subcommand)]
    Void(void::VoidCommand),
    /// Measures.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let config = config::load(cli.config.as_deref(), &cli.sets)?;
    start_logging(&config)?;
    match cli.command {
        Command::Attest { signed_up_to } => attest::run(&config, signed_up_to),
        other => run(other, config).map(|()| ExitCode::SUCCESS),
    }
}

fn run(command: Command, config: Config) -> Result<()> {
    match command {
        Command::Attest { .. } => unreachable!("it has an exit status of its own"),
        Command::Run { signed_up_to } => node::run(config, signed_up_to),
        Command::Status { rpc } => runtime()?.block_on(status::run(&rpc)),
        Command::Verify { full } => replay::verify(&config, full),
        Command::Replay { out } => replay::replay(&config, &out),
        Command::Rehearse { batches } => rehearse::rehearse(&config, batches),
        Command::Db(db) => db.run(&config),
        Command::Batch(batch) => runtime()?.block_on(batch.run(&config)),
        Command::Sync(sync) => sync.run(&config),
        Command::State(state) => state.run(&config),
        Command::Trade(trade) => runtime()?.block_on(trade.run(&genesis(&config.genesis)?)),
        Command::Publish { rpc, interval_ms, seed, path } => {
            let genesis = genesis(&config.genesis)?;
            let keys = keys::Keys::load(&config.keys)?;
            let source = match path {
                None => publish::Source::Generated { seed },
                Some(path) => {
                    let text =
                        std::fs::read_to_string(&path).with_context(|| format!("read price path {}", path.display()))?;
                    publish::Source::Recorded(publish::RecordedPath::parse(&text, &genesis)?)
                }
            };
            let options = publish::Options { rpc, interval: Duration::from_millis(interval_ms), source, rounds: None };
            runtime()?.block_on(publish::run(&genesis, &keys.publishers, &options))
        }
        Command::Receipt(receipt) => runtime()?.block_on(receipt.run(&config)),
        Command::Incident(incident) => runtime()?.block_on(incident.run(&config)),
        Command::Drill(drill) => runtime()?.block_on(drill.run(&config)),
        Command::Dev(dev) => runtime()?.block_on(dev.run(&config)),
        Command::Void(void) => void.run(&config),
        Command::Bench(bench) => bench::run(bench, &config),
    }
}

/// Reads and checks the rules of the chain.
fn genesis(path: &Path) -> Result<keel_types::Genesis> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read genesis {}", path.display()))?;
    let loaded = keel_contracts::genesis::load(&text).with_context(|| format!("genesis {}", path.display()))?;
    Ok(loaded)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the async runtime")
}

fn start_logging(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log.filter).context("configuration: log.filter")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
