use crate::orders::{OrderView, Orders};
use crate::timeline::{PhaseChange, PhaseStep, Timeline};
use keel_engine::Engine;
use keel_types::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Trades kept per market; older ones are in the store's history.
pub const TRADES_PER_MARKET_MAX: usize = 1_000;
/// Deposits kept with their result; older ones are in the store's history.
pub const DEPOSITS_MAX: usize = 10_000;

/// An account as the published state knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// `None`: holds a deposit, was never registered.
    pub key: Option<(StarkKey, u8)>,
    /// Total quantums per asset, reservations included.
    pub balances: BTreeMap<AssetId, Amount>,
    /// Only those that are not flat.
    pub positions: BTreeMap<MarketId, PositionValue>,
    /// Only those that were not revoked; some may have expired.
    pub session_keys: BTreeMap<StarkKey, SessionTerms>,
}

/// What is known of a market besides its book.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MarketState {
    pub oracle: Price,
    pub mark: Price,
    /// Time of the price in use.
    pub price_ts: Ts,
    pub funding_index: Amount,
    pub funding_pool: Amount,
    /// Sum of the long positions, base quantums.
    pub open_interest: i128,
}

/// A fill as the public sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trade {
    pub trade: TradeId,
    pub price: Price,
    pub size: Qty,
    pub taker_side: Side,
    pub seq: Seq,
    pub ts: Ts,
}

/// The phase of the chain and the incident that set it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhaseView {
    pub phase: Phase,
    pub incident: IncidentId,
    pub since: Ts,
    /// Of the incident; empty when there never was one.
    pub reasons: LossReasons,
    /// Until then SPOT takes post-only orders alone; 0 when that does not apply.
    pub post_only_until: Ts,
}

/// Chain state as the last released command left it. All of it can be had from the engine, so a view built from a dump
/// equals one that followed the stream; that is tested.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    pub accounts: BTreeMap<Address, Account>,
    pub markets: Vec<MarketState>,
    /// Ever deposited and withdrawn, per asset.
    pub totals: BTreeMap<AssetId, (Amount, Amount)>,
    pub messages_consumed: BTreeSet<u64>,
    pub withdrawal_count: u64,
    pub phase: Phase,
    pub incident: IncidentId,
    pub phase_since: Ts,
    pub incidents: BTreeMap<IncidentId, IncidentValue>,
}

/// What became of a deposit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DepositView {
    pub deposit: Deposit,
    /// The credited asset and quantums, or why nothing was credited.
    pub result: Result<(AssetId, Amount), Reject>,
    pub seq: Seq,
    pub ts: Ts,
}

/// The last batch that a `BatchConfirmed` command named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfirmedView {
    pub confirmed: BatchConfirmed,
    pub seq: Seq,
    pub ts: Ts,
}

/// How far the view is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    pub seq: Seq,
    pub ts: Ts,
    /// Last sealed block.
    pub height: Height,
}

/// The published state: everything a reader may know, as of one released record. Never ahead of the journal.
#[derive(Clone, Debug)]
pub struct View {
    genesis: Arc<Genesis>,
    pub(crate) state: State,
    pub(crate) orders: Orders,
    at: Position,
    /// Newest last, per market.
    trades: Vec<VecDeque<Trade>>,
    deposits: BTreeMap<u64, DepositView>,
    confirmed: Option<ConfirmedView>,
    /// Markets whose median is held; until a price is used.
    held: BTreeSet<MarketId>,
    post_only_until: Ts,
    timeline: Timeline,
}

impl View {
    /// From everything an engine holds: its chain state as writes, its open orders, and where it is.
    pub fn new(
        genesis: Arc<Genesis>,
        writes: impl IntoIterator<Item = StateWrite>,
        open: impl IntoIterator<Item = OrderUpdate>,
        at: Position,
        post_only_until: Ts,
    ) -> View {
        let markets = genesis.markets.len();
        let mut state = State::genesis(markets);
        writes.into_iter().for_each(|write| state.write(&write));
        let found = PhaseStep {
            seq: at.seq,
            ts: state.phase_since,
            change: PhaseChange::Found,
            phase: state.phase,
            incident: state.incident,
            reasons: state.reasons(),
        };
        let mut view = View {
            state,
            orders: Orders::new(markets),
            trades: vec![VecDeque::new(); markets],
            deposits: BTreeMap::new(),
            confirmed: None,
            held: BTreeSet::new(),
            genesis,
            at,
            post_only_until,
            timeline: Timeline::new(found),
        };
        open.into_iter().for_each(|order| view.orders.apply(order, None));
        view
    }

    /// From a recovered engine.
    pub fn of_engine(genesis: Arc<Genesis>, engine: &Engine) -> View {
        let dump = engine.dump();
        let at = Position { seq: engine.last_seq(), ts: engine.last_ts(), height: engine.height() };
        let view = View::new(genesis, dump.writes, dump.orders, at, engine.phase().post_only_until);
        View { held: engine.held_markets().into_iter().collect(), ..view }
    }

    /// Markets whose newest median moved too far and is not confirmed. [spec exchange, Oracle]
    pub fn held_markets(&self) -> &BTreeSet<MarketId> {
        &self.held
    }

    /// Takes the results of one durable record.
    pub fn apply(&mut self, released: &Released) {
        for executed in &released.executed {
            assert_eq!(executed.seq, self.at.seq.next(), "the published view missed a command");
            self.at.seq = executed.seq;
            self.at.ts = released.ts;
            executed.writes.iter().for_each(|write| self.state.write(write));
            let halts = matches!(executed.command, Command::EnterSafeMode(_));
            // Its orders end together, by the event that counts them.
            for event in executed.events.iter().filter(|event| !halts || !matches!(event, Event::Order(_))) {
                self.event(event, executed, released.ts);
            }
            self.timeline.apply(executed, released.ts);
        }
    }

    fn event(&mut self, event: &Event, executed: &Executed, ts: Ts) {
        let seq = executed.seq;
        match (event, &executed.command) {
            (Event::Order(update), _) => self.orders.apply(*update, Some((seq, ts))),
            (Event::Fill(fill), _) => self.trade(fill, seq, ts),
            (Event::BlockSealed { height }, _) => self.at.height = *height,
            (Event::BatchConfirmed { .. }, Command::BatchConfirmed(confirmed)) => {
                self.confirmed = Some(ConfirmedView { confirmed: *confirmed, seq, ts });
            }
            (Event::Deposited { asset, amount, .. }, Command::Deposit(deposit)) => {
                self.deposit(DepositView { deposit: *deposit, result: Ok((*asset, *amount)), seq, ts });
            }
            (Event::DepositRefused { reject, .. }, Command::Deposit(deposit)) => {
                self.deposit(DepositView { deposit: *deposit, result: Err(*reject), seq, ts });
            }
            (Event::PriceHeld { market, .. }, _) => drop(self.held.insert(*market)),
            (Event::Price { market, .. }, _) => drop(self.held.remove(market)),
            (Event::SafeModeEntered { incident, cancelled, .. }, _) => {
                self.post_only_until = Ts(0);
                self.orders.end_all(*incident, *cancelled, (seq, ts));
            }
            (Event::PhaseChanged { .. }, Command::SetPhase(set)) => self.post_only_until = set.post_only_until,
            _ => {}
        }
    }

    fn trade(&mut self, fill: &Fill, seq: Seq, ts: Ts) {
        let trades = &mut self.trades[usize::from(fill.market.0)];
        if trades.len() >= TRADES_PER_MARKET_MAX {
            trades.pop_front();
        }
        let Fill { trade, price, size, taker_side, .. } = *fill;
        trades.push_back(Trade { trade, price, size, taker_side, seq, ts });
    }

    fn deposit(&mut self, deposit: DepositView) {
        self.deposits.insert(deposit.deposit.message_nonce, deposit);
        if self.deposits.len() > DEPOSITS_MAX {
            self.deposits.pop_first();
        }
    }

    /// The rules of the chain.
    pub fn genesis(&self) -> &Arc<Genesis> {
        &self.genesis
    }
    /// How far the view is.
    pub fn at(&self) -> Position {
        self.at
    }
    /// Chain state.
    pub fn state(&self) -> &State {
        &self.state
    }
    /// Open orders, books and orders that ended lately.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }
    /// An account, registered or only funded.
    pub fn account(&self, account: Address) -> Option<&Account> {
        self.state.accounts.get(&account)
    }
    /// A market's prices; `None` for a market that genesis does not list.
    pub fn market(&self, market: MarketId) -> Option<&MarketState> {
        self.state.markets.get(usize::from(market.0))
    }
    /// The last trades of a market since this process started, newest first.
    pub fn trades(&self, market: MarketId) -> impl Iterator<Item = &Trade> {
        self.trades.get(usize::from(market.0)).into_iter().flat_map(|trades| trades.iter().rev())
    }
    /// A deposit executed since this process started.
    pub fn deposit_of(&self, message_nonce: u64) -> Option<&DepositView> {
        self.deposits.get(&message_nonce)
    }
    /// The last batch confirmed since this process started.
    pub fn last_confirmed(&self) -> Option<&ConfirmedView> {
        self.confirmed.as_ref()
    }
    /// Phase steps since this process started, and what the newest incident cancelled.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }
    /// Phase and incident.
    pub fn phase(&self) -> PhaseView {
        let State { phase, incident, phase_since, .. } = &self.state;
        PhaseView {
            phase: *phase,
            incident: *incident,
            since: *phase_since,
            reasons: self.state.reasons(),
            post_only_until: self.post_only_until,
        }
    }
    /// An account's open orders, oldest change first where that is known, then by hash.
    pub fn open_orders(&self, account: Address, market: Option<MarketId>) -> Vec<OrderView> {
        let chosen = |order: &&OrderView| market.is_none_or(|m| m == order.update.market);
        let mut orders: Vec<OrderView> = self.orders.open_of(account).filter(chosen).copied().collect();
        orders.sort_by_key(|order| (order.at, order.update.order));
        orders
    }
}

impl State {
    fn genesis(markets: usize) -> State {
        State {
            accounts: BTreeMap::new(),
            markets: vec![MarketState::default(); markets],
            totals: BTreeMap::new(),
            messages_consumed: BTreeSet::new(),
            withdrawal_count: 0,
            phase: Phase::Halted,
            incident: IncidentId(0),
            phase_since: Ts(0),
            incidents: BTreeMap::new(),
        }
    }

    /// Of the newest incident.
    fn reasons(&self) -> LossReasons {
        self.incidents.get(&self.incident).map_or(LossReasons::default(), |incident| incident.reasons)
    }

    fn write(&mut self, write: &StateWrite) {
        match write {
            StateWrite::Account { account, key, template } => self.account(*account).key = Some((*key, *template)),
            StateWrite::Balance { account, asset, amount } => {
                self.account(*account).balances.insert(*asset, *amount);
            }
            StateWrite::Position { account, market, position } => self.position(*account, *market, *position),
            StateWrite::Funding { market, index, pool } => {
                let market = self.market(*market);
                (market.funding_index, market.funding_pool) = (*index, *pool);
            }
            StateWrite::Price { market, oracle, mark, ts } => {
                let market = self.market(*market);
                (market.oracle, market.mark, market.price_ts) = (*oracle, *mark, *ts);
            }
            StateWrite::Totals { asset, deposited, withdrawn } => {
                self.totals.insert(*asset, (*deposited, *withdrawn));
            }
            StateWrite::MessageConsumed { message_nonce } => {
                self.messages_consumed.insert(*message_nonce);
            }
            StateWrite::WithdrawalCount { count } => self.withdrawal_count = *count,
            StateWrite::Phase { phase, incident, since } => {
                (self.phase, self.incident, self.phase_since) = (*phase, *incident, *since);
            }
            StateWrite::Incident(incident) => {
                self.incidents.insert(incident.incident, *incident);
            }
            StateWrite::SessionKey { account, key, terms, revoked } => {
                let keys = &mut self.account(*account).session_keys;
                match revoked {
                    Seq(0) => drop(keys.insert(*key, terms.clone())),
                    _ => drop(keys.remove(key)),
                }
            }
            // Genesis itself; the view has it already.
            StateWrite::Market(_) | StateWrite::Asset(_) | StateWrite::Rules => {}
        }
    }

    fn position(&mut self, account: Address, market: MarketId, position: PositionValue) {
        let positions = &mut self.account(account).positions;
        let before = match position.size {
            0 => positions.remove(&market),
            _ => positions.insert(market, position),
        };
        let before = before.map_or(0, |position| position.size);
        self.market(market).open_interest += position.size.max(0) - before.max(0);
    }

    fn account(&mut self, account: Address) -> &mut Account {
        self.accounts.entry(account).or_default()
    }

    fn market(&mut self, market: MarketId) -> &mut MarketState {
        &mut self.markets[usize::from(market.0)]
    }
}
