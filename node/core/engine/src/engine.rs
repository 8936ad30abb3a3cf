use crate::accounts::{Accounts, NonceEntry, SessionKey};
use crate::cancelled::{Cancelled, Page, Place};
use crate::command::Liquidation;
use crate::due::Due;
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
use std::collections::{BTreeMap, BTreeSet};
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

/// A time in which positions as they stood at an incident are not liquidated. [spec safe-mode, Reopening]
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Grace {
    pub from: Ts,
    pub until: Ts,
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
    /// The graces of the last 24 hours, the oldest first.
    pub graces: Vec<Grace>,
    /// Prices taken into use so far.
    pub marks: u64,
    /// When the last of a perpetual was.
    pub mark_ts: Ts,
    /// [Globals::marks] when the insurance fund last tried to unwind.
    pub fund_marks: u64,
}

/// What a command is about to change, beside the [Staged] lists.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub events: Vec<Event>,
    /// Slots of the orders the command adds, in the order of placing; some may have ended in it.
    pub orders_new: Vec<u32>,
    /// A new account, whose holdings are staged behind the others.
    pub account_new: Option<Address>,
    pub key: Option<(u32, StarkKey, u8)>,
    pub nonce: Option<(u32, u64, NonceEntry)>,
    pub message_consumed: Option<u64>,
    pub incident: Option<IncidentValue>,
    /// Nonces and cancelled orders whose time is over are forgotten.
    pub forget: bool,
    /// An account that takes on new risk while others are in grace.
    pub ungraced: Option<u32>,
    /// A liquidation that goes on; it ends when its account is healthy again.
    pub liquidation: Option<(u32, Liquidation)>,
    /// A session key's new terms, or its end.
    pub session: Option<(u32, StarkKey, SessionKey)>,
    /// An account's dead man's switch; 0: none.
    pub switch: Option<(u32, Ts)>,
    /// No account has a dead man's switch any more.
    pub switches_cleared: bool,
    /// No order is open any more: what the books, the accounts and the indices have of orders goes at once. The plan then holds neither
    /// a changed order nor a new one, and every account that had orders is among the staged [Holdings], without them.
    pub orders_cleared: bool,
    /// What an incident cancels.
    pub cancelled: Vec<Page>,
    /// Of what one has cancelled, what is placed again.
    pub restored: Vec<Place>,
    /// Where a command places several orders: an account's holdings before the one at hand.
    pub holdings_before: Option<(u32, Holdings)>,
    /// And the fills of those before it.
    pub fills_spent: u32,
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
    pub(crate) cancelled: Cancelled,
    /// Accounts whose liquidation has begun, by index.
    pub(crate) liquidations: BTreeMap<u32, Liquidation>,
    /// Accounts that took on new risk since the running incident began, or in the grace after it: no grace is theirs.
    pub(crate) ungraced: BTreeSet<u32>,
    /// Who must be looked at when a mark moves; follows from the rest.
    pub(crate) watch: Watch,
    /// What a time or a mark will set off; follows from orders, accounts and markets.
    pub(crate) due: Due,
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
    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) trap_seq: Option<Seq>,
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
            graces: Vec::new(),
            marks: 0,
            mark_ts: Ts(0),
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
            cancelled: Cancelled::default(),
            liquidations: BTreeMap::new(),
            ungraced: BTreeSet::new(),
            watch: Watch::new(genesis.markets.len()),
            now: globals.clone(),
            globals,
            due: Due::new(genesis.markets.iter().map(|spec| spec.initial_price)),
            fee_account,
            insurance_account,
            accounts,
            rules,
            plan: Plan::default(),
            digest_memo: OnceLock::new(),
            section_hashes,
            #[cfg(any(test, feature = "test-hooks"))]
            trap: None,
            #[cfg(any(test, feature = "test-hooks"))]
            trap_seq: None,
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
        #[cfg(any(test, feature = "test-hooks"))]
        assert!(self.trap_seq != Some(seq), "injected by a test");
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
            Command::SessionKey(c) => self.grant_session_key(c),
            Command::RevokeSessionKey(c) => self.revoke_session_key(c),
            Command::Session(c) => self.open_session(c),
            Command::Modify(c) => self.modify(c),
            Command::ScheduleCancel(c) => self.schedule_cancel(c),
            Command::Transfer(c) => self.transfer(c),
            Command::SessionCancel(c) => self.session_cancel(c),
            Command::SessionCancelAll(c) => self.session_cancel_all(c),
            Command::RestoreOrders(c) => self.restore_cancelled(c),
            // What it means was done by whoever read it: see `pass_over`.
            Command::Void(_) => {}
        }
    }

    /// Takes the next command's number and time without executing it: its record is voided. Nothing else changes.
    /// [spec safe-mode, A command that breaks the engine]
    pub fn pass_over(&mut self, seq: Seq, ts: Ts) {
        assert_eq!(seq, self.globals.seq.next(), "commands are passed over in order, each once");
        assert!(ts >= self.globals.ts, "journal time only moves forward");
        self.digest_memo = OnceLock::new();
        (self.globals.seq, self.globals.ts) = (seq, ts);
    }

    /// Drops whatever is staged (a refused command's, or what a panic left behind) and starts over.
    pub(crate) fn begin(&mut self, seq: Seq, ts: Ts) {
        self.holdings.clear();
        self.orders.clear();
        self.markets.clear();
        self.totals.clear();
        let mut events = std::mem::take(&mut self.plan.events);
        events.clear();
        let mut orders_new = std::mem::take(&mut self.plan.orders_new);
        orders_new.clear();
        self.plan = Plan { events, orders_new, ..Plan::default() };
        self.now.clone_from(&self.globals);
        self.now.seq = seq;
        self.now.ts = ts;
    }

    /// Makes the plan stay. Decides nothing and checks nothing: all of it was settled while planning.
    fn install(&mut self) {
        self.digest_memo = OnceLock::new();
        self.note_changes();
        self.install_marks();
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
            self.liquidations.insert(account, state);
        }
        self.install_ungraced();
        self.note_watched();
        if self.plan.forget {
            self.accounts.forget_nonces(self.now.ts);
            self.cancelled.forget(self.now.ts);
        }
        self.cancelled.take_out(&self.plan.restored);
        self.cancelled.add(std::mem::take(&mut self.plan.cancelled));
        if let Some((account, key, session)) = self.plan.session.take() {
            self.accounts.get_mut(account).session_keys.insert(key.0.to_bytes_be(), session);
        }
        self.install_switches();
        self.holdings.install();
        self.orders.install();
        self.markets.install();
        self.totals.install();
        std::mem::swap(&mut self.globals, &mut self.now);
        // They are among the account's orders now.
        self.plan.orders_new.clear();
        self.look_at_watched();
    }

    /// Forgets the hashes of sections that are about to change.
    fn note_changes(&mut self) {
        for (_, _, order) in self.orders.changes() {
            self.section_hashes.book_changed(order.market);
        }
        if self.plan.orders_cleared {
            (0..self.books.len()).for_each(|market| self.section_hashes.book_changed(MarketId(market as u16)));
        }
        for (account, ..) in self.holdings.changes() {
            self.section_hashes.account_changed(account);
        }
        let key = self.plan.key.map(|(account, ..)| account);
        let session = self.plan.session.as_ref().map(|(account, ..)| *account);
        let switch = self.plan.switch.map(|(account, _)| account);
        for account in [key, session, switch].into_iter().flatten() {
            self.section_hashes.account_changed(account);
        }
        if self.plan.switches_cleared {
            self.due.switches().for_each(|(_, account)| self.section_hashes.account_changed(account));
        }
    }

    /// Sorts triggers by the marks that moved.
    fn install_marks(&mut self) {
        for (market, before, after) in self.markets.changes() {
            if before.is_none_or(|before| before.mark != after.mark) {
                self.due.set_mark(MarketId(market as u16), after.mark);
            }
        }
    }

    fn install_switches(&mut self) {
        if self.plan.switches_cleared {
            for (_, account) in self.due.clear_switches() {
                self.accounts.get_mut(account).cancel_at = Ts(0);
            }
        }
        if let Some((account, at)) = self.plan.switch {
            let kept = &mut self.accounts.get_mut(account).cancel_at;
            self.due.move_switch(account, *kept, at);
            *kept = at;
        }
    }

    fn install_ungraced(&mut self) {
        self.ungraced.extend(self.plan.ungraced);
        // Open again, or an incident begins: everybody is alike.
        let phase = self.now.phase;
        let over = phase.phase == Phase::Open && self.now.ts >= phase.grace_until;
        if !self.ungraced.is_empty() && (over || phase.phase == Phase::Halted) {
            self.ungraced.clear();
        }
    }

    /// Brings books and indices in line with the staged orders.
    fn install_orders(&mut self) {
        if self.plan.orders_cleared {
            return self.clear_orders();
        }
        // First: slots freed below would hide it.
        let reused = self.plan.orders_new.iter().zip(self.orders_free.iter().rev());
        let reused = reused.take_while(|(new, free)| new == free).count();
        self.orders_free.truncate(self.orders_free.len() - reused);
        for n in 0..self.orders.touched_len() {
            let (slot, before, after) = self.orders.touched(n);
            let (before, after) = (before.copied().filter(Order::is_open), *after);
            self.install_in_book(slot, before.as_ref(), &after);
            match (&before, after.is_open()) {
                (None, true) => self.accounts.get_mut(after.account).add_order(&after.hash, after.client_id, slot),
                (Some(order), false) => {
                    self.accounts.get_mut(order.account).remove_order(&order.hash, order.client_id, slot);
                    self.orders_free.push(slot);
                }
                // Placed and ended by one command.
                (None, false) => self.orders_free.push(slot),
                (Some(_), true) => {}
            }
            if let Some(order) = before {
                self.due.remove_order(&order, slot);
            }
            if after.is_open() {
                self.due.add_order(&after, slot);
            }
        }
    }

    fn clear_orders(&mut self) {
        for (account, ..) in self.holdings.changes() {
            self.accounts.get_mut(account).clear_orders();
        }
        self.books.iter_mut().for_each(Book::clear);
        self.due.clear_orders();
        self.orders.remove_all();
        self.orders_free.clear();
    }

    /// `before`: the open order the slot held.
    fn install_in_book(&mut self, slot: u32, before: Option<&Order>, after: &Order) {
        let book = &mut self.books[usize::from(after.market.0)];
        let resting = before.filter(|order| order.live);
        let handle = |order: &Order| order.handle.expect("a live order is in the book");
        match resting {
            // It kept its place: what it has less was filled, or given up by its owner.
            Some(order) if after.live && order.turn == after.turn => {
                let less = Qty(order.remaining().0 - after.remaining().0);
                if !less.is_zero() {
                    book.fill(handle(order), less);
                }
                return;
            }
            Some(order) => {
                book.remove(handle(order));
            }
            None => {}
        }
        if after.live {
            let handle = book.insert(after.side, after.price, after.remaining(), u64::from(slot));
            self.orders.edit(slot).handle = Some(handle);
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

    /// The command of this number panics, whatever it is, with its writes staged.
    #[cfg(any(test, feature = "test-hooks"))]
    pub fn inject_panic_at(&mut self, seq: Seq) {
        self.trap_seq = Some(seq);
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
    /// When its dead man's switch cancels all its orders; 0: never.
    pub cancel_at: Ts,
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

    /// Number of open orders in all markets, resting and untriggered.
    pub fn open_orders(&self) -> usize {
        self.books.iter().map(Book::len).sum::<usize>() + self.due.untriggered()
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
        let account = self.accounts.get(index);
        Some(AccountView { key: account.key.map(|(key, _)| key), cancel_at: account.cancel_at, holdings, margin })
    }
}
