//! `keel trade`: a small trading client. What it sends is what any wallet sends: SNIP-12 messages over the public RPC.

use crate::wiring::request;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use keel_ingress::client::signed_request;
use keel_ingress::register::account_address;
use keel_ingress::verify::public_key;
use keel_ingress::{Domain, MessageKind, decode};
use keel_types::{Address, Felt, Genesis, StarkKey};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Messages of this client may be admitted for this long. [spec exchange, Two times: at most 2 minutes]
const VALID_FOR_MS: u64 = 60_000;

#[derive(Args)]
pub struct Trade {
    #[arg(long, default_value = "http://127.0.0.1:9944/rpc")]
    rpc: String,
    /// File that holds the secret key (hex), readable by its owner only.
    #[arg(long, default_value = "keel.key")]
    key_file: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Makes a key and prints its account address.
    NewKey,
    /// Prints the public key and the account address of the key file.
    Address,
    /// Registers the account.
    Register,
    /// Places an order.
    Place(Place),
    /// Cancels an order, by its hash or by the client's id.
    Cancel {
        #[arg(long, conflicts_with = "client_id", required_unless_present = "client_id")]
        order: Option<String>,
        #[arg(long)]
        client_id: Option<String>,
    },
    /// Cancels every order, in one market or in all.
    CancelAll {
        #[arg(long, default_value = "ALL")]
        market: String,
    },
    /// Takes an amount out to an address on the settlement layer.
    Withdraw {
        #[arg(long)]
        asset: String,
        #[arg(long)]
        amount: String,
        #[arg(long)]
        recipient: String,
    },
    /// Balances, positions, margin.
    Account,
    /// Open orders.
    Orders,
    /// The book of a market, once or again and again.
    Book {
        #[arg(long)]
        market: String,
        #[arg(long, default_value_t = 10)]
        depth: u32,
        /// Print it every second until interrupted.
        #[arg(long)]
        watch: bool,
    },
}

#[derive(Args)]
struct Place {
    #[arg(long)]
    market: String,
    /// BUY or SELL.
    #[arg(long)]
    side: String,
    #[arg(long)]
    size: String,
    /// Limit price; for MARKET the worst price, 0 = the band edge.
    #[arg(long, default_value = "0")]
    price: String,
    #[arg(long = "type", default_value = "LIMIT")]
    order_type: String,
    /// GTC, IOC or POST_ONLY.
    #[arg(long, default_value = "GTC")]
    time_in_force: String,
    #[arg(long, default_value = "0")]
    client_id: String,
}

impl Trade {
    /// Does one thing and prints the node's answer as JSON.
    pub async fn run(self, genesis: &Genesis) -> Result<()> {
        if let Action::NewKey = self.action {
            return new_key(&self.key_file, genesis);
        }
        if let Action::Book { market, depth, watch } = &self.action {
            return self.book(market, *depth, *watch).await;
        }
        let wallet = Wallet::load(&self.key_file, genesis)?;
        let text = |value: &str| Value::String(value.to_owned());
        let answer = match &self.action {
            Action::NewKey | Action::Book { .. } => unreachable!("answered above"),
            Action::Address => json!({ "key": wallet.key.to_string(), "account": wallet.account.to_string() }),
            Action::Account => self.read("trade_account", &wallet).await?,
            Action::Orders => self.read("trade_openOrders", &wallet).await?,
            Action::Register => {
                let fields =
                    [("key", text(&wallet.key.to_string())), ("template", text(&genesis.account_templates[0].name))];
                self.send("trade_register", MessageKind::Register, &wallet, fields).await?
            }
            Action::Place(order) => {
                let fields = [
                    ("market", text(&order.market)),
                    ("side", text(&order.side)),
                    ("type", text(&order.order_type)),
                    ("size", text(&order.size)),
                    ("price", text(&order.price)),
                    ("timeInForce", text(&order.time_in_force)),
                    ("clientId", text(&order.client_id)),
                ];
                self.send("trade_placeOrder", MessageKind::Order, &wallet, fields).await?
            }
            Action::Cancel { order, client_id } => {
                let named = order.as_ref().map(|o| ("order", text(o)));
                let named = named.or(client_id.as_ref().map(|c| ("clientId", text(c))));
                self.send("trade_cancelOrder", MessageKind::CancelOrder, &wallet, named).await?
            }
            Action::CancelAll { market } => {
                self.send("trade_cancelAll", MessageKind::CancelAll, &wallet, [("market", text(market))]).await?
            }
            Action::Withdraw { asset, amount, recipient } => {
                let fields = [("asset", text(asset)), ("amount", text(amount)), ("recipient", text(recipient))];
                self.send("trade_withdraw", MessageKind::Withdraw, &wallet, fields).await?
            }
        };
        println!("{}", serde_json::to_string_pretty(&answer)?);
        Ok(())
    }

    async fn read(&self, method: &str, wallet: &Wallet) -> Result<Value> {
        request(&self.rpc, method, json!({ "account": wallet.account.to_string() })).await
    }

    async fn send(
        &self,
        method: &str,
        kind: MessageKind,
        wallet: &Wallet,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<Value> {
        let request_json = wallet.sign(kind, fields)?;
        request(&self.rpc, method, request_json).await
    }

    async fn book(&self, market: &str, depth: u32, watch: bool) -> Result<()> {
        loop {
            let book = request(&self.rpc, "market_book", json!({ "market": market, "depth": depth.to_string() })).await?;
            println!("{market} at seq {}", book["seq"].as_str().unwrap_or("?"));
            let side = |name: &str| book[name].as_array().cloned().unwrap_or_default();
            let line = |level: &Value| {
                format!("{:>20} {:>18}", level["price"].as_str().unwrap_or("?"), level["size"].as_str().unwrap_or("?"))
            };
            side("asks").iter().rev().for_each(|level| println!("  ask {}", line(level)));
            side("bids").iter().for_each(|level| println!("  bid {}", line(level)));
            if !watch {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// A key and the account it controls on one chain.
pub struct Wallet {
    secret: Felt,
    domain: Domain,
    pub key: StarkKey,
    pub account: Address,
    default_template: String,
}

impl Wallet {
    /// The account that the chain's first template derives from the key.
    pub fn new(secret: Felt, genesis: &Genesis) -> Result<Wallet> {
        let key = public_key(&secret).context("the secret key is out of range")?;
        let template = &genesis.account_templates[0];
        Ok(Wallet {
            account: account_address(template, &key),
            domain: Domain::new(genesis.chain_id.0),
            default_template: template.name.clone(),
            secret,
            key,
        })
    }

    fn load(path: &Path, genesis: &Genesis) -> Result<Wallet> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read key file {}", path.display()))?;
        let secret =
            Felt::from_hex(text.trim()).with_context(|| format!("key file {}: not a field element", path.display()))?;
        Wallet::new(secret, genesis)
    }

    /// Signs a message in wire form; account, nonce and valid until are filled in. The result is the method's parameters.
    pub fn sign(&self, kind: MessageKind, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Result<Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut message = Map::new();
        message.insert("account".into(), self.account.to_string().into());
        // Nonces are unordered and used once: nanoseconds are unique enough for one client.
        message.insert("nonce".into(), (now.as_nanos() as u64).to_string().into());
        message.insert("validUntil".into(), (now.as_millis() as u64 + VALID_FOR_MS).to_string().into());
        message.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let message = decode::message(kind, &Value::Object(message), Some(&self.default_template))
            .map_err(|e| anyhow::anyhow!("{} ({})", e.reason(), e.field()))?;
        Ok(signed_request(&self.domain, &message, &self.secret)?)
    }
}

fn new_key(path: &Path, genesis: &Genesis) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let secret = starknet::signers::SigningKey::from_random().secret_scalar();
    let wallet = Wallet::new(secret, genesis)?;
    ensure!(!path.exists(), "new key: {} exists and is not overwritten", path.display());
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).context("new key")?;
    writeln!(file, "{secret:#x}").context("new key")?;
    println!("{}", json!({ "key": wallet.key.to_string(), "account": wallet.account.to_string(), "file": path }));
    Ok(())
}
