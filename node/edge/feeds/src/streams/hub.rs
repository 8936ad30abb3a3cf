//! The thread that owns the streams.

use super::build::{OfAccount, Touched};
use super::checksum::checksum;
use super::market::{Market, MarketSeed};
use super::stream::{ITEMS_IN_SNAPSHOT, Place, Stream, Subscription};
use super::{BookLevel, Payload, Topic};
use crate::book::Level;
use crate::margin::BalanceSummary;
use crate::releaser::Sink;
use crate::view::View;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use keel_store::{CandleInterval, FillRow, IncidentStep, Store, StoreError};
use keel_types::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Records that may wait for the feeds' thread, which is faster than an append; when it is not, the releaser waits rather than memory
/// growing.
pub const FEEDS_WAITING_MAX: usize = 1_024;
/// Subscriptions that may wait to be served between two records. More come only from a flood, and are refused.
pub const SUBSCRIBES_WAITING_MAX: usize = 1_024;
/// Subscriptions in all. Each record costs a queue operation for everybody who listens to what it changed: 16,384 of them about 1 ms.
pub const SUBSCRIPTIONS_MAX: usize = 16_384;
/// Private streams in all, those that are remembered for somebody who may come back included.
pub const ACCOUNT_STREAMS_MAX: usize = 8_192;
/// Longest wait at start for the history's thread to write what recovery handed it; it writes thousands of records a second.
const SEED_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a subscription was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No such market.
    UnknownMarket,
    /// [SUBSCRIPTIONS_MAX] or [ACCOUNT_STREAMS_MAX] are reached.
    TooMany,
    /// [SUBSCRIBES_WAITING_MAX] are waiting.
    Busy,
    /// The node is stopping.
    Stopping,
}

/// Where subscriptions are asked for. Cheap to clone.
#[derive(Clone)]
pub struct Feeds(Sender<Request>);

struct Request {
    topic: Topic,
    from: Option<Seq>,
    reply: oneshot::Sender<Result<Subscription, Refusal>>,
}

impl Feeds {
    /// Listens to a stream: from a snapshot, or from right after the command `from` if the stream still remembers that far.
    ///
    /// # Errors
    /// See [Refusal].
    pub async fn subscribe(&self, topic: Topic, from: Option<Seq>) -> Result<Subscription, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Request { topic, from, reply }).map_err(|error| match error {
            crossbeam_channel::TrySendError::Full(_) => Refusal::Busy,
            crossbeam_channel::TrySendError::Disconnected(_) => Refusal::Stopping,
        })?;
        answer.await.unwrap_or(Err(Refusal::Stopping))
    }
}

/// From what streams begin.
pub struct FeedsSeed {
    view: View,
    /// Per market of genesis.
    markets: Vec<MarketSeed>,
}

impl FeedsSeed {
    /// `view`: what is released, before anything more is. Waits until history has reached it.
    ///
    /// # Errors
    /// The database.
    pub fn read(view: View, store: &Store) -> Result<FeedsSeed, StoreError> {
        let deadline = Instant::now() + SEED_TIMEOUT;
        while store.history_seq()? < view.at().seq && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if store.history_seq()? < view.at().seq {
            tracing::warn!("history is behind: candles begin with what it has");
        }
        let markets = market_ids(&view).map(|market| MarketSeed::read(store, market)).collect::<Result<_, _>>()?;
        Ok(FeedsSeed { view, markets })
    }
}

fn market_ids(view: &View) -> impl Iterator<Item = MarketId> + use<> {
    (0..view.genesis().markets.len()).map(|i| MarketId(i as u16))
}

/// Starts the thread that owns the streams. The [Sink] hands it records; dropping the sink ends it, and with it every subscription.
pub fn start_feeds(seed: FeedsSeed) -> (Feeds, Sink, JoinHandle<()>) {
    let (records, released) = crossbeam_channel::bounded::<Arc<Released>>(FEEDS_WAITING_MAX);
    let (requests, asked) = crossbeam_channel::bounded(SUBSCRIBES_WAITING_MAX);
    let thread = std::thread::Builder::new().name("feeds".into());
    let run = move || Hub::new(seed).run(&released, asked);
    let handle = thread.spawn(run).expect("start the feeds' thread");
    (Feeds(requests), Box::new(move |released| records.send(released.clone()).is_ok()), handle)
}

struct Hub {
    view: View,
    streams: HashMap<Topic, Stream>,
    markets: Vec<Market>,
    watched: HashMap<Address, Watched>,
    subscriptions: Arc<AtomicUsize>,
}

/// An account with at least one stream; what was told last.
#[derive(Default)]
struct Watched {
    balances: Vec<BalanceSummary>,
    positions: BTreeMap<MarketId, PositionValue>,
}

impl Hub {
    fn new(seed: FeedsSeed) -> Hub {
        let FeedsSeed { view, markets } = seed;
        let at = (view.at().seq, view.at().ts);
        let topics = market_ids(&view).flat_map(|m| {
            let candles = CandleInterval::ALL.map(|interval| Topic::Candles(m, interval));
            [Topic::Book(m), Topic::Bbo(m), Topic::Trades(m), Topic::Ticker(m), Topic::Mark(m)].into_iter().chain(candles)
        });
        let streams = topics.chain([Topic::Node]).map(|topic| (topic, Stream::new(topic, at))).collect();
        let markets = market_ids(&view).zip(markets).map(|(id, seed)| Market::new(id, seed, &view)).collect();
        Hub { view, streams, markets, watched: HashMap::new(), subscriptions: Arc::default() }
    }

    /// Records first; one subscription between two of them.
    fn run(mut self, released: &Receiver<Arc<Released>>, asked: Receiver<Request>) {
        loop {
            match released.try_recv() {
                Ok(record) => {
                    self.apply(&record);
                    if let Ok(request) = asked.try_recv() {
                        self.serve(request);
                    }
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => crossbeam_channel::select! {
                    recv(released) -> record => match record {
                        Ok(record) => self.apply(&record),
                        Err(_) => return,
                    },
                    recv(asked) -> request => match request {
                        Ok(request) => self.serve(request),
                        // Nobody can ask any more; records must still be taken.
                        Err(_) => {
                            released.iter().for_each(|record| self.apply(&record));
                            return;
                        }
                    },
                },
            }
        }
    }

    fn apply(&mut self, released: &Released) {
        if released.executed.is_empty() {
            return;
        }
        let touched = Touched::by(released, &self.view, |account| self.watched.contains_key(account));
        self.view.apply(released);
        // First: who waits for news of a halt does not wait for what it leaves in the other streams.
        let executed = released.executed.iter();
        let steps: Vec<_> = executed.flat_map(|executed| IncidentStep::of(executed, released.ts)).collect();
        if !steps.is_empty() {
            self.publish(Topic::Node, node(&self.view, steps));
        }
        for event in released.executed.iter().flat_map(|executed| &executed.events) {
            match event {
                Event::Fill(fill) => self.markets[usize::from(fill.market.0)].fill(fill, released.ts),
                Event::Funding { market, rate, ts, .. } => self.markets[usize::from(market.0)].funding(*rate, *ts),
                _ => {}
            }
        }
        let Touched { levels, trades, marks, positions, accounts } = touched;
        let booked = self.books(levels);
        self.trades(&trades);
        for market in &marks {
            self.mark(*market);
        }
        let tickers: BTreeSet<MarketId> =
            booked.into_iter().chain(trades.into_keys()).chain(marks).chain(positions).collect();
        tickers.into_iter().for_each(|market| self.ticker(market));
        accounts.into_iter().for_each(|(account, told)| self.account(account, told));
    }

    /// Puts a change into its stream, if there is such a stream.
    fn publish(&mut self, topic: Topic, payload: Payload) {
        let at = (self.view.at().seq, self.view.at().ts);
        if let Some(stream) = self.streams.get_mut(&topic) {
            stream.publish(at, payload);
        }
    }

    /// Levels that differ from what they were; the markets whose book changed.
    fn books(&mut self, levels: BTreeMap<(MarketId, Side, Price), Level>) -> Vec<MarketId> {
        let mut changed: BTreeMap<MarketId, Vec<BookLevel>> = BTreeMap::new();
        for ((market, side, price), was) in levels {
            let now = self.view.orders().book(market).map_or(Level::default(), |book| book.level(side, price));
            if now != was {
                changed.entry(market).or_default().push(BookLevel { side, price, size: now.size, orders: now.orders });
            }
        }
        let markets = changed.keys().copied().collect();
        for (market, levels) in changed {
            let checksum = self.checksum(market);
            self.publish(Topic::Book(market), Payload::Book { levels, checksum });
            let state = &mut self.markets[usize::from(market.0)];
            let bbo = state.bbo_of(&self.view);
            if std::mem::replace(&mut state.bbo, bbo) != bbo {
                self.publish(Topic::Bbo(market), Payload::Bbo(bbo));
            }
        }
        markets
    }

    fn checksum(&self, market: MarketId) -> u32 {
        self.view.orders().book(market).map_or(0, checksum)
    }

    fn trades(&mut self, trades: &BTreeMap<MarketId, Vec<crate::view::Trade>>) {
        for (market, trades) in trades {
            self.publish(Topic::Trades(*market), Payload::Trades(trades.clone()));
            for interval in CandleInterval::ALL {
                // All trades of a record are of one moment, so of one candle.
                let candle = self.markets[usize::from(market.0)].candle(interval);
                self.publish(Topic::Candles(*market, interval), Payload::Candles(candle.into_iter().collect()));
            }
        }
    }

    fn mark(&mut self, market: MarketId) {
        let state = &mut self.markets[usize::from(market.0)];
        let mark = state.mark_of(&self.view);
        if std::mem::replace(&mut state.mark, mark) != mark {
            self.publish(Topic::Mark(market), Payload::Mark(mark));
        }
    }

    fn ticker(&mut self, market: MarketId) {
        let state = &mut self.markets[usize::from(market.0)];
        let ticker = state.ticker_of(&self.view);
        if std::mem::replace(&mut state.ticker, ticker) != ticker {
            self.publish(Topic::Ticker(market), Payload::Ticker(Box::new(ticker)));
        }
    }

    fn account(&mut self, account: Address, told: OfAccount) {
        let OfAccount { orders, fills } = told;
        if !orders.is_empty() {
            self.publish(Topic::Orders(account), Payload::Orders(orders));
        }
        if !fills.is_empty() {
            self.publish(Topic::Fills(account), Payload::Fills(fills));
        }
        let (balances, positions) = (self.view.balances(account), self.positions(account));
        let Some(watched) = self.watched.get_mut(&account) else { return };
        let before = std::mem::replace(&mut watched.balances, balances.clone());
        let before_positions = std::mem::replace(&mut watched.positions, positions.clone());
        let changed: Vec<BalanceSummary> = balances.into_iter().filter(|balance| !before.contains(balance)).collect();
        if !changed.is_empty() {
            self.publish(Topic::Balances(account), Payload::Balances(changed));
        }
        let closed = before_positions.keys().filter(|market| !positions.contains_key(market));
        let closed: Vec<_> = closed.map(|market| (*market, PositionValue::default())).collect();
        let opened = positions.into_iter().filter(|(market, position)| before_positions.get(market) != Some(position));
        let changed: Vec<_> = opened.chain(closed).collect();
        if !changed.is_empty() {
            self.publish(Topic::Positions(account), Payload::Positions(changed));
        }
    }

    fn positions(&self, account: Address) -> BTreeMap<MarketId, PositionValue> {
        self.view.account(account).map(|account| account.positions.clone()).unwrap_or_default()
    }

    fn serve(&mut self, request: Request) {
        let Request { topic, from, reply } = request;
        // Who asked may have gone away: the subscription ends with its receiver.
        let _ = reply.send(self.subscribe(topic, from));
    }

    fn subscribe(&mut self, topic: Topic, from: Option<Seq>) -> Result<Subscription, Refusal> {
        let place = Place::take(&self.subscriptions, SUBSCRIPTIONS_MAX).ok_or(Refusal::TooMany)?;
        if !self.streams.contains_key(&topic) {
            let account = topic.account().ok_or(Refusal::UnknownMarket)?;
            self.watch(topic, account)?;
        }
        let Hub { view, streams, markets, .. } = self;
        let stream = streams.get_mut(&topic).ok_or(Refusal::UnknownMarket)?;
        Ok(stream.subscribe(from, view.at().seq, place, |stream| whole(topic, stream, view, markets)))
    }

    /// Begins a private stream; forgets one that nobody listens to when there are too many.
    fn watch(&mut self, topic: Topic, account: Address) -> Result<(), Refusal> {
        let others = self.markets.len() * (5 + CandleInterval::ALL.len()) + 1;
        if self.streams.len() >= others + ACCOUNT_STREAMS_MAX {
            let idle = self.streams.iter().find(|(topic, stream)| topic.account().is_some() && stream.is_idle());
            let idle = *idle.ok_or(Refusal::TooMany)?.0;
            self.streams.remove(&idle);
            self.unwatch(idle);
        }
        let (balances, positions) = (self.view.balances(account), self.positions(account));
        self.watched.entry(account).or_insert(Watched { balances, positions });
        let at = (self.view.at().seq, self.view.at().ts);
        self.streams.insert(topic, Stream::new(topic, at));
        Ok(())
    }

    fn unwatch(&mut self, gone: Topic) {
        let Some(account) = gone.account() else { return };
        let others = [Topic::Orders(account), Topic::Fills(account), Topic::Positions(account), Topic::Balances(account)];
        if !others.iter().any(|topic| self.streams.contains_key(topic)) {
            self.watched.remove(&account);
        }
    }
}

/// Everything a stream is about, as of the view.
fn whole(topic: Topic, stream: &Stream, view: &View, markets: &[Market]) -> Payload {
    let market = |id: MarketId| &markets[usize::from(id.0)];
    match topic {
        Topic::Book(id) => book(view, id),
        Topic::Bbo(id) => Payload::Bbo(market(id).bbo),
        Topic::Trades(id) => {
            let mut trades: Vec<_> = view.trades(id).take(ITEMS_IN_SNAPSHOT).copied().collect();
            trades.reverse();
            Payload::Trades(trades)
        }
        Topic::Ticker(id) => Payload::Ticker(Box::new(market(id).ticker)),
        Topic::Candles(id, interval) => Payload::Candles(market(id).candles(interval)),
        Topic::Mark(id) => Payload::Mark(market(id).mark),
        Topic::Orders(account) => Payload::Orders(view.open_orders(account, None)),
        Topic::Fills(_) => Payload::Fills(last_fills(stream)),
        Topic::Positions(account) => {
            let positions = view.account(account).map(|account| account.positions.clone()).unwrap_or_default();
            Payload::Positions(positions.into_iter().collect())
        }
        Topic::Balances(account) => Payload::Balances(view.balances(account)),
        Topic::Node => node(view, last_steps(stream)),
    }
}

fn book(view: &View, market: MarketId) -> Payload {
    let Some(book) = view.orders().book(market) else { return Payload::Book { levels: vec![], checksum: 0 } };
    let levels = [Side::Buy, Side::Sell].into_iter().flat_map(|side| {
        let levels = book.levels(side, usize::MAX).into_iter();
        levels.map(move |(price, level)| BookLevel { side, price, size: level.size, orders: level.orders })
    });
    Payload::Book { levels: levels.collect(), checksum: checksum(book) }
}

fn node(view: &View, steps: Vec<IncidentStep>) -> Payload {
    let phase = view.phase();
    Payload::Node { phase, incident: view.state().incidents.get(&phase.incident).copied(), steps }
}

fn last_steps(stream: &Stream) -> Vec<IncidentStep> {
    let steps = stream.remembered().rev().filter_map(|payload| match payload {
        Payload::Node { steps, .. } => Some(steps.iter().rev()),
        _ => None,
    });
    let mut steps: Vec<IncidentStep> = steps.flatten().take(ITEMS_IN_SNAPSHOT).copied().collect();
    steps.reverse();
    steps
}

fn last_fills(stream: &Stream) -> Vec<FillRow> {
    let fills = stream.remembered().rev().filter_map(|payload| match payload {
        Payload::Fills(fills) => Some(fills.iter().rev()),
        _ => None,
    });
    let mut fills: Vec<FillRow> = fills.flatten().take(ITEMS_IN_SNAPSHOT).cloned().collect();
    fills.reverse();
    fills
}
