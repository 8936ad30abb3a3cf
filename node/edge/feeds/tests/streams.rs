//! Streams against the view of the same records.
mod story;

use keel_feeds::streams::*;
use keel_feeds::{BalanceSummary, Feeds, FeedsSeed, OrderView, PhaseView, Sink, Topic, Trade, View, start_feeds};
use keel_store::{Candle, CandleInterval, FillRow, HistoryWriter, IncidentStep, Store};
use keel_types::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use story::{ACTORS, Story, UNIT, account};

/// A story with its streams, its history, and the view that a reader would see.
struct World {
    story: Story,
    view: View,
    feeds: Feeds,
    sink: Sink,
    store: Store,
    history: HistoryWriter,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(seed: u64) -> World {
        let story = Story::new(seed);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path(), story.genesis.hash()).expect("a new store");
        let view = View::of_engine(Arc::new(story.genesis.clone()), &story.engine);
        let history = HistoryWriter::new(store.clone()).expect("an empty history");
        let (feeds, sink, _) = start_feeds(FeedsSeed::read(view.clone(), &store).expect("an empty history"));
        let mut world = World { story, view, feeds, sink, store, history, _dir: dir };
        let opening = world.story.opening();
        world.execute(opening);
        world
    }

    fn execute(&mut self, commands: Vec<Command>) -> Arc<Released> {
        let released = Arc::new(self.story.execute(commands));
        self.view.apply(&released);
        self.history.apply(&released).expect("written");
        assert!((self.sink)(&released), "the feeds run");
        released
    }

    /// A record of a few random commands.
    fn step(&mut self) -> Arc<Released> {
        let mut commands: Vec<Command> = (0..1 + self.story.random.below(4)).map(|_| self.story.command()).collect();
        commands.push(Command::Tick);
        self.execute(commands)
    }

    fn subscribe(&self, topic: Topic, from: Option<Seq>) -> Subscription {
        block_on(self.feeds.subscribe(topic, from)).expect("there is room")
    }

    /// As after a restart: streams begin at what is released, candles come from history.
    fn restart(&mut self) {
        let seed = FeedsSeed::read(self.view.clone(), &self.store).expect("history is whole");
        let (feeds, sink, _) = start_feeds(seed);
        (self.feeds, self.sink) = (feeds, sink);
    }
}

/// Waits for an answer of the feeds' thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), future).await.expect("an answer in time") })
}

/// What a client holds: it knows nothing but the messages.
#[derive(Default, PartialEq, Debug)]
struct Client {
    seq: Seq,
    bids: BTreeMap<Price, (u128, u32)>,
    asks: BTreeMap<Price, (u128, u32)>,
    checksum: u32,
    bbo: Bbo,
    trades: Vec<Trade>,
    ticker: Ticker,
    candles: BTreeMap<u64, Candle>,
    mark: MarkPrice,
    orders: BTreeMap<MessageHash, OrderUpdate>,
    fills: Vec<FillRow>,
    positions: BTreeMap<MarketId, PositionValue>,
    balances: BTreeMap<AssetId, BalanceSummary>,
    phase: Option<(PhaseView, Option<IncidentValue>)>,
    steps: Vec<IncidentStep>,
}

impl Client {
    fn take(&mut self, update: &Update) {
        match update.kind {
            UpdateKind::Snapshot => *self = Client::default(),
            UpdateKind::Delta => {
                assert_eq!(update.prev_seq, self.seq, "a gap in {:?}", update.topic);
                assert!(update.seq > self.seq);
            }
        }
        self.seq = update.seq;
        match &update.payload {
            Payload::Book { levels, checksum } => {
                for level in levels {
                    let side = if level.side == Side::Buy { &mut self.bids } else { &mut self.asks };
                    match level.size {
                        0 => drop(side.remove(&level.price).expect("a level that is gone was there")),
                        size => drop(side.insert(level.price, (size, level.orders))),
                    }
                }
                self.checksum = *checksum;
            }
            Payload::Bbo(bbo) => self.bbo = *bbo,
            Payload::Trades(trades) => self.trades.extend(trades),
            Payload::Ticker(ticker) => self.ticker = **ticker,
            Payload::Candles(candles) => self.candles.extend(candles.iter().map(|c| (c.start_ms, *c))),
            Payload::Mark(mark) => self.mark = *mark,
            Payload::Orders(orders) => orders.iter().for_each(|OrderView { update, .. }| match update.state.is_terminal() {
                true => drop(self.orders.remove(&update.order)),
                false => drop(self.orders.insert(update.order, *update)),
            }),
            Payload::Fills(fills) => self.fills.extend(fills.iter().cloned()),
            Payload::Positions(rows) => rows.iter().for_each(|(market, row)| match row.size {
                0 => drop(self.positions.remove(market)),
                _ => drop(self.positions.insert(*market, *row)),
            }),
            Payload::Balances(rows) => self.balances.extend(rows.iter().map(|row| (row.asset, *row))),
            Payload::Node { phase, incident, steps } => {
                self.phase = Some((*phase, *incident));
                self.steps.extend(steps);
            }
        }
    }

    /// The checksum as the documentation tells a client to make it.
    fn own_checksum(&self) -> u32 {
        let (bids, asks): (Vec<_>, Vec<_>) = (self.bids.iter().rev().collect(), self.asks.iter().collect());
        let mut parts = vec![];
        for depth in 0..25 {
            for (price, (size, _)) in bids.get(depth).into_iter().chain(asks.get(depth)) {
                parts.push(format!("{price}:{}", format_quantums(*size as i128)));
            }
        }
        bitwise_crc32(parts.join(":").as_bytes())
    }
}

fn bitwise_crc32(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
}

/// A subscription with what its client made of it.
struct Follower {
    subscription: Subscription,
    client: Client,
}

impl Follower {
    fn new(subscription: Subscription) -> Follower {
        Follower::on(subscription, Client::default())
    }

    fn on(subscription: Subscription, mut client: Client) -> Follower {
        subscription.start.updates.iter().for_each(|update| client.take(update));
        Follower { subscription, client }
    }

    fn catch_up(&mut self) {
        while let Some(update) = self.subscription.try_next().expect("open") {
            self.client.take(&update);
        }
    }

    /// Until the feeds' thread has done what was handed to it before: it serves a subscription after the records in front of it.
    fn settle(&mut self, world: &World) {
        world.wait();
        self.catch_up();
    }
}

impl World {
    /// Until every record handed over is in the streams.
    fn wait(&self) {
        // The feeds' thread may serve a subscription between two records: ask until it has seen the last one.
        let seq = self.view.at().seq;
        for _ in 0..30_000 {
            let probe = self.subscribe(Topic::Orders(account(999)), Some(seq));
            if probe.start.resumed == Some(true) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the feeds are behind");
    }
}

fn market_topics(market: MarketId) -> Vec<Topic> {
    let candles = CandleInterval::ALL.map(|interval| Topic::Candles(market, interval));
    let others =
        [Topic::Book(market), Topic::Bbo(market), Topic::Trades(market), Topic::Ticker(market), Topic::Mark(market)];
    others.into_iter().chain(candles).collect()
}

fn account_topics(owner: Address) -> [Topic; 4] {
    [Topic::Orders(owner), Topic::Fills(owner), Topic::Positions(owner), Topic::Balances(owner)]
}

fn every_topic() -> Vec<Topic> {
    let markets = (0..3).flat_map(|market| market_topics(MarketId(market)));
    markets.chain((0..ACTORS).flat_map(|actor| account_topics(account(actor)))).chain([Topic::Node]).collect()
}

/// The client's copy of the book and of its orders is the view's.
fn assert_is_the_view(topic: Topic, client: &Client, view: &View) {
    match topic {
        Topic::Book(market) => {
            let book = view.orders().book(market).expect("listed");
            let levels = |side| book.levels(side, usize::MAX).into_iter().map(|(price, l)| (price, (l.size, l.orders)));
            assert_eq!(client.bids, levels(Side::Buy).collect(), "bids of {market}");
            assert_eq!(client.asks, levels(Side::Sell).collect(), "asks of {market}");
            assert_eq!(client.checksum, client.own_checksum());
        }
        Topic::Bbo(market) => {
            let book = view.orders().book(market).expect("listed");
            let best = |side| book.levels(side, 1).first().map(|(price, level)| (*price, level.size));
            assert_eq!(client.bbo, Bbo { bid: best(Side::Buy), ask: best(Side::Sell) });
        }
        Topic::Trades(market) => {
            let known: Vec<Trade> = view.trades(market).take(client.trades.len()).copied().collect();
            assert!(client.trades.iter().rev().eq(known.iter()));
        }
        Topic::Mark(market) => {
            let state = view.market(market).expect("listed");
            assert_eq!(
                (client.mark.mark, client.mark.oracle, client.mark.price_ts),
                (state.mark, state.oracle, state.price_ts)
            );
        }
        Topic::Ticker(market) => {
            let state = view.market(market).expect("listed");
            assert_eq!((client.ticker.mark.mark, client.ticker.open_interest), (state.mark, state.open_interest));
            assert_eq!(client.ticker.last, view.trades(market).next().map(|trade| trade.price));
        }
        Topic::Candles(..) => {}
        Topic::Orders(owner) => {
            let open = view.open_orders(owner, None);
            assert_eq!(client.orders, open.iter().map(|order| (order.update.order, order.update)).collect());
        }
        Topic::Fills(_) => {}
        Topic::Positions(owner) => {
            let positions = view.account(owner).map(|a| a.positions.clone()).unwrap_or_default();
            assert_eq!(client.positions, positions);
        }
        Topic::Balances(owner) => {
            let known = view.balances(owner).into_iter().map(|row| (row.asset, row)).collect::<BTreeMap<_, _>>();
            // An asset that is at zero again stays in a client's table.
            let held = client
                .balances
                .iter()
                .filter(|(asset, row)| known.contains_key(asset) || (row.total, row.reserved) != (0, 0));
            assert_eq!(held.map(|(asset, row)| (*asset, *row)).collect::<BTreeMap<_, _>>(), known);
        }
        Topic::Node => {
            let phase = view.phase();
            assert_eq!(client.phase, Some((phase, view.state().incidents.get(&phase.incident).copied())));
        }
    }
}

#[test]
fn a_snapshot_with_its_deltas_is_the_state_of_the_same_record() {
    for seed in 1..=3 {
        let mut world = World::new(seed);
        let mut followers: Vec<(Topic, Follower)> =
            every_topic().into_iter().map(|topic| (topic, Follower::new(world.subscribe(topic, None)))).collect();
        let (mut fills, mut traded) = (BTreeMap::<Address, usize>::new(), 0);
        for step in 0..400 {
            let released = world.step();
            for event in released.executed.iter().flat_map(|executed| &executed.events) {
                if let Event::Fill(fill) = event {
                    traded += 1;
                    *fills.entry(fill.maker.account).or_default() += 1;
                    *fills.entry(fill.taker.account).or_default() += 1;
                }
            }
            if step % 20 == 0 {
                world.wait();
                for (topic, follower) in &mut followers {
                    follower.catch_up();
                    assert_is_the_view(*topic, &follower.client, &world.view);
                }
            }
        }
        world.wait();
        assert!(traded > 50, "a dull story: {traded} fills");
        for (topic, mut follower) in followers {
            follower.catch_up();
            assert_is_the_view(topic, &follower.client, &world.view);
            match topic {
                Topic::Fills(owner) => assert_eq!(follower.client.fills.len(), fills.get(&owner).copied().unwrap_or(0)),
                Topic::Candles(market, interval) => {
                    let history = world.store.candles(market, interval, None, 100).expect("readable");
                    assert!(history.rows.iter().rev().eq(follower.client.candles.values()), "candles of {market}");
                }
                Topic::Node => {
                    let steps = |row: &keel_store::IncidentRow| world.store.incident_steps(row.incident).expect("readable");
                    let incidents = world.store.incidents(None, 1_000).expect("readable").rows;
                    let known: Vec<IncidentStep> = incidents.iter().rev().flat_map(steps).collect();
                    assert!(known.len() > 3, "a dull story: {known:?}");
                    assert_eq!(follower.client.steps, known);
                }
                _ => {}
            }
            // Whoever comes now gets the same as those who were there all the time.
            if !matches!(topic, Topic::Trades(_) | Topic::Fills(_) | Topic::Balances(_) | Topic::Node) {
                assert_eq!(Follower::new(world.subscribe(topic, None)).client, follower.client, "{topic:?}");
            }
        }
    }
}

#[test]
fn who_comes_back_gets_what_was_missed_and_is_equal_to_who_never_left() {
    let mut world = World::new(5);
    for topic in [Topic::Book(MarketId(0)), Topic::Orders(account(1)), Topic::Ticker(MarketId(1)), Topic::Node] {
        let mut steady = Follower::new(world.subscribe(topic, None));
        let mut flaky = Follower::new(world.subscribe(topic, None));
        for round in 0..12 {
            for _ in 0..round {
                world.step();
            }
            world.wait();
            steady.catch_up();
            // It had read only a part of what was sent when its connection broke.
            for _ in 0..round / 2 {
                if let Some(update) = flaky.subscription.try_next().expect("open") {
                    flaky.client.take(&update);
                }
            }
            let subscription = world.subscribe(topic, Some(flaky.client.seq));
            assert_eq!(subscription.start.resumed, Some(true));
            assert!(subscription.start.updates.iter().all(|update| update.kind == UpdateKind::Delta));
            flaky = Follower::on(subscription, flaky.client);
            assert_eq!(flaky.client, steady.client, "{topic:?} in round {round}");
        }
        assert_is_the_view(topic, &flaky.client, &world.view);
    }
}

#[test]
fn what_is_forgotten_or_not_yet_there_is_answered_with_a_snapshot_that_says_so() {
    let mut world = World::new(6);
    let topic = Topic::Orders(account(1));
    let first = world.subscribe(topic, None).start.seq;
    // Until the ring has dropped its first items: each place is at least one transition.
    let mut told = 0;
    while told <= 2 * ACCOUNT_ITEMS_KEPT {
        let released = world.step();
        let events = released.executed.iter().flat_map(|executed| &executed.events);
        told += events.filter(|event| matches!(event, Event::Order(order) if order.account == account(1))).count();
    }
    world.wait();
    for from in [first, Seq(world.view.at().seq.0 + 1), Seq(0)] {
        let start = world.subscribe(topic, Some(from)).start;
        assert_eq!((start.resumed, start.updates.len()), (Some(false), 1), "from {from}");
        assert_eq!(start.updates[0].kind, UpdateKind::Snapshot);
    }
    // A stream that nobody had listened to remembers nothing: only where it is now.
    let at = world.view.at().seq;
    assert_eq!(world.subscribe(Topic::Fills(account(4)), Some(Seq(at.0 - 1))).start.resumed, Some(false));
    // The seq of a read serves as well as that of a message.
    assert_eq!(world.subscribe(Topic::Book(MarketId(0)), Some(at)).start.resumed, Some(true));
}

#[test]
fn a_slow_subscriber_is_told_and_dropped_and_others_lose_nothing() {
    let mut world = World::new(7);
    let topic = Topic::Ticker(MarketId(0));
    let mut slow = world.subscribe(topic, None);
    let mut quick = Follower::new(world.subscribe(topic, None));
    let mut sent = 0;
    while sent <= SUBSCRIBER_QUEUE_MAX + 5 {
        let before = quick.client.seq;
        world.step();
        quick.settle(&world);
        sent += usize::from(quick.client.seq > before);
    }
    assert_eq!(block_on(slow.next()).expect_err("its queue was full"), Closed::SlowConsumer);
    assert_is_the_view(topic, &quick.client, &world.view);
    let seen = slow.start.seq;
    assert_eq!(world.subscribe(topic, Some(seen)).start.resumed, Some(true), "it may come back");
}

#[test]
fn a_restart_loses_neither_the_running_candle_nor_the_day() {
    let mut world = World::new(8);
    for _ in 0..200 {
        world.step();
    }
    world.wait();
    let topics: Vec<Topic> =
        market_topics(MarketId(0)).into_iter().filter(|t| matches!(t, Topic::Candles(..) | Topic::Ticker(_))).collect();
    let before: Vec<Client> = topics.iter().map(|topic| Follower::new(world.subscribe(*topic, None)).client).collect();
    assert!(before.iter().any(|client| client.ticker.day.is_some_and(|day| day.trades > 10)), "a dull story");
    world.restart();
    for (topic, before) in topics.iter().zip(before) {
        let after = Follower::new(world.subscribe(*topic, None)).client;
        assert_eq!((after.candles, after.ticker), (before.candles, before.ticker), "{topic:?}");
    }
    // Streams of before are over, and their clients know why.
    let mut old = world.subscribe(topics[0], None);
    world.restart();
    assert_eq!(block_on(old.next()).expect_err("over"), Closed::Stopping);
}

#[test]
fn the_seq_of_a_message_is_of_the_record_that_changed_something() {
    let mut world = World::new(9);
    let topic = Topic::Book(MarketId(0));
    let mut follower = Follower::new(world.subscribe(topic, None));
    let began = follower.client.seq;
    let Command::Place(mut order) = world.story.place(account(1)) else { unreachable!("a place") };
    (order.market, order.side, order.price, order.size) = (MarketId(0), Side::Buy, Price(95 * UNIT), Qty(UNIT));
    (order.time_in_force, order.client_id) = (TimeInForce::Gtc, 0);
    world.execute(vec![Command::Tick]);
    let released = world.execute(vec![Command::Place(order), Command::Tick]);
    world.execute(vec![Command::Tick]);
    follower.settle(&world);
    assert_eq!(follower.client.seq, released.last_seq());
    assert!(follower.client.seq > began);
    assert_eq!(follower.client.bids, BTreeMap::from([(Price(95 * UNIT), (u128::from(UNIT), 1))]));
    assert_eq!(checksum_text(world.view.orders().book(MarketId(0)).expect("listed")), "95:1");
}

#[test]
fn an_unknown_market_and_too_many_subscriptions_are_refused() {
    let world = World::new(10);
    let refused = |topic| block_on(world.feeds.subscribe(topic, None)).map(drop);
    assert_eq!(refused(Topic::Book(MarketId(9))), Err(Refusal::UnknownMarket));
    let held: Vec<Subscription> =
        (0..ACCOUNT_STREAMS_MAX as u64).map(|n| world.subscribe(Topic::Fills(account(10_000 + n)), None)).collect();
    assert_eq!(refused(Topic::Orders(account(1))), Err(Refusal::TooMany), "every private stream is listened to");
    assert_eq!(refused(Topic::Book(MarketId(0))), Ok(()), "public streams are not affected");
    let more: Vec<Subscription> =
        (held.len()..SUBSCRIPTIONS_MAX).map(|_| world.subscribe(Topic::Trades(MarketId(0)), None)).collect();
    assert_eq!(refused(Topic::Book(MarketId(0))), Err(Refusal::TooMany));
    drop(held);
    assert_eq!(refused(Topic::Orders(account(1))), Ok(()), "a stream that nobody listens to makes room");
    drop(more);
}
