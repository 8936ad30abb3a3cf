//! The facade: one call from a request to the queue.

use crate::budget::{BudgetConfig, Budgets, COST_BAD_SIGNATURE, COST_PRICE_REPORT, cost_of};
use crate::client::price_hash;
use crate::decode::{self, SignedReport, SignedRequest};
use crate::error::IngressError;
use crate::message::{Message, MessageKind};
use crate::pool::{Deliver, Pool, PoolConfig, PoolLane};
use crate::queue::{Answer, Inbox};
use crate::register::check_account;
use crate::snip12::{self, Domain, message_hash};
use crate::verify::Verifier;
use keel_types::{Address, Command, Genesis, MessageHash, NONCE_KEEP_AFTER_MS, Reject, StarkKey, Ts};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// What a `trade_*` method carries.
pub type Method = MessageKind;

/// Whose budget a request is on. Requests of one connection for one account are admitted in the order they were submitted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// One budget per peer: an IPv4 address, or the /64 network of an IPv6 address, which is what one customer gets. A budget per
    /// TCP connection would be escaped by opening another.
    pub fn of_peer(peer: IpAddr) -> ConnectionId {
        match peer.to_canonical() {
            IpAddr::V4(v4) => ConnectionId(u64::from(u32::from(v4))),
            // The unicast networks start at 2000::/3, far above any IPv4 number; only the loopback, of one machine, is 0.
            IpAddr::V6(v6) => ConnectionId((u128::from(v6) >> 64) as u64),
        }
    }
}

/// The published keys: what was durable when the question was asked.
pub trait KeyDirectory: Send + Sync {
    /// Main key of a registered account.
    fn key(&self, account: Address) -> Option<StarkKey>;
}

/// Sizes of the way in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IngressConfig {
    pub pool: PoolConfig,
    /// Per connection.
    pub connection: BudgetConfig,
    /// Per account, over all connections.
    pub account: BudgetConfig,
}

impl Default for IngressConfig {
    fn default() -> Self {
        IngressConfig { pool: PoolConfig::default(), connection: BudgetConfig::CONNECTION, account: BudgetConfig::ACCOUNT }
    }
}

/// A message in the queue. Its outcome comes when it is executed, durable and published.
#[derive(Debug)]
pub struct Admitted {
    pub kind: MessageKind,
    pub account: Address,
    /// The message's identity, and an order's id.
    pub hash: MessageHash,
    pub reply: oneshot::Receiver<Answer>,
}

impl Admitted {
    /// Waits for the outcome.
    pub async fn outcome(self) -> Result<Answer, IngressError> {
        self.reply.await.map_err(|_| IngressError::OutcomeUnknown)
    }
}

/// The way in, shared by all connections. Dropping the last clone stops its threads.
#[derive(Clone)]
pub struct Ingress(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    pool: Pool<(ConnectionId, Address)>,
}

/// What the jobs on the pool need too.
struct Shared {
    genesis: Arc<Genesis>,
    domain: Domain,
    keys: Arc<dyn KeyDirectory>,
    inbox: Inbox,
    verifier: Verifier,
    budgets: Mutex<BudgetsOfAll>,
}

struct BudgetsOfAll {
    connections: Budgets<ConnectionId>,
    accounts: Budgets<Address>,
}

impl Shared {
    /// Buckets hold plain numbers; a poisoned lock is taken over.
    fn budgets(&self) -> MutexGuard<'_, BudgetsOfAll> {
        self.budgets.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn template_default(&self) -> Option<&str> {
        self.genesis.account_templates.first().map(|template| template.name.as_str())
    }

    /// The key that must have signed: the account's own, or the one being registered.
    fn authorised_key(&self, request: &SignedRequest) -> Result<StarkKey, IngressError> {
        let key = match &request.message {
            Message::Register(message) => message.key,
            other => self.keys.key(other.account()).ok_or(IngressError::Rejected(Reject::UnknownAccount))?,
        };
        match request.key {
            Some(claimed) if claimed != key => Err(IngressError::KeyNotAuthorized),
            _ => Ok(key),
        }
    }

    /// On a worker: the costly checks, ending in the command that may be queued.
    fn check_signature(&self, request: &SignedRequest, key: &StarkKey) -> Result<Command, IngressError> {
        let message = &request.message;
        let account = message.account();
        let hash = message_hash(&self.domain, &account, message);
        let command = message.to_command(&self.genesis, hash)?;
        if let Command::Register(register) = &command {
            check_account(&self.genesis.account_templates[usize::from(register.template)], key, &account)?;
        }
        self.verifier.verify(key, &hash, &request.signature).map_err(|_| IngressError::InvalidSignature)?;
        Ok(command)
    }

    /// On a worker: every report must be signed by the publisher it names.
    fn check_reports(&self, reports: &[SignedReport]) -> Result<Command, IngressError> {
        let check = |(i, signed): (usize, &SignedReport)| {
            let report = signed.report;
            let publisher = self.genesis.oracle.publishers.get(usize::from(report.publisher));
            let market = self.genesis.market(report.market).ok_or(IngressError::Rejected(Reject::UnknownMarket))?;
            let hash = price_hash(&self.domain.chain_id(), &market.name, report.price, report.ts);
            self.verifier
                .verify(publisher.ok_or(IngressError::UnknownPublisher)?, &hash, &signed.signature)
                .map_err(|_| IngressError::InvalidSignature)
                .inspect_err(|_| {
                    tracing::warn!(report = i, publisher = report.publisher, "price report with a bad signature")
                })?;
            Ok(report)
        };
        reports.iter().enumerate().map(check).collect::<Result<Vec<_>, _>>().map(Command::Prices)
    }

    /// A wrong signature is paid by whoever sent it.
    fn charge_failure(&self, error: &IngressError, connection: ConnectionId, now_ms: u64) {
        if matches!(error, IngressError::InvalidSignature | IngressError::AccountKeyMismatch) {
            self.budgets().connections.charge(connection, COST_BAD_SIGNATURE, now_ms);
        }
    }
}

impl Ingress {
    /// Starts the pool. `genesis` names markets, assets, templates and publishers.
    pub fn new(config: IngressConfig, genesis: Arc<Genesis>, keys: Arc<dyn KeyDirectory>, inbox: Inbox) -> Ingress {
        let budgets = BudgetsOfAll { connections: Budgets::new(config.connection), accounts: Budgets::new(config.account) };
        let shared = Shared {
            domain: Domain::new(genesis.chain_id.0),
            genesis,
            keys,
            inbox,
            verifier: Verifier::new(),
            budgets: Mutex::new(budgets),
        };
        Ingress(Arc::new(Inner { shared: Arc::new(shared), pool: Pool::new(config.pool) }))
    }

    /// The signing domain of this chain.
    pub fn domain(&self) -> &Domain {
        &self.0.shared.domain
    }

    /// Admits the parameters of a `trade_*` method: `{message, signature, key?}`. Returns when the message is in the queue;
    /// nothing was changed when it fails. `now` is wall-clock time; it drives budgets and refuses what is long expired.
    pub async fn submit(
        &self,
        method: Method,
        params: Value,
        connection: ConnectionId,
        now: Ts,
    ) -> Result<Admitted, IngressError> {
        let shared = &self.0.shared;
        let (cost, now_ms) = (cost_of(method), now.ms());
        if !shared.budgets().connections.spend(connection, cost, now_ms) {
            return Err(IngressError::RateLimited);
        }
        if !method.is_supported() {
            return Err(IngressError::NotYetSupported);
        }
        let request = decode::signed_request(method, &params, shared.template_default())?;
        // For its errors only: an unknown name should not cost a signature check. The hash comes later.
        request.message.to_command(&shared.genesis, MessageHash::default())?;
        check_expiry(&request.message, now)?;
        let account = request.message.account();
        let key = shared.authorised_key(&request)?;
        if !shared.budgets().accounts.can_spend(account, cost, now_ms) {
            return Err(IngressError::AccountRateLimited);
        }
        let lane = if method.is_cancel() { PoolLane::Cancel } else { PoolLane::Order };
        let check = move |shared: &Shared| {
            let command = shared.check_signature(&request, &key)?;
            shared.budgets().accounts.charge(account, cost, now_ms);
            Ok(command)
        };
        let (command_hash, reply) = self.check_and_queue(lane, (connection, account), now_ms, check).await?;
        Ok(Admitted { kind: method, account, hash: command_hash, reply })
    }

    /// Admits the parameters of `market_publishPrices`: `{reports: [..]}`, all or none, as one command.
    pub async fn submit_prices(
        &self,
        params: Value,
        connection: ConnectionId,
        now: Ts,
    ) -> Result<oneshot::Receiver<Answer>, IngressError> {
        let shared = &self.0.shared;
        let now_ms = now.ms();
        if !shared.budgets().connections.spend(connection, COST_PRICE_REPORT, now_ms) {
            return Err(IngressError::RateLimited);
        }
        let reports = decode::price_reports(&params, &shared.genesis)?;
        let cost_of_rest = COST_PRICE_REPORT * (reports.len() as u64 - 1);
        if !shared.budgets().connections.spend(connection, cost_of_rest, now_ms) {
            return Err(IngressError::RateLimited);
        }
        // Publishers have no account; the zero address is none.
        let sequence = (connection, Address::default());
        let check = move |shared: &Shared| shared.check_reports(&reports);
        Ok(self.check_and_queue(PoolLane::Price, sequence, now_ms, check).await?.1)
    }

    /// `trade_typedData`: `{type, message}` to the JSON that a wallet signs. For every kind, supported or not.
    pub fn typed_data(&self, params: &Value) -> Result<Value, IngressError> {
        let message = decode::typed_data_request(params, self.0.shared.template_default())?;
        Ok(snip12::typed_data_json(self.domain(), &message))
    }

    /// Stops admission: what waits for its signature check is refused with SHUTTING_DOWN.
    pub fn close(&self) {
        self.0.pool.close();
    }

    /// Runs `check` on the pool and queues its command in the sequence's order. Returns the message hash and the outcome's channel.
    async fn check_and_queue(
        &self,
        lane: PoolLane,
        sequence: (ConnectionId, Address),
        now_ms: u64,
        check: impl FnOnce(&Shared) -> Result<Command, IngressError> + Send + 'static,
    ) -> Result<(MessageHash, oneshot::Receiver<Answer>), IngressError> {
        let shared = self.0.shared.clone();
        let (verdict, verdict_of_job) = oneshot::channel();
        let work = Box::new(move || -> Deliver {
            let checked = check(&shared).inspect_err(|error| shared.charge_failure(error, sequence.0, now_ms));
            Box::new(move || {
                let queued = checked.and_then(|command| {
                    let hash = command.signed().map(|signed| signed.hash).unwrap_or_default();
                    let (reply, outcome) = oneshot::channel();
                    shared.inbox.submit(command, Some(reply))?;
                    Ok((hash, outcome))
                });
                // A client that went away is no error; its message stays queued.
                let _ = verdict.send(queued);
            })
        });
        self.0.pool.submit(lane, sequence, work)?;
        verdict_of_job.await.unwrap_or_else(|_| {
            // The pool drops what waits when it is closed; else the job panicked, at a point unknown.
            Err(if self.0.pool.is_closed() { IngressError::ShuttingDown } else { IngressError::OutcomeUnknown })
        })
    }
}

/// Refuses what the engine will certainly call expired **and** has forgotten: until 60 s after `validUntil` an identical message
/// must reach the engine, which answers it with the recorded outcome. [spec exchange, Replay]
fn check_expiry(message: &Message, now: Ts) -> Result<(), IngressError> {
    let forgotten_ms = message.valid_until_ms().saturating_add(NONCE_KEEP_AFTER_MS);
    if forgotten_ms < now.ms() { Err(IngressError::Rejected(Reject::Expired)) } else { Ok(()) }
}
