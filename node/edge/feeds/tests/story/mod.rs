//! A random story of a few accounts, told to a real engine.
// Each test crate uses its own part of it.
#![allow(dead_code)]
use keel_engine::Engine;
use keel_types::*;

pub const UNIT: u64 = QUANTUMS_PER_UNIT;
pub const START: Ts = Ts(1_000_000_000_000_000_000);
pub const ACTORS: u64 = 6;

/// One spot market and two perpetuals around 100, fees with a rebate, two publishers of three.
pub fn genesis() -> Genesis {
    let asset = |symbol: &str, n: u8, unit: u64| AssetSpec {
        symbol: symbol.into(),
        token: L1Address::ethereum([n; 20]),
        quantums_per_l1_unit: unit,
        deposit_max: Amount(i128::from(UNIT) * 1_000_000),
    };
    let market = |name: &str, kind, fee_maker_ppm, fee_taker_ppm| MarketSpec {
        name: name.into(),
        kind,
        tick_size: Price(UNIT / 100),
        lot_size: Qty(UNIT / 1_000),
        fee_maker_ppm,
        fee_taker_ppm,
        band_ppm: 100_000,
        notional_min: Amount(1),
        notional_max: Amount(i128::from(UNIT) * 1_000_000),
        price_max: Price(UNIT * 10_000),
        size_max: Qty(UNIT * 10_000),
        oracle_move_max_ppm: 500_000,
        initial_price: Price(UNIT * 100),
    };
    let perpetual = MarketKind::Perpetual(PerpetualSpec {
        imf_ppm: 100_000,
        mmf_factor_ppm: 500_001,
        open_interest_lower: Amount(i128::from(UNIT) * 1_000),
        open_interest_upper: Amount(i128::from(UNIT) * 1_000_000),
        open_interest_max: Qty(UNIT * 10_000),
        position_max: Qty(UNIT * 1_000),
        funding_rate_max_ppm: 10_000,
        liquidation_fee_ppm: 10_000,
        impact_notional: Amount(i128::from(UNIT) * 1_000),
    });
    let felt = |n: u64| Felt::from(n);
    Genesis {
        chain_id: FeltBytes(felt(1)),
        rules_version: 1,
        ts: START,
        exchange: Address(felt(2)),
        operator: Address(felt(3)),
        fee_token: Address(felt(4)),
        sequencer: Address(felt(5)),
        block_key: StarkKey(felt(6)),
        settlement: SettlementSpec {
            layer: SettlementLayer::Ethereum { chain_id: 31_337, data: DataForm::Calldata },
            core: L1Address::ethereum([1; 20]),
            bridge: L1Address::ethereum([2; 20]),
            registry: L1Address::ethereum([3; 20]),
            deposit_depth: 3,
            confirm_depth: 3,
        },
        account_templates: Vec::new(),
        fee_account: Address(felt(0xfee)),
        insurance_account: Address(felt(0x1f)),
        assets: vec![asset("USDC", 10, 100), asset("ETH", 11, 1)],
        markets: vec![
            market("ETH-USDC", MarketKind::Spot { base: AssetId(1) }, 100, 500),
            market("ETH-USDC-PERP", perpetual, 200, 500),
            market("BTC-USDC-PERP", perpetual, -100, 500),
        ],
        oracle: OracleSpec {
            publishers: vec![StarkKey(felt(7)), StarkKey(felt(8)), StarkKey(felt(9))],
            quorum: 2,
            report_age_max_ms: 5_000,
            stale_ms: 10_000,
        },
        limits: EngineLimits { orders_per_account_market: 50, nonces_per_account: 10_000, fills_per_command: 10 },
    }
}

pub fn account(actor: u64) -> Address {
    Address(Felt::from(0x1000 + actor))
}

/// SplitMix64: the same stream from a seed everywhere.
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// An engine that is told a random story.
pub struct Story {
    pub genesis: Genesis,
    pub engine: Engine,
    pub random: Random,
    pub now: Ts,
    pub nonce: u64,
    pub placed: Vec<(Address, MessageHash)>,
}

impl Story {
    pub fn new(seed: u64) -> Story {
        let genesis = genesis();
        let (engine, _) = Engine::new(&genesis);
        Story { genesis, engine, random: Random(seed), now: START, nonce: 0, placed: Vec::new() }
    }

    pub fn signed(&mut self, account: Address) -> Signed {
        self.nonce += 1;
        let hash = MessageHash(Felt::from(0x1_0000_0000 + self.nonce));
        Signed { account, nonce: self.nonce, valid_until: self.now.plus_ms(60_000), hash, session_key: StarkKey::default() }
    }

    pub fn actor(&mut self) -> Address {
        account(self.random.below(ACTORS))
    }

    /// Everybody registered and rich, prices published.
    pub fn opening(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for actor in 0..ACTORS {
            let key = StarkKey(Felt::from(0x2000 + actor));
            commands.push(Command::Register(Register { signed: self.signed(account(actor)), key, template: 0 }));
            commands.push(self.deposit(actor * 2 + 1, account(actor), 10, u128::from(5_000 * UNIT / 100)));
            commands.push(self.deposit(actor * 2 + 2, account(actor), 11, u128::from(50 * UNIT)));
        }
        commands.push(self.prices());
        commands
    }

    pub fn deposit(&self, message_nonce: u64, recipient: Address, token: u8, amount: u128) -> Command {
        Command::Deposit(Deposit {
            message_nonce,
            token: L1Address::ethereum([token; 20]),
            recipient,
            amount,
            message_hash: Bytes32::default(),
            l1_block: 1,
            l1_block_hash: Bytes32::default(),
            depth: 3,
            l1_tx_hash: Bytes32::default(),
        })
    }

    pub fn prices(&mut self) -> Command {
        let mut reports = Vec::new();
        for market in 0..3 {
            let price = Price((9_700 + self.random.below(600)) * UNIT / 100);
            reports.extend((0..2).map(|publisher| PriceReport { publisher, market: MarketId(market), price, ts: self.now }));
        }
        Command::Prices(reports)
    }

    pub fn command(&mut self) -> Command {
        self.now = self.now.plus_ms(self.random.below(50));
        let actor = self.actor();
        if self.engine.phase().phase != Phase::Open && self.random.below(3) == 0 {
            return self.reopen();
        }
        match self.random.below(100) {
            0..65 => self.place(actor),
            65..80 if !self.placed.is_empty() => {
                let n = self.random.below(self.placed.len() as u64) as usize;
                let (account, order) = self.placed.swap_remove(n);
                Command::Cancel(CancelOrder { signed: self.signed(account), order, client_id: 0 })
            }
            80..82 => Command::CancelAll(CancelAll { signed: self.signed(actor), market: None }),
            82..92 => self.prices(),
            92..94 => {
                let token = 10 + self.random.below(3) as u8;
                self.deposit(100 + self.nonce, actor, token, 1_000)
            }
            94..96 => Command::Withdraw(Withdraw {
                signed: self.signed(actor),
                asset: QUOTE,
                amount: Amount(100),
                recipient: L1Address::ethereum([9; 20]),
            }),
            96 => Command::EnterSafeMode(EnterSafeMode {
                incident: IncidentId(self.engine.phase().incident.0 + 1),
                reasons: LossReasons::of(LossReason::Operator),
                observed_ts: self.now,
            }),
            97 => self.reopen(),
            _ => self.seal(),
        }
    }

    pub fn place(&mut self, actor: Address) -> Command {
        let signed = self.signed(actor);
        self.placed.push((actor, signed.hash));
        let market = MarketId(self.random.below(3) as u16);
        let side = [Side::Buy, Side::Sell][self.random.below(2) as usize];
        Command::Place(PlaceOrder {
            signed,
            market,
            side,
            order_type: OrderType::Limit,
            size: Qty((1 + self.random.below(4_000)) * UNIT / 1_000),
            price: Price((9_800 + self.random.below(400)) * UNIT / 100),
            trigger_price: Price(0),
            time_in_force: [TimeInForce::Gtc, TimeInForce::Gtc, TimeInForce::Ioc, TimeInForce::PostOnly]
                [self.random.below(4) as usize],
            good_til: Ts(0),
            reduce_only: market != MarketId(0) && self.random.below(8) == 0,
            self_trade: SelfTradeMode::ALL[self.random.below(3) as usize],
            client_id: u128::from(self.random.below(4)) * u128::from(self.random.below(30)),
        })
    }

    pub fn reopen(&mut self) -> Command {
        let state = self.engine.phase();
        let at = Phase::ALL.iter().position(|phase| *phase == state.phase).unwrap_or(0);
        let phase = Phase::ALL[(at + 1).min(4)];
        let integrity_report = if phase == Phase::Spot { Bytes32([1; 32]) } else { Bytes32::default() };
        Command::SetPhase(SetPhase { incident: state.incident, phase, post_only_until: Ts(0), integrity_report })
    }

    pub fn seal(&self) -> Command {
        Command::SealBlock(SealBlock { height: Height(self.engine.height().0 + 1), engine_digest: self.engine.digest() })
    }

    pub fn execute(&mut self, commands: Vec<Command>) -> Released {
        let ts = self.now;
        let mut executed = Vec::new();
        for mut command in commands {
            if let Command::SealBlock(seal) = &mut command {
                // Made before the commands in front of it were executed.
                *seal = SealBlock { height: Height(self.engine.height().0 + 1), engine_digest: self.engine.digest() };
            }
            let seq = self.engine.last_seq().next();
            let output = self.engine.apply(seq, ts, &command);
            executed.push(Executed { seq, command, events: output.events, writes: output.writes });
        }
        Released { record_hash: Bytes32::default(), ts, executed }
    }
}
