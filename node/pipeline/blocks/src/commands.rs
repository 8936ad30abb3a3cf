//! From executed commands to the transactions that stand for them.
//!
//! A command that changed chain state belongs to exactly one transaction, in seq order; one that did not, to none.
//! Consecutive commands that made fills share a transaction, up to [FILLS_PER_TRANSACTION_MAX] fills and for [FILLS_OPEN_MAX].

use crate::cancel::{CancelTree, join_roots};
use crate::error::BlocksError;
use crate::state::PendingState;
use keel_commitment::Felt;
use keel_commitment::commitments::{Event as ChainEvent, MessageToL1};
use keel_contracts::starknet::{self as contract, Call, ExchangeEvent, HANDLE_DEPOSIT};
use keel_types::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// Fills after which a transaction takes no further command: about 4,000 words of calldata, as Starknet allows.
/// One command's fills are never parted, so a transaction may have more when one command made more.
pub const FILLS_PER_TRANSACTION_MAX: usize = 100;
/// Journal time, from the record of its first fill, after which a transaction takes no further command: the next record of this age or
/// more closes it, whatever it holds. A transaction is shown as pre-confirmed when it is closed, and a record comes at least every 100 ms:
/// so a fill is shown 300 ms after it is durable at the latest, the hashing of a block before it aside, and a quiet market still shares hashing between the fills of a burst.
pub const FILLS_OPEN_MAX: Duration = Duration::from_millis(200);

/// A transaction that has no nonce and no hash yet.
pub(crate) struct Draft {
    pub(crate) body: DraftBody,
    pub(crate) events: Vec<ChainEvent>,
    pub(crate) messages: Vec<MessageToL1>,
    pub(crate) first_seq: Seq,
    pub(crate) last_seq: Seq,
}

pub(crate) enum DraftBody {
    /// Of the operator's account.
    Invoke(Vec<Call>),
    Handler {
        selector: Felt,
        calldata: Vec<Felt>,
        nonce: u64,
        message_hash: Bytes32,
    },
}

/// The drafts of the open block that are not numbered yet.
#[derive(Default)]
pub(crate) struct Drafts {
    /// Closed: nothing changes them any more.
    closed: Vec<Draft>,
    /// Fills that further commands may join.
    fills: Option<Fills>,
}

/// A transaction of fills in the making.
struct Fills {
    runs: Vec<Run>,
    count: usize,
    /// Time of the record with the first of them.
    opened: Ts,
    first_seq: Seq,
    last_seq: Seq,
}

/// Consecutive fills of one market and the words they leave: one `settle_fills`; without fills and but for funding, one `set_funding`.
struct Run {
    market: MarketId,
    fills: Vec<Fill>,
    balances: BTreeMap<(Address, AssetId), Amount>,
    positions: BTreeMap<(Address, MarketId), PositionValue>,
    funding: BTreeMap<MarketId, (Amount, Amount)>,
}

impl Drafts {
    /// Takes one executed command and books its writes in `state`, which is told what belongs to closed drafts.
    pub(crate) fn add(
        &mut self,
        genesis: &Genesis,
        state: &mut PendingState,
        executed: &Executed,
        ts: Ts,
    ) -> Result<(), BlocksError> {
        let age = |fills: &Fills| Duration::from_nanos(ts.0.saturating_sub(fills.opened.0));
        // Before anything else of the command, and by commands that change nothing too: the fills do not wait for others.
        if self.fills.as_ref().is_some_and(|fills| age(fills) >= FILLS_OPEN_MAX) {
            self.close_fills(genesis, state);
        }
        if executed.writes.is_empty() {
            return Ok(());
        }
        self.draft(genesis, state, executed, ts)?;
        state.write(&executed.writes);
        if self.fills.is_none() {
            state.close();
        }
        Ok(())
    }

    /// `state` is the state before the command's own writes.
    fn draft(
        &mut self,
        genesis: &Genesis,
        state: &mut PendingState,
        executed: &Executed,
        ts: Ts,
    ) -> Result<(), BlocksError> {
        match &executed.command {
            // A tick liquidates, triggers and accrues funding: what it changes has the shape of fills.
            // A message that restores orders places them.
            Command::Place(_) | Command::Modify(_) | Command::RestoreOrders(_) | Command::Tick => {
                self.fills(genesis, state, executed, ts)
            }
            command => {
                let draft = match command {
                    Command::Register(_) => register(genesis, executed)?,
                    Command::Withdraw(_) => withdraw(genesis, executed)?,
                    Command::Prices(_) => prices(genesis, executed)?,
                    Command::Deposit(deposit) => handle_deposit(genesis, executed, deposit)?,
                    Command::EnterSafeMode(_) => enter_safe_mode(genesis, state, executed)?,
                    Command::SetPhase(_) => set_phase(genesis, executed)?,
                    Command::SessionKey(_) | Command::RevokeSessionKey(_) => session_key(genesis, executed)?,
                    Command::Transfer(_) => transfer(genesis, executed)?,
                    Command::Place(_)
                    | Command::Modify(_)
                    | Command::RestoreOrders(_)
                    | Command::Tick
                    | Command::Cancel(_)
                    | Command::CancelAll(_)
                    | Command::SessionCancel(_)
                    | Command::SessionCancelAll(_)
                    | Command::Session(_)
                    | Command::ScheduleCancel(_)
                    | Command::SealBlock(_)
                    | Command::BatchConfirmed(_)
                    | Command::Resume(_)
                    | Command::Void(_) => return Err(unexplained(executed, &executed.writes[0])),
                };
                self.close_fills(genesis, state);
                self.closed.push(draft);
                Ok(())
            }
        }
    }

    /// What was closed since it was asked for last, in seq order.
    pub(crate) fn take_closed(&mut self) -> Vec<Draft> {
        std::mem::take(&mut self.closed)
    }

    fn fills(
        &mut self,
        genesis: &Genesis,
        state: &mut PendingState,
        executed: &Executed,
        ts: Ts,
    ) -> Result<(), BlocksError> {
        let runs = Run::of(executed)?;
        let count: usize = runs.iter().map(|run| run.fills.len()).sum();
        if self.fills.as_ref().is_some_and(|open| open.count + count > FILLS_PER_TRANSACTION_MAX) {
            self.close_fills(genesis, state);
        }
        let seq = executed.seq;
        let open = self.fills.get_or_insert_with(|| Fills::new(seq, ts));
        open.last_seq = seq;
        open.count += count;
        for run in runs {
            match open.runs.last_mut().filter(|last| last.market == run.market) {
                Some(last) => last.extend(run),
                None => open.runs.push(run),
            }
        }
        Ok(())
    }

    /// Lets no further command join the fills. The drafts that there are then account for every write before the present command.
    pub(crate) fn close_fills(&mut self, genesis: &Genesis, state: &mut PendingState) {
        let Some(Fills { runs, first_seq, last_seq, .. }) = self.fills.take() else { return };
        let events = runs.iter().flat_map(Run::events).map(|event| of_exchange(genesis, event)).collect();
        let body = DraftBody::Invoke(runs.into_iter().map(|run| run.call(genesis)).collect());
        self.closed.push(Draft { body, events, messages: vec![], first_seq, last_seq });
        state.close();
    }
}

impl Fills {
    fn new(seq: Seq, opened: Ts) -> Fills {
        Fills { runs: vec![], count: 0, opened, first_seq: seq, last_seq: seq }
    }
}

impl Run {
    /// The command's fills, a run per market in the order of their first fill; the words they left are the last run's.
    fn of(executed: &Executed) -> Result<Vec<Run>, BlocksError> {
        let mut runs: Vec<Run> = Vec::new();
        for event in &executed.events {
            let Event::Fill(fill) = event else { continue };
            match runs.iter_mut().find(|run| run.market == fill.market) {
                Some(run) => run.fills.push(*fill),
                None => runs.push(Run::new(fill.market, vec![*fill])),
            }
        }
        let mut run = runs.pop().unwrap_or_else(|| Run::new(MarketId(0), vec![]));
        for write in &executed.writes {
            match write {
                StateWrite::Balance { account, asset, amount } => {
                    run.balances.insert((*account, *asset), *amount);
                }
                StateWrite::Position { account, market, position } => {
                    run.positions.insert((*account, *market), *position);
                }
                StateWrite::Funding { market, index, pool } => {
                    run.funding.insert(*market, (*index, *pool));
                }
                other => return Err(unexplained(executed, other)),
            }
        }
        runs.push(run);
        Ok(runs)
    }

    fn new(market: MarketId, fills: Vec<Fill>) -> Run {
        Run { market, fills, balances: BTreeMap::new(), positions: BTreeMap::new(), funding: BTreeMap::new() }
    }

    fn extend(&mut self, later: Run) {
        self.fills.extend(later.fills);
        self.balances.extend(later.balances);
        self.positions.extend(later.positions);
        self.funding.extend(later.funding);
    }

    fn funding(&self) -> Vec<contract::FundingUpdate> {
        self.funding.iter().map(|(market, (index, pool))| (*market, *index, *pool)).collect()
    }

    /// As the contract emits them: the trades, then the funding.
    fn events(&self) -> Vec<ExchangeEvent> {
        let trades = self.fills.iter().map(contract::event_trade);
        trades.chain(self.funding().into_iter().map(contract::event_funding_set)).collect()
    }

    fn call(self, genesis: &Genesis) -> Call {
        let funding = self.funding();
        if self.fills.is_empty() && self.balances.is_empty() && self.positions.is_empty() {
            return contract::set_funding(genesis, &funding);
        }
        let balances: Vec<_> =
            self.balances.into_iter().map(|((account, asset), amount)| (account, asset, amount)).collect();
        let positions: Vec<_> = self.positions.into_iter().map(|((account, market), p)| (account, market, p)).collect();
        contract::settle_fills(genesis, self.market, &self.fills, &balances, &positions, &funding)
    }
}

fn register(genesis: &Genesis, executed: &Executed) -> Result<Draft, BlocksError> {
    let [StateWrite::Account { account, key, template }] = executed.writes[..] else {
        let other = executed.writes.iter().find(|write| !matches!(write, StateWrite::Account { .. }));
        return Err(unexplained(executed, other.unwrap_or(&executed.writes[0])));
    };
    let call = contract::register(genesis, account, key, template);
    Ok(invoke(genesis, executed, vec![call], vec![contract::event_registered(account, key, template)]))
}

fn session_key(genesis: &Genesis, executed: &Executed) -> Result<Draft, BlocksError> {
    let [StateWrite::SessionKey { account, key, terms, revoked }] = &executed.writes[..] else {
        let other = executed.writes.iter().find(|write| !matches!(write, StateWrite::SessionKey { .. }));
        return Err(unexplained(executed, other.unwrap_or(&executed.writes[0])));
    };
    let (call, event) = match revoked {
        Seq(0) => (
            contract::set_session_key(genesis, *account, *key, terms),
            contract::event_session_key_set(*account, *key, terms.expiry),
        ),
        seq => (
            contract::revoke_session_key(genesis, *account, *key, *seq),
            contract::event_session_key_revoked(*account, *key, *seq),
        ),
    };
    Ok(invoke(genesis, executed, vec![call], vec![event]))
}

fn transfer(genesis: &Genesis, executed: &Executed) -> Result<Draft, BlocksError> {
    explain(executed, |write| matches!(write, StateWrite::Balance { .. }))?;
    let transferred = executed.events.iter().find_map(|event| match event {
        Event::Transferred { account, recipient, asset, amount, hash } => {
            Some((*account, *recipient, *asset, *amount, *hash))
        }
        _ => None,
    });
    let (account, recipient, asset, amount, hash) =
        transferred.ok_or(incoherent(executed, "transferred without an event"))?;
    let call = contract::transfer(genesis, account, recipient, asset, amount, hash);
    let event = contract::event_transferred(account, recipient, asset, amount, hash);
    Ok(invoke(genesis, executed, vec![call], vec![event]))
}

fn withdraw(genesis: &Genesis, executed: &Executed) -> Result<Draft, BlocksError> {
    explain(executed, |write| {
        matches!(write, StateWrite::Balance { .. } | StateWrite::Totals { .. } | StateWrite::WithdrawalCount { .. })
    })?;
    let withdrawn = |event: &Event| if let Event::Withdrawn(withdrawal) = event { Some(*withdrawal) } else { None };
    let withdrawal = executed.events.iter().find_map(withdrawn).ok_or(incoherent(executed, "withdrew without an event"))?;
    let call = contract::withdraw(genesis, &withdrawal);
    let mut draft = invoke(genesis, executed, vec![call], vec![contract::event_withdrawn(&withdrawal)]);
    draft.messages.push(MessageToL1 {
        from_address: genesis.exchange.0,
        to_address: genesis.settlement.bridge.0,
        payload: contract::withdrawal_message(&withdrawal),
    });
    Ok(draft)
}

/// One `set_prices` for each time at which prices were taken into use.
fn prices(genesis: &Genesis, executed: &Executed) -> Result<Draft, BlocksError> {
    let mut by_ts: BTreeMap<Ts, BTreeMap<MarketId, (Price, Price)>> = BTreeMap::new();
    for write in &executed.writes {
        let StateWrite::Price { market, oracle, mark, ts } = write else { return Err(unexplained(executed, write)) };
        by_ts.entry(*ts).or_default().insert(*market, (*oracle, *mark));
    }
    let (mut calls, mut events) = (vec![], vec![]);
    for (ts, prices) in by_ts {
        let updates: Vec<_> = prices.into_iter().map(|(market, (oracle, mark))| (market, oracle, mark)).collect();
        calls.push(contract::set_prices(genesis, &updates, ts));
        events.extend(updates.into_iter().map(|update| contract::event_price_set(update, ts)));
    }
    Ok(invoke(genesis, executed, calls, events))
}

fn handle_deposit(genesis: &Genesis, executed: &Executed, deposit: &Deposit) -> Result<Draft, BlocksError> {
    explain(executed, |write| {
        matches!(write, StateWrite::Balance { .. } | StateWrite::Totals { .. } | StateWrite::MessageConsumed { .. })
    })?;
    let deposited = |event: &Event| match event {
        Event::Deposited { account, asset, amount, message_nonce } => {
            Some(contract::event_deposited(*account, *asset, *amount, *message_nonce))
        }
        _ => None,
    };
    let event = executed.events.iter().find_map(deposited).ok_or(incoherent(executed, "credited without an event"))?;
    let sender = genesis.settlement.bridge.0;
    let body = DraftBody::Handler {
        selector: HANDLE_DEPOSIT,
        calldata: vec![sender, deposit.token.0, deposit.recipient.0, deposit.amount.into()],
        nonce: deposit.message_nonce,
        message_hash: deposit.message_hash,
    };
    let events = vec![of_exchange(genesis, event)];
    Ok(Draft { body, events, messages: vec![], first_seq: executed.seq, last_seq: executed.seq })
}

/// The incident's record gets the root over everything it has cancelled so far.
fn enter_safe_mode(genesis: &Genesis, state: &mut PendingState, executed: &Executed) -> Result<Draft, BlocksError> {
    let (written, phase) = (incident(executed)?, phase(executed));
    // Entered again for the reasons it already had, with no order left to cancel: the record stays as it is, only the
    // phase goes back.
    let stored = match (written, phase) {
        (None, Some((_, incident, _))) => state.incident(incident)?,
        (written, _) => written,
    };
    let incident = stored.ok_or(incoherent(executed, "entered safe mode without an incident"))?;
    let before = state.cancel_root(incident.incident)?;
    let root = join_roots(before, CancelTree::of(executed).root());
    if root.is_none() != (incident.cancelled == 0) {
        return Err(incoherent(executed, "counts other cancellations than it shows"));
    }
    if let Some(root) = root {
        state.set_cancel_root(&incident, root);
    }
    let since = match phase {
        Some((_, _, since)) => since,
        None => state.phase_since()?.ok_or(incoherent(executed, "entered safe mode without a phase"))?,
    };
    let root = root.unwrap_or(Felt::ZERO);
    let call = contract::enter_safe_mode(genesis, &incident, root, since);
    Ok(invoke(genesis, executed, vec![call], vec![contract::event_safe_mode_entered(&incident, root)]))
}

fn set_phase(genesis: &Genesis, executed: &Executed) -> Result<Draft, BlocksError> {
    let report = incident(executed)?.map_or(Bytes32::default(), |incident| incident.integrity_report);
    let (phase, incident, since) = phase(executed).ok_or(incoherent(executed, "set a phase without writing it"))?;
    let call = contract::set_phase(genesis, incident, phase, since, &report);
    Ok(invoke(genesis, executed, vec![call], vec![contract::event_phase_changed(incident, phase, since)]))
}

/// The incident a command wrote; nothing but it and the phase may be written.
fn incident(executed: &Executed) -> Result<Option<IncidentValue>, BlocksError> {
    explain(executed, |write| matches!(write, StateWrite::Incident(_) | StateWrite::Phase { .. }))?;
    let incident = |write: &StateWrite| if let StateWrite::Incident(value) = write { Some(*value) } else { None };
    Ok(executed.writes.iter().rev().find_map(incident))
}

fn phase(executed: &Executed) -> Option<(Phase, IncidentId, Ts)> {
    executed.writes.iter().rev().find_map(|write| match write {
        StateWrite::Phase { phase, incident, since } => Some((*phase, *incident, *since)),
        _ => None,
    })
}

fn invoke(genesis: &Genesis, executed: &Executed, calls: Vec<Call>, events: Vec<ExchangeEvent>) -> Draft {
    Draft {
        body: DraftBody::Invoke(calls),
        events: events.into_iter().map(|event| of_exchange(genesis, event)).collect(),
        messages: vec![],
        first_seq: executed.seq,
        last_seq: executed.seq,
    }
}

fn of_exchange(genesis: &Genesis, event: ExchangeEvent) -> ChainEvent {
    ChainEvent { from_address: genesis.exchange.0, keys: event.keys, data: event.data }
}

/// Every write must be one that the command's call makes in the contract.
fn explain(executed: &Executed, explained: impl Fn(&StateWrite) -> bool) -> Result<(), BlocksError> {
    match executed.writes.iter().find(|write| !explained(write)) {
        Some(write) => Err(unexplained(executed, write)),
        None => Ok(()),
    }
}

fn unexplained(executed: &Executed, write: &StateWrite) -> BlocksError {
    BlocksError::Unexplained { seq: executed.seq, write: Box::new(write.clone()) }
}

fn incoherent(executed: &Executed, why: &'static str) -> BlocksError {
    BlocksError::Incoherent { seq: executed.seq, why }
}
