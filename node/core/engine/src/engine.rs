use crate::accounts::{Accounts, NonceEntry};
use crate::command::Liquidation;
use crate::image::SectionHashes;
use crate::market::MarketState;
use crate::order::Order;
use crate::ranges::Ranges;
use crate::rules::Rules;
use crate::stage::Staged;
use crate::watch::Watch;
use borsh::{BorshDeserialize, BorshSerialize};
use keel_book::Book;
use keel_ledger::{Holdings, Margin, Totals};
use keel_types::*;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What came of a command.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    pub events: Vec<Event>,
    /// Chain state that changed: one write per key, each with its new value.
    pub writes: Vec<StateWrite>,
}

/// Where the exchange stands between open and halted. [spec safe-mode, Reopening]
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct PhaseState {
    pub phase: Phase,
    /// The running incident; in OPEN the last one, 0 before the first.
    pub incident: IncidentId,
    /// When this phase began.
    pub since: Ts,
    /// Why the incident began, all losses since included.
    pub reasons: LossReasons,
    /// Until when spot orders must be post-only.
    pub post_only_until: Ts,
    /// Whether enough operators have resumed the incident, where its reasons need one.
    pub resumed: bool,
    /// When the incident began; zero before the first.
    pub halted_since: Ts,
    /// Until when profit on paper backs neither withdrawals nor new risk; set when the exchange opens again.
    pub grace_until: Ts,
}

/// The part of the state that is neither an account nor a market.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Globals {
    pub seq: Seq,
    pub ts: Ts,
    /// Last sealed block.
    pub height: Height,
    /// Confirmed batches: the next one's number.
    pub batches: u64,
    /// Last block of the last confirmed batch.
    pub batched_height: Height,
    /// Withdrawals made: the last one's number.
    pub withdrawals: u64,
    pub phase: PhaseState,
    /// Operators that resumed the running incident, each once.
    pub operators: Vec<u8>,
    /// Prices taken into use so far: "the next mark" is a higher number.
    pub marks: u64,
    /// [Globals::marks] when the insurance fund last tried to unwind.
    pub fund_marks: u64,
}

/// What a command is about to change, beside the [Staged] lists.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub events: Vec<Event>,
    /// Slot of the order the command leaves resting, if any.
    pub order_new: Option<u32>,
    /// A new account, whose holdings are staged behind the others.
    pub account_new: Option<Address>,
    pub key: Option<(u32, StarkKey, u8)>,
    pub nonce: Option<(u32, u64, NonceEntry)>,
    pub message_consumed: Option<u64>,
    pub incident: Option<IncidentValue>,
    pub forget_nonces: bool,
    /// A liquidation that goes on; `None` in it: ends.
    pub liquidation: Option<(u32, Option<Liquidation>)>,
}

/// An exchange. See the crate's documentation.
#[derive(Debug)]
pub struct Engine {
    pub(crate) rules: Rules,
    pub(crate) books: Vec<Book>,
    pub(crate) accounts: Accounts,
    pub(crate) holdings: Staged<Holdings>,
    pub(crate) orders: Staged<Order>,
    /// Slots of `orders` that hold none; the last is used first.
    pub(crate) orders_free: Vec<u32>,
    pub(crate) markets: Staged<MarketState>,
    pub(crate) totals: Staged<Totals>,
    pub(crate) messages: Ranges,
    pub(crate) incidents: Vec<IncidentValue>,
    pub(crate) globals: Globals,
    /// Accounts whose liquidation has begun, by index.
    pub(crate) liquidations: BTreeMap<u32, Liquidation>,
    /// Who must be looked at when a mark moves; follows from the rest.
    pub(crate) watch: Watch,
    /// Indices of the accounts that receive fees and rounding.
    pub(crate) fee_account: u32,
    pub(crate) insurance_account: u32,
    /// [Engine::globals] as the running command leaves them.
    pub(crate) now: Globals,
    pub(crate) plan: Plan,
    /// The digest of this state, once asked for: a block's seal asks twice.
    pub(crate) digest_memo: OnceLock<Bytes32>,
    pub(crate) section_hashes: SectionHashes,
    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) trap: Option<u32>,
}

impl Engine {
    /// A new chain, and the chain state of its block 0. `genesis` must have passed [Genesis::check]; panics otherwise.
    pub fn new(genesis: &Genesis) -> (Engine, Vec<StateWrite>) {
        let engine = Engine::empty(genesis);
        let writes = engine.dump().writes;
        (engine, writes)
    }

    pub(crate) fn empty(genesis: &Genesis) -> Engine {
        let rules = Rules::new(genesis);
        // The accounts of genesis have their quote balance on chain from block 0.
        let holdings = || {
            let mut holdings = Holdings::new(genesis.assets.len(), genesis.markets.len());
            holdings.credit(QUOTE, 0);
            holdings
        };
        let mut accounts = Accounts::default();
        let fee_account = accounts.add(genesis.fee_account);
        let insurance_account =
            accounts.find(&genesis.insurance_account).unwrap_or_else(|| accounts.add(genesis.insurance_account));
        let section_hashes = SectionHashes::new(genesis.markets.len(), accounts.len());
        let phase = PhaseState {
            phase: Phase::Open,
            incident: IncidentId(0),
            since: genesis.ts,
            reasons: LossReasons::default(),
            post_only_until: Ts(0),
            resumed: false,
            halted_since: Ts(0),
            grace_until: Ts(0),
        };
        let globals = Globals {
            seq: Seq(0),
            ts: genesis.ts,
            height: Height(0),
            batches: 0,
            batched_height: Height(0),
            withdrawals: 0,
            phase,
            operators: Vec::new(),
            marks: 0,
            fund_marks: 0,
        };
        Engine {
            books: genesis.markets.iter().map(|_| Book::new()).collect(),
            holdings: Staged::new((0..accounts.len()).map(|_| holdings()).collect()),
            orders: Staged::new(Vec::new()),
            orders_free: Vec::new(),
            markets: Staged::new(genesis.markets.iter().map(|spec| MarketState::new(spec, genesis)).collect()),
            totals: Staged::new(vec![Totals::default(); genesis.assets.len()]),
            messages: Ranges::default(),
            incidents: Vec::new(),
            liquidations: BTreeMap::new(),
            watch: Watch::new(genesis.markets.len()),
            now: globals.clone(),
            globals,
            fee_account,
            insurance_account,
            accounts,
            rules,
            plan: Plan::default(),
            digest_memo: OnceLock::new(),
            section_hashes,
            #[cfg(any(test, feature = "test-hooks"))]
            trap: None,
        }
    }

    /// Executes one command.
    ///
    /// `seq` must be the next, `ts` not before the last (the commands of one record share it). Panics only when an invariant is
    /// broken, and then nothing was changed: the caller may catch it and go on reading.
    pub fn apply(&mut self, seq: Seq, ts: Ts, command: &Command) -> Output {
        assert_eq!(seq, self.globals.seq.next(), "commands are applied in order, each once");
        assert!(ts >= self.globals.ts, "journal time only moves forward");
        self.begin(seq, ts);
        self.run(command);
        self.checkpoint();
        let writes = self.writes();
        self.install();
        Output { events: std::mem::take(&mut self.plan.events), writes }
    }

    fn run(&mut self, command: &Command) {
        match command {
            Command::Tick => self.tick(),
            Command::Register(c) => self.register(c),
            Command::Place(c) => self.place(c),
            Command::Cancel(c) => self.cancel(c),
            Command::CancelAll(c) => self.cancel_all(c),
            Command::Withdraw(c) => self.withdraw(c),
            Command::Prices(reports) => self.prices(reports),
            Command::Deposit(c) => self.deposit(c),
            Command::SealBlock(c) => self.seal_block(c),
            Command::BatchConfirmed(c) => self.batch_confirmed(c),
            Command::EnterSafeMode(c) => self.enter_safe_mode(c),
            Command::SetPhase(c) => self.set_phase(c),
            Command::Resume(c) => self.resume(c),
            Command::SessionKey(_)
            | Command::RevokeSessionKey(_)
            | Command::Session(_)
            | Command::Modify(_)
            | Command::ScheduleCancel(_)
            | Command::Transfer(_)
            | Command::SessionCancel(_)
            | Command::SessionCancelAll(_) => self.not_supported(command),
        }
    }

    /// Drops whatever is staged (a refused command's, or what a panic left behind) and starts over.
    pub(crate) fn begin(&mut self, seq: Seq, ts: Ts) {
        self.holdings.clear();
        self.orders.clear();
        self.markets.clear();
        self.totals.clear();
        let mut events = std::mem::take(&mut self.plan.events);
        events.clear();
        self.plan = Plan { events, ..Plan::default() };
        self.now.clone_from(&self.globals);
        self.now.seq = seq;
        self.now.ts = ts;
    }

    /// Makes the plan stay. Decides nothing and checks nothing: all of it was settled while planning.
    fn install(&mut self) {
        self.digest_memo = OnceLock::new();
        self.note_changes();
        self.install_orders();
        if let Some(address) = self.plan.account_new {
            self.accounts.add(address);
        }
        if let Some((account, key, template)) = self.plan.key {
            self.accounts.get_mut(account).key = Some((key, template));
        }
        if let Some((account, nonce, entry)) = self.plan.nonce {
            self.accounts.use_nonce(account, nonce, entry);
        }
        if let Some(number) = self.plan.message_consumed {
            self.messages.insert(number);
        }
        if let Some(value) = self.plan.incident {
            match self.incidents.last_mut() {
                Some(last) if last.incident == value.incident => *last = value,
                _ => self.incidents.push(value),
            }
        }
        if let Some((account, state)) = self.plan.liquidation {
            match state {
                Some(state) => drop(self.liquidations.insert(account, state)),
                None => drop(self.liquidations.remove(&account)),
            }
        }
        self.note_watched();
        if self.plan.forget_nonces {
            self.accounts.forget_nonces(self.now.ts);
        }
        self.holdings.install();
        self.orders.install();
        self.markets.install();
        self.totals.install();
        std::mem::swap(&mut self.globals, &mut self.now);
        // It is among the account's orders now.
        self.plan.order_new = None;
        self.look_at_watched();
    }

    /// Forgets the hashes of sections that are about to change.
    fn note_changes(&mut self) {
        for (_, _, order) in self.orders.changes() {
            self.section_hashes.book_changed(order.market);
        }
        for (account, ..) in self.holdings.changes() {
            self.section_hashes.account_changed(account);
        }
        if let Some((account, ..)) = self.plan.key {
            self.section_hashes.account_changed(account);
        }
    }

    /// Brings books and indices in line with the staged orders.
    fn install_orders(&mut self) {
        // First: slots freed below would hide it.
        if self.plan.order_new.is_some() && self.plan.order_new == self.orders_free.last().copied() {
            self.orders_free.pop();
        }
        for n in 0..self.orders.touched_len() {
            let (slot, before, after) = self.orders.touched(n);
            let (was_live, filled_before) = before.map_or((false, Qty(0)), |order| (order.live, order.filled));
            let order = *after;
            let book = &mut self.books[usize::from(order.market.0)];
            match (was_live, order.live) {
                (false, true) => {
                    let handle = book.insert(order.side, order.price, order.remaining(), u64::from(slot));
                    self.orders.edit(slot).handle = Some(handle);
                    self.accounts.get_mut(order.account).add_order(&order.hash, order.client_id, slot);
                }
                (true, true) => {
                    let handle = order.handle.expect("a live order is in the book");
                    book.fill(handle, Qty(order.filled.0 - filled_before.0));
                }
                (true, false) => {
                    book.remove(order.handle.expect("a live order is in the book"));
                    self.orders_free.push(slot);
                    self.accounts.get_mut(order.account).remove_order(&order.hash, order.client_id, slot);
                }
                // Placed and ended by one command.
                (false, false) => self.orders_free.push(slot),
            }
        }
    }

    /// A test may ask for a panic at the n-th of these points of one command.
    #[inline]
    pub(crate) fn checkpoint(&mut self) {
        #[cfg(any(test, feature = "test-hooks"))]
        if let Some(left) = self.trap {
            if left == 0 {
                self.trap = None;
                // Not `panic!`: expected, so the panic hook need not hear of it.
                std::panic::resume_unwind(Box::new("injected by a test"));
            }
            self.trap = Some(left - 1);
        }
    }

    /// The next command panics at its `checkpoint`-th point (0: before anything is staged); never, if it has fewer.
    #[cfg(any(test, feature = "test-hooks"))]
    pub fn inject_panic(&mut self, checkpoint: u32) {
        self.trap = Some(checkpoint);
    }

    /// Takes [Engine::inject_panic] back; whether it had not come about.
    #[cfg(any(test, feature = "test-hooks"))]
    pub fn disarm_panic(&mut self) -> bool {
        self.trap.take().is_some()
    }
}

/// An account, as [Engine::account] shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountView {
    pub key: Option<StarkKey>,
    pub holdings: Holdings,
    pub margin: Margin,
}

/// Reading; never sees what is staged.
impl Engine {
    /// Where the exchange stands.
    pub fn phase(&self) -> PhaseState {
        self.globals.phase
    }

    /// Last executed command; 0 before the first.
    pub fn last_seq(&self) -> Seq {
        self.globals.seq
    }

    /// Time of the last executed command; before the first, of genesis.
    pub fn last_ts(&self) -> Ts {
        self.globals.ts
    }

    /// Last sealed block.
    pub fn height(&self) -> Height {
        self.globals.height
    }

    /// Number of the batch to be confirmed next.
    pub fn next_batch(&self) -> BatchId {
        BatchId(self.globals.batches)
    }

    /// BLAKE3 of the rules this engine runs.
    pub fn genesis_hash(&self) -> Bytes32 {
        self.rules.hash
    }

    /// When a quorum last confirmed the price of each market in use; `None`: never yet.
    pub fn price_times(&self) -> Vec<Option<Ts>> {
        self.markets.all_installed().iter().map(|market| (market.price_ts != Ts(0)).then_some(market.price_ts)).collect()
    }

    /// Markets whose median is held. [spec exchange, Oracle]
    pub fn held_markets(&self) -> Vec<MarketId> {
        let markets = self.markets.all_installed().iter().enumerate();
        markets.filter(|(_, market)| market.held.is_some()).map(|(i, _)| MarketId(i as u16)).collect()
    }

    /// What the exchange owes of each asset, quantums: deposited less withdrawn.
    pub fn liabilities(&self) -> Vec<Amount> {
        self.totals.all_installed().iter().map(|totals| Amount(totals.liabilities())).collect()
    }

    /// Whether a deposit's message was consumed.
    pub fn is_message_consumed(&self, message_nonce: u64) -> bool {
        self.messages.contains(message_nonce)
    }

    /// Number of resting orders in all markets.
    pub fn open_orders(&self) -> usize {
        self.books.iter().map(Book::len).sum()
    }

    /// Accounts whose standing was computed anew because they were touched or a market left their range, ever: what shows that a mark
    /// update visits few.
    pub fn accounts_visited(&self) -> u64 {
        self.watch.visits
    }

    /// The book of a market, read-only.
    pub fn book(&self, market: MarketId) -> Option<&Book> {
        self.books.get(usize::from(market.0))
    }

    /// One account, with its margin at the marks in use.
    pub fn account(&self, address: &Address) -> Option<AccountView> {
        let index = self.accounts.find(address)?;
        let holdings = self.holdings.installed(index)?.clone();
        let margin = self.margin_of(&holdings, index);
        Some(AccountView { key: self.accounts.get(index).key.map(|(key, _)| key), holdings, margin })
    }
}
