//! Everything that is said of a batch, computed again.

use super::{Place, Source, felts, load};
use crate::wiring::request;
use anyhow::{Context, Result, ensure};
use keel_batches::{BatchLimits, Batcher, DataAvailability, ProgramOutput, StatePoint, facts};
use keel_contracts::starknet::{config_hash, program_hash};
use keel_settlement::{AcceptedData, DataSource, History, Update};
use keel_types::{BatchId, Bytes32, Felt, Height};
use serde_json::{Value, json};

/// What was checked: a line for each.
#[derive(Default)]
struct Report {
    wrong: usize,
}

impl Report {
    fn line(&mut self, what: &str, outcome: Result<String>) {
        match outcome {
            Ok(found) => println!("ok     {what}: {found}"),
            Err(error) => {
                self.wrong += 1;
                println!("WRONG  {what}: {error:#}");
            }
        }
    }
}

/// Prints what was compared; fails on a difference.
pub(super) async fn run(source: &Source, id: BatchId, endpoints: &[String]) -> Result<()> {
    let shown = source.batch(id).await?;
    let words = felts(&shown["programOutput"])?;
    let data = source.data(id).await?;
    let output = ProgramOutput::decode(&words)?;
    let mut report = Report::default();
    report.line("program output", check_output(source, &shown, &output));
    report.line("data", check_data(&data, &output));
    report.line("facts", check_facts(source, &shown, &data, &words));
    report.line("state diff", check_diff(source, id, &data).await);
    report.line("blocks", check_blocks(source, id, &output).await);
    if !endpoints.is_empty() {
        report.line("settlement layer", check_settled(source, endpoints, id, &shown, &words, &data).await);
    }
    ensure!(report.wrong == 0, "batch {id}: {} of what is said of it is wrong", report.wrong);
    Ok(())
}

fn check_output(source: &Source, shown: &Value, output: &ProgramOutput) -> Result<String> {
    let genesis = &source.genesis;
    ensure!(output.config_hash == config_hash(genesis.chain_id.0, genesis.fee_token), "the config hash is of another chain");
    for (side, point) in [("before", &output.before), ("after", &output.after)] {
        ensure!(shown[side]["root"] == json!(format!("{:#x}", point.root)), "root {side} is said to be another");
        ensure!(shown[side]["blockHash"] == json!(format!("{:#x}", point.hash)), "block hash {side} is said to be another");
        ensure!(
            shown[side]["height"] == json!(point.height.map(|height| height.to_string())),
            "block {side} is said to be another"
        );
    }
    Ok(format!("{} messages out, {} in", output.to_l1.len(), output.to_l2.len()))
}

fn check_data(data: &DataAvailability, output: &ProgramOutput) -> Result<String> {
    data.check()?;
    let words = data.words().len();
    let (DataAvailability::Blobs { commitments, z, evaluations, .. }, Some(said)) = (data, &output.blobs) else {
        ensure!(output.blobs.is_none(), "the program output tells of blobs, and the data has none");
        return Ok(format!("{words} words"));
    };
    ensure!(said.z == *z, "the blobs are opened at another point than their words say");
    ensure!(
        said.commitments.iter().eq(commitments.iter().map(|c| c.words()).collect::<Vec<_>>().iter()),
        "other commitments"
    );
    ensure!(said.evaluations.iter().eq(evaluations.iter().map(|e| e.words()).collect::<Vec<_>>().iter()), "other values");
    Ok(format!("{words} words in {} blobs, whose commitments, point and values are those of the output", commitments.len()))
}

fn check_facts(source: &Source, shown: &Value, data: &DataAvailability, output: &[Felt]) -> Result<String> {
    let (transition, fact) = facts(data, program_hash(source.genesis.rules_version), output);
    ensure!(shown["transitionFact"] == json!(transition.to_string()), "the transition fact is {transition}");
    ensure!(shown["fact"] == json!(fact.to_string()), "the fact is {fact}");
    Ok(fact.to_string())
}

async fn check_diff(source: &Source, id: BatchId, data: &DataAvailability) -> Result<String> {
    let (packed, names) = (data.decode()?, source.names(id).await?);
    let Place::Store(store) = &source.place else {
        // Whether a contract was there before is not known here, and changes neither names nor order.
        return Ok(format!("{} entries", packed.to_diff(&names, |_| false)?.len()));
    };
    let content = load(store, id)?.1.content;
    let replaced = |name: &Felt| {
        content.diff.replaced_classes.contains_key(name) || content.diff.migrated_compiled_classes.contains_key(name)
    };
    let diff = packed.to_diff(&names, replaced)?;
    // Contracts without entries count for nothing.
    ensure!(diff.commitment() == content.diff.commitment(), "the words stand for another state diff");
    Ok(format!("{} entries", diff.len()))
}

/// In a data folder the whole batch is made again of its blocks; a node is asked for roots and hashes of the blocks at both ends.
async fn check_blocks(source: &Source, id: BatchId, output: &ProgramOutput) -> Result<String> {
    match &source.place {
        Place::Store(store) => {
            let (header, batch) = load(store, id)?;
            let batcher = Batcher::new((**store).clone(), &source.genesis, BatchLimits::default());
            let again = batcher.again(&header, batch.content.closed)?;
            ensure!(again == batch, "made again of its blocks, the batch is another");
            Ok(format!("{} to {}, made again to the same bytes", header.first_block, header.last_block))
        }
        Place::Node(url) => {
            for point in [&output.before, &output.after] {
                let Some(height) = point.height else { continue };
                check_block(url, height, point).await?;
            }
            Ok("the chain has these roots and hashes at both ends".into())
        }
    }
}

async fn check_block(url: &str, height: Height, point: &StatePoint) -> Result<()> {
    let block = request(url, "starknet_getBlockWithTxHashes", json!({"block_id": {"block_number": height.0}})).await?;
    ensure!(block["new_root"] == json!(format!("{:#x}", point.root)), "block {height} has root {}", block["new_root"]);
    ensure!(block["block_hash"] == json!(format!("{:#x}", point.hash)), "block {height} has hash {}", block["block_hash"]);
    Ok(())
}

async fn check_settled(
    source: &Source,
    endpoints: &[String],
    id: BatchId,
    shown: &Value,
    output: &[Felt],
    data: &DataAvailability,
) -> Result<String> {
    let history = History::connect(endpoints, 0, &source.genesis, DataSource::None)?;
    history.check().await?;
    let update = find(&history, shown).await?;
    let accepted = history.accepted(id, &update).await?;
    ensure!(accepted.output == output, "the contract accepted another program output");
    match accepted.data {
        AcceptedData::Words(words) => ensure!(words == data.words(), "other words are in the calldata"),
        AcceptedData::Blobs(hashes) => {
            let ours: Vec<Bytes32> = data.commitments().iter().map(|commitment| commitment.versioned_hash()).collect();
            ensure!(hashes == ours, "other blobs were sent: {hashes:?}");
        }
        AcceptedData::Chunks(hashes) => ensure!(hashes == data.chunk_hashes(), "other chunks were registered"),
    }
    let state = history.state_at(history.head().await?).await?;
    ensure!(state.last_block >= Some(update.last_block), "the contract has gone back before it");
    Ok(format!("accepted in transaction {}, block {}", update.l1_tx_hash, update.l1_block))
}

/// The update that brought the batch: where the node says, or anywhere.
async fn find(history: &History, shown: &Value) -> Result<Update> {
    let last_block: u64 =
        shown["lastBlock"].as_str().and_then(|text| text.parse().ok()).context("a batch has a last block")?;
    let said: Option<u64> = shown["settlement"]["block"].as_str().and_then(|text| text.parse().ok());
    let (from, to) = match said {
        Some(block) => (block, block),
        None => (0, history.head().await?),
    };
    let found = history.updates(from, to).await?.into_iter().find(|update| update.last_block.0 == last_block);
    found.context("the contract has no update that ends with its last block")
}
