//! `keel batch`: what a settlement batch holds, taken apart and checked.

mod decode;
mod verify;

use crate::config::Config;
use crate::wiring::request;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use keel_batches::{Batch, DataAvailability};
use keel_commitment::aliases::{ALIAS_CONTRACT, ALIAS_FIRST, alias_of};
use keel_rpc::bridge::json;
use keel_settlement::{blob_path, chunk_path};
use keel_store::{BatchHeader, Store};
use keel_types::{BatchId, Felt, Genesis};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Looks at settlement batches: those in the configured data folder, also beside the node that writes it, or those of a running node.
#[derive(Subcommand)]
pub enum BatchCommand {
    /// A batch: blocks, roots, messages, program output, facts, where it is on the settlement layer.
    Show {
        /// Its number, or `latest`.
        batch: Which,
        #[command(flatten)]
        from: From,
        /// The answer of `bridge_getBatch`, whole.
        #[arg(long)]
        json: bool,
    },
    /// The state changes that data words stand for.
    Decode {
        /// Number of a batch, `latest`, or a file: words in hex, an answer of `bridge_getBatchData`, or blobs. What a file does not say
        /// itself stays under its alias.
        what: String,
        /// Further blobs of the same batch, in order.
        more: Vec<PathBuf>,
        #[command(flatten)]
        from: From,
        /// Names the balances of this account too. May be repeated.
        #[arg(long)]
        account: Vec<Felt>,
        #[arg(long)]
        json: bool,
    },
    /// Computes again everything that is said of a batch, and compares; fails on a difference.
    Verify {
        /// Its number, or `latest`.
        batch: Which,
        #[command(flatten)]
        from: From,
        /// JSON-RPC of the settlement layer: compares with what the contract has accepted.
        #[arg(long = "endpoint", value_name = "URL")]
        endpoints: Vec<String>,
    },
    /// Writes the blobs of every batch to `DIR/blobs/<versioned hash>.blob`, and chunks to `DIR/chunks/<hash>.words`. What is there stays.
    Archive {
        dir: PathBuf,
        #[command(flatten)]
        from: From,
    },
}

/// Whose batches.
#[derive(Args)]
pub struct From {
    /// JSON-RPC of a node, instead of the configured data folder.
    #[arg(long)]
    node: Option<String>,
}

/// Which batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Latest,
    Number(BatchId),
}

impl FromStr for Which {
    type Err = String;
    fn from_str(text: &str) -> Result<Which, String> {
        match text {
            "latest" => Ok(Which::Latest),
            number => {
                number.parse().map(|id| Which::Number(BatchId(id))).map_err(|_| "expected a number or `latest`".into())
            }
        }
    }
}

impl BatchCommand {
    /// Runs the command.
    pub async fn run(self, config: &Config) -> Result<()> {
        match self {
            BatchCommand::Show { batch, from, json } => {
                let source = from.open(config)?;
                let shown = source.batch(source.number(batch).await?).await?;
                match json {
                    true => println!("{}", serde_json::to_string_pretty(&shown)?),
                    false => print!("{}", text(&shown)),
                }
                Ok(())
            }
            BatchCommand::Decode { what, more, from, account, json } => {
                let genesis = crate::genesis(&config.genesis)?;
                let (packed, table, messages) = match what.parse::<Which>() {
                    Ok(which) => {
                        let source = from.open(config)?;
                        let id = source.number(which).await?;
                        let shown = source.batch(id).await?;
                        (source.data(id).await?.decode()?, source.names(id).await?, shown["messagesToL2"].clone())
                    }
                    Err(_) => {
                        let files: Vec<PathBuf> = [PathBuf::from(what)].into_iter().chain(more).collect();
                        let packed = decode::of_files(&genesis, &files)?;
                        let mut table = BTreeMap::new();
                        packed.learn_aliases(&mut table);
                        (packed, table, Value::Null)
                    }
                };
                let shown = decode::show(&genesis, &packed, &table, &decode::accounts(&account, &messages)?);
                match json {
                    true => println!("{}", serde_json::to_string_pretty(&shown)?),
                    false => print!("{}", decode::text(&shown)),
                }
                Ok(())
            }
            BatchCommand::Verify { batch, from, endpoints } => {
                let source = from.open(config)?;
                let id = source.number(batch).await?;
                verify::run(&source, id, &endpoints).await
            }
            BatchCommand::Archive { dir, from } => archive(&from.open(config)?, &dir).await,
        }
    }
}

/// Where batches are read.
struct Source {
    genesis: Genesis,
    place: Place,
}

enum Place {
    Store(Box<Store>),
    Node(String),
}

impl From {
    fn open(&self, config: &Config) -> Result<Source> {
        let genesis = crate::genesis(&config.genesis)?;
        let place = match &self.node {
            Some(url) => Place::Node(url.clone()),
            None => {
                let path = config.data_dir.join("store");
                Place::Store(Box::new(Store::open_read_only(&path, genesis.hash()).context("look at the store")?))
            }
        };
        Ok(Source { genesis, place })
    }
}

impl Source {
    async fn number(&self, which: Which) -> Result<BatchId> {
        let Which::Number(id) = which else {
            return self.latest().await?.context("there is no batch yet");
        };
        Ok(id)
    }

    async fn latest(&self) -> Result<Option<BatchId>> {
        Ok(match &self.place {
            Place::Store(store) => store.latest_batch()?.map(|header| header.batch),
            Place::Node(url) => match request(url, "bridge_getLatest", json!({})).await?["built"]["batch"].as_str() {
                Some(number) => Some(BatchId(number.parse().context("the node's latest batch")?)),
                None => None,
            },
        })
    }

    /// `bridge_getBatch`.
    async fn batch(&self, id: BatchId) -> Result<Value> {
        match &self.place {
            Place::Store(store) => {
                let (header, batch) = load(store, id)?;
                let submission = keel_settlement::Submission::of(&header).map(|submission| keel_rpc::Submission {
                    l1_tx_hash: submission.l1_tx_hash,
                    l1_block: submission.l1_block,
                });
                Ok(json::batch(self.genesis.settlement.layer, &header, &batch, submission))
            }
            Place::Node(url) => request(url, "bridge_getBatch", json!({"batch": id.to_string()})).await,
        }
    }

    /// The data, in the form that the chain settles in. From a node, commitments are computed here.
    async fn data(&self, id: BatchId) -> Result<DataAvailability> {
        let url = match &self.place {
            Place::Store(store) => return Ok(load(store, id)?.1.content.data),
            Place::Node(url) => url,
        };
        let (mut words, mut page, mut pages) = (Vec::new(), 0, 1);
        while page < pages {
            let params = json!({"batch": id.to_string(), "page": page.to_string()});
            let answer = request(url, "bridge_getBatchData", params).await?;
            pages = answer["pages"].as_str().and_then(|pages| pages.parse().ok()).context("the node says no pages")?;
            words.extend(felts(&answer["words"])?);
            page += 1;
        }
        Ok(DataAvailability::of_words(self.genesis.settlement.layer, words)?)
    }

    /// Alias -> address or key, of all that the batch may name. A node is asked for the data of every batch up to this one.
    async fn names(&self, id: BatchId) -> Result<BTreeMap<Felt, Felt>> {
        let mut table = BTreeMap::new();
        let store = match &self.place {
            Place::Store(store) => store,
            Place::Node(_) => {
                for id in (0..=id.0).map(BatchId) {
                    self.data(id).await?.decode()?.learn_aliases(&mut table);
                }
                return Ok(table);
            }
        };
        let (header, batch) = load(store, id)?;
        let state = store.state_at(header.last_block)?;
        for contract in batch.content.diff.contracts() {
            let keys = batch.content.diff.storage_changes(&contract).into_iter().map(|(key, _)| key);
            for name in keys.chain([contract]).filter(|name| *name >= Felt::from(ALIAS_FIRST)) {
                let entry = state.storage_entry(&ALIAS_CONTRACT, &name)?;
                if let Some(alias) = alias_of(&name, |_| entry.map_or(Felt::ZERO, |entry| entry.value)) {
                    table.insert(alias, name);
                }
            }
        }
        Ok(table)
    }
}

fn load(store: &Store, id: BatchId) -> Result<(BatchHeader, Batch)> {
    Batch::load(store, id)?.with_context(|| format!("there is no batch {id}"))
}

/// A list of words in hex.
fn felts(list: &Value) -> Result<Vec<Felt>> {
    let list = list.as_array().context("words are a list")?;
    list.iter().map(|word| felt(word.as_str().context("a word is text")?)).collect()
}

fn felt(text: &str) -> Result<Felt> {
    Felt::from_hex(text.trim()).with_context(|| format!("{text} is no word in hex"))
}

/// The most important first.
fn text(batch: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name:>18}  {value}\n");
    let of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    line("batch", of(&batch["batch"]));
    line("status", of(&batch["status"]));
    line(
        "blocks",
        format!("{} to {}, closed by {}", of(&batch["firstBlock"]), of(&batch["lastBlock"]), of(&batch["closed"])),
    );
    for side in ["before", "after"] {
        line(&format!("root {side}"), of(&batch[side]["root"]));
    }
    line("block hash", of(&batch["after"]["blockHash"]));
    line("state diff", format!("{} entries", of(&batch["stateDiffLength"])));
    line("data", format!("{} words as {}", of(&batch["data"]["words"]), of(&batch["data"]["kind"])));
    for blob in batch["data"]["blobs"].as_array().into_iter().flatten() {
        line("blob", of(&blob["versionedHash"]));
    }
    for chunk in batch["data"]["chunks"].as_array().into_iter().flatten() {
        line("chunk", of(chunk));
    }
    line("transition fact", of(&batch["transitionFact"]));
    line("fact", of(&batch["fact"]));
    for (name, messages) in [("message out", "messagesToL1"), ("message in", "messagesToL2")] {
        for message in batch[messages].as_array().into_iter().flatten() {
            line(name, of(&message["hash"]));
        }
    }
    match &batch["settlement"] {
        Value::Null => line("settlement", "not submitted".into()),
        at => line("settlement", format!("transaction {}, block {}", of(&at["transactionHash"]), of(&at["block"]))),
    }
    text
}

async fn archive(source: &Source, dir: &Path) -> Result<()> {
    let (mut written, mut there) = (0, 0);
    let Some(latest) = source.latest().await? else { bail!("there is no batch yet") };
    for id in (0..=latest.0).map(BatchId) {
        let data = source.data(id).await?;
        let blobs = data.blobs().into_iter().zip(data.commitments());
        let blobs = blobs.map(|(blob, commitment)| (blob_path(dir, commitment.versioned_hash()), blob.as_bytes().to_vec()));
        let chunks = data.chunks().zip(data.chunk_hashes());
        let chunks = chunks
            .map(|(chunk, hash)| (chunk_path(dir, hash), chunk.iter().flat_map(Felt::to_bytes_be).collect::<Vec<u8>>()));
        for (path, bytes) in blobs.chain(chunks) {
            match std::fs::metadata(&path).is_ok_and(|file| file.len() == bytes.len() as u64) {
                true => there += 1,
                false => {
                    keep(&path, &bytes)?;
                    written += 1;
                }
            }
        }
    }
    println!("batches 0 to {latest}: {written} written, {there} were there");
    Ok(())
}

/// Under its name the file is whole, or not there.
fn keep(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file of the archive has a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let unfinished = path.with_extension("part");
    std::fs::write(&unfinished, bytes).with_context(|| format!("write {}", unfinished.display()))?;
    std::fs::rename(&unfinished, path).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_named_by_its_number_or_as_the_latest() {
        assert_eq!("latest".parse(), Ok(Which::Latest));
        assert_eq!("7".parse(), Ok(Which::Number(BatchId(7))));
        assert!("words.json".parse::<Which>().is_err());
    }
}
