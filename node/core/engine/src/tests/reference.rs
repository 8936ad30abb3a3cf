//! The engine against a matcher anyone can check by reading it: the same flow, the same trades, the same open orders.

use super::random::Random;
use super::world::{SPOT, UNIT, World, address, genesis};
use keel_types::*;

/// Commands of each stream; four streams, one per test, so that they run side by side: 5,200,000 in all.
const COMMANDS: u64 = 1_300_000;
/// Open orders and all orders ever are compared this often, and at the end.
const COMPARE_EVERY: u64 = 20_000;
const ACTORS: [char; 6] = ['a', 'b', 'c', 'd', 'e', 'f'];

#[derive(Clone, PartialEq, Debug)]
struct Resting {
    id: u64,
    owner: char,
    side: Side,
    price: u64,
    size: u64,
    filled: u64,
    /// 0: none.
    good_til: u64,
    post_only: bool,
    self_trade: SelfTradeMode,
}

/// (maker, taker, price, size)
type Trade = (u64, u64, u64, u64);

/// What becomes of what does not trade at once.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Rest {
    Rests,
    Goes,
    /// All or nothing.
    Kills,
}

/// Both sides best first, equal prices by time.
#[derive(Clone, Default)]
struct Naive {
    bids: Vec<Resting>,
    asks: Vec<Resting>,
}

fn reaches(side: Side, limit: u64, price: u64) -> bool {
    if side == Side::Buy { price <= limit } else { price >= limit }
}

impl Naive {
    fn side(&mut self, side: Side) -> &mut Vec<Resting> {
        if side == Side::Buy { &mut self.bids } else { &mut self.asks }
    }

    fn end_expired(&mut self, now: u64) -> usize {
        let before = self.bids.len() + self.asks.len();
        for side in [&mut self.bids, &mut self.asks] {
            side.retain(|order| order.good_til == 0 || order.good_til > now);
        }
        before - self.bids.len() - self.asks.len()
    }

    fn place(&mut self, mut taker: Resting, rest: Rest) -> Vec<Trade> {
        let before = (rest == Rest::Kills).then(|| self.clone());
        let makers = self.side(taker.side.opposite());
        let (mut trades, mut stopped) = (Vec::new(), false);
        while taker.filled < taker.size && !makers.is_empty() && reaches(taker.side, taker.price, makers[0].price) {
            if taker.post_only {
                return Vec::new();
            }
            let maker = &mut makers[0];
            if maker.owner == taker.owner {
                if taker.self_trade != SelfTradeMode::CancelTaker {
                    makers.remove(0);
                }
                if taker.self_trade != SelfTradeMode::CancelMaker {
                    stopped = true;
                    break;
                }
                continue;
            }
            let size = (taker.size - taker.filled).min(maker.size - maker.filled);
            trades.push((maker.id, taker.id, maker.price, size));
            taker.filled += size;
            maker.filled += size;
            if maker.filled == maker.size {
                makers.remove(0);
            }
        }
        if taker.filled < taker.size {
            match before {
                Some(before) => {
                    *self = before;
                    return Vec::new();
                }
                None if rest == Rest::Rests && !stopped => self.queue(taker),
                None => {}
            }
        }
        trades
    }

    fn queue(&mut self, order: Resting) {
        let side = self.side(order.side);
        let behind = side.iter().position(|other| !reaches(order.side.opposite(), order.price, other.price));
        side.insert(behind.unwrap_or(side.len()), order);
    }

    fn cancel(&mut self, id: u64) {
        self.bids.retain(|order| order.id != id);
        self.asks.retain(|order| order.id != id);
    }

    fn modify(&mut self, id: u64, price: u64, size: u64) -> Vec<Trade> {
        let found = self.bids.iter_mut().chain(&mut self.asks).find(|order| order.id == id);
        let Some(order) = found.filter(|order| size > order.filled && (price, size) != (order.price, order.size)) else {
            return Vec::new();
        };
        if price == order.price && size < order.size {
            order.size = size;
            return Vec::new();
        }
        let order = Resting { price, size, ..order.clone() };
        let best = self.side(order.side.opposite()).first();
        if order.post_only && best.is_some_and(|best| reaches(order.side, price, best.price)) {
            return Vec::new();
        }
        self.cancel(id);
        self.place(order, Rest::Rests)
    }
}

/// What a stream must have met to prove anything.
#[derive(Default, Debug)]
struct Met {
    trades: u64,
    killed: u64,
    filled_or_killed: u64,
    post_only_refused: u64,
    expired: u64,
    modified_and_traded: u64,
    self_trades: u64,
}

struct Stream {
    random: Random,
    world: World,
    naive: Naive,
    met: Met,
    id: u64,
    seq: Seq,
}

impl Stream {
    fn new(seed: u64) -> Stream {
        let mut rules = genesis();
        // Money, counts and stale prices are other tests' business.
        rules.limits = EngineLimits {
            orders_per_account_market: 1_000_000,
            nonces_per_account: 10_000_000,
            fills_per_command: FILLS_PER_COMMAND_MAX,
        };
        rules.oracle.stale_ms = u64::MAX / 2_000_000;
        let mut world = World::bare(rules);
        for actor in ACTORS {
            let register = world.register(actor);
            world.apply_fast(register);
            for asset in [AssetId(0), AssetId(1)] {
                for _ in 0..50 {
                    let deposit = world.deposit(actor, asset, i128::from(1_000_000 * UNIT));
                    world.apply_fast(deposit);
                }
            }
        }
        world.publish(&[(SPOT, Price(100 * UNIT))]);
        let seq = world.engine.last_seq();
        // Registering used up the first nonces.
        Stream { random: Random(seed), world, naive: Naive::default(), met: Met::default(), id: 1_000, seq }
    }

    fn run(mut self) -> Met {
        for n in 1..=COMMANDS {
            self.world.now = self.world.now.plus_ms(1 + self.random.below(5));
            self.step();
            // Ticks come late: an order whose time has come must not trade meanwhile.
            if n % 50 == 0 {
                self.tick();
            }
            if n % COMPARE_EVERY == 0 {
                self.compare_open();
            }
        }
        self.compare_open();
        assert!(self.world.engine.check().is_empty());
        self.met
    }

    fn apply(&mut self, command: Command) -> Vec<Event> {
        self.seq = self.seq.next();
        self.world.engine.apply(self.seq, self.world.now, &command).events
    }

    fn tick(&mut self) {
        self.apply(Command::Tick);
        while self.world.engine.due(self.world.now) {
            self.apply(Command::Tick);
        }
    }

    fn step(&mut self) {
        self.met.expired += self.naive.end_expired(self.world.now.0) as u64;
        let open = self.naive.bids.len() + self.naive.asks.len();
        let roll = if open > 250 { 0 } else { self.random.below(100) };
        let expected = match roll {
            0..20 if open > 0 => self.cancel(),
            20..45 if open > 0 => self.modify(),
            _ => self.place(),
        };
        let (command, trades) = expected;
        let events = self.apply(command.clone());
        let fills = events.iter().filter_map(|event| match event {
            Event::Fill(fill) => Some((fill.maker.order, fill.taker.order, fill.price, fill.size)),
            _ => None,
        });
        let hashed =
            trades.iter().map(|(maker, taker, price, size)| (hash(*maker), hash(*taker), Price(*price), Qty(*size)));
        assert!(fills.clone().eq(hashed), "{command:?}: {events:?}, expected {trades:?}");
        self.met.trades += trades.len() as u64;
        self.count(&command, &events);
    }

    fn count(&mut self, command: &Command, events: &[Event]) {
        for event in events {
            match event {
                Event::Rejected { reject: Reject::PostOnlyWouldCross, .. } => self.met.post_only_refused += 1,
                Event::Order(update) if update.reason == Reason::FillOrKill => self.met.killed += 1,
                Event::Order(update) if update.reason == Reason::SelfTrade => self.met.self_trades += 1,
                _ => {}
            }
        }
        if events.iter().any(|event| matches!(event, Event::Fill(_))) {
            match command {
                Command::Modify(_) => self.met.modified_and_traded += 1,
                Command::Place(order) if order.time_in_force == TimeInForce::Fok => self.met.filled_or_killed += 1,
                _ => {}
            }
        }
    }

    fn sign(&mut self, actor: char) -> Signed {
        self.id += 1;
        Signed {
            account: address(actor),
            nonce: self.id,
            valid_until: self.world.now.plus_ms(1_000),
            hash: hash(self.id),
            session_key: StarkKey::default(),
        }
    }

    /// Near the touch: some cross, most rest.
    fn price(&mut self, side: Side) -> u64 {
        let low = if side == Side::Buy { 9_930 } else { 9_990 };
        (low + self.random.below(81)) * UNIT / 100
    }

    fn size(&mut self) -> u64 {
        (1 + self.random.below(40)) * UNIT / 10
    }

    fn any_open(&mut self) -> Resting {
        let n = self.random.below((self.naive.bids.len() + self.naive.asks.len()) as u64) as usize;
        self.naive.bids.iter().chain(&self.naive.asks).nth(n).expect("so many are open").clone()
    }

    fn cancel(&mut self) -> (Command, Vec<Trade>) {
        let order = self.any_open();
        self.naive.cancel(order.id);
        let signed = self.sign(order.owner);
        (Command::Cancel(CancelOrder { signed, order: hash(order.id), client_id: 0 }), Vec::new())
    }

    fn modify(&mut self) -> (Command, Vec<Trade>) {
        let order = self.any_open();
        let price = if self.random.one_in(3) { order.price } else { self.price(order.side) };
        let size = if self.random.one_in(3) { order.size } else { self.size() };
        let trades = self.naive.modify(order.id, price, size);
        let signed = self.sign(order.owner);
        (Command::Modify(ModifyOrder { signed, order: hash(order.id), price: Price(price), size: Qty(size) }), trades)
    }

    fn place(&mut self) -> (Command, Vec<Trade>) {
        let owner = self.random.pick(&ACTORS);
        let side = self.random.pick(&[Side::Buy, Side::Sell]);
        let (price, size) = (self.price(side), self.size());
        let signed = self.sign(owner);
        let mut order = self.world.order(owner, SPOT, side, Qty(size), Price(price));
        order.signed = signed;
        order.time_in_force = self.random.pick(TimeInForce::ALL);
        order.self_trade = self.random.pick(SelfTradeMode::ALL);
        if order.time_in_force == TimeInForce::Gtt {
            order.good_til = self.world.now.plus_ms(1 + self.random.below(800));
        }
        let mut limit = price;
        if matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok) && self.random.one_in(4) {
            // Down to the edge of the band, beyond which nobody rests here.
            order.order_type = OrderType::Market;
            order.price = Price(0);
            limit = if side == Side::Buy { 110 * UNIT } else { 90 * UNIT };
        }
        let rest = match order.time_in_force {
            TimeInForce::Ioc => Rest::Goes,
            TimeInForce::Fok => Rest::Kills,
            TimeInForce::Gtc | TimeInForce::Gtt | TimeInForce::PostOnly => Rest::Rests,
        };
        let taker = Resting {
            id: self.id,
            owner,
            side,
            price: limit,
            size,
            filled: 0,
            good_til: order.good_til.0,
            post_only: order.time_in_force == TimeInForce::PostOnly,
            self_trade: order.self_trade,
        };
        (Command::Place(order), self.naive.place(taker, rest))
    }

    /// In priority order, each with what was filled of it.
    fn compare_open(&mut self) {
        self.tick();
        self.naive.end_expired(self.world.now.0);
        let orders = self.world.engine.dump().orders;
        for (side, expected) in [(Side::Buy, &self.naive.bids), (Side::Sell, &self.naive.asks)] {
            let mut open: Vec<_> = orders.iter().filter(|order| order.side == side).collect();
            // By time already.
            open.sort_by_key(|order| -side.sign() * i128::from(order.price.0));
            let seen = open.iter().map(|o| (o.order, o.account, o.price, o.size, o.filled));
            let expected =
                expected.iter().map(|o| (hash(o.id), address(o.owner), Price(o.price), Qty(o.size), Qty(o.filled)));
            assert_eq!(seen.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "open {side} orders");
        }
    }
}

fn hash(id: u64) -> MessageHash {
    MessageHash(Felt::from((1 << 40) + id))
}

fn check_stream(seed: u64) {
    let met = Stream::new(seed).run();
    println!("{met:?}");
    let Met { trades, killed, filled_or_killed, post_only_refused, expired, modified_and_traded, self_trades } = met;
    for count in [trades, killed, filled_or_killed, post_only_refused, expired, modified_and_traded, self_trades] {
        assert!(count > COMMANDS / 200, "a stream that meets so little proves nothing: {count}");
    }
}

#[test]
fn the_engine_trades_as_the_naive_matcher_does_1() {
    check_stream(1);
}

#[test]
fn the_engine_trades_as_the_naive_matcher_does_2() {
    check_stream(2);
}

#[test]
fn the_engine_trades_as_the_naive_matcher_does_3() {
    check_stream(3);
}

#[test]
fn the_engine_trades_as_the_naive_matcher_does_4() {
    check_stream(4);
}
