//! The facade: one call from a request to the queue.

use crate::budget::{BudgetConfig, Budgets, COST_BAD_SIGNATURE, COST_CANCEL, COST_PRICE_REPORT, cost_of};
use crate::client::price_hash;
use crate::decode::{self, SignedReport, SignedRequest};
use crate::error::IngressError;
use crate::message::{Message, MessageKind, SessionCancel};
use crate::pool::{Deliver, Pool, PoolConfig, PoolFull, PoolLane, Work};
use crate::queue::{Answer, Inbox};
use crate::ramp::{Opening, Ramp, RampConfig};
use crate::register::check_account;
use crate::snip12::{self, Domain, message_hash};
use crate::verify::{Verifier, validate_key};
use keel_types::{Address, Command, Genesis, MessageHash, NONCE_KEEP_AFTER_MS, Reject, SessionCancelAll, StarkKey, Ts};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// Wall clock and journal clock may differ by this much before `validUntil` is judged here: the journal's never steps, ours may.
/// Within it the engine judges alone.
const CLOCKS_APART_MS_MAX: u64 = 60_000;

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

/// The published keys and the phase: what was durable when the question was asked.
pub trait KeyDirectory: Send + Sync {
    /// Main key of a registered account.
    fn key(&self, account: Address) -> Option<StarkKey>;
    /// Until when a session key of the account may sign; `None` when it was never granted or is revoked.
    fn session_key_expiry(&self, account: Address, key: StarkKey) -> Option<Ts>;
    /// Which phase the venue is in.
    fn opening(&self) -> Opening;
}

/// Sizes of the way in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IngressConfig {
    pub pool: PoolConfig,
    /// Per connection.
    pub connection: BudgetConfig,
    /// Per account, over all connections.
    pub account: BudgetConfig,
    /// Of all accounts together.
    pub ramp: RampConfig,
}

impl Default for IngressConfig {
    fn default() -> Self {
        IngressConfig {
            pool: PoolConfig::default(),
            connection: BudgetConfig::CONNECTION,
            account: BudgetConfig::ACCOUNT,
            ramp: RampConfig::default(),
        }
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

/// The answer of the signature check of one message: that it is queued, with the channel of its outcome.
type Verdict = Result<(MessageHash, oneshot::Receiver<Answer>), IngressError>;

/// A message on its way to the queue, behind everything its connection sent for its account before.
#[derive(Debug)]
pub struct Begun {
    kind: MessageKind,
    account: Address,
    verdict: Waiting,
}

impl Begun {
    /// Waits until the message is in the queue; nothing was changed when it fails.
    pub async fn admitted(self) -> Result<Admitted, IngressError> {
        let (hash, reply) = self.verdict.wait().await?;
        Ok(Admitted { kind: self.kind, account: self.account, hash, reply })
    }
}

/// A job on the pool whose verdict is awaited.
struct Waiting {
    verdict: oneshot::Receiver<Verdict>,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

impl Waiting {
    async fn wait(self) -> Verdict {
        self.verdict.await.unwrap_or_else(|_| {
            // The pool drops what waits when it is closed; else the job panicked, at a point unknown.
            Err(if self.inner.pool.is_closed() { IngressError::ShuttingDown } else { IngressError::OutcomeUnknown })
        })
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
    orders: Ramp,
}

impl Shared {
    /// Buckets hold plain numbers; a poisoned lock is taken over.
    fn budgets(&self) -> MutexGuard<'_, BudgetsOfAll> {
        self.budgets.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn template_default(&self) -> Option<&str> {
        self.genesis.account_templates.first().map(|template| template.name.as_str())
    }

    /// The key that must have signed: the one being registered, the account's own, or the session key that the request names.
    fn authorised_key(&self, request: &SignedRequest, now: Ts) -> Result<StarkKey, IngressError> {
        if request.session_key.is_some() && !request.message.kind().session_key_may_sign() {
            return Err(IngressError::Rejected(Reject::SessionKeyForbidden));
        }
        let account = request.message.account();
        let main = || self.keys.key(account).ok_or(IngressError::Rejected(Reject::UnknownAccount));
        let key = match (&request.message, request.session_key) {
            (Message::Register(message), _) => message.key,
            (_, None) => main()?,
            (_, Some(key)) => {
                main()?;
                self.check_session_key(account, key, request.message.kind(), now)?;
                key
            }
        };
        match request.key {
            Some(claimed) if claimed != key => Err(IngressError::KeyNotAuthorized),
            _ => Ok(key),
        }
    }

    /// Whether a session key may have signed a message that can still be answered. One that expired lately goes on: the engine
    /// refuses its new messages at a sequence number, and answers the old ones with their recorded outcome. [spec exchange, Replay]
    fn check_session_key(&self, account: Address, key: StarkKey, kind: MessageKind, now: Ts) -> Result<(), IngressError> {
        let expiry = self.keys.session_key_expiry(account, key).ok_or(IngressError::Rejected(Reject::UnknownSessionKey))?;
        let forgotten = expiry.plus_ms(kind.valid_until_ahead_ms_max() + NONCE_KEEP_AFTER_MS);
        if forgotten < now { Err(IngressError::Rejected(Reject::SessionKeyExpired)) } else { Ok(()) }
    }

    /// On a worker: the costly checks, ending in the command that may be queued.
    fn check_signature(&self, request: &SignedRequest, key: &StarkKey) -> Result<Command, IngressError> {
        let message = &request.message;
        let account = message.account();
        let hash = message_hash(&self.domain, &account, message);
        let command = message.to_command(&self.genesis, hash, request.session_key.unwrap_or_default())?;
        match &command {
            Command::Register(register) => {
                check_account(&self.genesis.account_templates[usize::from(register.template)], key, &account)?;
            }
            Command::SessionKey(grant) => {
                validate_key(&grant.key).map_err(|_| IngressError::KeyInvalid("key".into()))?;
            }
            _ => {}
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
        let budgets = BudgetsOfAll {
            connections: Budgets::new(config.connection),
            accounts: Budgets::new(config.account),
            orders: Ramp::new(config.ramp),
        };
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

    /// Admits the parameters of a `trade_*` method: `{message, signature, key?, sessionKey?}`. Returns when the message is in the
    /// queue; nothing was changed when it fails. `now` is wall-clock time; it drives budgets and refuses what is long expired.
    pub async fn submit(
        &self,
        method: Method,
        params: Value,
        connection: ConnectionId,
        now: Ts,
    ) -> Result<Admitted, IngressError> {
        self.begin(method, params, connection, now)?.admitted().await
    }

    /// The first half of [Ingress::submit]: everything but the signature. Messages begun one after the other on one connection for
    /// one account reach the queue in that order, whether or not the first was awaited.
    pub fn begin(&self, method: Method, params: Value, connection: ConnectionId, now: Ts) -> Result<Begun, IngressError> {
        let shared = &self.0.shared;
        let (cost, now_ms) = (cost_of(method), now.ms());
        if !shared.budgets().connections.spend(connection, cost, now_ms) {
            return Err(IngressError::RateLimited);
        }
        if method.is_order() && !shared.budgets().orders.admits(shared.keys.opening(), now_ms) {
            return Err(IngressError::Overloaded);
        }
        let request = decode::signed_request(method, &params, shared.template_default())?;
        // For its errors only: an unknown name should not cost a signature check. The hash comes later.
        request.message.to_command(&shared.genesis, MessageHash::default(), StarkKey::default())?;
        check_times(&request.message, now)?;
        let account = request.message.account();
        let key = shared.authorised_key(&request, now)?;
        if !shared.budgets().accounts.can_spend(account, cost, now_ms) {
            return Err(IngressError::AccountRateLimited);
        }
        let lane = if method.is_cancel() { PoolLane::Cancel } else { PoolLane::Order };
        let check = move |shared: &Shared| {
            let command = shared.check_signature(&request, &key)?;
            let mut budgets = shared.budgets();
            let orders = request.message.orders();
            if orders > 0 && !budgets.orders.take(orders, shared.keys.opening(), now_ms) {
                return Err(IngressError::Overloaded);
            }
            budgets.accounts.charge(account, cost, now_ms);
            Ok(command)
        };
        let verdict = self.check_and_queue(lane, (connection, account), now_ms, check)?;
        Ok(Begun { kind: method, account, verdict })
    }

    /// Admits an unsigned cancel on a WebSocket that logged in as `account`; whether it did is the caller's to know. It is on the
    /// budgets of connection and account as a signed one is, and follows what the connection sent for the account before.
    pub async fn submit_session_cancel(
        &self,
        account: Address,
        cancel: SessionCancel,
        connection: ConnectionId,
        now: Ts,
    ) -> Result<oneshot::Receiver<Answer>, IngressError> {
        {
            let mut budgets = self.0.shared.budgets();
            if !budgets.connections.spend(connection, COST_CANCEL, now.ms()) {
                return Err(IngressError::RateLimited);
            }
            if !budgets.accounts.spend(account, COST_CANCEL, now.ms()) {
                return Err(IngressError::AccountRateLimited);
            }
        }
        let check = move |_: &Shared| Ok(cancel.to_command(account));
        Ok(self.check_and_queue(PoolLane::Cancel, (connection, account), now.ms(), check)?.wait().await?.1)
    }

    /// Cancels every order of an account because its WebSocket was lost with cancel-on-disconnect on. The node's own doing: on no
    /// budget, and where the pool is full it goes past it. It follows what the connection sent for the account before.
    pub async fn submit_disconnected(
        &self,
        account: Address,
        connection: ConnectionId,
    ) -> Result<oneshot::Receiver<Answer>, IngressError> {
        let command = Command::SessionCancelAll(SessionCancelAll { account, market: None, disconnected: true });
        let shared = &self.0.shared;
        let check = {
            let command = command.clone();
            move |_: &Shared| Ok(command)
        };
        let (verdict, work) = job(shared, (connection, account), 0, check);
        match self.0.pool.submit(PoolLane::Cancel, (connection, account), work) {
            Ok(()) => Ok(self.waiting(verdict).wait().await?.1),
            Err(PoolFull::Full) => {
                let (reply, outcome) = oneshot::channel();
                shared.inbox.submit(command, Some(reply))?;
                Ok(outcome)
            }
            Err(PoolFull::Closed) => Err(IngressError::ShuttingDown),
        }
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
        Ok(self.check_and_queue(PoolLane::Price, sequence, now_ms, check)?.wait().await?.1)
    }

    /// `trade_typedData`: `{type, message}` to the JSON that a wallet signs. For every kind, supported or not.
    pub fn typed_data(&self, params: &Value) -> Result<Value, IngressError> {
        let message = decode::typed_data_request(params, self.0.shared.template_default())?;
        message.check_recipient(&self.0.shared.genesis)?;
        Ok(snip12::typed_data_json(self.domain(), &message))
    }

    /// Stops admission: what waits for its signature check is refused with SHUTTING_DOWN.
    pub fn close(&self) {
        self.0.pool.close();
    }

    /// Runs `check` on the pool and queues its command in the sequence's order.
    fn check_and_queue(
        &self,
        lane: PoolLane,
        sequence: (ConnectionId, Address),
        now_ms: u64,
        check: impl FnOnce(&Shared) -> Result<Command, IngressError> + Send + 'static,
    ) -> Result<Waiting, IngressError> {
        let (verdict, work) = job(&self.0.shared, sequence, now_ms, check);
        self.0.pool.submit(lane, sequence, work)?;
        Ok(self.waiting(verdict))
    }

    fn waiting(&self, verdict: oneshot::Receiver<Verdict>) -> Waiting {
        Waiting { verdict, inner: self.0.clone() }
    }
}

/// A job for the pool: `check`, then the queue. The verdict is the message's hash and the channel of its outcome.
fn job(
    shared: &Arc<Shared>,
    sequence: (ConnectionId, Address),
    now_ms: u64,
    check: impl FnOnce(&Shared) -> Result<Command, IngressError> + Send + 'static,
) -> (oneshot::Receiver<Verdict>, Work) {
    let shared = shared.clone();
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
    (verdict_of_job, work)
}

/// Refuses what the engine will certainly call expired **and** has forgotten: until 60 s after `validUntil` an identical message
/// must reach the engine, which answers it with the recorded outcome. Refuses also what is certainly too far ahead.
/// [spec exchange, Two times; Replay]
fn check_times(message: &Message, now: Ts) -> Result<(), IngressError> {
    let (valid_until_ms, now_ms) = (message.valid_until_ms(), now.ms());
    if valid_until_ms.saturating_add(NONCE_KEEP_AFTER_MS) < now_ms {
        return Err(IngressError::Rejected(Reject::Expired));
    }
    let ahead_ms_max = message.kind().valid_until_ahead_ms_max() + CLOCKS_APART_MS_MAX;
    if valid_until_ms > now_ms.saturating_add(ahead_ms_max) {
        return Err(IngressError::Rejected(Reject::ValidUntilTooFar));
    }
    Ok(())
}
