//! Data words as state changes, with names where they are known.

use super::{felt, felts};
use anyhow::{Context, Result, bail};
use keel_batches::blob::{BLOB_BYTES, Blob};
use keel_batches::{DataAvailability, PackedDiff};
use keel_commitment::aliases::{ADDRESS_NOT_COMPRESSED_MAX, ALIAS_FIRST};
use keel_contracts::starknet::{Key, Layout, decode_signed};
use keel_types::{Address, AssetId, Felt, Genesis, MarketId, format_quantums};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The packed diff in files: blobs, one in each, or one file of words.
pub(super) fn of_files(genesis: &Genesis, files: &[PathBuf]) -> Result<PackedDiff> {
    let mut contents = Vec::new();
    for path in files {
        contents.push(std::fs::read(path).with_context(|| format!("read {}", path.display()))?);
    }
    if contents.iter().all(|bytes| bytes.len() == BLOB_BYTES) {
        let blobs = contents.iter().map(|bytes| Blob::from_bytes(bytes)).collect::<Result<Vec<_>, _>>()?;
        return Ok(DataAvailability::from_blobs(&blobs)?.decode()?);
    }
    let [bytes] = contents.as_slice() else { bail!("several files must be blobs, of {BLOB_BYTES} bytes each") };
    let text = std::str::from_utf8(bytes).context("the file is neither a blob nor text")?;
    let words = match serde_json::from_str::<Value>(text) {
        Ok(list @ Value::Array(_)) => felts(&list)?,
        Ok(answer @ Value::Object(_)) => {
            let page = answer.get("result").unwrap_or(&answer);
            if page["pages"].as_str().is_some_and(|pages| pages != "1") {
                bail!("the file is one page of several; a batch is decoded whole");
            }
            felts(&page["words"])?
        }
        _ => text.split_whitespace().map(felt).collect::<Result<_>>()?,
    };
    Ok(DataAvailability::of_words(genesis.settlement.layer, words)?.decode()?)
}

/// Those that are named, and whoever got a deposit in the batch: the second word of its message.
pub(super) fn accounts(named: &[Felt], messages: &Value) -> Result<BTreeSet<Felt>> {
    let mut accounts: BTreeSet<Felt> = named.iter().copied().collect();
    for message in messages.as_array().into_iter().flatten() {
        if let Some(recipient) = message["payload"][1].as_str() {
            accounts.insert(felt(recipient)?);
        }
    }
    Ok(accounts)
}

/// What a slot of the exchange is.
struct Slot {
    name: String,
    is_balance: bool,
}

/// The slots of the exchange that can be told from genesis and accounts. Others are hashes of what is not known here.
fn slots(genesis: &Genesis, accounts: &BTreeSet<Felt>) -> BTreeMap<Felt, Slot> {
    let (mut layout, mut slots) = (Layout::new(), BTreeMap::new());
    let mut add = |key: Key, of: String| {
        let (first, variable) = (layout.slot(key), key.variable());
        for offset in 0..variable.slots() {
            let word = if variable.slots() > 1 { format!("[{offset}]") } else { String::new() };
            let name = format!("{}{of}{word}", variable.name());
            slots.insert(first + Felt::from(offset), Slot { name, is_balance: matches!(key, Key::Balance(..)) });
        }
    };
    for key in [Key::Version, Key::Rules, Key::AssetCount, Key::MarketCount, Key::WithdrawalCount, Key::Phase] {
        add(key, String::new());
    }
    let assets: Vec<_> = (0..).map(AssetId).zip(genesis.assets.iter().map(|asset| &asset.symbol)).collect();
    let markets: Vec<_> = (0..).map(MarketId).zip(genesis.markets.iter().map(|market| &market.name)).collect();
    for (id, symbol) in &assets {
        add(Key::Asset(*id), format!("({symbol})"));
        add(Key::Totals(*id), format!("({symbol})"));
    }
    for (id, name) in &markets {
        add(Key::Market(*id), format!("({name})"));
        add(Key::Funding(*id), format!("({name})"));
        add(Key::Price(*id), format!("({name})"));
    }
    for account in accounts.iter().copied().chain([genesis.fee_account.0, genesis.insurance_account.0]).map(Address) {
        add(Key::Account(account), format!("({account})"));
        for (id, symbol) in &assets {
            add(Key::Balance(account, *id), format!("({account}, {symbol})"));
        }
        for (id, name) in &markets {
            add(Key::Position(account, *id), format!("({account}, {name})"));
        }
    }
    slots
}

/// `table`: alias -> address or key. What is not in it stays as `alias`.
pub(super) fn show(
    genesis: &Genesis,
    packed: &PackedDiff,
    table: &BTreeMap<Felt, Felt>,
    accounts: &BTreeSet<Felt>,
) -> Value {
    let slots = slots(genesis, accounts);
    let hex = |felt: &Felt| format!("{felt:#x}");
    let named = |field: &str, word: &Felt, compressed: bool| match compressed && *word >= Felt::from(ALIAS_FIRST) {
        false => (Some(*word), json!({field: hex(word)})),
        true => match table.get(word) {
            Some(name) => (Some(*name), json!({field: hex(name), "alias": hex(word)})),
            None => (None, json!({"alias": hex(word)})),
        },
    };
    let contracts = packed.contracts.iter().map(|contract| {
        let compressed = contract.address > Felt::from(ADDRESS_NOT_COMPRESSED_MAX);
        let (address, mut shown) = named("address", &contract.address, compressed);
        if contract.nonce != 0 {
            shown["nonce"] = json!(contract.nonce.to_string());
        }
        if let Some(class) = &contract.class_hash {
            shown["classHash"] = json!(hex(class));
        }
        let storage = contract.storage.iter().map(|(key, value)| {
            let (key, mut entry) = named("key", key, compressed);
            entry["value"] = json!(hex(value));
            let slot = key.filter(|_| address == Some(genesis.exchange.0)).and_then(|key| slots.get(&key));
            if let Some(slot) = slot {
                entry["name"] = json!(slot.name);
                if let Some(amount) = decode_signed(*value).filter(|_| slot.is_balance) {
                    entry["amount"] = json!(format_quantums(amount));
                }
            }
            entry
        });
        shown["storage"] = storage.collect();
        shown
    });
    let classes =
        packed.classes.iter().map(|(class, compiled)| json!({"classHash": hex(class), "compiledClassHash": hex(compiled)}));
    json!({"contracts": contracts.collect::<Value>(), "classes": classes.collect::<Value>()})
}

/// For people.
pub(super) fn text(shown: &Value) -> String {
    let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |value: &Value, field: &str| match value.get(field) {
        Some(name) => of(name),
        None => format!("alias {}", of(&value["alias"])),
    };
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let mut text = String::new();
    for contract in list(&shown["contracts"]) {
        text += &format!("contract {}", name(&contract, "address"));
        for field in ["nonce", "classHash"] {
            if let Some(value) = contract.get(field) {
                text += &format!(", {field} {}", of(value));
            }
        }
        text.push('\n');
        for entry in list(&contract["storage"]) {
            let key = entry.get("name").map_or_else(|| name(&entry, "key"), of);
            text += &format!("  {key} = {}\n", of(entry.get("amount").unwrap_or(&entry["value"])));
        }
    }
    for class in list(&shown["classes"]) {
        text += &format!("class {} compiled {}\n", of(&class["classHash"]), of(&class["compiledClassHash"]));
    }
    text
}
