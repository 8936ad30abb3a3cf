use super::secret;
use keel_batches::MessageToL2;
use keel_contracts::starknet::HANDLE_DEPOSIT;
use keel_types::*;
use starknet_crypto::get_public_key;
use std::collections::BTreeMap;

/// Two assets, a spot market and a perpetual.
pub(super) fn genesis() -> Genesis {
    let market = |name: &str, kind| MarketSpec {
        name: name.into(),
        kind,
        tick_size: Price(1_000_000),
        lot_size: Qty(1_000_000),
        fee_maker_ppm: 0,
        fee_taker_ppm: 250,
        band_ppm: 50_000,
        notional_min: Amount(1),
        notional_max: Amount(1_000_000_000_000),
        price_max: Price(1_000_000_000_000),
        size_max: Qty(1_000_000_000),
        oracle_move_max_ppm: 50_000,
        initial_price: Price(200_000_000_000),
    };
    let perpetual = PerpetualSpec {
        imf_ppm: 50_000,
        mmf_factor_ppm: 500_000,
        open_interest_lower: Amount(1),
        open_interest_upper: Amount(2),
        open_interest_max: Qty(1_000_000_000),
        position_max: Qty(1_000_000_000),
        funding_rate_max_ppm: 10_000,
        liquidation_fee_ppm: 10_000,
        impact_notional: Amount(1),
    };
    let asset = |symbol: &str, token: u8, quantums_per_l1_unit| AssetSpec {
        symbol: symbol.into(),
        token: L1Address::ethereum([token; 20]),
        quantums_per_l1_unit,
        deposit_max: Amount(MONEY_MAX),
    };
    let address = |n: u64| Address(Felt::from(n));
    Genesis {
        chain_id: FeltBytes(Felt::from_bytes_be_slice(b"KEEL_TEST")),
        rules_version: 1,
        ts: Ts(1_000_000_000_000),
        exchange: address(0xe_0000),
        operator: address(0x0_9000),
        fee_token: address(0xf_0000),
        sequencer: address(0x0_9000),
        block_key: StarkKey(get_public_key(&secret())),
        settlement: SettlementSpec {
            layer: SettlementLayer::Ethereum { chain_id: 31_337, data: DataForm::Blobs },
            core: L1Address::ethereum([0xc0; 20]),
            bridge: L1Address::ethereum([0xb0; 20]),
            registry: L1Address::ethereum([0xa0; 20]),
            deposit_depth: 3,
            confirm_depth: 3,
        },
        account_templates: vec![],
        fee_account: address(0xfee0),
        insurance_account: address(0x1500),
        assets: vec![asset("USDC", 1, 100), asset("ETH", 2, 1)],
        markets: vec![
            market("ETH-USDC", MarketKind::Spot { base: AssetId(1) }),
            market("ETH-USDC-PERP", MarketKind::Perpetual(perpetual)),
        ],
        oracle: OracleSpec {
            publishers: vec![StarkKey(Felt::from(77))],
            quorum: 1,
            report_age_max_ms: 5_000,
            stale_ms: 10_000,
        },
        limits: EngineLimits { orders_per_account_market: 100, nonces_per_account: 1_000, fills_per_command: 500 },
    }
}

/// What a new engine writes.
pub(super) fn genesis_writes(genesis: &Genesis) -> Vec<StateWrite> {
    let mut writes = vec![StateWrite::Rules, StateWrite::WithdrawalCount { count: 0 }];
    for asset in (0..2).map(AssetId) {
        writes.push(StateWrite::Asset(asset));
        writes.push(StateWrite::Totals { asset, deposited: Amount(0), withdrawn: Amount(0) });
    }
    for market in (0..2).map(MarketId) {
        let price = genesis.market(market).unwrap().initial_price;
        writes.push(StateWrite::Market(market));
        writes.push(StateWrite::Price { market, oracle: price, mark: price, ts: Ts(0) });
    }
    writes.push(StateWrite::Funding { market: MarketId(1), index: Amount(0), pool: Amount(0) });
    writes.push(StateWrite::Phase { phase: Phase::Open, incident: IncidentId(0), since: genesis.ts });
    writes
}

pub(super) fn account(n: u64) -> Address {
    Address(Felt::from(0x1_0000 + n))
}
fn order(n: u64) -> MessageHash {
    MessageHash(Felt::from(0x20_0000 + n))
}

/// What a script's commands would have made of an engine: just enough to write coherent events and chain state.
pub(super) struct Script<'a> {
    genesis: &'a Genesis,
    /// Of the record in the making.
    ts: Ts,
    seq: u64,
    height: u64,
    orders: u64,
    trades: [u64; 2],
    withdrawals: u64,
    incident: Option<IncidentValue>,
    balances: BTreeMap<(Address, AssetId), i128>,
    positions: BTreeMap<Address, PositionValue>,
    totals: BTreeMap<AssetId, (i128, i128)>,
}

impl<'a> Script<'a> {
    /// Executes a script; each command is one word and its numbers, commands are parted by `|`, and each is one record, 10 ms after the one
    /// before; `+MS` before a command makes it so many milliseconds, and `&` puts it in the record of the command before.
    ///
    /// `register A`, `deposit NONCE A UNITS` (asset 0), `fill MARKET MAKER TAKER [COUNT]`, `rest A`, `tick`, `confirm`, `reject A`,
    /// `price MARKET PRICE ..`, `withdraw A UNITS`, `safe COUNT` (cancels so many orders), `phase NAME`, `seal`, `badseal`, `restore MAKER TAKER`
    /// (orders that fill twice).
    pub(super) fn run(genesis: &Genesis, script: &str) -> Vec<Released> {
        let mut run = Script {
            genesis,
            ts: genesis.ts,
            seq: 0,
            height: 0,
            orders: 0,
            trades: [0; 2],
            withdrawals: 0,
            incident: None,
            balances: BTreeMap::new(),
            positions: BTreeMap::new(),
            totals: BTreeMap::new(),
        };
        let commands = script.split('|').map(str::trim).filter(|command| !command.is_empty());
        commands.fold(vec![], |mut records: Vec<Released>, command| {
            match command.strip_prefix('&').zip(records.last_mut()) {
                Some((command, record)) => record.executed.push(run.command(command)),
                None => records.push(run.record(command)),
            }
            records
        })
    }

    fn record(&mut self, text: &str) -> Released {
        let (wait, text) = match text.strip_prefix('+').and_then(|text| text.split_once(' ')) {
            Some((wait, text)) => (wait.parse().unwrap(), text),
            None => (10, text),
        };
        self.ts = self.ts.plus_ms(wait);
        let executed = vec![self.command(text)];
        Released { record_hash: Bytes32([self.seq as u8; 32]), ts: self.ts, executed }
    }

    fn command(&mut self, text: &str) -> Executed {
        self.seq += 1;
        let (command, events, writes) = self.execute(text);
        Executed { seq: Seq(self.seq), command, events, writes }
    }

    fn ts(&self) -> Ts {
        self.ts
    }

    fn execute(&mut self, text: &str) -> (Command, Vec<Event>, Vec<StateWrite>) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let n = |i: usize| words[i].parse::<u64>().unwrap();
        match words[0] {
            "tick" => (Command::Tick, vec![], vec![]),
            "register" => self.register(account(n(1))),
            "deposit" => self.deposit(n(1), account(n(2)), n(3)),
            "fill" => self.fill(MarketId(n(1) as u16), account(n(2)), account(n(3)), words.get(4).map_or(1, |_| n(4))),
            "restore" => self.restore(account(n(1)), account(n(2))),
            "rest" => (self.place(account(n(1)), MarketId(0)), vec![], vec![]),
            "price" => self.price((1..words.len()).step_by(2).map(|i| (MarketId(n(i) as u16), n(i + 1))).collect()),
            "withdraw" => self.withdraw(account(n(1)), n(2)),
            "safe" => self.safe(n(1)),
            "phase" => self.phase(Phase::parse(words[1]).unwrap()),
            "confirm" => {
                let confirmed = BatchConfirmed {
                    batch: BatchId(0),
                    last_block: Height(0),
                    root: FeltBytes::default(),
                    l1_block: 1,
                    l1_tx_hash: Bytes32::default(),
                };
                (Command::BatchConfirmed(confirmed), vec![Event::BatchConfirmed { batch: BatchId(0) }], vec![])
            }
            "seal" => {
                self.height += 1;
                let height = Height(self.height);
                let seal = SealBlock { height, engine_digest: Bytes32([self.height as u8; 32]) };
                (Command::SealBlock(seal), vec![Event::BlockSealed { height }], vec![])
            }
            "badseal" => {
                let seal = SealBlock { height: Height(self.height + 2), engine_digest: Bytes32::default() };
                (Command::SealBlock(seal), vec![Event::SystemRejected { reject: Reject::WrongHeight }], vec![])
            }
            other => panic!("unknown command {other}"),
        }
    }

    fn signed(&self, account: Address) -> Signed {
        Signed {
            account,
            nonce: self.seq,
            valid_until: Ts(0),
            hash: order(0x1_0000 + self.seq),
            session_key: StarkKey::default(),
        }
    }

    fn credit(&mut self, account: Address, asset: AssetId, amount: i128) -> StateWrite {
        let balance = self.balances.entry((account, asset)).or_default();
        *balance += amount;
        StateWrite::Balance { account, asset, amount: Amount(*balance) }
    }

    fn register(&mut self, account: Address) -> (Command, Vec<Event>, Vec<StateWrite>) {
        let key = StarkKey(account.0 + Felt::ONE);
        let command = Command::Register(Register { signed: self.signed(account), key, template: 0 });
        let event = Event::Registered { account, key, template: 0 };
        (command, vec![event], vec![StateWrite::Account { account, key, template: 0 }])
    }

    fn deposit(&mut self, message_nonce: u64, recipient: Address, units: u64) -> (Command, Vec<Event>, Vec<StateWrite>) {
        let amount = i128::from(units) * 100;
        let token = self.genesis.assets[0].token;
        let message = MessageToL2 {
            from: self.genesis.settlement.bridge,
            to: self.genesis.exchange.0,
            nonce: message_nonce,
            selector: HANDLE_DEPOSIT,
            payload: vec![token.0, recipient.0, units.into()],
        };
        let command = Command::Deposit(Deposit {
            message_nonce,
            token,
            recipient,
            amount: units.into(),
            message_hash: message.hash(self.genesis.settlement.layer),
            l1_block: 5,
            l1_block_hash: Bytes32::default(),
            depth: 3,
            l1_tx_hash: Bytes32::default(),
        });
        let balance = self.credit(recipient, QUOTE, amount);
        let totals = self.totals.entry(QUOTE).or_default();
        totals.0 += amount;
        let totals = StateWrite::Totals { asset: QUOTE, deposited: Amount(totals.0), withdrawn: Amount(totals.1) };
        let event = Event::Deposited { account: recipient, asset: QUOTE, amount: Amount(amount), message_nonce };
        (command, vec![event], vec![balance, totals, StateWrite::MessageConsumed { message_nonce }])
    }

    fn place(&mut self, account: Address, market: MarketId) -> Command {
        Command::Place(PlaceOrder {
            signed: self.signed(account),
            market,
            side: Side::Buy,
            order_type: OrderType::Limit,
            size: Qty(100_000_000),
            price: Price(200_000_000_000),
            trigger_price: Price(0),
            time_in_force: TimeInForce::Gtc,
            good_til: Ts(0),
            reduce_only: false,
            self_trade: SelfTradeMode::CancelTaker,
            client_id: 0,
        })
    }

    fn fill(
        &mut self,
        market: MarketId,
        maker: Address,
        taker: Address,
        count: u64,
    ) -> (Command, Vec<Event>, Vec<StateWrite>) {
        let (mut events, mut writes) = (vec![], vec![]);
        for _ in 0..count {
            self.orders += 1;
            self.trades[usize::from(market.0)] += 1;
            let side = |account, order, fee| FillSide { account, order, fee: Amount(fee), realized_pnl: Amount(0) };
            events.push(Event::Fill(Fill {
                market,
                trade: TradeId(self.trades[usize::from(market.0)]),
                price: Price(200_000_000_000),
                size: Qty(1_000_000),
                taker_side: Side::Buy,
                maker: side(maker, order(self.orders), -5),
                taker: side(taker, order(0x9000 + self.seq), 50),
            }));
            for (party, sign, fee) in [(maker, -1, -5), (taker, 1, 50)] {
                match market.0 {
                    0 => writes.push(self.credit(party, AssetId(1), sign * 1_000_000)),
                    _ => {
                        let position = self.positions.entry(party).or_default();
                        position.size += sign * 1_000_000;
                        position.cost += sign * 2_000_000_000;
                        writes.push(StateWrite::Position { account: party, market, position: *position });
                    }
                }
                writes.push(self.credit(party, QUOTE, -fee));
            }
            writes.push(self.credit(self.genesis.fee_account, QUOTE, 45));
        }
        (self.place(taker, market), events, writes)
    }

    fn restore(&mut self, maker: Address, taker: Address) -> (Command, Vec<Event>, Vec<StateWrite>) {
        let (_, events, writes) = self.fill(MarketId(0), maker, taker, 2);
        let orders = vec![order(0x30), order(0x31)];
        let restore = RestoreOrders { signed: self.signed(taker), incident: IncidentId(1), orders, good_til: Ts(0) };
        (Command::RestoreOrders(restore), events, writes)
    }

    fn price(&mut self, prices: Vec<(MarketId, u64)>) -> (Command, Vec<Event>, Vec<StateWrite>) {
        let ts = self.ts();
        let reports =
            prices.iter().map(|(market, price)| PriceReport { publisher: 0, market: *market, price: Price(*price), ts });
        let command = Command::Prices(reports.collect());
        let events = prices.iter().map(|(market, p)| Event::Price { market: *market, oracle: Price(*p), mark: Price(*p) });
        let writes =
            prices.iter().map(|(market, p)| StateWrite::Price { market: *market, oracle: Price(*p), mark: Price(*p), ts });
        (command, events.collect(), writes.collect())
    }

    fn withdraw(&mut self, account: Address, units: u64) -> (Command, Vec<Event>, Vec<StateWrite>) {
        let (amount, recipient) = (Amount(i128::from(units) * 100), L1Address::ethereum([0x77; 20]));
        let signed = self.signed(account);
        self.withdrawals += 1;
        let withdrawal = Withdrawal {
            id: self.withdrawals,
            account,
            asset: QUOTE,
            amount,
            l1_amount: units.into(),
            token: self.genesis.assets[0].token,
            recipient,
            hash: signed.hash,
        };
        let balance = self.credit(account, QUOTE, -amount.0);
        let totals = self.totals.entry(QUOTE).or_default();
        totals.1 += amount.0;
        let totals = StateWrite::Totals { asset: QUOTE, deposited: Amount(totals.0), withdrawn: Amount(totals.1) };
        let writes = vec![balance, totals, StateWrite::WithdrawalCount { count: self.withdrawals }];
        (Command::Withdraw(Withdraw { signed, asset: QUOTE, amount, recipient }), vec![Event::Withdrawn(withdrawal)], writes)
    }

    /// A script has one incident: entering again stays in it.
    fn safe(&mut self, count: u64) -> (Command, Vec<Event>, Vec<StateWrite>) {
        let (incident, seq, observed_ts) = (IncidentId(1), Seq(self.seq), self.ts());
        let reasons = LossReasons::of(LossReason::Operator);
        let before = self.incident.map_or(0, |incident| incident.cancelled);
        let value = IncidentValue {
            incident,
            reasons,
            observed_ts: self.incident.map_or(observed_ts, |first| first.observed_ts),
            seq: self.incident.map_or(seq, |first| first.seq),
            cancelled: before + count as u32,
            integrity_report: Bytes32::default(),
        };
        // As the engine does: a record that stays as it was is not written.
        let written = self.incident.replace(value).filter(|before| *before == value).is_none();
        let mut events: Vec<Event> = (0..count).map(|_| self.cancelled()).collect();
        events.push(Event::SafeModeEntered { incident, reasons, cancelled: count as u32 });
        let phase = StateWrite::Phase { phase: Phase::Halted, incident, since: self.ts() };
        let command = Command::EnterSafeMode(EnterSafeMode { incident, reasons, observed_ts });
        let incident = written.then_some(StateWrite::Incident(value));
        (command, events, [phase].into_iter().chain(incident).collect())
    }

    fn cancelled(&mut self) -> Event {
        self.orders += 1;
        Event::Order(OrderUpdate {
            order: order(self.orders),
            account: account(self.orders % 3),
            market: MarketId((self.orders % 2) as u16),
            side: Side::Buy,
            price: Price(1),
            client_id: 0,
            state: OrderState::Cancelled,
            reason: Reason::SafeMode,
            initiator: Initiator::SafeMode,
            size: Qty(10 + self.orders),
            filled: Qty(3),
            incident: IncidentId(1),
        })
    }

    fn phase(&mut self, phase: Phase) -> (Command, Vec<Event>, Vec<StateWrite>) {
        let incident = IncidentId(1);
        let integrity_report = if phase == Phase::Spot { Bytes32([0x1b; 32]) } else { Bytes32::default() };
        let mut writes = vec![StateWrite::Phase { phase, incident, since: self.ts() }];
        if let Some(value) = self.incident.as_mut().filter(|_| phase == Phase::Spot) {
            value.integrity_report = integrity_report;
            writes.push(StateWrite::Incident(*value));
        }
        let command = SetPhase { incident, phase, post_only_until: Ts(0), integrity_report };
        (Command::SetPhase(command), vec![Event::PhaseChanged { incident, from: Phase::Halted, to: phase }], writes)
    }
}
