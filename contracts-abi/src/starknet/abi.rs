//! Calls and events of the exchange class: selectors, calldata, keys and data, as `starknet/src/interface.cairo` and
//! `exchange.cairo` declare them. A signed amount is a felt, negative ones below zero modulo the prime.

use super::{SCOPE_TRADE, halves};
use keel_types::{
    Address, Amount, AssetId, Bytes32, Fill, FillSide, Genesis, IncidentId, IncidentValue, MarketId, MarketKind,
    MessageHash, Phase, PositionValue, Price, Seq, SessionTerms, Side, StarkKey, Ts, Withdrawal,
};
use starknet_types_core::felt::Felt;

macro_rules! selectors {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $selector:literal;)+) => {
        $($(#[$doc])* pub const $name: Felt = Felt::from_hex_unchecked($selector);)+
        #[cfg(test)]
        const SELECTORS: &[(&str, Felt)] = &[$(($text, $name)),+];
    };
}
selectors! {
    /// L1 handler: a deposit of the bridge, payload (token, recipient, amount in units of the token).
    HANDLE_DEPOSIT = "handle_deposit", "0x2d757788a8d8d6f21d1cd40bce38a8222d70654214e96ff95d8086e684fbee5";
    /// Entry point of the operator's account.
    EXECUTE = "__execute__", "0x15d40a3d6ca2ac30f4031e42be28da9b056fef9bb7357ac5e85627ee876e5ad";
    REGISTER = "register", "0x1007bd789f73e08c2714644c55b11c7d202931d717def434e3c9caa12a9f583";
    SET_SESSION_KEY = "set_session_key", "0x30f592f38a203afa6c61dc2df0a204e25dbae666abea5de1de86b0df6c4f09f";
    REVOKE_SESSION_KEY = "revoke_session_key", "0x32d4c11046940bbba0d48557b365ca002c6adc3f58d28671c8b7542ab7d60e9";
    SETTLE_FILLS = "settle_fills", "0x3d83cb197bb24c4686dfff59df4d5b4bbf95d3b4b189b7bb3d5e07529180ed5";
    SET_FUNDING = "set_funding", "0x32fa74b5c76b51fecb2209f74d3bb128f01973899352e5a03bbc50b4bd0fff1";
    SET_PRICES = "set_prices", "0x128cbce8efbfbe7ae5f367042e6acf3cc67d2b94baca8ff005ed81566acb2c2";
    TRANSFER = "transfer", "0x83afd3f4caedc6eebf44246fe54e38c95e3179a5ec9ea81740eca5b482d12e";
    WITHDRAW = "withdraw", "0x15511cc3694f64379908437d6d64458dc76d02482052bfb8a5b33a72c054c77";
    ENTER_SAFE_MODE = "enter_safe_mode", "0x36f7fdf72573f2a4ddb2bf05126cd0ec3225b0e85f14d7c9e8d674e362629e1";
    SET_PHASE = "set_phase", "0x2989878820a1ecfa4b2c2819a35543b6de28a564e0e089e5defc549069e514";
    LIST_ASSET = "list_asset", "0x236c0d851bbdd8d17be77082ff789218a91e0a68f64ba6d19042facdef72ac5";
    LIST_MARKET = "list_market", "0x6e03564e644498e35f125f92a61e196d3d8fefe303d74ab50855dacd51c0d6";
    EVENT_TRADE = "Trade", "0x2e0a012a863e6b614014d113e7285b06e30d2999e42e6e03ba2ef6158b0a8f1";
    EVENT_REGISTERED = "Registered", "0x1d2e174878da0d37d30e459c46a086c396c158c8b5d33d7ec5b32e77902c084";
    EVENT_SESSION_KEY_SET = "SessionKeySet", "0x12c22f3081b1dc6efb0d20f0a4f7e43e8d0f2157e1c62753f2a587c8180252e";
    EVENT_SESSION_KEY_REVOKED = "SessionKeyRevoked", "0x14e38d4cddc27df1bd8c116680c9ec73cf13b52c630a9af72d7ee0967034b17";
    EVENT_DEPOSITED = "Deposited", "0x69105484e3b5f553164aa6de1f67321ea2757275a5e614365c90b9ed0a5e9b";
    EVENT_WITHDRAWN = "Withdrawn", "0x36a4d15ab9e146faab90d4abc1c0cad17c4ded24551c781ba100392b5a70248";
    EVENT_TRANSFERRED = "Transferred", "0x1b04a2c1e3fa26066bbdae19ca1d8cb7278696bf149e13ee3e13b5988c33ebb";
    EVENT_PRICE_SET = "PriceSet", "0x249ce8a11fa7ce734ab6bb809ce5299630babecf89c11083c0f5fab9956e425";
    EVENT_FUNDING_SET = "FundingSet", "0x39cbfc420451976a98c24d518c30cf227dcbe30f954e231dd4d353e2de2f0d0";
    EVENT_PHASE_CHANGED = "PhaseChanged", "0x3335213f126444d5a38bcecd3b3d9643f8b94ac1e2174e58f4280a2096fa222";
    EVENT_SAFE_MODE_ENTERED = "SafeModeEntered", "0x3973ed66d350dc89a097ec697ba1eab1fef88e6e4845f822f4a24ed0d3db18";
    EVENT_ASSET_LISTED = "AssetListed", "0xb7f49a78c67c5bfc49bc9dca21a4e8addb762ee71ef78175fbb9cf52e24b85";
    EVENT_MARKET_LISTED = "MarketListed", "0x14e9341b7aeaa2b0da7ca300ed0d85da3aa04d3fef72aa3605e30b012b793e7";
}

/// A call of one contract by another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    pub to: Address,
    pub selector: Felt,
    pub calldata: Vec<Felt>,
}

impl Call {
    /// Calldata of a transaction of an account that makes these calls: `__execute__(calls)`.
    pub fn execute_calldata(calls: &[Call]) -> Vec<Felt> {
        let mut calldata = vec![Felt::from(calls.len())];
        for call in calls {
            calldata.extend([call.to.0, call.selector, Felt::from(call.calldata.len())]);
            calldata.extend_from_slice(&call.calldata);
        }
        calldata
    }
}

/// The new balance of an account, within [settle_fills].
pub type BalanceUpdate = (Address, AssetId, Amount);
/// The new position of an account, within [settle_fills].
pub type PositionUpdate = (Address, MarketId, PositionValue);
/// The new funding index and pool of a market.
pub type FundingUpdate = (MarketId, Amount, Amount);
/// The new oracle and mark price of a market.
pub type PriceUpdate = (MarketId, Price, Price);

/// `register`.
pub fn register(genesis: &Genesis, account: Address, key: StarkKey, template: u8) -> Call {
    call(genesis, REGISTER, vec![account.0, key.0, template.into()])
}

/// `settle_fills`: fills of one market, and every word they changed. `fills` of another market are a mistake and panic.
pub fn settle_fills(
    genesis: &Genesis,
    market: MarketId,
    fills: &[Fill],
    balances: &[BalanceUpdate],
    positions: &[PositionUpdate],
    funding: &[FundingUpdate],
) -> Call {
    let mut calldata = vec![market.0.into(), fills.len().into()];
    for fill in fills {
        assert_eq!(fill.market, market, "settle_fills takes the fills of one market");
        calldata.extend([fill.trade.0.into(), fill.price.0.into(), fill.size.0.into(), side(fill.taker_side)]);
        calldata.push(fill.maker.account.0);
        calldata.extend(outcome(&fill.maker));
        calldata.push(fill.taker.account.0);
        calldata.extend(outcome(&fill.taker));
    }
    calldata.push(balances.len().into());
    for (account, asset, amount) in balances {
        calldata.extend([account.0, asset.0.into(), amount.0.into()]);
    }
    calldata.push(positions.len().into());
    for (account, market, position) in positions {
        calldata.extend([account.0, market.0.into()]);
        calldata.extend([position.size, position.cost, position.funding_index].map(Felt::from));
    }
    calldata.extend(funding_words(funding));
    call(genesis, SETTLE_FILLS, calldata)
}

/// `set_funding`.
pub fn set_funding(genesis: &Genesis, funding: &[FundingUpdate]) -> Call {
    call(genesis, SET_FUNDING, funding_words(funding))
}

/// `set_prices`: prices taken into use at `ts`.
pub fn set_prices(genesis: &Genesis, prices: &[PriceUpdate], ts: Ts) -> Call {
    let mut calldata = vec![prices.len().into()];
    for (market, oracle, mark) in prices {
        calldata.extend([Felt::from(market.0), oracle.0.into(), mark.0.into()]);
    }
    calldata.push(ts.0.into());
    call(genesis, SET_PRICES, calldata)
}

/// `set_session_key`.
pub fn set_session_key(genesis: &Genesis, account: Address, key: StarkKey, terms: &SessionTerms) -> Call {
    let mut calldata = vec![account.0, key.0, terms.expiry.0.into(), SCOPE_TRADE, terms.markets.len().into()];
    calldata.extend(terms.markets.iter().map(|market| Felt::from(market.0)));
    calldata.push(terms.max_order_notional.0.into());
    call(genesis, SET_SESSION_KEY, calldata)
}

/// `revoke_session_key`.
pub fn revoke_session_key(genesis: &Genesis, account: Address, key: StarkKey, seq: Seq) -> Call {
    call(genesis, REVOKE_SESSION_KEY, vec![account.0, key.0, seq.0.into()])
}

/// `transfer`.
pub fn transfer(
    genesis: &Genesis,
    sender: Address,
    recipient: Address,
    asset: AssetId,
    amount: Amount,
    hash: MessageHash,
) -> Call {
    call(genesis, TRANSFER, vec![sender.0, recipient.0, asset.0.into(), amount.0.into(), hash.0])
}

/// `withdraw`. The message it sends is [withdrawal_message].
pub fn withdraw(genesis: &Genesis, withdrawal: &Withdrawal) -> Call {
    let w = withdrawal;
    let amount: Felt = w.amount.0.into();
    let calldata = vec![w.account.0, w.asset.0.into(), amount, w.recipient.0, w.id.into(), w.hash.0];
    call(genesis, WITHDRAW, calldata)
}

/// Payload of the message that a withdrawal sends to the bridge: (token, recipient, amount in units of the token, withdrawal).
pub fn withdrawal_message(withdrawal: &Withdrawal) -> Vec<Felt> {
    vec![withdrawal.token.0, withdrawal.recipient.0, withdrawal.l1_amount.into(), withdrawal.id.into()]
}

/// `enter_safe_mode`. `cancel_root`: over the cancelled orders, zero when there were none.
pub fn enter_safe_mode(genesis: &Genesis, incident: &IncidentValue, cancel_root: Felt, since: Ts) -> Call {
    let mut calldata = incident_words(incident, cancel_root);
    calldata.push(since.0.into());
    call(genesis, ENTER_SAFE_MODE, calldata)
}

/// `set_phase`. `integrity_report` is zero unless it opens SPOT.
pub fn set_phase(genesis: &Genesis, incident: IncidentId, phase: Phase, since: Ts, integrity_report: &Bytes32) -> Call {
    let (low, high) = halves(integrity_report);
    let calldata = vec![incident.0.into(), (phase as u8).into(), since.0.into(), low.into(), high.into()];
    call(genesis, SET_PHASE, calldata)
}

/// An event of the exchange as a receipt carries it; the sender is the exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExchangeEvent {
    pub keys: Vec<Felt>,
    pub data: Vec<Felt>,
}

/// `Trade`: keys (market, maker, taker).
pub fn event_trade(fill: &Fill) -> ExchangeEvent {
    let mut data = vec![fill.trade.0.into(), fill.price.0.into(), fill.size.0.into(), side(fill.taker_side)];
    data.extend(outcome(&fill.maker));
    data.extend(outcome(&fill.taker));
    ExchangeEvent { keys: vec![EVENT_TRADE, fill.market.0.into(), fill.maker.account.0, fill.taker.account.0], data }
}

/// `Registered`: key (account).
pub fn event_registered(account: Address, key: StarkKey, template: u8) -> ExchangeEvent {
    ExchangeEvent { keys: vec![EVENT_REGISTERED, account.0], data: vec![key.0, template.into()] }
}

/// `Deposited`: keys (account, asset); the amount is in quantums.
pub fn event_deposited(account: Address, asset: AssetId, amount: Amount, message_nonce: u64) -> ExchangeEvent {
    ExchangeEvent {
        keys: vec![EVENT_DEPOSITED, account.0, asset.0.into()],
        data: vec![amount.0.into(), message_nonce.into()],
    }
}

/// `Withdrawn`: keys (account, asset); the amount is in quantums.
pub fn event_withdrawn(withdrawal: &Withdrawal) -> ExchangeEvent {
    let w = withdrawal;
    ExchangeEvent {
        keys: vec![EVENT_WITHDRAWN, w.account.0, w.asset.0.into()],
        data: vec![w.amount.0.into(), w.recipient.0, w.id.into(), w.hash.0],
    }
}

/// `SessionKeySet`: key (account).
pub fn event_session_key_set(account: Address, key: StarkKey, expiry: Ts) -> ExchangeEvent {
    ExchangeEvent { keys: vec![EVENT_SESSION_KEY_SET, account.0], data: vec![key.0, expiry.0.into()] }
}

/// `SessionKeyRevoked`: key (account).
pub fn event_session_key_revoked(account: Address, key: StarkKey, seq: Seq) -> ExchangeEvent {
    ExchangeEvent { keys: vec![EVENT_SESSION_KEY_REVOKED, account.0], data: vec![key.0, seq.0.into()] }
}

/// `Transferred`: keys (sender, recipient); the amount is in quantums.
pub fn event_transferred(
    sender: Address,
    recipient: Address,
    asset: AssetId,
    amount: Amount,
    hash: MessageHash,
) -> ExchangeEvent {
    ExchangeEvent {
        keys: vec![EVENT_TRANSFERRED, sender.0, recipient.0],
        data: vec![asset.0.into(), amount.0.into(), hash.0],
    }
}

/// `PriceSet`: key (market).
pub fn event_price_set((market, oracle, mark): PriceUpdate, ts: Ts) -> ExchangeEvent {
    ExchangeEvent { keys: vec![EVENT_PRICE_SET, market.0.into()], data: vec![oracle.0.into(), mark.0.into(), ts.0.into()] }
}

/// `FundingSet`: key (market).
pub fn event_funding_set((market, index, pool): FundingUpdate) -> ExchangeEvent {
    ExchangeEvent { keys: vec![EVENT_FUNDING_SET, market.0.into()], data: vec![index.0.into(), pool.0.into()] }
}

/// `PhaseChanged`: key (incident).
pub fn event_phase_changed(incident: IncidentId, phase: Phase, since: Ts) -> ExchangeEvent {
    ExchangeEvent { keys: vec![EVENT_PHASE_CHANGED, incident.0.into()], data: vec![(phase as u8).into(), since.0.into()] }
}

/// `SafeModeEntered`: key (incident).
pub fn event_safe_mode_entered(incident: &IncidentValue, cancel_root: Felt) -> ExchangeEvent {
    let mut words = incident_words(incident, cancel_root);
    let data = words.split_off(1);
    ExchangeEvent { keys: vec![EVENT_SAFE_MODE_ENTERED, words[0]], data }
}

/// `MarketListed`: key (market). Panics when the market is not in the genesis.
pub fn event_market_listed(genesis: &Genesis, market: MarketId) -> ExchangeEvent {
    let spec = genesis.market(market).expect("a listed market is in the genesis");
    let kind = match spec.kind {
        MarketKind::Spot { .. } => super::KIND_SPOT,
        MarketKind::Perpetual(_) => super::KIND_PERPETUAL,
    };
    ExchangeEvent {
        keys: vec![EVENT_MARKET_LISTED, market.0.into()],
        data: vec![super::short_string(&spec.name), kind.into()],
    }
}

fn call(genesis: &Genesis, selector: Felt, calldata: Vec<Felt>) -> Call {
    Call { to: genesis.exchange, selector, calldata }
}

fn side(side: Side) -> Felt {
    match side {
        Side::Buy => Felt::ZERO,
        Side::Sell => Felt::ONE,
    }
}

fn outcome(party: &FillSide) -> [Felt; 3] {
    [party.order.0, party.fee.0.into(), party.realized_pnl.0.into()]
}

fn funding_words(funding: &[FundingUpdate]) -> Vec<Felt> {
    let mut words = vec![Felt::from(funding.len())];
    for (market, index, pool) in funding {
        words.extend([Felt::from(market.0), index.0.into(), pool.0.into()]);
    }
    words
}

fn incident_words(incident: &IncidentValue, cancel_root: Felt) -> Vec<Felt> {
    vec![
        incident.incident.0.into(),
        incident.reasons.0.into(),
        incident.observed_ts.0.into(),
        incident.seq.0.into(),
        incident.cancelled.into(),
        cancel_root,
    ]
}

#[cfg(test)]
mod tests;
