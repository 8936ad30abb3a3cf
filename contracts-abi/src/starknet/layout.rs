//! Storage of the exchange: where every [StateWrite] stands in the contract's storage, and back.
//!
//! The variables and records are those of `starknet/src/exchange.cairo` and `layout.cairo`. A record stands in consecutive
//! slots from `pedersen(.. pedersen(sn_keccak(name), key1) .., keyN) mod (2^251 - 256)`.

use super::{
    below_address_bound, decode_count, decode_signed, decode_word, encode_count, encode_signed, encode_word, short_string,
    starknet_keccak,
};
use keel_types::{
    Address, Amount, AssetId, Bytes32, Genesis, IncidentId, IncidentValue, LossReasons, MarketId, MarketKind, Phase,
    PositionValue, Price, Seq, SessionTerms, StarkKey, StateWrite, Ts,
};
use starknet_types_core::felt::Felt;
use starknet_types_core::hash::{Pedersen, StarkHash};
use std::collections::HashMap;

/// First word of every record, and the value of the variable `version`.
pub const LAYOUT_VERSION: u8 = 1;
/// Stored under `kind` of a market.
pub const KIND_SPOT: u8 = 1;
/// Stored under `kind` of a market.
pub const KIND_PERPETUAL: u8 = 2;
/// `base_asset` of a perpetual, which has none.
pub const NO_ASSET: u16 = u16::MAX;
/// Cancel root of an incident that cancelled nothing: the short string `NONE`.
pub const NO_CANCEL_ROOT: Felt = Felt::from_hex_unchecked("0x4e4f4e45");
/// Slot of the cancel root within an incident's record.
pub const CANCEL_ROOT_OFFSET: u64 = 5;

/// The scope of every session key there is: trade. Bit 0 of its word.
pub(super) const SCOPE_TRADE: Felt = Felt::ONE;

/// Slots whose address is kept, at about 100 bytes each. When full, all are dropped: a slot costs two Pedersen hashes to find again.
const CACHED_SLOTS_MAX: usize = 1 << 19;

macro_rules! variables {
    ($($variant:ident = $name:literal, $slots:literal;)+) => {
        /// A storage variable of the exchange.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Variable { $($variant),+ }

        impl Variable {
            /// Every variable, in the order of the Cairo source.
            pub const ALL: &'static [Variable] = &[$(Variable::$variant),+];
            /// Its name in the Cairo source.
            pub fn name(self) -> &'static str {
                match self { $(Variable::$variant => $name),+ }
            }
            /// Slots of its record.
            pub fn slots(self) -> u64 {
                match self { $(Variable::$variant => $slots),+ }
            }
        }
    };
}
variables! {
    Version = "version", 1;
    Rules = "rules", 11;
    Publishers = "publishers", 1;
    AssetCount = "asset_count", 1;
    Assets = "assets", 5;
    MarketCount = "market_count", 1;
    Markets = "markets", 24;
    Accounts = "accounts", 3;
    SessionKeys = "session_keys", 6;
    SessionMarkets = "session_markets", 1;
    Balances = "balances", 1;
    Positions = "positions", 4;
    Funding = "funding", 3;
    Prices = "prices", 4;
    Totals = "totals", 3;
    MessagesConsumed = "messages_consumed", 1;
    WithdrawalCount = "withdrawal_count", 1;
    Phase = "phase", 4;
    Incidents = "incidents", 8;
}

/// A record of the exchange's storage: a variable with its keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    Version,
    Rules,
    Publisher(u8),
    AssetCount,
    Asset(AssetId),
    MarketCount,
    Market(MarketId),
    Account(Address),
    SessionKey(Address, StarkKey),
    SessionMarket(Address, StarkKey, u16),
    Balance(Address, AssetId),
    Position(Address, MarketId),
    Funding(MarketId),
    Price(MarketId),
    Totals(AssetId),
    MessageConsumed(u64),
    WithdrawalCount,
    Phase,
    Incident(IncidentId),
}

impl Key {
    /// The record a write goes to; for [StateWrite::Rules] the main one of several.
    pub fn of(write: &StateWrite) -> Key {
        match write {
            StateWrite::Account { account, .. } => Key::Account(*account),
            StateWrite::Balance { account, asset, .. } => Key::Balance(*account, *asset),
            StateWrite::Position { account, market, .. } => Key::Position(*account, *market),
            StateWrite::Funding { market, .. } => Key::Funding(*market),
            StateWrite::Price { market, .. } => Key::Price(*market),
            StateWrite::Totals { asset, .. } => Key::Totals(*asset),
            StateWrite::MessageConsumed { message_nonce } => Key::MessageConsumed(*message_nonce),
            StateWrite::WithdrawalCount { .. } => Key::WithdrawalCount,
            StateWrite::Phase { .. } => Key::Phase,
            StateWrite::Incident(value) => Key::Incident(value.incident),
            StateWrite::Market(market) => Key::Market(*market),
            StateWrite::Asset(asset) => Key::Asset(*asset),
            StateWrite::Rules => Key::Rules,
            StateWrite::SessionKey { account, key, .. } => Key::SessionKey(*account, *key),
        }
    }

    /// The storage variable.
    pub fn variable(&self) -> Variable {
        self.parts().0
    }

    /// The variable and its keys as felts, the first of them an account where there is one.
    fn parts(&self) -> (Variable, [Option<Felt>; 3]) {
        let none = [None; 3];
        let one = |key: Felt| [Some(key), None, None];
        let two = |first: Felt, second: Felt| [Some(first), Some(second), None];
        match *self {
            Key::Version => (Variable::Version, none),
            Key::Rules => (Variable::Rules, none),
            Key::Publisher(index) => (Variable::Publishers, one(index.into())),
            Key::AssetCount => (Variable::AssetCount, none),
            Key::Asset(asset) => (Variable::Assets, one(asset.0.into())),
            Key::MarketCount => (Variable::MarketCount, none),
            Key::Market(market) => (Variable::Markets, one(market.0.into())),
            Key::Account(account) => (Variable::Accounts, one(account.0)),
            Key::SessionKey(account, key) => (Variable::SessionKeys, two(account.0, key.0)),
            Key::SessionMarket(account, key, index) => {
                (Variable::SessionMarkets, [Some(account.0), Some(key.0), Some(index.into())])
            }
            Key::Balance(account, asset) => (Variable::Balances, two(account.0, asset.0.into())),
            Key::Position(account, market) => (Variable::Positions, two(account.0, market.0.into())),
            Key::Funding(market) => (Variable::Funding, one(market.0.into())),
            Key::Price(market) => (Variable::Prices, one(market.0.into())),
            Key::Totals(asset) => (Variable::Totals, one(asset.0.into())),
            Key::MessageConsumed(nonce) => (Variable::MessagesConsumed, one(nonce.into())),
            Key::WithdrawalCount => (Variable::WithdrawalCount, none),
            Key::Phase => (Variable::Phase, none),
            Key::Incident(incident) => (Variable::Incidents, one(incident.0.into())),
        }
    }

    /// Whether the record is written again and again, so that its address is worth keeping.
    fn is_hot(&self) -> bool {
        !matches!(
            self,
            Key::MessageConsumed(_) | Key::SessionKey(..) | Key::SessionMarket(..) | Key::Account(_) | Key::Publisher(_)
        )
    }

    /// Address of the record's first slot, computed anew. [Layout::slot] remembers.
    pub fn slot(&self) -> Felt {
        let (variable, keys) = self.parts();
        let base = starknet_keccak(variable.name());
        below_address_bound(keys.iter().flatten().fold(base, |hash, key| Pedersen::hash(&hash, key)))
    }
}

/// Why storage does not hold what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadErrorKind {
    /// The word is absent.
    Missing,
    /// The word cannot be what should stand there.
    Malformed,
    /// The word is not the one the genesis says.
    Differs,
}

/// A word of the exchange's storage that is not as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadError {
    pub key: Key,
    /// Slot within the record.
    pub offset: u64,
    pub kind: LoadErrorKind,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            LoadErrorKind::Missing => "missing",
            LoadErrorKind::Malformed => "malformed",
            LoadErrorKind::Differs => "not what the genesis says",
        };
        write!(f, "exchange storage: {:?}, word {}, is {kind}", self.key, self.offset)
    }
}

impl std::error::Error for LoadError {}

/// Maps chain state to storage slots, remembering the slots of records it met.
#[derive(Default)]
pub struct Layout {
    slots: HashMap<Key, Felt>,
    /// pedersen(variable, account): shared by an account's balances, and by its positions.
    prefixes: HashMap<(Variable, Felt), Felt>,
    bases: HashMap<Variable, Felt>,
}

impl Layout {
    /// With nothing remembered.
    pub fn new() -> Layout {
        Layout::default()
    }

    /// Address of the record's first slot.
    pub fn slot(&mut self, key: Key) -> Felt {
        if let Some(slot) = self.slots.get(&key) {
            return *slot;
        }
        let (variable, keys) = key.parts();
        let base = *self.bases.entry(variable).or_insert_with(|| starknet_keccak(variable.name()));
        if !key.is_hot() {
            return below_address_bound(keys.iter().flatten().fold(base, |hash, key| Pedersen::hash(&hash, key)));
        }
        if self.slots.len() >= CACHED_SLOTS_MAX {
            self.slots.clear();
            self.prefixes.clear();
        }
        let hash = match keys {
            [Some(first), Some(second), None] => {
                let prefix = *self.prefixes.entry((variable, first)).or_insert_with(|| Pedersen::hash(&base, &first));
                Pedersen::hash(&prefix, &second)
            }
            _ => keys.iter().flatten().fold(base, |hash, key| Pedersen::hash(&hash, key)),
        };
        let slot = below_address_bound(hash);
        self.slots.insert(key, slot);
        slot
    }

    /// The slots of a write, as (key, value); no value is ever zero. Unchanged slots are included: a diff drops those.
    ///
    /// An incident's cancel root is left as it was unless nothing was cancelled; see [Layout::storage_incident].
    /// Panics when the state is impossible: a zero key, price or address.
    pub fn storage(&mut self, genesis: &Genesis, write: &StateWrite) -> Vec<(Felt, Felt)> {
        match write {
            StateWrite::Incident(value) => self.storage_incident(value, None),
            StateWrite::Rules => self.storage_rules(genesis),
            StateWrite::SessionKey { account, key, terms, .. } => {
                let mut slots = Vec::new();
                self.put(Key::of(write), &words(genesis, write), &mut slots);
                for (index, market) in terms.markets.iter().enumerate() {
                    let index = u16::try_from(index).expect("a key names each market once");
                    self.put(Key::SessionMarket(*account, *key, index), &[encode_count(market.0)], &mut slots);
                }
                slots
            }
            write => {
                let mut slots = Vec::new();
                self.put(Key::of(write), &words(genesis, write), &mut slots);
                slots
            }
        }
    }

    /// The slots of an incident. `cancel_root`: root over the cancelled orders, once it is known; without one the slot is left as
    /// it was, unless nothing was cancelled.
    pub fn storage_incident(&mut self, value: &IncidentValue, cancel_root: Option<Felt>) -> Vec<(Felt, Felt)> {
        let root = if value.cancelled == 0 { Some(NO_CANCEL_ROOT) } else { cancel_root };
        let (low, high) = halves(&value.integrity_report);
        let words = [
            version(),
            encode_count(value.reasons.0),
            encode_count(value.observed_ts.0),
            encode_count(value.seq.0),
            encode_count(value.cancelled),
            root.map_or(Felt::ZERO, |root| encode_word(root, "cancel root")),
            encode_count(low),
            encode_count(high),
        ];
        let mut slots = Vec::new();
        self.put(Key::Incident(value.incident), &words, &mut slots);
        slots.retain(|(_, value)| *value != Felt::ZERO);
        slots
    }

    fn storage_rules(&mut self, genesis: &Genesis) -> Vec<(Felt, Felt)> {
        let mut slots = Vec::new();
        self.put(Key::Version, &[version()], &mut slots);
        self.put(Key::Rules, &words(genesis, &StateWrite::Rules), &mut slots);
        for (index, key) in genesis.oracle.publishers.iter().enumerate() {
            let index = u8::try_from(index).expect("genesis has at most 255 publishers");
            self.put(Key::Publisher(index), &[encode_word(key.0, "publisher key")], &mut slots);
        }
        self.put(Key::AssetCount, &[encode_count(genesis.assets.len() as u64)], &mut slots);
        self.put(Key::MarketCount, &[encode_count(genesis.markets.len() as u64)], &mut slots);
        slots
    }

    fn put(&mut self, key: Key, words: &[Felt], slots: &mut Vec<(Felt, Felt)>) {
        assert_eq!(words.len() as u64, key.variable().slots(), "record of {key:?}");
        let base = self.slot(key);
        slots.extend(words.iter().enumerate().map(|(offset, word)| (base + Felt::from(offset), *word)));
    }

    /// Reads a record back from storage. `read` returns zero for an absent slot. Parameters from genesis are compared with it.
    ///
    /// Errors name the word. Keys without a [StateWrite] of their own (publishers, counts) are read with [Layout::words].
    pub fn load(
        &mut self,
        genesis: &Genesis,
        expected: &StateWrite,
        read: &mut dyn FnMut(Felt) -> Felt,
    ) -> Result<StateWrite, LoadError> {
        let key = Key::of(expected);
        let stored = self.words(key, read);
        let record = Record { key, words: &stored };
        if key.variable().slots() > 1 {
            record.same(0, version())?;
        }
        if let StateWrite::SessionKey { account, key, .. } = expected {
            let session = (record.count(1)?, record.same(2, SCOPE_TRADE)?, record.count::<u16>(3)?, record.count::<u64>(4)?);
            let (expiry, (), count, max_order_notional) = session;
            let revoked = Seq(record.count(5)?);
            let mut markets = Vec::new();
            for index in 0..count {
                let at = Key::SessionMarket(*account, *key, index);
                let words = self.words(at, read);
                markets.push(MarketId(Record { key: at, words: &words }.count(0)?));
            }
            let max_order_notional = Amount(max_order_notional.into());
            let terms = SessionTerms { expiry: Ts(expiry), markets, max_order_notional };
            return Ok(StateWrite::SessionKey { account: *account, key: *key, terms, revoked });
        }
        Ok(match *expected {
            StateWrite::SessionKey { .. } => unreachable!("read above"),
            StateWrite::Account { account, .. } => {
                StateWrite::Account { account, key: StarkKey(record.word(1)?), template: record.count(2)? }
            }
            StateWrite::Balance { account, asset, .. } => {
                StateWrite::Balance { account, asset, amount: Amount(record.signed(0)?) }
            }
            StateWrite::Position { account, market, .. } => {
                let position =
                    PositionValue { size: record.signed(1)?, cost: record.signed(2)?, funding_index: record.signed(3)? };
                StateWrite::Position { account, market, position }
            }
            StateWrite::Funding { market, .. } => {
                StateWrite::Funding { market, index: Amount(record.signed(1)?), pool: Amount(record.signed(2)?) }
            }
            StateWrite::Price { market, .. } => StateWrite::Price {
                market,
                oracle: Price(record.narrow_word(1)?),
                mark: Price(record.narrow_word(2)?),
                ts: Ts(record.count(3)?),
            },
            StateWrite::Totals { asset, .. } => {
                StateWrite::Totals { asset, deposited: Amount(record.signed(1)?), withdrawn: Amount(record.signed(2)?) }
            }
            StateWrite::MessageConsumed { message_nonce } => {
                record.same(0, version())?;
                StateWrite::MessageConsumed { message_nonce }
            }
            StateWrite::WithdrawalCount { .. } => StateWrite::WithdrawalCount { count: record.count(0)? },
            StateWrite::Phase { .. } => {
                let phase: u8 = record.count(1)?;
                let phase = Phase::ALL.get(usize::from(phase)).ok_or(record.error(1, LoadErrorKind::Malformed))?;
                StateWrite::Phase { phase: *phase, incident: IncidentId(record.count(2)?), since: Ts(record.count(3)?) }
            }
            StateWrite::Incident(value) => {
                record.word(CANCEL_ROOT_OFFSET)?;
                StateWrite::Incident(record.incident(value.incident)?)
            }
            StateWrite::Market(_) | StateWrite::Asset(_) | StateWrite::Rules => {
                for (slot, value) in self.storage(genesis, expected) {
                    let base = self.slot(key);
                    let found = read(slot);
                    if found != value {
                        let kind = if found == Felt::ZERO { LoadErrorKind::Missing } else { LoadErrorKind::Differs };
                        let offset = u64::try_from(slot - base).unwrap_or(0);
                        return Err(LoadError { key, offset, kind });
                    }
                }
                expected.clone()
            }
        })
    }

    /// The stored words of a record, as they are.
    pub fn words(&mut self, key: Key, read: &mut dyn FnMut(Felt) -> Felt) -> Vec<Felt> {
        let base = self.slot(key);
        (0..key.variable().slots()).map(|offset| read(base + Felt::from(offset))).collect()
    }
}

/// A record as stored, with the readers of its words.
struct Record<'a> {
    key: Key,
    words: &'a [Felt],
}

impl Record<'_> {
    fn error(&self, offset: u64, kind: LoadErrorKind) -> LoadError {
        LoadError { key: self.key, offset, kind }
    }
    fn word(&self, offset: u64) -> Result<Felt, LoadError> {
        decode_word(self.words[offset as usize]).ok_or(self.error(offset, LoadErrorKind::Missing))
    }
    fn same(&self, offset: u64, expected: Felt) -> Result<(), LoadError> {
        let found = self.word(offset)?;
        if found == expected { Ok(()) } else { Err(self.error(offset, LoadErrorKind::Malformed)) }
    }
    fn narrow_word<T: TryFrom<u128>>(&self, offset: u64) -> Result<T, LoadError> {
        let value = u128::try_from(self.word(offset)?).ok().and_then(|value| T::try_from(value).ok());
        value.ok_or(self.error(offset, LoadErrorKind::Malformed))
    }
    fn count<T: TryFrom<u128>>(&self, offset: u64) -> Result<T, LoadError> {
        let value = decode_count(self.word(offset)?).and_then(|value| T::try_from(value).ok());
        value.ok_or(self.error(offset, LoadErrorKind::Malformed))
    }
    fn signed(&self, offset: u64) -> Result<i128, LoadError> {
        decode_signed(self.word(offset)?).ok_or(self.error(offset, LoadErrorKind::Malformed))
    }
    fn incident(&self, incident: IncidentId) -> Result<IncidentValue, LoadError> {
        let (low, high): (u128, u128) = (self.count(6)?, self.count(7)?);
        let mut integrity_report = Bytes32::default();
        integrity_report.0[..16].copy_from_slice(&high.to_be_bytes());
        integrity_report.0[16..].copy_from_slice(&low.to_be_bytes());
        Ok(IncidentValue {
            incident,
            reasons: LossReasons(self.count(1)?),
            observed_ts: Ts(self.count(2)?),
            seq: Seq(self.count(3)?),
            cancelled: self.count(4)?,
            integrity_report,
        })
    }
}

fn version() -> Felt {
    Felt::from(LAYOUT_VERSION)
}

/// Low and high 128 bits of a big-endian hash.
pub(super) fn halves(hash: &Bytes32) -> (u128, u128) {
    let half = |bytes: &[u8]| u128::from_be_bytes(bytes.try_into().expect("half of 32 bytes"));
    (half(&hash.0[16..]), half(&hash.0[..16]))
}

/// The words of a record; not for incidents, whose root comes from elsewhere.
fn words(genesis: &Genesis, write: &StateWrite) -> Vec<Felt> {
    match write {
        StateWrite::Account { key, template, .. } => {
            vec![version(), encode_word(key.0, "account key"), encode_count(*template)]
        }
        StateWrite::Balance { amount, .. } => vec![encode_signed(amount.0)],
        StateWrite::Position { position, .. } => vec![
            version(),
            encode_signed(position.size),
            encode_signed(position.cost),
            encode_signed(position.funding_index),
        ],
        StateWrite::Funding { index, pool, .. } => vec![version(), encode_signed(index.0), encode_signed(pool.0)],
        StateWrite::Price { oracle, mark, ts, .. } => {
            vec![version(), encode_word(oracle.0, "oracle price"), encode_word(mark.0, "mark price"), encode_count(ts.0)]
        }
        StateWrite::Totals { deposited, withdrawn, .. } => {
            vec![version(), encode_signed(deposited.0), encode_signed(withdrawn.0)]
        }
        StateWrite::MessageConsumed { .. } => vec![version()],
        StateWrite::WithdrawalCount { count } => vec![encode_count(*count)],
        StateWrite::Phase { phase, incident, since } => {
            vec![version(), encode_count(*phase as u8), encode_count(incident.0), encode_count(since.0)]
        }
        StateWrite::Incident(_) => unreachable!("storage_incident encodes incidents"),
        StateWrite::Market(market) => market_words(genesis, *market),
        StateWrite::Asset(asset) => asset_words(genesis, *asset),
        StateWrite::Rules => rules_words(genesis),
        StateWrite::SessionKey { terms, revoked, .. } => vec![
            version(),
            encode_count(terms.expiry.0),
            encode_word(SCOPE_TRADE, "scope"),
            encode_count(terms.markets.len() as u64),
            encode_count(amount_word(terms.max_order_notional)),
            encode_count(revoked.0),
        ],
    }
}

fn amount_word(amount: Amount) -> u128 {
    u128::try_from(amount.0).expect("limits are checked to be non-negative")
}

fn asset_words(genesis: &Genesis, asset: AssetId) -> Vec<Felt> {
    let asset = genesis.asset(asset).expect("a written asset is in the genesis");
    vec![
        version(),
        encode_word(short_string(&asset.symbol), "asset symbol"),
        encode_word(asset.token.0, "asset token"),
        encode_word(asset.quantums_per_l1_unit, "quantums_per_l1_unit"),
        encode_word(asset.deposit_max.0, "deposit_max"),
    ]
}

fn market_words(genesis: &Genesis, market: MarketId) -> Vec<Felt> {
    let market = genesis.market(market).expect("a written market is in the genesis");
    let (kind, base) = match market.kind {
        MarketKind::Spot { base } => (KIND_SPOT, base.0),
        MarketKind::Perpetual(_) => (KIND_PERPETUAL, NO_ASSET),
    };
    let perpetual: [u128; 9] = match market.kind {
        MarketKind::Spot { .. } => [0; 9],
        MarketKind::Perpetual(p) => [
            p.imf_ppm.into(),
            p.mmf_factor_ppm.into(),
            amount_word(p.open_interest_lower),
            amount_word(p.open_interest_upper),
            p.open_interest_max.0.into(),
            p.position_max.0.into(),
            p.funding_rate_max_ppm.into(),
            p.liquidation_fee_ppm.into(),
            amount_word(p.impact_notional),
        ],
    };
    let mut words = vec![
        version(),
        encode_word(short_string(&market.name), "market name"),
        encode_word(kind, "market kind"),
        encode_count(base),
        encode_word(market.tick_size.0, "tick_size"),
        encode_word(market.lot_size.0, "lot_size"),
        encode_signed(market.fee_maker_ppm.into()),
        encode_signed(market.fee_taker_ppm.into()),
        encode_word(market.band_ppm, "band"),
        encode_word(market.notional_min.0, "notional_min"),
        encode_word(market.notional_max.0, "notional_max"),
        encode_word(market.price_max.0, "price_max"),
        encode_word(market.size_max.0, "size_max"),
        encode_count(market.oracle_move_max_ppm),
        encode_word(market.initial_price.0, "initial_price"),
    ];
    words.extend(perpetual.map(encode_count));
    words
}

fn rules_words(genesis: &Genesis) -> Vec<Felt> {
    vec![
        version(),
        encode_word(genesis.rules_version, "rules_version"),
        encode_word(genesis.settlement.layer.chain_id(), "settlement chain_id"),
        encode_word(genesis.operator.0, "operator"),
        encode_word(genesis.settlement.bridge.0, "bridge"),
        encode_word(genesis.fee_account.0, "fee_account"),
        encode_word(genesis.insurance_account.0, "insurance_account"),
        encode_word(genesis.oracle.quorum, "quorum"),
        encode_word(genesis.oracle.publishers.len() as u64, "publisher count"),
        encode_count(genesis.oracle.report_age_max_ms),
        encode_count(genesis.oracle.stale_ms),
    ]
}

#[cfg(test)]
mod tests;
