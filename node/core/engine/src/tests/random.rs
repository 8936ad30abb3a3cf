//! Random streams of commands, mostly sensible, often not.

use super::world::{PERP, PERP_B, SPOT, UNIT, World, address, genesis};
use crate::Engine;
use keel_types::*;

/// SplitMix64: a stream from a seed, the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Where the stream is: a wandering price per market, and messages sent so far.
pub struct Stream {
    random: Random,
    prices: [u64; 3],
    sent: Vec<Command>,
}

const MARKETS: [MarketId; 3] = [SPOT, PERP, PERP_B];

impl Stream {
    pub fn command(&mut self, world: &mut World) -> Command {
        if self.random.one_in(3) {
            world.now = world.now.plus_ms(self.random.below(400));
        }
        if world.engine.phase().phase != Phase::Open && self.random.one_in(8) {
            return self.reopen(world);
        }
        if self.random.one_in(2_000) {
            world.now = world.now.plus_ms(15_000);
        }
        // As the sequencer does, but late at times.
        if world.engine.due(world.now) && !self.random.one_in(3) {
            return Command::Tick;
        }
        let roll = self.random.below(1_000);
        let mut command = match roll {
            0..500 => self.place(world),
            500..580 => self.modify(world),
            580..600 => self.session(world),
            600..720 => self.cancel(world),
            720..730 => {
                let at = if self.random.one_in(4) { Ts(0) } else { world.now.plus_ms(900 + self.random.below(2_000)) };
                Command::ScheduleCancel(ScheduleCancel { signed: self.sign(world), at })
            }
            730..740 => {
                let (account, disconnected) = (address(self.actor()), self.random.one_in(2));
                let market = self.random.one_in(2).then(|| self.random.pick(&MARKETS));
                Command::SessionCancelAll(SessionCancelAll { account, market, disconnected })
            }
            740..760 => {
                let market = self.random.one_in(2).then(|| self.random.pick(&MARKETS));
                Command::CancelAll(CancelAll { signed: self.sign(world), market })
            }
            760..790 => self.withdraw(world),
            790..800 => self.transfer(world),
            800..920 => self.prices(world),
            920..940 => {
                let (actor, asset) = (self.actor(), AssetId(self.random.below(2) as u16));
                let amount = i128::from(self.random.below(400 * UNIT));
                world.deposit(actor, asset, amount)
            }
            940..960 => Command::Tick,
            960..975 => {
                let engine_digest = world.engine.digest();
                Command::SealBlock(SealBlock { height: Height(world.engine.height().0 + 1), engine_digest })
            }
            975..985 if !self.sent.is_empty() => {
                let n = self.random.below(self.sent.len() as u64) as usize;
                self.sent[n].clone()
            }
            985..988 => self.reopen(world),
            988..998 => self.restore(world),
            // Rarely: liquidations and triggers wait for the end of the grace after it.
            _ if self.random.one_in(12) => self.halt(world),
            _ => Command::Tick,
        };
        if self.random.one_in(12) {
            let key = self.key();
            match &mut command {
                Command::Place(c) => c.signed.session_key = key,
                Command::Modify(c) => c.signed.session_key = key,
                Command::Cancel(c) => c.signed.session_key = key,
                Command::CancelAll(c) => c.signed.session_key = key,
                Command::Withdraw(c) => c.signed.session_key = key,
                Command::RestoreOrders(c) => c.signed.session_key = key,
                _ => {}
            }
        }
        if command.signed().is_some() {
            self.sent.push(command.clone());
            if self.sent.len() > 500 {
                self.sent.remove(0);
            }
        }
        command
    }

    fn actor(&mut self) -> char {
        self.random.pick(&['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'])
    }

    fn sign(&mut self, world: &mut World) -> Signed {
        let actor = self.actor();
        world.sign(actor)
    }

    fn place(&mut self, world: &mut World) -> Command {
        let n = self.random.below(3) as usize;
        let side = self.random.pick(&[Side::Buy, Side::Sell]);
        let size =
            Qty((1 + self.random.below(if self.random.0.is_multiple_of(50) { 200_000 } else { 20_000 })) * UNIT / 1_000);
        let spread = self.random.below(400) as i64 - if side == Side::Buy { 260 } else { 140 };
        let price = Price((self.prices[n] as i64 + spread).max(1) as u64 * UNIT / 100);
        let actor = self.actor();
        let mut order = world.order(actor, MARKETS[n], side, size, price);
        use TimeInForce::*;
        order.time_in_force = self.random.pick(&[Gtc, Gtc, Gtt, Ioc, Fok, PostOnly]);
        if order.time_in_force == Gtt {
            order.good_til = world.now.plus_ms(self.random.below(6_000));
        }
        order.self_trade =
            self.random.pick(&[SelfTradeMode::CancelTaker, SelfTradeMode::CancelMaker, SelfTradeMode::CancelBoth]);
        order.reduce_only = n != 0 && self.random.one_in(6);
        if self.random.one_in(12) {
            order.order_type = OrderType::Market;
            order.time_in_force = TimeInForce::Ioc;
            order.price = if self.random.one_in(2) { Price(0) } else { order.price };
        }
        if self.random.one_in(7) {
            use OrderType::*;
            order.order_type = self.random.pick(&[StopLimit, StopMarket, TakeProfitLimit, TakeProfitMarket]);
            let away = self.random.below(300) as i64 - 150;
            order.trigger_price = Price((self.prices[n] as i64 + away).max(0) as u64 * UNIT / 100);
            order.reduce_only = n != 0 && self.random.one_in(2);
        }
        if self.random.one_in(20) {
            let far = UNIT * self.random.below(20);
            order.price = Price(if side == Side::Buy { price.0 + far } else { price.0.saturating_sub(far).max(UNIT / 100) });
        }
        if self.random.one_in(8) {
            order.client_id = 1 + u128::from(self.random.below(20));
        }
        if self.random.one_in(60) {
            order.price = Price(order.price.0 + 1);
        }
        if self.random.one_in(60) {
            order.size = Qty(order.size.0 * 1_000);
        }
        Command::Place(order)
    }

    fn cancel(&mut self, world: &mut World) -> Command {
        let orders = open_orders(world);
        let (order, client_id) = match self.random.below(10) {
            0 => (MessageHash(Felt::from(self.random.next())), 0),
            1 => (MessageHash::default(), 1 + u128::from(self.random.below(20))),
            _ if orders.is_empty() => (MessageHash(Felt::ONE), 0),
            _ => (orders[self.random.below(orders.len() as u64) as usize].hash, 0),
        };
        let owner = orders.iter().find(|open| open.hash == order).map(|open| world.engine.address(open.account));
        let mut signed = self.sign(world);
        if let Some(owner) = owner.filter(|_| !self.random.one_in(10)) {
            signed.account = owner;
        }
        Command::Cancel(CancelOrder { signed, order, client_id })
    }

    fn modify(&mut self, world: &mut World) -> Command {
        let orders = open_orders(world);
        let signed = self.sign(world);
        if orders.is_empty() || self.random.one_in(20) {
            return Command::Modify(ModifyOrder { signed, order: signed.hash, price: Price(UNIT), size: Qty(UNIT) });
        }
        let old = orders[self.random.below(orders.len() as u64) as usize];
        let signed = Signed { account: world.engine.address(old.account), ..signed };
        let price =
            if self.random.one_in(2) { old.price } else { Price(self.prices[usize::from(old.market.0)] * UNIT / 100) };
        let size = match self.random.below(3) {
            0 => old.size,
            1 => Qty(old.size.0 / 2 / (UNIT / 1_000) * (UNIT / 1_000)),
            _ => Qty(old.size.0 + UNIT),
        };
        Command::Modify(ModifyOrder { signed, order: old.hash, price, size })
    }

    fn key(&mut self) -> StarkKey {
        StarkKey(Felt::from(0x5000 + self.random.below(5)))
    }

    fn session(&mut self, world: &mut World) -> Command {
        let (signed, key) = (self.sign(world), self.key());
        match self.random.below(8) {
            0 => Command::RevokeSessionKey(RevokeSessionKey { signed, key }),
            1 => Command::Session(OpenSession { signed }),
            _ => {
                let expiry = world.now.plus_ms(self.random.below(120_000));
                let markets = MARKETS.into_iter().filter(|_| self.random.one_in(2)).collect();
                let max_order_notional = Amount(i128::from(self.random.below(3) * 500 * UNIT));
                let terms = SessionTerms { expiry, markets, max_order_notional };
                Command::SessionKey(GrantSessionKey { signed, key, terms })
            }
        }
    }

    fn transfer(&mut self, world: &mut World) -> Command {
        let (signed, asset) = (self.sign(world), AssetId(self.random.below(2) as u16));
        let recipient = if self.random.one_in(10) { Address(Felt::from(self.random.next())) } else { address(self.actor()) };
        let amount = Amount(i128::from(self.random.below(1_000 * UNIT)));
        Command::Transfer(Transfer { signed, recipient, asset, amount })
    }

    fn withdraw(&mut self, world: &mut World) -> Command {
        let signed = self.sign(world);
        let asset = AssetId(self.random.below(2) as u16);
        let mut amount = Amount(i128::from(self.random.below(3_000 * UNIT) / 100 * 100));
        // All that may be taken: what is left can be liquidated.
        if asset == QUOTE && self.random.one_in(2) {
            let margin =
                world.engine.account(&signed.account).map_or(0, |view| keel_ledger::withdrawable(&view.margin, false));
            amount = Amount(margin / 100 * 100);
        }
        Command::Withdraw(Withdraw { signed, asset, amount, recipient: L1Address::ethereum([5; 20]) })
    }

    fn prices(&mut self, world: &World) -> Command {
        let mut reports = Vec::new();
        for (n, market) in MARKETS.into_iter().enumerate() {
            let step = if self.random.one_in(100) { 1_500 } else { 60 };
            let moved = self.prices[n] as i64 + self.random.below(2 * step + 1) as i64 - step as i64;
            // Pulled back to 100, so that a long stream stays where the rules allow trading.
            self.prices[n] = (moved + (10_000 - moved) / 50).clamp(2_000, 40_000) as u64;
            for publisher in 0..3 {
                let noise = self.random.below(5);
                let price = if self.random.one_in(300) { 0 } else { (self.prices[n] + noise) * UNIT / 100 + 7 };
                let ts = Ts(world.now.0 - self.random.below(1_000_000_000));
                reports.push(PriceReport { publisher, market, price: Price(price), ts });
            }
        }
        Command::Prices(reports)
    }

    /// Some of what an incident cancelled of one account, mostly; of others, twice, and what never was.
    fn restore(&mut self, world: &mut World) -> Command {
        let mut signed = self.sign(world);
        let pages = world.engine.cancelled.pages();
        let mut incident = world.engine.phase().incident;
        let mut orders = vec![MessageHash(Felt::from(self.random.next()))];
        if !pages.is_empty() {
            let page = &pages[self.random.below(pages.len() as u64) as usize];
            incident = page.incident;
            let first = page.orders().nth(self.random.below(page.orders().count() as u64) as usize).expect("counted");
            if !self.random.one_in(10) {
                signed.account = world.engine.address(first.account);
            }
            let own = page.orders().filter(|order| order.account == first.account || self.random.one_in(50));
            orders = own.map(|order| order.hash).collect();
            orders.truncate(1 + self.random.below(12) as usize);
            if self.random.one_in(10) {
                orders.push(orders[0]);
            }
        }
        if self.random.one_in(20) {
            incident.0 += 1;
        }
        let good_til = if self.random.one_in(3) { world.now.plus_ms(self.random.below(9_000)) } else { Ts(0) };
        Command::RestoreOrders(RestoreOrders { signed, incident, orders, good_til })
    }

    fn halt(&mut self, world: &World) -> Command {
        let reason = self.random.pick(&[LossReason::Operator, LossReason::OracleStale, LossReason::InvariantBroken]);
        let incident = world.engine.phase().incident;
        Command::EnterSafeMode(EnterSafeMode { incident, reasons: LossReasons::of(reason), observed_ts: world.now })
    }

    /// What a guard would do next, mostly.
    fn reopen(&mut self, world: &World) -> Command {
        let state = world.engine.phase();
        if state.phase == Phase::Halted && self.random.one_in(2) {
            return Command::Resume(Resume { incident: state.incident, operator: self.random.below(3) as u8 });
        }
        let next = Phase::ALL[(Phase::ALL.iter().position(|p| *p == state.phase).expect("listed") + 1).min(4)];
        let phase = if self.random.one_in(10) { self.random.pick(Phase::ALL) } else { next };
        Command::SetPhase(SetPhase {
            incident: state.incident,
            phase,
            post_only_until: world.now.plus_ms(self.random.below(3_000)),
            integrity_report: if phase == Phase::Spot { Bytes32([1; 32]) } else { Bytes32::default() },
        })
    }
}

/// Open orders, by slot.
fn open_orders(world: &World) -> Vec<crate::order::Order> {
    world.engine.orders.all_installed().iter().filter(|order| order.is_open()).copied().collect()
}

fn commands_wanted() -> usize {
    match std::env::var("KEEL_PROPTEST_COMMANDS") {
        Ok(text) => text.parse().expect("KEEL_PROPTEST_COMMANDS is a number of commands"),
        Err(_) => 1_000_000,
    }
}

/// Every so many commands the engine is replaced by one restored from its snapshot.
const RESTORE_EVERY: usize = 1_500;

/// A venue of eight traders and a poor insurance fund, and what comes to it.
pub fn venue(seed: u64) -> (World, Stream) {
    let mut rules = genesis();
    rules.limits.orders_per_account_market = 12;
    rules.limits.nonces_per_account = 400;
    // A fund that stays poor: what it cannot take over is deleveraged.
    for market in &mut rules.markets {
        if let MarketKind::Perpetual(perpetual) = &mut market.kind {
            perpetual.liquidation_fee_ppm = 100;
        }
    }
    let mut world = World::funded(rules);
    for actor in "efgh".chars() {
        let register = world.register(actor);
        world.apply_fast(register);
        let deposit = world.deposit(actor, QUOTE, i128::from(3_000 * UNIT));
        world.apply_fast(deposit);
    }
    let fund = world.genesis.insurance_account;
    let seed_of_fund = world.deposit_to(fund, QUOTE, i128::from(100 * UNIT));
    world.apply_fast(seed_of_fund);
    (world, Stream { random: Random(seed), prices: [10_000; 3], sent: Vec::new() })
}

/// One stream: invariants after every command, a restored engine that goes on alike, a replay that gives the same.
fn run(seed: u64, commands: usize) -> World {
    let (mut world, mut stream) = venue(seed);
    let mut twin = Engine::restore(&world.genesis, &world.engine.snapshot()).expect("restores");
    for n in 0..commands {
        let command = stream.command(&mut world);
        world.apply_fast(command.clone());
        let seq = world.engine.last_seq();
        assert_eq!(Some(&twin.apply(seq, world.now, &command)), world.outputs.last(), "twin differs at {n} of seed {seed}");
        if n % RESTORE_EVERY == RESTORE_EVERY - 1 {
            assert_eq!(twin.digest(), world.engine.digest(), "after {n} of seed {seed}");
            twin = Engine::restore(&world.genesis, &world.engine.snapshot()).expect("restores");
        }
    }
    world.check_history();
    world
}

/// Streams below.
const STREAMS: usize = 8;

/// Streams of their own, so that they run side by side. What must hold after each command: value conserved per asset, positions that add up to
/// zero, no crossed book, reservations that are their orders', everybody below margin known; and a replay that gives the same.
macro_rules! streams {
    ($($name:ident = $seed:literal),+) => { $(#[test] fn $name() { run_stream($seed, commands_wanted() / STREAMS); })+ };
}
streams! {
    random_stream_1_breaks_nothing_and_replays_alike = 1,
    random_stream_2_breaks_nothing_and_replays_alike = 2,
    random_stream_3_breaks_nothing_and_replays_alike = 3,
    random_stream_4_breaks_nothing_and_replays_alike = 4,
    random_stream_5_breaks_nothing_and_replays_alike = 5,
    random_stream_6_breaks_nothing_and_replays_alike = 6,
    random_stream_7_breaks_nothing_and_replays_alike = 7,
    random_stream_8_breaks_nothing_and_replays_alike = 8
}

fn run_stream(seed: u64, commands: usize) {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    let world = run(seed, commands);
    for event in world.outputs.iter().flat_map(|output| &output.events) {
        let name = match event {
            Event::Rejected { reject, .. } => format!("rejected {reject}"),
            Event::Order(update) => format!("order {} {}", update.state, update.reason),
            Event::Liquidation(receipt) => {
                format!("liquidation {:?}", receipt.decision).split([' ', '{']).take(2).collect::<Vec<_>>().join(" ")
            }
            other => format!("{other:?}").split([' ', '(']).next().unwrap_or_default().to_string(),
        };
        *counts.entry(name).or_default() += 1;
    }
    assert!(world.engine.account(&address('a')).is_some());
    println!("{counts:#?}");
    // A stream that no longer reaches these would prove nothing.
    for needed in [
        "Fill",
        "Withdrawn",
        "Replayed",
        "PriceHeld",
        "SafeModeEntered",
        "PhaseChanged",
        "order CANCELLED MARGIN",
        "order CANCELLED REDUCE_ONLY",
        "order CANCELLED PRICE_BAND",
        "order CANCELLED SELF_TRADE",
        "order CANCELLED SAFE_MODE",
        "OrderRestored",
        "RestoreRefused",
        "rejected INSUFFICIENT_MARGIN",
        "rejected INSUFFICIENT_BALANCE",
        "rejected PHASE_FORBIDS",
        "rejected POST_ONLY_WOULD_CROSS",
        "rejected MARKET_HELD",
        "Funding",
        "liquidation Cancel",
        "liquidation Close",
        "liquidation TakeOver",
        "liquidation Deleverage",
        "order CANCELLED FILL_OR_KILL",
        "order EXPIRED GOOD_TIL",
        "order UNTRIGGERED NONE",
        "order UNTRIGGERED MODIFIED",
        "order TRIGGERED TRIGGERED",
        "order CANCELLED TRIGGER_REFUSED",
        "order OPEN MODIFIED",
        "order RECEIVED MODIFIED",
        "order CANCELLED SCHEDULED_CANCEL",
        "order CANCELLED DISCONNECTED",
        "SessionKeySet",
        "SessionKeyRevoked",
        "SessionOpened",
        "Transferred",
        "rejected NOTHING_TO_MODIFY",
        "rejected UNKNOWN_SESSION_KEY",
        "rejected SESSION_KEY_EXPIRED",
        "rejected SESSION_KEY_SCOPE",
        "rejected SESSION_KEY_FORBIDDEN",
    ] {
        assert!(counts.contains_key(needed), "no {needed} in any stream");
    }
}
