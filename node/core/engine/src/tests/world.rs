use crate::{Engine, Output};
use keel_types::*;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub const SPOT: MarketId = MarketId(0);
pub const PERP: MarketId = MarketId(1);
pub const PERP_B: MarketId = MarketId(2);
pub const UNIT: u64 = QUANTUMS_PER_UNIT;
/// Time of genesis: any instant.
pub const START: Ts = Ts(1_000_000_000_000_000_000);

/// Every price starts at 100; band 10%; spot fees 1 and 5 bps; perpetuals imf 10%, mmf 5%, fees 2 and 5 bps.
pub fn genesis() -> Genesis {
    let asset = |symbol: &str, n: u8, unit: u64| AssetSpec {
        symbol: symbol.into(),
        token: L1Address::ethereum([n; 20]),
        quantums_per_l1_unit: unit,
        deposit_max: Amount(i128::from(UNIT) * 1_000_000),
    };
    let market = |name: &str, kind, maker, taker| MarketSpec {
        name: name.into(),
        kind,
        tick_size: Price(UNIT / 100),
        lot_size: Qty(UNIT / 1_000),
        fee_maker_ppm: maker,
        fee_taker_ppm: taker,
        band_ppm: 100_000,
        notional_min: Amount(i128::from(UNIT)),
        notional_max: Amount(i128::from(UNIT) * 1_000_000),
        price_max: Price(UNIT * 10_000),
        size_max: Qty(UNIT * 10_000),
        oracle_move_max_ppm: 50_000,
        initial_price: Price(UNIT * 100),
    };
    let perpetual = MarketKind::Perpetual(PerpetualSpec {
        imf_ppm: 100_000,
        mmf_factor_ppm: 500_000,
        open_interest_lower: Amount(i128::from(UNIT) * 500_000),
        open_interest_upper: Amount(i128::from(UNIT) * 1_000_000),
        open_interest_max: Qty(UNIT * 400),
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
            layer: SettlementLayer::Ethereum { chain_id: 31_337, data: DataForm::Blobs },
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
        limits: EngineLimits { orders_per_account_market: 5, nonces_per_account: 1_000, fills_per_command: 3 },
    }
}

/// An engine, its clock, and everything it was ever told.
pub struct World {
    pub genesis: Genesis,
    pub engine: Engine,
    pub now: Ts,
    pub log: Vec<(Ts, Command)>,
    pub outputs: Vec<Output>,
    /// All chain-state writes so far, the last of each key.
    pub chain: BTreeMap<ChainKey, StateWrite>,
    nonce: u64,
    message_nonce: u64,
}

pub fn address(actor: char) -> Address {
    Address(Felt::from(0x1000 + actor as u64))
}

/// A key of chain state: its kind, its account and what else names it.
type ChainKey = (u8, Address, Felt);

fn chain_key(write: &StateWrite) -> ChainKey {
    use StateWrite::*;
    let nobody = Address::default();
    match write {
        Account { account, .. } => (0, *account, Felt::ZERO),
        Balance { account, asset, .. } => (1, *account, asset.0.into()),
        Position { account, market, .. } => (2, *account, market.0.into()),
        Funding { market, .. } => (3, nobody, market.0.into()),
        Price { market, .. } => (4, nobody, market.0.into()),
        Totals { asset, .. } => (5, nobody, asset.0.into()),
        MessageConsumed { message_nonce } => (6, nobody, (*message_nonce).into()),
        WithdrawalCount { .. } => (7, nobody, Felt::ZERO),
        Phase { .. } => (8, nobody, Felt::ZERO),
        Incident(value) => (9, nobody, value.incident.0.into()),
        Market(market) => (10, nobody, market.0.into()),
        Asset(asset) => (11, nobody, asset.0.into()),
        Rules => (12, nobody, Felt::ZERO),
        SessionKey { account, key, .. } => (13, *account, key.0),
    }
}

impl World {
    /// Nobody registered, no price published.
    pub fn bare(genesis: Genesis) -> World {
        let (engine, writes) = Engine::new(&genesis);
        let chain = writes.into_iter().map(|write| (chain_key(&write), write)).collect();
        World { genesis, engine, now: START, log: Vec::new(), outputs: Vec::new(), chain, nonce: 0, message_nonce: 0 }
    }

    /// Actors a to d, each with 10,000 USDC and 100 ETH, and fresh prices of 100.
    pub fn funded(genesis: Genesis) -> World {
        let mut world = World::bare(genesis);
        for actor in "abcd".chars() {
            let register = world.register(actor);
            world.apply(register);
            for (asset, amount) in [(0, 10_000), (1, 100)] {
                let deposit = world.deposit(actor, AssetId(asset), amount * i128::from(UNIT));
                world.apply(deposit);
            }
        }
        let prices = [SPOT, PERP, PERP_B].map(|market| (market, Price(100 * UNIT)));
        world.publish(&prices);
        world
    }

    /// Applies a command and holds everything that must hold after any: no violation, writes that add up to the dump, and, for
    /// every point at which the command could panic, nothing changed by the panic.
    pub fn apply(&mut self, command: Command) -> Vec<Event> {
        // Not the digest: it keeps hashes of sections, which could hide a change.
        let before = self.engine.snapshot();
        for point in 0.. {
            self.engine.inject_panic(point);
            let seq = self.engine.last_seq().next();
            let result = catch_unwind(AssertUnwindSafe(|| self.engine.apply(seq, self.now, &command)));
            match result {
                Err(_) => {
                    assert!(self.engine.snapshot() == before, "a panic at point {point} of {command:?} changed the state");
                    assert!(self.engine.check().is_empty());
                }
                Ok(output) => {
                    assert!(self.engine.disarm_panic(), "the command has no point {point}");
                    return self.applied(command, output);
                }
            }
        }
        unreachable!("every command has finitely many points")
    }

    /// The same without looking for panics: for long streams.
    pub fn apply_fast(&mut self, command: Command) -> Vec<Event> {
        let output = self.engine.apply(self.engine.last_seq().next(), self.now, &command);
        self.applied(command, output)
    }

    fn applied(&mut self, command: Command, output: Output) -> Vec<Event> {
        let violations = self.engine.check();
        assert!(violations.is_empty(), "{violations:?} after {command:?}");
        for write in &output.writes {
            let old = self.chain.insert(chain_key(write), write.clone());
            assert!(old.as_ref() != Some(write), "{write:?} was written without a change by {command:?}");
        }
        for event in &output.events {
            if let Event::Liquidation(receipt) = event {
                assert_eq!(keel_ledger::liquidation::recompute(receipt), [], "{receipt:?}");
            }
        }
        self.log.push((self.now, command));
        self.outputs.push(output.clone());
        output.events
    }

    /// What must hold of a whole history: its writes are the dump, its snapshot is the state, and replaying it gives the same again.
    pub fn check_history(&self) {
        let dump: BTreeMap<_, _> = self.engine.dump().writes.into_iter().map(|write| (chain_key(&write), write)).collect();
        assert!(dump == self.chain, "writes do not add up to the state");

        let restored = Engine::restore(&self.genesis, &self.engine.snapshot()).expect("a snapshot restores");
        assert_eq!(restored.digest(), self.engine.digest());
        assert_eq!(restored.dump(), self.engine.dump());

        let (mut replica, _) = Engine::new(&self.genesis);
        for (i, (ts, command)) in self.log.iter().enumerate() {
            assert_eq!(replica.apply(Seq(i as u64 + 1), *ts, command), self.outputs[i], "replay differs at {command:?}");
        }
        assert_eq!(replica.digest(), self.engine.digest());
    }

    /// The envelope of the actor's next message.
    pub fn sign(&mut self, actor: char) -> Signed {
        self.nonce += 1;
        Signed {
            account: address(actor),
            nonce: self.nonce,
            valid_until: self.now.plus_ms(60_000),
            hash: MessageHash(Felt::from(0x1_0000_0000 + self.nonce)),
            session_key: StarkKey::default(),
        }
    }

    pub fn register(&mut self, actor: char) -> Command {
        let key = StarkKey(Felt::from(0x2000 + actor as u64));
        Command::Register(Register { signed: self.sign(actor), key, template: 0 })
    }

    pub fn deposit(&mut self, actor: char, asset: AssetId, quantums: i128) -> Command {
        self.deposit_to(address(actor), asset, quantums)
    }

    pub fn deposit_to(&mut self, recipient: Address, asset: AssetId, quantums: i128) -> Command {
        let spec = &self.genesis.assets[usize::from(asset.0)];
        self.message_nonce += 1;
        Command::Deposit(Deposit {
            message_nonce: self.message_nonce,
            token: spec.token,
            recipient,
            amount: quantums as u128 / u128::from(spec.quantums_per_l1_unit),
            message_hash: Bytes32::default(),
            l1_block: 1,
            l1_block_hash: Bytes32::default(),
            depth: 3,
            l1_tx_hash: Bytes32::default(),
        })
    }

    pub fn order(&mut self, actor: char, market: MarketId, side: Side, size: Qty, price: Price) -> PlaceOrder {
        PlaceOrder {
            signed: self.sign(actor),
            market,
            side,
            order_type: OrderType::Limit,
            size,
            price,
            trigger_price: Price(0),
            time_in_force: TimeInForce::Gtc,
            good_til: Ts(0),
            reduce_only: false,
            self_trade: SelfTradeMode::CancelTaker,
            client_id: 0,
        }
    }

    /// A quorum of publishers reports these prices, now.
    pub fn publish(&mut self, prices: &[(MarketId, Price)]) -> Vec<Event> {
        let reports = prices.iter().flat_map(|(market, price)| {
            (0..2).map(|publisher| PriceReport { publisher, market: *market, price: *price, ts: self.now })
        });
        let command = Command::Prices(reports.collect());
        self.apply(command)
    }
}
