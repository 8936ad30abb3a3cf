use crate::Engine;
use crate::accounts::{Account, SessionKey};
use crate::engine::Globals;
use crate::market::MarketState;
use keel_ledger::{Holdings, Totals};
use keel_types::*;

/// The whole state as a reader needs it: what the chain stores, and what is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dump {
    /// Every key of chain state with its value: what all writes so far come to. Genesis keys first, then accounts.
    pub writes: Vec<StateWrite>,
    /// Open orders by time, untriggered ones too.
    pub orders: Vec<OrderUpdate>,
    /// Last fill of each market: its number and price; `None` before the first.
    pub last_trades: Vec<Option<(TradeId, Price)>>,
}

/// One key of chain state per function, so that a write and a dump cannot differ.
mod key {
    use super::*;

    pub fn price(market: MarketId, state: &MarketState) -> StateWrite {
        StateWrite::Price { market, oracle: state.oracle, mark: state.mark, ts: state.price_written_ts }
    }
    pub fn funding(market: MarketId, state: &MarketState) -> StateWrite {
        StateWrite::Funding { market, index: Amount(state.funding_index), pool: Amount(state.funding_pool) }
    }
    pub fn totals(asset: AssetId, totals: &Totals) -> StateWrite {
        StateWrite::Totals { asset, deposited: Amount(totals.deposited), withdrawn: Amount(totals.withdrawn) }
    }
    pub fn withdrawals(globals: &Globals) -> StateWrite {
        StateWrite::WithdrawalCount { count: globals.withdrawals }
    }
    pub fn phase(globals: &Globals) -> StateWrite {
        let phase = globals.phase;
        StateWrite::Phase { phase: phase.phase, incident: phase.incident, since: phase.since }
    }
    pub fn session_key(address: Address, key: StarkKey, session: &SessionKey) -> StateWrite {
        StateWrite::SessionKey { account: address, key, terms: session.terms.clone(), revoked: session.revoked }
    }
    pub fn account(address: Address, (key, template): (StarkKey, u8)) -> StateWrite {
        StateWrite::Account { account: address, key, template }
    }
}

impl Engine {
    /// Everything a view is built from, and what an integrity check compares with the store.
    pub fn dump(&self) -> Dump {
        let mut writes = self.genesis_keys();
        for (account, holdings) in self.accounts.all().iter().zip(self.holdings.all_installed()) {
            push_account(&mut writes, account, holdings);
        }
        let orders = self.orders.all_installed().iter().filter(|order| order.is_open());
        let mut orders: Vec<_> = orders.map(|order| (order.turn, self.open_update(order))).collect();
        orders.sort_unstable_by_key(|(turn, _)| *turn);
        let last_trades = self.markets.all_installed().iter();
        Dump {
            writes,
            orders: orders.into_iter().map(|(_, update)| update).collect(),
            last_trades: last_trades.map(|m| (m.trades > 0).then_some((TradeId(m.trades), m.last_price))).collect(),
        }
    }

    fn open_update(&self, order: &crate::order::Order) -> OrderUpdate {
        OrderUpdate {
            order: order.hash,
            account: self.address(order.account),
            market: order.market,
            side: order.side,
            price: order.price,
            client_id: order.client_id,
            state: order.open_state(),
            reason: if order.filled.is_zero() { Reason::None } else { Reason::Trade },
            initiator: if order.filled.is_zero() { Initiator::User } else { Initiator::Engine },
            size: order.size,
            filled: order.filled,
            incident: IncidentId(0),
        }
    }

    /// The keys that exist from genesis on, and the records that only grow.
    fn genesis_keys(&self) -> Vec<StateWrite> {
        let mut writes = vec![StateWrite::Rules];
        for (i, totals) in self.totals.all_installed().iter().enumerate() {
            let asset = AssetId(i as u16);
            writes.extend([StateWrite::Asset(asset), key::totals(asset, totals)]);
        }
        for (i, state) in self.markets.all_installed().iter().enumerate() {
            let market = MarketId(i as u16);
            writes.extend([StateWrite::Market(market), key::price(market, state)]);
            if self.rules.perpetuals.contains(&market) {
                writes.push(key::funding(market, state));
            }
        }
        writes.extend([key::phase(&self.globals), key::withdrawals(&self.globals)]);
        writes.extend(self.incidents.iter().map(|incident| StateWrite::Incident(*incident)));
        writes.extend(self.messages.iter().map(|message_nonce| StateWrite::MessageConsumed { message_nonce }));
        writes
    }

    /// Chain state the running command changes: found by comparing, so none can be forgotten.
    pub(crate) fn writes(&self) -> Vec<StateWrite> {
        let mut writes = Vec::new();
        if let Some((account, key, template)) = self.plan.key {
            writes.push(key::account(self.address_staged(account), (key, template)));
        }
        if let Some((account, session_key, session)) = &self.plan.session
            && self.accounts.get(*account).session_key(session_key) != Some(session)
        {
            writes.push(key::session_key(self.address(*account), *session_key, session));
        }
        for (index, before, after) in self.holdings.changes() {
            push_holdings(&mut writes, self.address_staged(index), before, after);
        }
        for (index, before, after) in self.markets.changes() {
            let market = MarketId(index as u16);
            let before = before.expect("markets are of genesis");
            if key::price(market, before) != key::price(market, after) {
                writes.push(key::price(market, after));
            }
            if key::funding(market, before) != key::funding(market, after) {
                writes.push(key::funding(market, after));
            }
        }
        for (index, before, after) in self.totals.changes() {
            if before != Some(after) {
                writes.push(key::totals(AssetId(index as u16), after));
            }
        }
        writes.extend(self.plan.message_consumed.map(|message_nonce| StateWrite::MessageConsumed { message_nonce }));
        if self.now.withdrawals != self.globals.withdrawals {
            writes.push(key::withdrawals(&self.now));
        }
        if key::phase(&self.now) != key::phase(&self.globals) {
            writes.push(key::phase(&self.now));
        }
        let incident = self.plan.incident.filter(|value| self.incidents.last() != Some(value));
        writes.extend(incident.map(StateWrite::Incident));
        writes
    }

    /// The address of an account, the new one included.
    fn address_staged(&self, account: u32) -> Address {
        if account < self.accounts.len() {
            return self.address(account);
        }
        self.plan.account_new.expect("only the new account is behind the others")
    }
}

/// From big-endian bytes, as [Account::session_keys] has it.
pub(crate) fn stark_key(bytes: &[u8; 32]) -> StarkKey {
    StarkKey(Felt::from_bytes_be(bytes))
}

fn push_account(writes: &mut Vec<StateWrite>, account: &Account, holdings: &Holdings) {
    writes.extend(account.key.map(|key| key::account(account.address, key)));
    let sessions = account.session_keys.iter();
    writes.extend(sessions.map(|(key, session)| key::session_key(account.address, stark_key(key), session)));
    push_holdings(writes, account.address, None, holdings);
}

/// Balances and positions that the chain knows and that are not as before.
fn push_holdings(writes: &mut Vec<StateWrite>, account: Address, before: Option<&Holdings>, after: &Holdings) {
    for (i, balance) in after.balances.iter().enumerate() {
        let known = before.map(|holdings| &holdings.balances[i]).filter(|balance| balance.listed);
        if balance.listed && known.map(|balance| balance.total) != Some(balance.total) {
            writes.push(StateWrite::Balance { account, asset: AssetId(i as u16), amount: Amount(balance.total) });
        }
    }
    for (i, holding) in after.markets.iter().enumerate() {
        let known = before.map(|holdings| &holdings.markets[i]).filter(|holding| holding.listed);
        if holding.listed && known.map(|holding| holding.position) != Some(holding.position) {
            writes.push(StateWrite::Position { account, market: MarketId(i as u16), position: holding.position });
        }
    }
}
