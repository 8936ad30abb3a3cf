//! `keel sync`: the state of the chain, rebuilt from the settlement layer alone; `keel state`: what is in it.

use crate::config::Config;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use keel_contracts::starknet::{Key, Layout, decode_signed};
use keel_settlement::{DataSource, History, Sync};
use keel_store::{Replica, ReplicaHead, TrieId};
use keel_types::{Address, AssetId, Felt, Genesis, format_quantums};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the store to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait while following, before whoever did not answer is asked again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Rebuilds the settled state in a folder, or goes on where the last run came to. It holds one state, without blocks or history: `keel state`
/// reads it, and no node runs on it.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SyncCommand {
    #[command(subcommand)]
    look: Option<Look>,
    /// From the settlement layer alone. The only way there is.
    #[arg(long)]
    from_settlement: bool,
    /// The rules of the chain, instead of the configured file.
    #[arg(long)]
    genesis: Option<PathBuf>,
    /// JSON-RPC of the settlement layer, instead of the configured ones; several, each with the flag, are read as what most of them say.
    #[arg(long = "endpoint", value_name = "URL")]
    endpoints: Vec<String>,
    /// Where blobs come from: `beacon:URL`, `archive:DIR` or `node:URL`. Needed where the chain's data is in blobs.
    #[arg(long, value_parser = data_source)]
    blobs_from: Option<DataSource>,
    /// The folder; made if it is not there.
    #[arg(long)]
    data: Option<PathBuf>,
    /// First block of the settlement layer to look at: that of the contracts' deployment.
    #[arg(long, default_value_t = 0)]
    scan_from: u64,
    /// Blocks on top of a batch before it is applied; without it the depth at which genesis calls a batch confirmed.
    #[arg(long)]
    depth: Option<u64>,
    /// Goes on with every new batch until SIGTERM or SIGINT.
    #[arg(long)]
    follow: bool,
}

/// A folder that `keel sync` made.
#[derive(Args)]
pub struct Folder {
    #[arg(long)]
    data: PathBuf,
    /// The rules of the chain, instead of the configured file.
    #[arg(long)]
    genesis: Option<PathBuf>,
}

impl Folder {
    fn look(&self, config: &Config) -> Result<(Genesis, Replica)> {
        let genesis = crate::genesis(self.genesis.as_deref().unwrap_or(&config.genesis))?;
        let replica = Replica::open_read_only(&store(&self.data), genesis.hash()).context("look at the settled state")?;
        Ok((genesis, replica))
    }
}

#[derive(Subcommand)]
enum Look {
    /// Which state a folder holds.
    Status {
        #[command(flatten)]
        folder: Folder,
        /// Recomputes the root from the flat state, without the stored tries, and counts the slots.
        #[arg(long)]
        check: bool,
    },
}

fn data_source(text: &str) -> Result<DataSource, String> {
    match text.split_once(':') {
        Some(("beacon", url)) => Ok(DataSource::Beacon(url.into())),
        Some(("archive", folder)) => Ok(DataSource::Archive(folder.into())),
        Some(("node", url)) => Ok(DataSource::Node(url.into())),
        _ => Err("expected beacon:URL, archive:DIR or node:URL".into()),
    }
}

impl SyncCommand {
    /// Runs the command.
    pub fn run(self, config: &Config) -> Result<()> {
        if let Some(Look::Status { folder, check }) = &self.look {
            return status(config, folder, *check);
        }
        ensure!(self.from_settlement, "sync: say --from-settlement");
        let data = self.data.as_deref().context("sync: --data names the folder")?;
        let genesis = Arc::new(crate::genesis(self.genesis.as_deref().unwrap_or(&config.genesis))?);
        let (endpoints, quorum) = match &self.endpoints[..] {
            [] => (config.settlement.endpoints(), config.settlement.quorum),
            named => (named.to_vec(), 0),
        };
        let source = self.blobs_from.clone().unwrap_or(DataSource::None);
        std::fs::create_dir_all(data).with_context(|| format!("make {}", data.display()))?;
        let replica = Replica::open(&store(data), genesis.hash()).context("open the folder of the settled state")?;
        let sync = Sync {
            history: History::connect(&endpoints, quorum, &genesis, source).context("settlement endpoint")?,
            replica: replica.clone(),
            scan_from: self.scan_from,
            depth: self.depth.unwrap_or(genesis.settlement.confirm_depth),
        };
        let poll = Duration::from_millis(config.settlement.poll_ms);
        let runtime = crate::runtime()?;
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = rounds(&sync, self.follow.then_some(poll)) => ended,
                stopped = stopped() => stopped,
            }
        });
        drop(sync);
        drop(runtime);
        replica.flush()?;
        if !replica.close(CLOSE_TIMEOUT) {
            tracing::warn!("the store is still in use");
        }
        ended
    }
}

/// One round, or one after the other.
async fn rounds(sync: &Sync, poll: Option<Duration>) -> Result<()> {
    let told = |head: &ReplicaHead| {
        println!("batch {}: block {}, root {:#x}", head.batch, head.last_block, head.root);
    };
    let mut pause = Duration::ZERO;
    loop {
        pause = match (sync.catch_up(told).await, poll) {
            (Ok(reached), None) => {
                println!("{}", serde_json::to_string_pretty(&head_json(reached.head.as_ref()))?);
                return Ok(());
            }
            (Ok(reached), Some(poll)) => {
                tracing::debug!(applied = reached.applied, l1_block = reached.l1_block, "synced");
                poll
            }
            (Err(error), Some(poll)) if error.is_transient() => {
                tracing::warn!(%error, "will try again");
                (2 * pause).clamp(poll, PAUSE_MAX.max(poll))
            }
            // Its text has its causes already.
            (Err(error), _) => bail!("{error}"),
        };
        tokio::time::sleep(pause).await;
    }
}

async fn stopped() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}

/// The same place as in a node's folder, so that a node started on it by mistake finds what is there and refuses.
fn store(data: &Path) -> PathBuf {
    data.join("store")
}

fn head_json(head: Option<&ReplicaHead>) -> Value {
    let Some(head) = head else { return json!({"holds": "nothing yet"}) };
    json!({
        "holds": "the state after the last block of a batch; no blocks, no history",
        "batch": head.batch.to_string(),
        "lastBlock": head.last_block.to_string(),
        "root": format!("{:#x}", head.root),
        "blockHash": format!("{:#x}", head.block_hash),
        "l1Block": head.l1_block.to_string(),
        "l1TransactionHash": head.l1_tx_hash.to_string(),
    })
}

fn status(config: &Config, folder: &Folder, check: bool) -> Result<()> {
    let (_, replica) = folder.look(config)?;
    let head = replica.head()?;
    let mut status = head_json(head.as_ref());
    if check {
        let root = replica.recompute_roots()?.state;
        ensure!(root == head.map_or(Felt::ZERO, |head| head.root), "sync: the flat state has root {root:#x}");
        status["recomputedRoot"] = json!(format!("{root:#x}"));
        status["storageSlots"] = json!(replica.storage_count()?.to_string());
    }
    println!("{}", serde_json::to_string_pretty(&status)?);
    Ok(())
}

/// Reads the settled state of a folder that `keel sync` made.
#[derive(Subcommand)]
pub enum State {
    /// The value of a storage slot.
    Get {
        #[command(flatten)]
        folder: Folder,
        /// Address of the contract.
        contract: Felt,
        /// The slot.
        slot: Felt,
        /// With the nodes that prove it, from the root down.
        #[arg(long)]
        proof: bool,
    },
    /// Every balance of an account.
    Balances {
        #[command(flatten)]
        folder: Folder,
        account: Felt,
    },
}

impl State {
    /// Runs the command.
    pub fn run(self, config: &Config) -> Result<()> {
        let answer = match self {
            State::Get { folder, contract, slot, proof } => get(&folder.look(config)?.1, contract, slot, proof)?,
            State::Balances { folder, account } => {
                let (genesis, replica) = folder.look(config)?;
                balances(&genesis, &replica, Address(account))?
            }
        };
        println!("{}", serde_json::to_string_pretty(&answer)?);
        Ok(())
    }
}

fn hex(felt: &Felt) -> String {
    format!("{felt:#x}")
}

fn get(replica: &Replica, contract: Felt, slot: Felt, proof: bool) -> Result<Value> {
    let head = replica.head()?;
    let mut answer = json!({"value": hex(&replica.storage(&contract, &slot)?), "state": head_json(head.as_ref())});
    if proof {
        let state = replica.contract(&contract)?;
        answer["contract"] = json!({"classHash": hex(&state.class_hash), "storageRoot": hex(&state.storage_root), "nonce": hex(&state.nonce)});
        let head = head.context("nothing is here yet")?;
        answer["contractsRoot"] = json!(hex(&head.contracts_root));
        answer["classesRoot"] = json!(hex(&head.classes_root));
        answer["contractProof"] = nodes(replica, TrieId::Contracts, contract)?;
        answer["storageProof"] = nodes(replica, TrieId::Storage(contract), slot)?;
    }
    Ok(answer)
}

fn nodes(replica: &Replica, id: TrieId, key: Felt) -> Result<Value> {
    use keel_commitment::trie::Node;
    let nodes = replica.prove(id, &[key])?;
    Ok(nodes
        .iter()
        .map(|(hash, node)| match node {
            Node::Binary { left, right } => json!({"hash": hex(hash), "left": hex(left), "right": hex(right)}),
            Node::Edge { child, path } => {
                json!({"hash": hex(hash), "child": hex(child), "path": hex(&path.value()), "length": path.len()})
            }
        })
        .collect())
}

fn balances(genesis: &Genesis, replica: &Replica, account: Address) -> Result<Value> {
    let mut layout = Layout::new();
    let mut balances = serde_json::Map::new();
    for (id, asset) in (0..).map(AssetId).zip(&genesis.assets) {
        let slot = layout.slot(Key::Balance(account, id));
        let word = replica.storage(&genesis.exchange.0, &slot)?;
        if word == Felt::ZERO {
            continue; // never held
        }
        let Some(amount) = decode_signed(word) else { bail!("balance of {}: {word:#x} is no amount", asset.symbol) };
        balances.insert(asset.symbol.clone(), json!(format_quantums(amount)));
    }
    let head = replica.head()?;
    Ok(json!({"account": account.to_string(), "balances": balances, "state": head_json(head.as_ref())}))
}
