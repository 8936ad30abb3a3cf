//! `keel receipt verify`: the receipt of a cancelled order, against the root of the settled state.

use anyhow::{Context, Result, anyhow, bail, ensure};
use keel_blocks::{CancelPath, CancelReceipt, CancelledOrder, StateProof};
use keel_commitment::state::ContractState;
use keel_commitment::trie::{Node, Path};
use keel_settlement::{DataSource, History};
use keel_types::*;
use serde_json::Value;
use std::collections::BTreeMap;

/// Prints what was checked; fails on the first step that does not hold.
pub(super) async fn verify(
    genesis: &Genesis,
    file: &std::path::Path,
    root: Option<&str>,
    endpoints: &[String],
    scan_from: u64,
) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("receipt: read {}", file.display()))?;
    let value: Value = serde_json::from_str(&text).with_context(|| format!("receipt: {}", file.display()))?;
    ensure!(
        !value["state"].is_null(),
        "receipt: it is of a time before a batch with the incident was settled; ask for it again"
    );
    let receipt = read(&value).context("receipt")?;
    let root = match root {
        Some(root) => Felt::from_hex(root).map_err(|_| anyhow!("--root is no felt"))?,
        None => settled_root(genesis, endpoints, scan_from, receipt.state.block).await?,
    };
    receipt.verify(genesis.exchange, root).context("receipt")?;
    let CancelledOrder { order, account, market, remaining, seq } = receipt.order;
    let market = genesis.market(market).map_or("an unknown market", |market| market.name.as_str());
    println!("ok: incident {} cancelled order {order}", receipt.incident);
    println!("    of {account} in {market}, {remaining} of it not filled, by command {seq}");
    println!("    it is in the state after block {}, whose root is {root:#x}", receipt.state.block);
    Ok(())
}

/// Of the state after a block with which a batch ends.
async fn settled_root(genesis: &Genesis, endpoints: &[String], scan_from: u64, block: Height) -> Result<Felt> {
    let history = History::connect(endpoints, 0, genesis, DataSource::None)?;
    history.check().await?;
    let updates = history.updates(scan_from, history.head().await?).await?;
    let update = updates.into_iter().rev().find(|update| update.last_block == block);
    update.map(|update| update.root).with_context(|| format!("no batch on the settlement layer ends with block {block}"))
}

fn read(value: &Value) -> Result<CancelReceipt> {
    let state = &value["state"];
    Ok(CancelReceipt {
        incident: IncidentId(number(value, "incident")?),
        order: CancelledOrder {
            order: MessageHash(felt(value, "order")?),
            account: Address(felt(value, "account")?),
            market: MarketId(number(value, "marketIndex")?),
            remaining: Qty(number(value, "remainingQuantums")?),
            seq: Seq(number(value, "seq")?),
        },
        path: CancelPath {
            index: number(value, "index")?,
            siblings: list(value, "siblings")?.iter().map(of_felt).collect::<Result<_>>().context("siblings")?,
        },
        state: StateProof {
            block: Height(number(state, "block")?),
            contract: ContractState {
                class_hash: felt(state, "classHash")?,
                storage_root: felt(state, "storageRoot")?,
                nonce: felt(state, "nonce")?,
            },
            contracts_root: felt(state, "contractsRoot")?,
            classes_root: felt(state, "classesRoot")?,
            contracts: nodes(state, "contractsProof")?,
            storage: nodes(state, "storageProof")?,
        },
    })
}

fn nodes(value: &Value, name: &'static str) -> Result<BTreeMap<Felt, Node>> {
    let node = |value: &Value| {
        let node = if value.get("child").is_some() {
            let path = Path::new(&felt(value, "path")?, number(value, "length")?).context("path")?;
            Node::Edge { path, child: felt(value, "child")? }
        } else {
            Node::Binary { left: felt(value, "left")?, right: felt(value, "right")? }
        };
        Ok((felt(value, "hash")?, node))
    };
    list(value, name)?.iter().map(node).collect::<Result<_>>().context(name)
}

fn list<'a>(value: &'a Value, name: &'static str) -> Result<&'a Vec<Value>> {
    value[name].as_array().with_context(|| format!("{name} is missing"))
}

fn felt(value: &Value, name: &'static str) -> Result<Felt> {
    of_felt(&value[name]).context(name)
}

fn of_felt(value: &Value) -> Result<Felt> {
    match value.as_str().map(Felt::from_hex) {
        Some(Ok(felt)) => Ok(felt),
        _ => bail!("not a felt: {value}"),
    }
}

fn number<T: std::str::FromStr>(value: &Value, name: &'static str) -> Result<T> {
    let number = value[name].as_str().and_then(|text| text.parse().ok());
    number.with_context(|| format!("{name} is missing or no number"))
}
