//! `keel trade`: a small trading client. What it sends is what any wallet sends: SNIP-12 messages over the public RPC.

use crate::wiring::request;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use keel_ingress::client::signed_request;
use keel_ingress::message::SCOPE_TRADE;
use keel_ingress::register::account_address;
use keel_ingress::snip12::message_hash;
use keel_ingress::verify::public_key;
use keel_ingress::{Domain, MessageKind, decode};
use keel_types::{Address, Felt, Genesis, MessageHash, StarkKey};
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
    /// File that holds the secret of a session key of the account: it signs instead of the main key, whose file then only names
    /// the account. For place, modify, both cancels, quote and schedule-cancel.
    #[arg(long)]
    session_key: Option<PathBuf>,
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
    /// New limit price and total size of an order.
    Modify {
        #[arg(long)]
        order: String,
        #[arg(long)]
        price: String,
        #[arg(long)]
        size: String,
    },
    /// A bid and an offer in one batch, both post-only.
    Quote {
        #[arg(long)]
        market: String,
        #[arg(long)]
        bid: String,
        #[arg(long)]
        ask: String,
        #[arg(long)]
        size: String,
    },
    /// Dead man's switch: cancels every order some seconds from now; 0 takes it back.
    ScheduleCancel {
        #[arg(long)]
        in_seconds: u64,
    },
    /// Lets a key trade for the account. Its secret can be made by `new-key`, with another --key-file.
    AddSessionKey {
        /// The public key.
        #[arg(long)]
        key: String,
        #[arg(long, default_value_t = 24)]
        hours: u64,
        /// May be repeated; without it every market.
        #[arg(long)]
        market: Vec<String>,
        /// Largest order; 0: the market's own bound.
        #[arg(long, default_value = "0")]
        max_order_notional: String,
    },
    /// Ends a session key.
    RevokeSessionKey {
        #[arg(long)]
        key: String,
    },
    /// The account's session keys.
    SessionKeys,
    /// Moves an amount to another account on this exchange.
    Transfer {
        #[arg(long)]
        recipient: String,
        #[arg(long)]
        asset: String,
        #[arg(long)]
        amount: String,
    },
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
    /// Mark price that triggers an order of a trigger type.
    #[arg(long, default_value = "0")]
    trigger_price: String,
    /// GTC, GTT, IOC, FOK or POST_ONLY.
    #[arg(long, default_value = "GTC")]
    time_in_force: String,
    /// End of a GTT order, milliseconds since the epoch.
    #[arg(long, default_value = "0")]
    good_til: String,
    #[arg(long)]
    reduce_only: bool,
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
        let mut wallet = Wallet::load(&self.key_file, genesis)?;
        if let Some(file) = &self.session_key {
            wallet.session = Some(secret_in(file)?);
        }
        let text = |value: &str| Value::String(value.to_owned());
        let answer = match &self.action {
            Action::NewKey | Action::Book { .. } => unreachable!("answered above"),
            Action::Address => json!({ "key": wallet.key.to_string(), "account": wallet.account.to_string() }),
            Action::Account => self.read("trade_account", &wallet).await?,
            Action::Orders => self.read("trade_openOrders", &wallet).await?,
            Action::Register => request(&self.rpc, "trade_register", wallet.registration()?).await?,
            Action::Place(order) => {
                let fields = [
                    ("market", text(&order.market)),
                    ("side", text(&order.side)),
                    ("type", text(&order.order_type)),
                    ("size", text(&order.size)),
                    ("price", text(&order.price)),
                    ("triggerPrice", text(&order.trigger_price)),
                    ("timeInForce", text(&order.time_in_force)),
                    ("goodTil", text(&order.good_til)),
                    ("reduceOnly", order.reduce_only.into()),
                    ("clientId", text(&order.client_id)),
                ];
                self.send("trade_placeOrder", MessageKind::Order, &wallet, fields).await?
            }
            Action::Modify { order, price, size } => {
                let fields = [("order", text(order)), ("price", text(price)), ("size", text(size))];
                self.send("trade_modifyOrder", MessageKind::ModifyOrder, &wallet, fields).await?
            }
            Action::Quote { market, bid, ask, size } => {
                let mut requests = vec![];
                for (side, price) in [("BUY", bid), ("SELL", ask)] {
                    let fields = [
                        ("market", text(market)),
                        ("side", text(side)),
                        ("type", text("LIMIT")),
                        ("size", text(size)),
                        ("price", text(price)),
                        ("timeInForce", text("POST_ONLY")),
                    ];
                    let mut signed = wallet.sign(MessageKind::Order, fields)?;
                    signed["type"] = text(MessageKind::Order.as_str());
                    requests.push(signed);
                }
                request(&self.rpc, "trade_batch", json!({ "requests": requests })).await?
            }
            Action::ScheduleCancel { in_seconds } => {
                let at = if *in_seconds == 0 { 0 } else { now_ms()?.saturating_add(in_seconds.saturating_mul(1_000)) };
                let fields = [("at", text(&at.to_string()))];
                self.send("trade_scheduleCancel", MessageKind::ScheduleCancel, &wallet, fields).await?
            }
            Action::AddSessionKey { key, hours, market, max_order_notional } => {
                let expiry = now_ms()?.saturating_add(hours.saturating_mul(3_600_000));
                let fields = [
                    ("key", text(key)),
                    ("expiry", text(&expiry.to_string())),
                    ("scope", text(SCOPE_TRADE)),
                    ("markets", market.iter().map(|m| text(m)).collect()),
                    ("maxOrderNotional", text(max_order_notional)),
                ];
                self.send("trade_addSessionKey", MessageKind::SessionKey, &wallet, fields).await?
            }
            Action::RevokeSessionKey { key } => {
                let fields = [("key", text(key))];
                self.send("trade_revokeSessionKey", MessageKind::RevokeSessionKey, &wallet, fields).await?
            }
            Action::SessionKeys => self.read("trade_sessionKeys", &wallet).await?,
            Action::Transfer { recipient, asset, amount } => {
                let fields = [("recipient", text(recipient)), ("asset", text(asset)), ("amount", text(amount))];
                self.send("trade_transfer", MessageKind::Transfer, &wallet, fields).await?
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
    /// Secret of a session key that signs instead.
    session: Option<Felt>,
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
            session: None,
            key,
        })
    }

    fn load(path: &Path, genesis: &Genesis) -> Result<Wallet> {
        Wallet::new(secret_in(path)?, genesis)
    }

    /// Signs a message in wire form; account, nonce and valid until are filled in. The result is the method's parameters.
    pub fn sign(&self, kind: MessageKind, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Result<Value> {
        self.sign_hashed(kind, fields).map(|(request, _)| request)
    }

    /// The same, with the message's hash: an order's name, also when no answer comes.
    pub fn sign_hashed(
        &self,
        kind: MessageKind,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<(Value, MessageHash)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut message = Map::new();
        message.insert("account".into(), self.account.to_string().into());
        // Nonces are unordered and used once: nanoseconds are unique enough for one client.
        message.insert("nonce".into(), (now.as_nanos() as u64).to_string().into());
        message.insert("validUntil".into(), (now.as_millis() as u64 + VALID_FOR_MS).to_string().into());
        message.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let message = decode::message(kind, &Value::Object(message), Some(&self.default_template))
            .map_err(|e| anyhow::anyhow!("{} ({})", e.reason(), e.field()))?;
        let hash = message_hash(&self.domain, &message.account(), &message);
        let secret = self.session.as_ref().unwrap_or(&self.secret);
        let mut request = signed_request(&self.domain, &message, secret)?;
        if let Some(session) = &self.session {
            request["sessionKey"] = public_key(session)?.to_string().into();
        }
        Ok((request, hash))
    }

    /// The message that registers the account.
    pub fn registration(&self) -> Result<Value> {
        let fields = [("key", self.key.to_string().into()), ("template", self.default_template.clone().into())];
        self.sign(MessageKind::Register, fields)
    }
}

fn now_ms() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64)
}

fn secret_in(path: &Path) -> Result<Felt> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read key file {}", path.display()))?;
    Felt::from_hex(text.trim()).with_context(|| format!("key file {}: not a field element", path.display()))
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
