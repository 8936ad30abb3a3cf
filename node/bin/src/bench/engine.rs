use super::{Random, median};
use anyhow::{Context, Result};
use keel_engine::Engine;
use keel_types::*;
use std::time::Instant;

/// Accounts that trade.
const ACCOUNTS: u64 = 200;

/// Applies mixed flow to a fresh engine, three times: 60% limits around the price, 15% takers, 25% cancels, on every market.
pub fn run(commands: u64) -> Result<()> {
    let text = std::fs::read_to_string("genesis/dev.json").context("engine bench: read genesis/dev.json")?;
    let genesis = keel_contracts::genesis::load(&text)?;
    let mut rates = vec![];
    let mut fills = 0;
    for _ in 0..3 {
        let mut flow = Flow::new(&genesis);
        flow.open_and_fund();
        let list: Vec<Command> = (0..commands).map(|_| flow.next()).collect();
        fills = 0;
        let start = Instant::now();
        for command in &list {
            let output = flow.engine.apply(Seq(flow.seq + 1), Ts(flow.ts + 1), command);
            (flow.seq, flow.ts) = (flow.seq + 1, flow.ts + 1);
            fills += output.events.iter().filter(|e| matches!(e, Event::Fill(_))).count();
        }
        rates.push(commands as f64 / start.elapsed().as_secs_f64());
        anyhow::ensure!(flow.engine.check().is_empty(), "engine bench: an invariant does not hold");
        anyhow::ensure!(fills > 0, "engine bench: nothing was filled, this measures refusals");
    }
    println!("engine: {:.0} commands/s (median of 3 runs of {commands}; {fills} fills each)", median(rates));
    Ok(())
}

/// An engine with the development genesis, and the commands it was given.
pub(super) struct Flow<'a> {
    pub genesis: &'a Genesis,
    pub engine: Engine,
    pub random: Random,
    seq: u64,
    ts: u64,
    nonce: u64,
    message_nonce: u64,
    placed: Vec<(Address, MessageHash)>,
}

impl Flow<'_> {
    pub fn new(genesis: &Genesis) -> Flow<'_> {
        let (engine, _) = Engine::new(genesis);
        Flow {
            genesis,
            engine,
            random: Random::new(5),
            seq: 0,
            ts: genesis.ts.0 + 1,
            nonce: 0,
            message_nonce: 0,
            placed: vec![],
        }
    }

    /// Two seconds later than the command before.
    pub fn apply(&mut self, command: Command) -> Vec<Event> {
        self.apply_after(2_000_000_000, command)
    }

    pub fn apply_after(&mut self, ns: u64, command: Command) -> Vec<Event> {
        (self.seq, self.ts) = (self.seq + 1, self.ts + ns);
        self.engine.apply(Seq(self.seq), Ts(self.ts), &command).events
    }

    /// Walks the phases to OPEN, with prices, as commands.
    pub fn open(&mut self) {
        let incident = IncidentId(1);
        let reasons = LossReasons::of(LossReason::Restart);
        self.apply(Command::EnterSafeMode(EnterSafeMode { incident, reasons, observed_ts: Ts(self.ts) }));
        for phase in [Phase::ReadOnly, Phase::Spot, Phase::ReduceOnly, Phase::Open] {
            self.prices();
            let (post_only_until, integrity_report) = (Ts(0), Bytes32([1; 32]));
            self.apply(Command::SetPhase(SetPhase { incident, phase, post_only_until, integrity_report }));
        }
    }

    /// A registered account.
    pub fn register(&mut self, n: u64) -> Address {
        let account = address(n);
        let signed = self.signed(account);
        self.apply_after(1, Command::Register(Register { signed, key: StarkKey(Felt::from(n + 1)), template: 0 }));
        account
    }

    pub fn deposit(&mut self, account: Address, asset: &AssetSpec, quantums: i128) {
        self.message_nonce += 1;
        let deposit = Deposit {
            message_nonce: self.message_nonce,
            token: asset.token,
            recipient: account,
            amount: (quantums / i128::from(asset.quantums_per_l1_unit)) as u128,
            message_hash: Bytes32::default(),
            l1_block: 1,
            l1_block_hash: Bytes32::default(),
            depth: 3,
            l1_tx_hash: Bytes32::default(),
        };
        self.apply_after(1, Command::Deposit(deposit));
    }

    fn open_and_fund(&mut self) {
        self.open();
        for n in 0..ACCOUNTS {
            let account = self.register(n);
            for asset in &self.genesis.assets {
                self.deposit(account, asset, asset.deposit_max.0.min(1_000_000 * i128::from(QUANTUMS_PER_UNIT)));
            }
        }
        self.prices();
    }

    fn prices(&mut self) {
        let ts = Ts(self.ts + 2_000_000_000);
        let report = |publisher: usize, market: usize| PriceReport {
            publisher: publisher as u8,
            market: MarketId(market as u16),
            price: self.genesis.markets[market].initial_price,
            ts,
        };
        let publishers = 0..self.genesis.oracle.publishers.len();
        let reports =
            publishers.flat_map(|p| (0..self.genesis.markets.len()).map(move |m| (p, m))).map(|(p, m)| report(p, m));
        self.apply(Command::Prices(reports.collect()));
    }

    pub fn signed(&mut self, account: Address) -> Signed {
        self.nonce += 1;
        let valid_until = Ts(self.ts).plus_ms(60_000);
        Signed {
            account,
            nonce: self.nonce,
            valid_until,
            hash: MessageHash(Felt::from(self.nonce)),
            session_key: StarkKey::default(),
        }
    }

    fn next(&mut self) -> Command {
        let pick = self.random.below(100);
        if pick < 25 && !self.placed.is_empty() {
            let at = self.random.below(self.placed.len() as u64) as usize;
            let (account, order) = self.placed.swap_remove(at);
            return Command::Cancel(CancelOrder { signed: self.signed(account), order, client_id: 0 });
        }
        let market_id = self.random.below(self.genesis.markets.len() as u64);
        let market = &self.genesis.markets[market_id as usize];
        let side = if self.random.below(2) == 0 { Side::Buy } else { Side::Sell };
        let taker = pick >= 85;
        let away = i128::from(self.random.below(200)) * if taker { side.sign() } else { -side.sign() };
        let ticks = (market.initial_price.0 / market.tick_size.0) as i128;
        let price = Price((ticks + ticks * away / 20_000) as u64 * market.tick_size.0);
        let lots =
            market.notional_min.0 * i128::from(QUANTUMS_PER_UNIT) / i128::from(price.0) / i128::from(market.lot_size.0);
        let size = Qty((lots as u64 + 1 + self.random.below(20)) * market.lot_size.0);
        let account = address(self.random.below(ACCOUNTS));
        let signed = self.signed(account);
        if !taker {
            self.placed.push((account, signed.hash));
        }
        Command::Place(PlaceOrder {
            signed,
            market: MarketId(market_id as u16),
            side,
            order_type: OrderType::Limit,
            size,
            price,
            trigger_price: Price(0),
            time_in_force: if taker { TimeInForce::Ioc } else { TimeInForce::Gtc },
            good_til: Ts(0),
            reduce_only: false,
            self_trade: SelfTradeMode::CancelTaker,
            client_id: 0,
        })
    }
}

fn address(i: u64) -> Address {
    Address(Felt::from(1_000_000 + i))
}
