//! The canonical encoding of an engine: what its digest covers and its snapshot holds. The format is final.
//!
//! ```text
//! section  = tag u8 | number u32 | length u64 | bytes          integers little endian
//! snapshot = "KEELSNAP" | version u32 | section*               to the end
//! digest   = BLAKE3("KEEL_ENGINE_DIGEST" | version u32 | (tag u8 | number u32 | length u64 | BLAKE3(bytes))*)
//! ```
//!
//! | tag | sections, in this order | bytes: borsh of |
//! |---|---|---|
//! | 1 rules | one, number 0 | genesis hash |
//! | 2 globals | one, number 0 | seq, ts, height, batches, withdrawals, phase, operators, graces; marks counted; consumed messages; incidents; liquidations begun; accounts out of grace; number of accounts; number of tag 7; number of tag 9 |
//! | 3 totals | one, number 0 | deposited and withdrawn of each asset |
//! | 4 market | one per market | prices, reports, hold, trades, open interest, funding |
//! | 5 book | one per market | orders in (side, price, time) order: buys, then sells; rising price; the queue |
//! | 8 untriggered | one per market | orders that wait for their trigger, by turn |
//! | 6 accounts | one per 256 accounts, by index | address, key, balances, positions, session keys by rising key, dead man's switch |
//! | 9 cancelled | one per 1,024 orders of a safe-mode record, oldest first, without those of which nothing is left | incident, time, orders in the order of cancellation; nothing in the place of one that was restored |
//! | 7 nonces | one per second at which nonces are forgotten, rising; numbers from 0 | the second; then (account, nonce, entry) in order of use, to the end |
//!
//! The digest hashes the hashes of sections: those of books, account pages and cancelled orders are kept until something in them changes, those of
//! nonces grow with them. Indices (what is due, too), free slots, reservations and open sizes are not encoded: they follow from the rest, and restoring
//! computes them.

use crate::Engine;
use crate::accounts::{NonceEntry, SessionKey};
use crate::cancelled::{Cancelled, Page, PageImage};
use crate::command::Liquidation;
use crate::due::Due;
use crate::dump::stark_key;
use crate::engine::Globals;
use crate::market::MarketState;
use crate::order::{Order, Turn, is_trigger, triggered_type};
use crate::ranges::Ranges;
use crate::rules::reserve_ppm;
use crate::stage::Staged;
use borsh::{BorshDeserialize, BorshSerialize};
use keel_ledger::{Holdings, Totals};
use keel_types::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

/// Version of the encoding, in every snapshot and digest.
pub const SNAPSHOT_VERSION: u32 = 3;
const SNAPSHOT_MAGIC: &[u8; 8] = b"KEELSNAP";
const DIGEST_DOMAIN: &[u8] = b"KEEL_ENGINE_DIGEST";
/// Accounts in one section: few enough to hash again when one changes, many enough that sections are few.
const ACCOUNTS_PER_PAGE: usize = 256;

const TAG_RULES: u8 = 1;
const TAG_GLOBALS: u8 = 2;
const TAG_TOTALS: u8 = 3;
const TAG_MARKET: u8 = 4;
const TAG_BOOK: u8 = 5;
const TAG_ACCOUNTS: u8 = 6;
const TAG_NONCES: u8 = 7;
const TAG_UNTRIGGERED: u8 = 8;
const TAG_CANCELLED: u8 = 9;

#[derive(BorshSerialize, BorshDeserialize)]
struct GlobalsImage {
    globals: Globals,
    messages: Ranges,
    incidents: Vec<IncidentValue>,
    liquidations: BTreeMap<u32, Liquidation>,
    ungraced: BTreeSet<u32>,
    accounts: u32,
    nonce_buckets: u32,
    cancelled_pages: u32,
}

/// An order without its market and side order: the section says both.
#[derive(BorshSerialize, BorshDeserialize)]
struct OrderImage {
    hash: MessageHash,
    account: u32,
    side: Side,
    price: Price,
    size: Qty,
    filled: Qty,
    client_id: u128,
    reduce_only: bool,
    order_type: OrderType,
    time_in_force: TimeInForce,
    self_trade: SelfTradeMode,
    trigger_price: Price,
    good_til: Ts,
    turn: Turn,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct AccountImage {
    address: Address,
    key: Option<(StarkKey, u8)>,
    /// `None`: not known to the chain.
    balances: Vec<Option<i128>>,
    positions: Vec<Option<PositionValue>>,
    /// By rising key.
    session_keys: Vec<(StarkKey, SessionKey)>,
    /// 0: none.
    cancel_at: Ts,
}

/// Length and hash of a section, kept as long as nothing in it changes.
#[derive(Debug, Default)]
pub(crate) struct SectionHashes {
    books: Vec<OnceLock<(u64, [u8; 32])>>,
    untriggered: Vec<OnceLock<(u64, [u8; 32])>>,
    pages: Vec<OnceLock<(u64, [u8; 32])>>,
}

impl SectionHashes {
    pub fn new(books: usize, accounts: u32) -> SectionHashes {
        let pages = (accounts as usize).div_ceil(ACCOUNTS_PER_PAGE);
        SectionHashes {
            books: (0..books).map(|_| OnceLock::new()).collect(),
            untriggered: (0..books).map(|_| OnceLock::new()).collect(),
            pages: (0..pages).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Or its untriggered orders.
    pub fn book_changed(&mut self, market: MarketId) {
        self.books[usize::from(market.0)].take();
        self.untriggered[usize::from(market.0)].take();
    }

    /// Also when the account is new.
    pub fn account_changed(&mut self, account: u32) {
        let page = account as usize / ACCOUNTS_PER_PAGE;
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, OnceLock::new);
        }
        self.pages[page].take();
    }
}

/// Why bytes are not a snapshot of this chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RestoreError {
    /// Not a snapshot, or of another version.
    NotASnapshot,
    /// Taken under other rules.
    OtherGenesis { snapshot: Bytes32, genesis: Bytes32 },
    /// A section is cut, missing, out of order or does not decode.
    Malformed { tag: u8, number: u32 },
    /// Decoded, but breaks an invariant.
    Inconsistent(crate::Violation),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::NotASnapshot => write!(f, "not a snapshot of version {SNAPSHOT_VERSION}"),
            RestoreError::OtherGenesis { snapshot, genesis } => {
                write!(f, "snapshot was taken under genesis {snapshot}, this is {genesis}")
            }
            RestoreError::Malformed { tag, number } => write!(f, "snapshot section {tag}/{number} is malformed"),
            RestoreError::Inconsistent(violation) => write!(f, "snapshot breaks an invariant: {violation:?}"),
        }
    }
}

impl std::error::Error for RestoreError {}

impl Engine {
    /// `engine_digest`: a hash over the complete state, in the format of this module. Equal states, and only those, have equal digests.
    pub fn digest(&self) -> Bytes32 {
        *self.digest_memo.get_or_init(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(DIGEST_DOMAIN);
            hasher.update(&SNAPSHOT_VERSION.to_le_bytes());
            let mut add = |tag, number, (length, hash): (u64, [u8; 32])| {
                hasher.update(&section_head(tag, number, length));
                hasher.update(&hash);
            };
            for (tag, number) in self.sections() {
                let fresh = || {
                    let bytes = self.section(tag, number);
                    (bytes.len() as u64, *blake3::hash(&bytes).as_bytes())
                };
                add(
                    tag,
                    number,
                    match tag {
                        TAG_BOOK => *self.section_hashes.books[number as usize].get_or_init(fresh),
                        TAG_UNTRIGGERED => *self.section_hashes.untriggered[number as usize].get_or_init(fresh),
                        TAG_ACCOUNTS => *self.section_hashes.pages[number as usize].get_or_init(fresh),
                        TAG_CANCELLED => *self.cancelled.pages()[number as usize].section_hash.get_or_init(fresh),
                        _ => fresh(),
                    },
                );
            }
            for (number, (_, bucket)) in self.accounts.buckets().enumerate() {
                add(TAG_NONCES, number as u32, bucket.hash());
            }
            Bytes32(*hasher.finalize().as_bytes())
        })
    }

    /// The complete state as bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = SNAPSHOT_MAGIC.to_vec();
        out.extend(SNAPSHOT_VERSION.to_le_bytes());
        let mut add = |tag, number, bytes: Vec<u8>| {
            out.extend(section_head(tag, number, bytes.len() as u64));
            out.extend(bytes);
        };
        for (tag, number) in self.sections() {
            add(tag, number, self.section(tag, number));
        }
        for (number, (secs, bucket)) in self.accounts.buckets().enumerate() {
            let mut bytes = Vec::new();
            self.accounts.put_bucket(secs, bucket, &mut bytes);
            add(TAG_NONCES, number as u32, bytes);
        }
        out
    }

    /// An engine from a snapshot of the same chain. Its digest is that of the engine the snapshot was taken of; comparing it with a
    /// trusted one is the caller's business.
    pub fn restore(genesis: &Genesis, bytes: &[u8]) -> Result<Engine, RestoreError> {
        let body = bytes.strip_prefix(SNAPSHOT_MAGIC).ok_or(RestoreError::NotASnapshot)?;
        let body = body.strip_prefix(&SNAPSHOT_VERSION.to_le_bytes()).ok_or(RestoreError::NotASnapshot)?;
        let engine = Engine::decode(genesis, &mut Sections { rest: body })?;
        match engine.check().first() {
            Some(violation) => Err(RestoreError::Inconsistent(*violation)),
            None => Ok(engine),
        }
    }

    /// Tags and numbers of all sections but the nonces, in order.
    fn sections(&self) -> impl Iterator<Item = (u8, u32)> {
        let markets = self.books.len() as u32;
        let pages = (self.accounts.len() as usize).div_ceil(ACCOUNTS_PER_PAGE) as u32;
        [
            (TAG_RULES, 1),
            (TAG_GLOBALS, 1),
            (TAG_TOTALS, 1),
            (TAG_MARKET, markets),
            (TAG_BOOK, markets),
            (TAG_UNTRIGGERED, markets),
            (TAG_ACCOUNTS, pages),
            (TAG_CANCELLED, self.cancelled.pages().len() as u32),
        ]
        .into_iter()
        .flat_map(|(tag, count)| (0..count).map(move |number| (tag, number)))
    }

    fn section(&self, tag: u8, number: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let out = &mut bytes;
        match tag {
            TAG_RULES => put(out, &self.rules.hash),
            TAG_GLOBALS => {
                put(out, &self.globals);
                put(out, &self.messages);
                put(out, &self.incidents);
                put(out, &self.liquidations);
                put(out, &self.ungraced);
                put(out, &self.accounts.len());
                put(out, &(self.accounts.buckets().len() as u32));
                put(out, &(self.cancelled.pages().len() as u32));
            }
            TAG_TOTALS => put(out, &self.totals.all_installed()),
            TAG_MARKET => put(out, &self.markets.all_installed()[number as usize]),
            TAG_BOOK => self.put_book(out, number as usize),
            TAG_UNTRIGGERED => self.put_untriggered(out, MarketId(number as u16)),
            TAG_ACCOUNTS => self.put_accounts(out, number as usize),
            TAG_CANCELLED => put(out, &self.cancelled.pages()[number as usize]),
            other => panic!("no section has tag {other}"),
        }
        bytes
    }

    fn put_book(&self, out: &mut Vec<u8>, market: usize) {
        let book = &self.books[market];
        put(out, &(book.len() as u32));
        for side in [Side::Buy, Side::Sell] {
            for resting in book.orders_by_price(side) {
                put(out, &image_of(&self.orders.all_installed()[resting.key as usize]));
            }
        }
    }

    fn put_untriggered(&self, out: &mut Vec<u8>, market: MarketId) {
        let slots = self.due.untriggered_of(market);
        let mut orders: Vec<&Order> = slots.map(|slot| &self.orders.all_installed()[slot as usize]).collect();
        orders.sort_unstable_by_key(|order| order.turn);
        put(out, &orders.into_iter().map(image_of).collect::<Vec<_>>());
    }

    fn put_accounts(&self, out: &mut Vec<u8>, page: usize) {
        let from = page * ACCOUNTS_PER_PAGE;
        let to = (from + ACCOUNTS_PER_PAGE).min(self.accounts.len() as usize);
        put(out, &((to - from) as u32));
        for (account, holdings) in self.accounts.all()[from..to].iter().zip(&self.holdings.all_installed()[from..to]) {
            put(
                out,
                &AccountImage {
                    address: account.address,
                    key: account.key,
                    balances: holdings.balances.iter().map(|b| b.listed.then_some(b.total)).collect(),
                    positions: holdings.markets.iter().map(|m| m.listed.then_some(m.position)).collect(),
                    session_keys: account.session_keys.iter().map(|(k, v)| (stark_key(k), v.clone())).collect(),
                    cancel_at: account.cancel_at,
                },
            );
        }
    }

    fn decode(genesis: &Genesis, sections: &mut Sections) -> Result<Engine, RestoreError> {
        let mut engine = Engine::empty(genesis);
        let hash: Bytes32 = sections.next(TAG_RULES, 0)?;
        if hash != engine.rules.hash {
            return Err(RestoreError::OtherGenesis { snapshot: hash, genesis: engine.rules.hash });
        }
        let globals: GlobalsImage = sections.next(TAG_GLOBALS, 0)?;
        engine.globals = globals.globals;
        engine.messages = globals.messages;
        engine.incidents = globals.incidents;
        engine.liquidations = globals.liquidations;
        engine.ungraced = globals.ungraced;
        let totals: Vec<Totals> = sections.next(TAG_TOTALS, 0)?;
        ensure(totals.len() == genesis.assets.len(), TAG_TOTALS, 0)?;
        engine.totals = Staged::new(totals);

        let mut markets: Vec<MarketState> = Vec::new();
        for i in 0..genesis.markets.len() as u32 {
            let market: MarketState = sections.next(TAG_MARKET, i)?;
            ensure(market.reports.len() == genesis.oracle.publishers.len(), TAG_MARKET, i)?;
            markets.push(market);
        }
        engine.due = Due::new(markets.iter().map(|market| market.mark));
        engine.markets = Staged::new(markets);
        let mut books: Vec<Vec<OrderImage>> = Vec::new();
        for i in 0..genesis.markets.len() as u32 {
            books.push(sections.next(TAG_BOOK, i)?);
        }
        let mut untriggered: Vec<Vec<OrderImage>> = Vec::new();
        for i in 0..genesis.markets.len() as u32 {
            untriggered.push(sections.next(TAG_UNTRIGGERED, i)?);
        }
        engine.restore_accounts(globals.accounts, sections)?;
        engine.restore_orders(books, untriggered)?;
        engine.restore_pages(globals.cancelled_pages, sections)?;
        for number in 0..globals.nonce_buckets {
            engine.restore_nonces(number, sections)?;
        }
        ensure(sections.rest.is_empty(), TAG_NONCES, globals.nonce_buckets)?;
        ensure(engine.liquidations.keys().all(|account| *account < engine.accounts.len()), TAG_GLOBALS, 0)?;
        engine.section_hashes = SectionHashes::new(genesis.markets.len(), engine.accounts.len());
        engine.watch_all();
        Ok(engine)
    }

    /// The first accounts are those every chain begins with, in their places.
    fn restore_accounts(&mut self, count: u32, sections: &mut Sections) -> Result<(), RestoreError> {
        let (assets, markets) = (self.rules.genesis.assets.len(), self.rules.genesis.markets.len());
        let mut all = Vec::new();
        for page in 0..(count as usize).div_ceil(ACCOUNTS_PER_PAGE) as u32 {
            let accounts: Vec<AccountImage> = sections.next(TAG_ACCOUNTS, page)?;
            for image in accounts {
                let index = all.len() as u32;
                let rising = image.session_keys.windows(2).all(|w| w[0].0.0.to_bytes_be() < w[1].0.0.to_bytes_be());
                let fits = image.balances.len() == assets && image.positions.len() == markets && rising;
                let found = self.accounts.find(&image.address);
                ensure(fits && found.is_none_or(|at| at == index), TAG_ACCOUNTS, page)?;
                if found.is_none() {
                    ensure(self.accounts.add(image.address) == index, TAG_ACCOUNTS, page)?;
                }
                all.push(self.restore_account(index, image));
            }
        }
        ensure(all.len() == count as usize && count == self.accounts.len(), TAG_ACCOUNTS, 0)?;
        self.holdings = Staged::new(all);
        Ok(())
    }

    fn restore_account(&mut self, index: u32, image: AccountImage) -> Holdings {
        let account = self.accounts.get_mut(index);
        account.key = image.key;
        account.session_keys = image.session_keys.into_iter().map(|(key, v)| (key.0.to_bytes_be(), v)).collect();
        account.cancel_at = image.cancel_at;
        self.due.move_switch(index, Ts(0), image.cancel_at);
        let mut holdings = Holdings::new(image.balances.len(), image.positions.len());
        for (balance, total) in holdings.balances.iter_mut().zip(image.balances) {
            balance.listed = total.is_some();
            balance.total = total.unwrap_or(0);
        }
        for (holding, position) in holdings.markets.iter_mut().zip(image.positions) {
            if let Some(position) = position {
                *holding = keel_ledger::MarketHolding::of_position(position);
            }
        }
        holdings
    }

    fn restore_pages(&mut self, count: u32, sections: &mut Sections) -> Result<(), RestoreError> {
        let mut pages = Vec::new();
        for number in 0..count {
            pages.push(Page::of_image(sections.next::<PageImage>(TAG_CANCELLED, number)?));
        }
        let malformed = RestoreError::Malformed { tag: TAG_CANCELLED, number: 0 };
        self.cancelled = Cancelled::restored(pages, self.accounts.len(), self.books.len()).ok_or(malformed)?;
        Ok(())
    }

    fn restore_nonces(&mut self, number: u32, sections: &mut Sections) -> Result<(), RestoreError> {
        let mut bytes = sections.bytes(TAG_NONCES, number)?;
        let malformed = |_| RestoreError::Malformed { tag: TAG_NONCES, number };
        let secs = u64::deserialize(&mut bytes).map_err(malformed)?;
        let rising = self.accounts.buckets().last().is_none_or(|(last, _)| last < secs);
        ensure(rising && !bytes.is_empty(), TAG_NONCES, number)?;
        while !bytes.is_empty() {
            let (account, nonce, entry) = <(u32, u64, NonceEntry)>::deserialize(&mut bytes).map_err(malformed)?;
            let fits = account < self.accounts.len() && entry.forgotten_secs() == secs;
            ensure(fits && self.accounts.get(account).nonces.get(nonce).is_none(), TAG_NONCES, number)?;
            self.accounts.use_nonce(account, nonce, entry);
        }
        Ok(())
    }

    /// Rebuilds the books in their order, and from the orders what is reserved and open.
    fn restore_orders(
        &mut self,
        books: Vec<Vec<OrderImage>>,
        untriggered: Vec<Vec<OrderImage>>,
    ) -> Result<(), RestoreError> {
        let mut orders = Vec::new();
        let mut holdings = self.holdings.all_installed().to_vec();
        let mut hashes = BTreeSet::new();
        for (i, images) in books.into_iter().enumerate() {
            for image in images {
                let spec = &self.rules.genesis.markets[i];
                let known = (image.account as usize) < holdings.len() && hashes.insert(image.hash.0.to_bytes_be());
                let on_grid = image.price.0.is_multiple_of(spec.tick_size.0)
                    && image.size.0.is_multiple_of(spec.lot_size.0)
                    && image.filled.0.is_multiple_of(spec.lot_size.0);
                let in_range = image.filled < image.size
                    && image.size <= spec.size_max
                    && image.price.0 > 0
                    && image.price <= spec.price_max;
                ensure(known && on_grid && in_range, TAG_BOOK, i as u32)?;
                let slot = orders.len() as u32;
                let mut order = Order { live: true, ..restored(image, MarketId(i as u16)) };
                let handle = self.books[i].insert(order.side, order.price, order.remaining(), u64::from(slot));
                order.handle = Some(handle);
                self.count_order(&mut holdings[order.account as usize], &order);
                self.accounts.get_mut(order.account).add_order(&order.hash, order.client_id, slot);
                self.due.add_order(&order, slot);
                orders.push(order);
            }
        }
        for (i, images) in untriggered.into_iter().enumerate() {
            let mut last = Turn::FIRST;
            for image in images {
                let spec = &self.rules.genesis.markets[i];
                let known = (image.account as usize) < holdings.len() && hashes.insert(image.hash.0.to_bytes_be());
                let before = std::mem::replace(&mut last, image.turn);
                ensure(known && before < last && may_wait(&image, spec), TAG_UNTRIGGERED, i as u32)?;
                let slot = orders.len() as u32;
                let order = Order { untriggered: true, ..restored(image, MarketId(i as u16)) };
                self.count_order(&mut holdings[order.account as usize], &order);
                self.accounts.get_mut(order.account).add_order(&order.hash, order.client_id, slot);
                self.due.add_order(&order, slot);
                orders.push(order);
            }
        }
        self.orders = Staged::new(orders);
        self.holdings = Staged::new(holdings);
        Ok(())
    }

    /// Adds what an open order reserves, or has open, to its account.
    pub(crate) fn count_order(&self, holdings: &mut Holdings, order: &Order) {
        holdings.market_mut(order.market).orders += 1;
        if order.untriggered {
            return;
        }
        let spec = self.rules.market(order.market);
        match (spec.kind, order.side) {
            (MarketKind::Perpetual(_), _) => {
                holdings.market_mut(order.market).open(order.open_order(), order.remaining());
            }
            (MarketKind::Spot { .. }, Side::Buy) => {
                keel_ledger::buy_reserve(holdings, order.price, order.remaining(), reserve_ppm(spec));
            }
            (MarketKind::Spot { base }, Side::Sell) => keel_ledger::sell_reserve(holdings, base, order.remaining()),
        }
    }
}

fn image_of(order: &Order) -> OrderImage {
    OrderImage {
        hash: order.hash,
        account: order.account,
        side: order.side,
        price: order.price,
        size: order.size,
        filled: order.filled,
        client_id: order.client_id,
        reduce_only: order.reduce_only,
        order_type: order.order_type,
        time_in_force: order.time_in_force,
        self_trade: order.self_trade,
        trigger_price: order.trigger_price,
        good_til: order.good_til,
        turn: order.turn,
    }
}

/// Whether an image is of an order that waits for its trigger.
fn may_wait(image: &OrderImage, spec: &MarketSpec) -> bool {
    let (tick, lot) = (spec.tick_size.0, spec.lot_size.0);
    let on_grid = [image.price, image.trigger_price].iter().all(|price| price.0.is_multiple_of(tick))
        && image.size.0.is_multiple_of(lot);
    let priced = image.price.0 > 0 || triggered_type(image.order_type) == OrderType::Market;
    let in_range = image.price.max(image.trigger_price) <= spec.price_max
        && image.trigger_price.0 > 0
        && !image.size.is_zero()
        && image.size <= spec.size_max;
    is_trigger(image.order_type) && image.filled.is_zero() && on_grid && priced && in_range
}

/// As the image has it, neither live nor untriggered yet.
fn restored(image: OrderImage, market: MarketId) -> Order {
    Order {
        hash: image.hash,
        account: image.account,
        market,
        side: image.side,
        price: image.price,
        size: image.size,
        filled: image.filled,
        client_id: image.client_id,
        reduce_only: image.reduce_only,
        order_type: image.order_type,
        time_in_force: image.time_in_force,
        self_trade: image.self_trade,
        trigger_price: image.trigger_price,
        good_til: image.good_til,
        turn: image.turn,
        live: false,
        untriggered: false,
        handle: None,
    }
}

fn put(out: &mut Vec<u8>, value: &impl BorshSerialize) {
    value.serialize(out).expect("writing to a Vec cannot fail");
}

fn section_head(tag: u8, number: u32, length: u64) -> [u8; 13] {
    let mut head = [0; 13];
    head[0] = tag;
    head[1..5].copy_from_slice(&number.to_le_bytes());
    head[5..].copy_from_slice(&length.to_le_bytes());
    head
}

fn ensure(holds: bool, tag: u8, number: u32) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Malformed { tag, number }) }
}

/// The sections of a snapshot not yet read.
struct Sections<'a> {
    rest: &'a [u8],
}

impl<'a> Sections<'a> {
    /// The next section, which must be this one, and whose bytes must all be used.
    fn next<T: BorshDeserialize>(&mut self, tag: u8, number: u32) -> Result<T, RestoreError> {
        borsh::from_slice(self.bytes(tag, number)?).map_err(|_| RestoreError::Malformed { tag, number })
    }

    /// The bytes of the next section, which must be this one.
    fn bytes(&mut self, tag: u8, number: u32) -> Result<&'a [u8], RestoreError> {
        let malformed = RestoreError::Malformed { tag, number };
        let (head, rest) = self.rest.split_at_checked(13).ok_or(malformed.clone())?;
        let length = u64::from_le_bytes(head[5..].try_into().expect("13 - 5 = 8 bytes"));
        let (bytes, rest) = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n)).ok_or(malformed)?;
        ensure(head == section_head(tag, number, length), tag, number)?;
        self.rest = rest;
        Ok(bytes)
    }
}
