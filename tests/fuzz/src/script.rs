//! Bytes as a script of commands: an operation and its operands, a byte or two each, so that any input is a script and a small change of an
//! input is a small change of the script.

use crate::rules::{PRICE, START, UNIT};
use keel_engine::Engine;
use keel_types::*;

/// Accounts of the script; the last stays unregistered.
pub const ACTORS: u8 = 6;
const MARKETS: u8 = 3;
/// Steps of time, ms: within a batch, around the dead man's switch, funding's samples and gap, staleness, ends of nonces, days.
const STEPS_MS: [u64; 16] =
    [1, 10, 100, 400, 900, 1_000, 2_500, 5_000, 10_000, 20_000, 31_000, 61_000, 125_000, 1_900_000, 3_600_000, 86_400_000];
/// A script in which everything is a number away from everything else.
pub struct Script<'a> {
    bytes: &'a [u8],
    /// Journal time of the next command.
    pub now: Ts,
    /// Price last published of each market: orders are placed around it.
    prices: [u64; MARKETS as usize],
    nonce: u64,
    message_nonce: u64,
    /// Signed commands so far, to be sent again.
    sent: Vec<Command>,
    /// Orders so far, to be named again.
    orders: Vec<(Address, MessageHash, MarketId)>,
}

/// The address of an actor, by number.
pub fn address(actor: u8) -> Address {
    Address(Felt::from(0x1000 + u64::from(actor)))
}

impl<'a> Script<'a> {
    /// A script from its bytes.
    pub fn new(bytes: &'a [u8]) -> Script<'a> {
        Script {
            bytes,
            now: START,
            prices: [PRICE; MARKETS as usize],
            nonce: 0,
            message_nonce: 0,
            sent: Vec::new(),
            orders: Vec::new(),
        }
    }

    /// What every script begins with: five accounts with money, a fund, a price.
    pub fn opening(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for actor in 0..ACTORS - 1 {
            let key = StarkKey(Felt::from(0x2000 + u64::from(actor)));
            commands.push(Command::Register(Register { signed: self.sign(actor), key, template: 0 }));
            // The later, the poorer: soon liquidated.
            commands.push(self.deposit(address(actor), 0, (10_000 * UNIT / 100) >> (2 * actor)));
            commands.push(self.deposit(address(actor), 1, (100 * UNIT) >> actor));
        }
        commands.push(self.deposit(Address(Felt::from(0x1f)), 0, 100 * UNIT / 100));
        let reports = (0..MARKETS).flat_map(|market| (0..2).map(move |publisher| (publisher, market)));
        let report = |(publisher, market): (u8, u8)| PriceReport {
            publisher,
            market: MarketId(u16::from(market)),
            price: Price(PRICE),
            ts: START,
        };
        commands.push(Command::Prices(reports.map(report).collect()));
        commands
    }

    /// The next command; `None` at the end of the script.
    pub fn next(&mut self, engine: &Engine) -> Option<Command> {
        let op = self.bytes.first().copied()?;
        self.bytes = &self.bytes[1..];
        let mut command = match op % 32 {
            0..=10 => self.place(op),
            11 | 12 => self.modify(),
            13 => self.cancel(),
            14 => self.cancel_all(),
            15 => self.withdraw(),
            16 => self.transfer(),
            17..=19 => self.prices(),
            20 => self.any_deposit(),
            21 => Command::SealBlock(SealBlock {
                height: Height(engine.height().0 + 1 + u64::from(self.byte() == 255)),
                engine_digest: engine.digest(),
            }),
            22 => self.batch(engine),
            23 => self.halt(engine),
            24 => self.reopen(engine),
            25 => Command::Resume(Resume { incident: engine.phase().incident, operator: self.byte() % 4 }),
            26 => self.grant(),
            27 => self.session(),
            28 => self.schedule_cancel(),
            29 => match self.byte() {
                n if usize::from(n) < self.sent.len() => self.sent[usize::from(n)].clone(),
                _ => Command::Tick,
            },
            30 => {
                self.now = self.now.plus_ms(self.step());
                Command::Tick
            }
            // The second is signed by a session key.
            _ if matches!(op, 159 | 255) => self.restore(engine),
            _ => Command::Tick,
        };
        // The other half of the operations: signed by a session key.
        if op >= 192 {
            self.use_session_key(&mut command);
        }
        if command.signed().is_some() && self.sent.len() < 255 {
            self.sent.push(command.clone());
        }
        Some(command)
    }

    /// Past the end everything is zero.
    fn byte(&mut self) -> u8 {
        let byte = self.bytes.first().copied().unwrap_or_default();
        self.bytes = self.bytes.get(1..).unwrap_or_default();
        byte
    }

    fn raw_u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn step(&mut self) -> u64 {
        STEPS_MS[usize::from(self.byte() % 16)]
    }

    fn actor(&mut self) -> Address {
        match self.byte() {
            255 => Address(Felt::from(0x1f)),
            254 => Address(Felt::from(0xfee)),
            253 => Address(Felt::from(0xdead)),
            n => address(n % ACTORS),
        }
    }

    fn market(&mut self) -> MarketId {
        match self.byte() {
            255 => MarketId(u16::MAX),
            n => MarketId(u16::from(n % MARKETS)),
        }
    }

    fn reference(&self, market: MarketId) -> u64 {
        self.prices.get(usize::from(market.0)).copied().unwrap_or(PRICE)
    }

    /// Up to 20% around the reference, to the tick; or something hostile.
    fn price(&mut self, market: MarketId) -> Price {
        let reference = self.reference(market);
        let tick = UNIT / 100;
        Price(match self.byte() {
            n @ 0..=200 => (reference / 500 * (400 + u64::from(n)) / tick).max(1) * tick,
            201 => 0,
            202 => 1,
            203 => tick,
            204 => 10_000 * UNIT,
            205 => 10_000 * UNIT + tick,
            206 => u64::MAX,
            207 => reference + 1,
            208 => self.raw_u64(),
            n => (reference / tick + u64::from(n)).saturating_sub(232).max(1) * tick,
        })
    }

    /// Lots, growing by powers of four; or something hostile.
    fn size(&mut self) -> Qty {
        let lot = UNIT / 1_000;
        Qty(match self.byte() {
            n @ 0..=239 => (lot * (1 + u64::from(n % 24))) << (2 * (n / 24)),
            240 => 0,
            241 => 1,
            242 => lot + 1,
            243 => 10_000 * UNIT,
            244 => 10_000 * UNIT + lot,
            245 => u64::MAX,
            246 => self.raw_u64(),
            n => lot * u64::from(n) * 1_000,
        })
    }

    fn amount(&mut self) -> Amount {
        Amount(match self.byte() {
            0 => 0,
            1 => -1,
            2 => i128::MAX,
            3 => i128::MIN,
            4 => 150,
            n => i128::from(UNIT) * i128::from(n) * i128::from(n) / 4,
        })
    }

    fn time(&mut self) -> Ts {
        match self.byte() {
            0 => Ts(0),
            1 => self.now,
            2 => Ts(u64::MAX),
            3 => Ts(self.now.0 - 1),
            n => self.now.plus_ms(STEPS_MS[usize::from(n % 16)]),
        }
    }

    fn key(&mut self) -> StarkKey {
        StarkKey(Felt::from(0x5000 + u64::from(self.byte() % 4)))
    }

    fn sign(&mut self, actor: u8) -> Signed {
        self.signed_by(address(actor))
    }

    fn signed_by(&mut self, account: Address) -> Signed {
        self.nonce += 1;
        Signed {
            account,
            nonce: self.nonce,
            valid_until: self.now.plus_ms(60_000),
            hash: MessageHash(Felt::from(0x1_0000_0000 + self.nonce)),
            session_key: StarkKey::default(),
        }
    }

    /// One byte: who, and whether the envelope is odd.
    fn signed(&mut self) -> Signed {
        let byte = self.byte();
        let mut signed = self.sign(byte % ACTORS);
        match byte / ACTORS {
            40 => signed.nonce = 1,
            41 => signed.valid_until = self.time(),
            42 => signed.account = self.actor(),
            _ => {}
        }
        signed
    }

    fn deposit(&mut self, recipient: Address, asset: u8, amount: u64) -> Command {
        self.message_nonce += 1;
        Command::Deposit(Deposit {
            message_nonce: self.message_nonce,
            token: L1Address::ethereum([10 + asset; 20]),
            recipient,
            amount: amount.into(),
            message_hash: Bytes32::default(),
            l1_block: 1,
            l1_block_hash: Bytes32::default(),
            depth: 3,
            l1_tx_hash: Bytes32::default(),
        })
    }

    fn any_deposit(&mut self) -> Command {
        let (recipient, asset) = (self.actor(), self.byte());
        let amount = self.amount().0;
        let Command::Deposit(mut deposit) = self.deposit(recipient, asset % 3, 0) else { unreachable!("a deposit") };
        deposit.amount = if amount < 0 { u128::MAX } else { amount as u128 / 100 };
        match asset {
            250.. => deposit.message_nonce = 1,
            240.. => deposit.message_nonce = u64::MAX - u64::from(asset - 240),
            _ => {}
        }
        Command::Deposit(deposit)
    }

    fn place(&mut self, op: u8) -> Command {
        let signed = self.signed();
        let (market, flags, kind) = (self.market(), self.byte(), self.byte());
        let (size, price) = (self.size(), self.price(market));
        // Most operations are limit orders; the others of any type.
        let order_type =
            if op % 32 < 7 { OrderType::Limit } else { OrderType::ALL[usize::from(kind) % OrderType::ALL.len()] };
        let triggered = !matches!(order_type, OrderType::Limit | OrderType::Market);
        let time_in_force = TimeInForce::ALL[usize::from(kind / 8) % TimeInForce::ALL.len()];
        self.orders.push((signed.account, signed.hash, market));
        Command::Place(PlaceOrder {
            signed,
            market,
            side: Side::ALL[usize::from(flags & 1)],
            order_type,
            size,
            price,
            trigger_price: if triggered || flags >= 0xf0 { self.price(market) } else { Price(0) },
            time_in_force,
            good_til: if time_in_force == TimeInForce::Gtt || flags >= 0xf0 { self.time() } else { Ts(0) },
            reduce_only: flags & 6 == 6,
            self_trade: SelfTradeMode::ALL[usize::from(flags >> 3) % SelfTradeMode::ALL.len()],
            client_id: if flags & 0x40 != 0 { u128::from(kind >> 5) } else { 0 },
        })
    }

    /// An earlier order, by its distance from the last; or none there ever was.
    fn order(&mut self) -> (Address, MessageHash, MarketId) {
        let back = usize::from(self.byte());
        let known = self.orders.len().checked_sub(back + 1).map(|n| self.orders[n]);
        known.unwrap_or((address(0), MessageHash(Felt::from(7)), MarketId(0)))
    }

    fn modify(&mut self) -> Command {
        let (account, order, market) = self.order();
        let (price, size) = (self.price(market), self.size());
        Command::Modify(ModifyOrder { signed: self.signed_by(account), order, price, size })
    }

    fn cancel(&mut self) -> Command {
        let (account, order, _) = self.order();
        let how = self.byte();
        let client_id = u128::from(how >> 5);
        let order = if how & 1 == 0 { order } else { MessageHash::default() };
        let client_id = if how & 3 == 0 { 0 } else { client_id };
        match how & 4 {
            0 => Command::Cancel(CancelOrder { signed: self.signed_by(account), order, client_id }),
            _ => Command::SessionCancel(SessionCancel { account, order, client_id }),
        }
    }

    fn cancel_all(&mut self) -> Command {
        let how = self.byte();
        let market = if how & 1 == 0 { None } else { Some(self.market()) };
        match how & 6 {
            0 => Command::CancelAll(CancelAll { signed: self.signed(), market }),
            _ => Command::SessionCancelAll(SessionCancelAll { account: self.actor(), market, disconnected: how & 2 != 0 }),
        }
    }

    fn withdraw(&mut self) -> Command {
        let (signed, asset, amount) = (self.signed(), AssetId(u16::from(self.byte() % 3)), self.amount());
        Command::Withdraw(Withdraw { signed, asset, amount, recipient: L1Address::ethereum([5; 20]) })
    }

    fn transfer(&mut self) -> Command {
        let (signed, recipient) = (self.signed(), self.actor());
        let (asset, amount) = (AssetId(u16::from(self.byte() % 3)), self.amount());
        Command::Transfer(Transfer { signed, recipient, asset, amount })
    }

    /// A quorum for one market, moved by up to 25%; or single reports of anything.
    fn prices(&mut self) -> Command {
        let (market, how) = (self.market(), self.byte());
        if how < 128 {
            let moved = self.reference(market) / 256 * (192 + u64::from(how));
            let price = moved.clamp(UNIT / 10, 9_000 * UNIT);
            if let Some(kept) = self.prices.get_mut(usize::from(market.0)) {
                *kept = price;
            }
            self.now = self.now.plus_ms(1_000);
            let report = |publisher| PriceReport { publisher, market, price: Price(price), ts: self.now };
            return Command::Prices((0..3).map(report).collect());
        }
        let mut reports = Vec::new();
        for _ in 0..how % 5 {
            let (publisher, market) = (self.byte() % 4, self.market());
            let (price, ts) = (self.price(market), self.time());
            reports.push(PriceReport { publisher, market, price, ts });
        }
        Command::Prices(reports)
    }

    fn batch(&mut self, engine: &Engine) -> Command {
        let n = u64::from(self.byte());
        Command::BatchConfirmed(BatchConfirmed {
            batch: BatchId(engine.next_batch().0 + n / 64),
            last_block: Height(engine.height().0.saturating_sub(n % 4)),
            root: FeltBytes(Felt::from(n)),
            l1_block: n,
            l1_tx_hash: Bytes32::default(),
        })
    }

    fn halt(&mut self, engine: &Engine) -> Command {
        let reasons = LossReasons::of(LossReason::ALL[usize::from(self.byte()) % LossReason::ALL.len()]);
        let incident = IncidentId(engine.phase().incident.0.wrapping_add(u32::from(self.byte() & 1)));
        Command::EnterSafeMode(EnterSafeMode { incident, reasons, observed_ts: self.now })
    }

    /// The next phase, or any.
    fn reopen(&mut self, engine: &Engine) -> Command {
        let state = engine.phase();
        let at = Phase::ALL.iter().position(|phase| *phase == state.phase).expect("listed");
        let how = self.byte();
        let n = if how < 224 { at + 1 } else { usize::from(how) };
        let phase = Phase::ALL[n % Phase::ALL.len()];
        let integrity_report = Bytes32([u8::from(how != 223); 32]);
        Command::SetPhase(SetPhase { incident: state.incident, phase, post_only_until: self.time(), integrity_report })
    }

    /// Earlier orders of one account, mostly of the last incident.
    fn restore(&mut self, engine: &Engine) -> Command {
        let (account, first, _) = self.order();
        let how = self.byte();
        let orders = std::iter::once(first).chain((0..how % 4).map(|_| self.order().1)).collect();
        let signed = self.signed_by(account);
        let incident = IncidentId(engine.phase().incident.0.wrapping_sub(u32::from(how >= 224)));
        let good_til = if how & 0x10 == 0 { Ts(0) } else { self.time() };
        let command = RestoreOrders { signed, incident, orders, good_til };
        // What is restored can be named later.
        let restored: Vec<_> = command.orders.iter().map(|order| command.order_restored(order)).collect();
        self.orders.extend(restored.into_iter().map(|order| (account, order, MarketId(0))));
        Command::RestoreOrders(command)
    }

    fn grant(&mut self) -> Command {
        let (signed, key, how) = (self.signed(), self.key(), self.byte());
        let markets = (0..how % 4).map(|_| self.market()).collect();
        let max_order_notional = if how & 4 == 0 { Amount(0) } else { self.amount() };
        let terms = SessionTerms { expiry: self.time(), markets, max_order_notional };
        Command::SessionKey(GrantSessionKey { signed, key, terms })
    }

    fn session(&mut self) -> Command {
        let (signed, how) = (self.signed(), self.byte());
        match how & 1 {
            0 => Command::Session(OpenSession { signed }),
            _ => Command::RevokeSessionKey(RevokeSessionKey { signed, key: self.key() }),
        }
    }

    fn schedule_cancel(&mut self) -> Command {
        let signed = self.signed();
        Command::ScheduleCancel(ScheduleCancel { signed, at: self.time() })
    }

    fn use_session_key(&mut self, command: &mut Command) {
        let key = self.key();
        match command {
            Command::Place(c) => c.signed.session_key = key,
            Command::Modify(c) => c.signed.session_key = key,
            Command::Cancel(c) => c.signed.session_key = key,
            Command::CancelAll(c) => c.signed.session_key = key,
            Command::ScheduleCancel(c) => c.signed.session_key = key,
            Command::RestoreOrders(c) => c.signed.session_key = key,
            Command::Withdraw(c) => c.signed.session_key = key,
            Command::Transfer(c) => c.signed.session_key = key,
            Command::SessionKey(c) => c.signed.session_key = key,
            Command::Session(c) => c.signed.session_key = key,
            Command::Register(c) => c.signed.session_key = key,
            _ => {}
        }
    }
}
