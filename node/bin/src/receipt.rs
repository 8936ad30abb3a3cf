//! `keel receipt`: `verify` checks the receipt of a cancelled order; `recompute` derives every decision of liquidation receipts from the receipts alone, with the engine's own rules.
//!
//! A receipt is what `trade_liquidations` answers. Markets are known by name here; only their order matters, which is that of the receipt.

mod cancelled;

use crate::config::Config;
use crate::wiring::request;
use anyhow::{Context, Result, anyhow, ensure};
use clap::Subcommand;
use keel_ingress::decimal::parse_quantums;
use keel_ledger::liquidation::{Mismatch, recompute};
use keel_types::*;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Receipts that anyone can check.
#[derive(Subcommand)]
pub enum Receipt {
    /// Derives the decisions of liquidation receipts from their inputs and compares.
    Recompute {
        /// JSON: one receipt, a list of them, or an answer of `trade_liquidations`. Without a file they are asked of a node.
        file: Option<PathBuf>,
        #[arg(long, default_value = "http://127.0.0.1:9944/rpc")]
        rpc: String,
        /// Whose receipts to ask for.
        #[arg(long, required_unless_present = "file")]
        account: Option<String>,
    },
    /// Checks the receipt of an order that safe mode cancelled, hash by hash, against the root of the settled state.
    Verify {
        /// JSON: an answer of `node_getCancelReceipt`.
        file: PathBuf,
        /// The root of the settled state after the receipt's block, from wherever you trust.
        #[arg(long, required_unless_present = "endpoints")]
        root: Option<String>,
        /// JSON-RPC of the settlement layer: the root is asked of the contract; several, each with the flag, are read as what most say.
        #[arg(long = "endpoint", value_name = "URL", conflicts_with = "root")]
        endpoints: Vec<String>,
        /// First block of the settlement layer to look at: that of the contracts' deployment.
        #[arg(long, default_value_t = 0)]
        scan_from: u64,
    },
}

impl Receipt {
    /// Prints a line for each receipt; fails when one does not follow from its inputs.
    pub async fn run(self, config: &Config) -> Result<()> {
        let (file, rpc, account) = match self {
            Receipt::Recompute { file, rpc, account } => (file, rpc, account),
            Receipt::Verify { file, root, endpoints, scan_from } => {
                let genesis = crate::genesis(&config.genesis)?;
                return cancelled::verify(&genesis, &file, root.as_deref(), &endpoints, scan_from).await;
            }
        };
        let receipts = match file {
            Some(file) => {
                let text = std::fs::read_to_string(&file).with_context(|| format!("receipt: read {}", file.display()))?;
                list(serde_json::from_str(&text).with_context(|| format!("receipt: {}", file.display()))?)
            }
            None => all_of(&rpc, &account.context("receipt: --account is missing")?).await?,
        };
        ensure!(!receipts.is_empty(), "receipt: there is none");
        let mut wrong = 0;
        for (n, value) in receipts.iter().enumerate() {
            let receipt = read(value).with_context(|| format!("receipt {n}"))?;
            let found = recompute(&receipt);
            let step = value["decision"]["step"].as_str().unwrap_or_default();
            let seq = value["seq"].as_str().unwrap_or("?");
            println!(
                "seq {seq} {step} of {}: {}",
                receipt.account,
                if found.is_empty() { "as it must be" } else { "DIFFERS" }
            );
            for Mismatch { what, stated, recomputed } in &found {
                println!("  {what}: the receipt says {stated}, its inputs give {recomputed}");
            }
            wrong += usize::from(!found.is_empty());
        }
        ensure!(wrong == 0, "{wrong} of {} receipts do not follow from their inputs", receipts.len());
        Ok(())
    }
}

/// Every page, newest first.
async fn all_of(rpc: &str, account: &str) -> Result<Vec<Value>> {
    let (mut receipts, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let mut params = json!({"account": account});
        if !cursor.is_null() {
            params["cursor"] = cursor;
        }
        let page = request(rpc, "trade_liquidations", params).await?;
        cursor = page["next"].clone();
        receipts.extend(list(page));
        if cursor.is_null() {
            return Ok(receipts);
        }
    }
}

fn list(mut value: Value) -> Vec<Value> {
    if value.get("liquidations").is_some() {
        value = value["liquidations"].take();
    }
    match value {
        Value::Array(receipts) => receipts,
        one => vec![one],
    }
}

/// A receipt in wire form.
pub(crate) fn read(value: &Value) -> Result<LiquidationReceipt> {
    let mut names = Vec::new();
    let inputs = inputs(&value["inputs"], &mut names).context("inputs")?;
    let fund = match &value["fund"] {
        Value::Null => None,
        fund => Some(self::inputs(fund, &mut names).context("fund")?),
    };
    let decision = decision(&value["decision"], &mut names).context("decision")?;
    let attempts = text(value, "attempts")?.parse().context("attempts")?;
    Ok(LiquidationReceipt { account: address(value, "account")?, attempts, inputs, fund, decision })
}

fn decision(value: &Value, names: &mut Vec<String>) -> Result<LiquidationDecision> {
    let step = LiquidationStep::parse(text(value, "step")?).context("step")?;
    Ok(match step {
        LiquidationStep::Cancel => LiquidationDecision::Cancel { count: text(value, "count")?.parse().context("count")? },
        LiquidationStep::Close => {
            let orders = items(value, "orders")?.iter().map(|order| {
                Ok(CloseOrder {
                    market: market(order, names)?,
                    side: side(order)?,
                    size: qty(order, "size")?,
                    limit: price(order, "limit")?,
                    filled: qty(order, "filled")?,
                    quote: amount(order, "quote")?,
                })
            });
            LiquidationDecision::Close {
                fifths: text(value, "fifths")?.parse().context("fifths")?,
                orders: orders.collect::<Result<_>>()?,
                equity_left: amount(value, "equityLeft")?,
                fee: amount(value, "fee")?,
            }
        }
        LiquidationStep::TakeOver => LiquidationDecision::TakeOver {
            left: amount(value, "left")?,
            fee: amount(value, "fee")?,
            deficit: amount(value, "deficit")?,
        },
        LiquidationStep::Deleverage => {
            let share =
                |value: &Value| Ok(DeleverageShare { account: address(value, "account")?, size: qty(value, "size")? });
            let candidate = |value: &Value| {
                Ok(DeleverageCandidate {
                    account: address(value, "account")?,
                    size: amount(value, "size")?,
                    cost: amount(value, "cost")?,
                    profit: amount(value, "profit")?,
                    value: amount(value, "value")?,
                })
            };
            LiquidationDecision::Deleverage {
                market: market(value, names)?,
                side: side(value)?,
                price: price(value, "price")?,
                size: qty(value, "size")?,
                shares: items(value, "shares")?.iter().map(share).collect::<Result<_>>()?,
                candidates: items(value, "candidates")?.iter().map(candidate).collect::<Result<_>>()?,
            }
        }
    })
}

fn inputs(value: &Value, names: &mut Vec<String>) -> Result<MarginInputs> {
    let markets = items(value, "markets")?.iter().map(|m| {
        Ok(MarketInputs {
            market: market(m, names)?,
            size: amount(m, "size")?,
            cost: amount(m, "cost")?,
            entry_index: amount(m, "entryFundingIndex")?,
            funding_index: amount(m, "fundingIndex")?,
            mark: price(m, "mark")?,
            imf_ppm: u32::try_from(ppm(m, "imf")?)?,
            mmf_ppm: u32::try_from(ppm(m, "mmf")?)?,
            fee_ppm: i32::try_from(ppm(m, "fee")?)?,
            liquidation_fee_ppm: u32::try_from(ppm(m, "liquidationFee")?)?,
            tick_size: price(m, "tickSize")?,
            lot_size: qty(m, "lotSize")?,
            price_max: price(m, "priceMax")?,
        })
    });
    Ok(MarginInputs { collateral: amount(value, "collateral")?, markets: markets.collect::<Result<_>>()? })
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().with_context(|| format!("{field} is missing"))
}

fn items<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    value[field].as_array().with_context(|| format!("{field} is missing"))
}

/// The number of a market: its place among the names of this receipt.
fn market(value: &Value, names: &mut Vec<String>) -> Result<MarketId> {
    let name = text(value, "market")?;
    let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    Ok(MarketId(u16::try_from(at)?))
}

fn side(value: &Value) -> Result<Side> {
    Side::parse(text(value, "side")?).context("side")
}

fn amount(value: &Value, field: &str) -> Result<Amount> {
    let quantums = parse_quantums(text(value, field)?).map_err(|error| anyhow!("{field}: {error}"))?;
    Ok(Amount(quantums))
}

fn qty(value: &Value, field: &str) -> Result<Qty> {
    Ok(Qty(u64::try_from(amount(value, field)?.0).with_context(|| field.to_owned())?))
}

fn price(value: &Value, field: &str) -> Result<Price> {
    Ok(Price(qty(value, field)?.0))
}

/// A fraction in parts per million.
fn ppm(value: &Value, field: &str) -> Result<i128> {
    let quantums = amount(value, field)?.0;
    let per_ppm = i128::from(QUANTUMS_PER_UNIT) / PPM;
    ensure!(quantums % per_ppm == 0, "{field} is finer than parts per million");
    Ok(quantums / per_ppm)
}

fn address(value: &Value, field: &str) -> Result<Address> {
    Ok(Address(Felt::from_hex(text(value, field)?).with_context(|| field.to_owned())?))
}
