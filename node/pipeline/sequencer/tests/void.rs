//! A record that is taken back: what it leaves, and where a Void may stand.

use keel_engine::Engine;
use keel_journal::model::ModelJournal;
use keel_journal::{Journal, Tail};
use keel_sequencer::{RecoverError, Recovered, Start, recover, recover_from};
use keel_types::*;

const UNIT: u64 = QUANTUMS_PER_UNIT;
const ACTORS: u64 = 6;

fn genesis() -> Genesis {
    keel_contracts::genesis::load(keel_contracts::genesis::DEV).expect("the development genesis is good")
}

/// One record of a journal in the making.
enum Step {
    Run {
        commands: Vec<Command>,
        seal: bool,
    },
    /// Appended, never released, and taken back by the record behind it.
    Voided(Vec<Command>),
}

/// Of a stranger: it is refused and changes nothing.
fn refused() -> Command {
    let account = Address(Felt::from(0xdead));
    Command::SessionCancelAll(SessionCancelAll { account, market: None, disconnected: false })
}

fn void(seq: Seq) -> Command {
    Command::Void(Void { seq, reason: "KEEL-1: breaks the engine".into() })
}

/// Random flow: xorshift, so that a seed is a flow.
struct Flow {
    genesis: Genesis,
    random: u64,
    now: Ts,
    messages: u64,
    deposits: u64,
    placed: Vec<(Address, MessageHash)>,
}

impl Flow {
    fn new(seed: u64) -> Flow {
        let genesis = genesis();
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Flow { now: genesis.ts, genesis, random, messages: 0, deposits: 0, placed: vec![] }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn sign(&mut self, account: Address) -> Signed {
        self.messages += 1;
        let hash = MessageHash(Felt::from((1u64 << 32) + self.messages));
        let valid_until = self.now.plus_ms(60_000);
        Signed { account, nonce: self.messages, valid_until, hash, session_key: StarkKey::default() }
    }

    fn deposit(&mut self, recipient: Address, asset: usize, units: u64) -> Command {
        let spec = &self.genesis.assets[asset];
        self.deposits += 1;
        Command::Deposit(Deposit {
            message_nonce: self.deposits,
            token: spec.token,
            recipient,
            amount: u128::from(units * UNIT / spec.quantums_per_l1_unit),
            message_hash: Bytes32::default(),
            l1_block: 1,
            l1_block_hash: Bytes32::default(),
            depth: self.genesis.settlement.deposit_depth,
            l1_tx_hash: Bytes32::default(),
        })
    }

    fn prices(&self) -> Command {
        let report = |publisher, market| PriceReport { publisher, market, price: Price(3_000 * UNIT), ts: self.now };
        Command::Prices((0..2).flat_map(|publisher| [0, 1].map(|market| report(publisher, MarketId(market)))).collect())
    }

    /// Registered, with money, and prices.
    fn opening(&mut self) -> Vec<Command> {
        let mut commands = vec![];
        for actor in (0..ACTORS).map(address) {
            let signed = self.sign(actor);
            commands.push(Command::Register(Register { signed, key: StarkKey(Felt::from(5)), template: 0 }));
            commands.extend([(0, 10_000), (1, 10)].map(|(asset, units)| self.deposit(actor, asset, units)));
        }
        commands.push(self.prices());
        commands
    }

    fn next(&mut self) -> Command {
        let actor = address(self.below(ACTORS));
        match self.below(10) {
            0 => Command::Tick,
            1 => self.prices(),
            2 => self.deposit(actor, 0, 1),
            3 => {
                let (signed, recipient) = (self.sign(actor), address(self.below(ACTORS)));
                Command::Transfer(Transfer { signed, recipient, asset: AssetId(0), amount: Amount(i128::from(UNIT)) })
            }
            4 if !self.placed.is_empty() => {
                let which = self.below(self.placed.len() as u64) as usize;
                let (account, order) = self.placed[which];
                Command::Cancel(CancelOrder { signed: self.sign(account), order, client_id: 0 })
            }
            5 => Command::ScheduleCancel(ScheduleCancel { signed: self.sign(actor), at: self.now.plus_ms(1_500) }),
            _ => {
                let signed = self.sign(actor);
                self.placed.push((actor, signed.hash));
                let side = if self.below(2) == 0 { Side::Buy } else { Side::Sell };
                Command::Place(PlaceOrder {
                    signed,
                    market: MarketId(self.below(2) as u16),
                    side,
                    order_type: OrderType::Limit,
                    size: Qty(UNIT / 100 * (1 + self.below(20))),
                    price: Price((2_990 + self.below(21)) * UNIT),
                    trigger_price: Price(0),
                    time_in_force: TimeInForce::Gtc,
                    good_til: Ts(0),
                    reduce_only: false,
                    self_trade: SelfTradeMode::CancelTaker,
                    client_id: 0,
                })
            }
        }
    }

    /// Records, a voided one in their midst, and what follows one.
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = vec![Step::Run { commands: self.opening(), seal: true }];
        let (before, after) = (1 + self.below(12), 1 + self.below(12));
        for _ in 0..before {
            steps.push(self.run());
        }
        let commands = 1 + self.below(8);
        steps.push(Step::Voided((0..commands).map(|_| self.next()).collect()));
        let reasons = LossReasons::of(LossReason::InvariantBroken);
        let safe = EnterSafeMode { incident: IncidentId(1), reasons, observed_ts: self.now };
        steps.push(Step::Run { commands: vec![Command::EnterSafeMode(safe)], seal: false });
        for _ in 0..after {
            steps.push(self.run());
        }
        steps
    }

    fn run(&mut self) -> Step {
        self.now = self.now.plus_ms(200);
        let commands = 1 + self.below(20);
        Step::Run { commands: (0..commands).map(|_| self.next()).collect(), seal: self.below(2) == 0 }
    }
}

fn address(actor: u64) -> Address {
    Address(Felt::from(0x1000 + actor))
}

/// A journal as a node writes it that went on behind the Void.
struct Written {
    journal: ModelJournal,
    engine: Engine,
    /// Where the voided record stands.
    voided: usize,
}

/// `taken_back`: the journal has the voided record and its Void; otherwise refused commands in their place, as many.
fn write(genesis: &Genesis, steps: &[Step], taken_back: bool) -> Written {
    let (mut engine, mut journal, mut voided) = (Engine::new(genesis).0, ModelJournal::default(), 0);
    let mut ts = genesis.ts;
    let append = |journal: &mut ModelJournal, engine: &mut Engine, ts: &mut Ts, mut commands: Vec<Command>, seal, pass| {
        *ts = ts.plus_ms(200);
        let first_seq = engine.last_seq().next();
        let apply = |engine: &mut Engine, command: &Command| {
            let seq = engine.last_seq().next();
            if pass { engine.pass_over(seq, *ts) } else { drop(engine.apply(seq, *ts, command)) }
        };
        commands.iter().for_each(|command| apply(engine, command));
        if seal {
            let seal = SealBlock { height: Height(engine.height().0 + 1), engine_digest: engine.digest() };
            commands.push(Command::SealBlock(seal));
            apply(engine, &commands[commands.len() - 1]);
        }
        let prev = journal.tail().map_or(Bytes32::default(), |tail| tail.hash);
        journal.append(&Record { prev, first_seq, ts: *ts, commands }).expect("it continues");
        first_seq
    };
    for step in steps {
        match step {
            Step::Run { commands, seal } => {
                append(&mut journal, &mut engine, &mut ts, commands.clone(), *seal, false);
            }
            Step::Voided(commands) => {
                voided = journal.records().len();
                let commands = if taken_back { commands.clone() } else { vec![refused(); commands.len()] };
                let seq = append(&mut journal, &mut engine, &mut ts, commands, false, taken_back);
                let behind = if taken_back { void(seq) } else { refused() };
                append(&mut journal, &mut engine, &mut ts, vec![behind], false, false);
            }
        }
    }
    Written { journal, engine, voided }
}

fn replay(genesis: &Genesis, journal: &ModelJournal) -> (Recovered, Vec<Released>) {
    let mut released = vec![];
    let keep = &mut |record| {
        released.push(record);
        true
    };
    let recovered = recover(genesis, Start::Genesis, journal, None, keep).expect("it replays");
    (recovered, released)
}

/// The first `count` records, as a journal of their own.
fn cut(journal: &ModelJournal, count: usize) -> ModelJournal {
    let mut cut = ModelJournal::default();
    journal.records().iter().take(count).for_each(|record| cut.append(record).expect("it continues"));
    cut
}

#[test]
fn a_voided_record_leaves_state_digest_and_chain_writes_as_if_refused_commands_had_stood_there() {
    let genesis = genesis();
    let (mut fills, mut changing) = (0, 0);
    for seed in 0..60 {
        let steps = Flow::new(seed).steps();
        let [with, without] = [true, false].map(|taken_back| write(&genesis, &steps, taken_back));
        let (first, released) = replay(&genesis, &with.journal);
        let (second, control) = replay(&genesis, &without.journal);
        assert_eq!(first.engine.digest(), second.engine.digest(), "seed {seed}");
        assert_eq!(first.engine.digest(), with.engine.digest(), "seed {seed}: as the node that went on");
        assert_eq!(first.engine.dump(), second.engine.dump(), "seed {seed}");
        assert!(first.engine.check().is_empty(), "seed {seed}");
        assert_eq!(released.len(), control.len());
        for (i, (ours, theirs)) in released.iter().zip(&control).enumerate() {
            let writes = |record: &Released| record.executed.iter().flat_map(|e| e.writes.clone()).collect::<Vec<_>>();
            assert_eq!(writes(ours), writes(theirs), "seed {seed}, record {i}");
            if (with.voided..=with.voided + 1).contains(&i) {
                assert!(ours.executed.iter().all(|e| e.events.is_empty() && e.writes.is_empty()), "seed {seed}");
            } else {
                assert_eq!(ours.executed, theirs.executed, "seed {seed}, record {i}");
            }
            let is_fill = |event: &&Event| matches!(event, Event::Fill(_));
            fills += ours.executed.iter().flat_map(|e| &e.events).filter(is_fill).count();
        }
        // It would have changed something: without its Void the state is another.
        let unvoided = cut(&with.journal, with.voided + 1);
        let tail = unvoided.tail().expect("records");
        let executed = replay(&genesis, &unvoided).0.engine;
        let passed = recover(&genesis, Start::Genesis, &with.journal, Some(tail.last_seq), &mut |_| true).unwrap().engine;
        assert_eq!(executed.last_seq(), passed.last_seq());
        changing += usize::from(executed.digest() != passed.digest());
    }
    assert!(fills > 100, "{fills} fills: this is no trading");
    assert!(changing > 30, "{changing} of 60 voided records would have changed the state");
}

#[test]
fn a_replay_stops_at_the_record_that_panics_and_goes_past_it_once_it_is_voided() {
    let genesis = genesis();
    for seed in 0..20 {
        let steps = Flow::new(seed).steps();
        let Written { journal, engine, voided } = write(&genesis, &steps, true);
        let records = journal.records();
        let last = records[voided].last_seq();
        let armed = |seq: Seq| {
            let mut engine = Engine::new(&genesis).0;
            engine.inject_panic_at(seq);
            engine
        };
        let unvoided = cut(&journal, voided + 1);
        let mut released = 0;
        let result = recover_from(armed(last), None, &unvoided, None, &mut |_| {
            released += 1;
            true
        });
        let Err(RecoverError::Command { seq, command, first_seq, record, why }) = result else { panic!("it did not panic") };
        assert_eq!((seq, &*command), (last, records[voided].commands.last().unwrap()));
        assert_eq!(first_seq, records[voided].first_seq);
        assert_eq!((record, why.as_str()), (Tail::of(&records[voided]), "injected by a test"));
        assert_eq!(released, voided, "everything before is released, nothing of the record");

        let behind = cut(&journal, voided + 2);
        let recovered = recover_from(armed(last), None, &behind, None, &mut |_| true).expect("it is not executed");
        assert_eq!(recovered.tail, Some(Tail::of(&records[voided + 1])));
        assert_eq!(recovered.void.map(|void| void.seq), Some(records[voided].first_seq), "safe mode comes next");
        let whole = recover_from(armed(last), None, &journal, None, &mut |_| true).expect("it is not executed");
        assert_eq!((whole.engine.digest(), whole.void), (engine.digest(), None));
    }
}

#[test]
fn a_replay_that_starts_or_ends_anywhere_comes_to_the_same() {
    let genesis = genesis();
    let steps = Flow::new(7).steps();
    let Written { journal, engine, voided } = write(&genesis, &steps, true);
    for (i, record) in journal.records().iter().enumerate() {
        let at = recover(&genesis, Start::Genesis, &journal, Some(record.last_seq()), &mut |_| true).unwrap();
        assert_eq!(at.engine.last_seq(), record.last_seq());
        let start = Start::Snapshot { tail: Tail::of(record), digest: at.engine.digest(), engine: at.engine.snapshot() };
        match recover(&genesis, start, &journal, None, &mut |_| true) {
            Ok(recovered) => assert_eq!(recovered.engine.digest(), engine.digest(), "from record {i}"),
            // A node has no snapshot of a record that nobody was told of.
            Err(RecoverError::StrayVoid { .. }) => assert_eq!(i, voided),
            Err(error) => panic!("from record {i}: {error}"),
        }
    }
}

fn safe_mode(reason: LossReason) -> Command {
    let reasons = LossReasons::of(reason);
    Command::EnterSafeMode(EnterSafeMode { incident: IncidentId(1), reasons, observed_ts: Ts(0) })
}

#[test]
fn a_void_in_any_other_place_or_without_safe_mode_behind_it_stops_the_replay() {
    let genesis = genesis();
    // Tick of 1; ticks of 2 and 3; then what is tried. The Void of 2 belongs at 4.
    for (name, records) in [
        ("in its place", vec![vec![void(Seq(2))]]),
        ("in its place, and safe mode", vec![vec![void(Seq(2))], vec![safe_mode(LossReason::InvariantBroken)]]),
        ("and trading goes on", vec![vec![void(Seq(2))], vec![Command::Tick]]),
        ("and another safe mode", vec![vec![void(Seq(2))], vec![safe_mode(LossReason::Restart)]]),
        ("and safe mode with more", vec![vec![void(Seq(2))], vec![safe_mode(LossReason::InvariantBroken), Command::Tick]]),
        ("with a reason that is none", vec![vec![Command::Void(Void { seq: Seq(2), reason: "a\nb".into() })]]),
        ("of a command within the record", vec![vec![void(Seq(3))]]),
        ("of an earlier record", vec![vec![void(Seq(1))]]),
        ("of itself", vec![vec![void(Seq(4))]]),
        ("of what is to come", vec![vec![void(Seq(5))]]),
        ("one record late", vec![vec![Command::Tick], vec![void(Seq(2))]]),
        ("with a command behind it", vec![vec![void(Seq(2)), Command::Tick]]),
        ("with a command before it", vec![vec![Command::Tick, void(Seq(2))]]),
        ("twice", vec![vec![void(Seq(2))], vec![void(Seq(2))]]),
        ("of a Void", vec![vec![void(Seq(2))], vec![void(Seq(4))]]),
    ] {
        let (mut journal, mut next) = (ModelJournal::default(), Seq(1));
        for commands in [vec![Command::Tick], vec![Command::Tick; 2]].into_iter().chain(records) {
            let prev = journal.tail().map_or(Bytes32::default(), |tail| tail.hash);
            let record = Record { prev, first_seq: next, ts: genesis.ts.plus_ms(next.0), commands };
            next = record.last_seq().next();
            journal.append(&record).expect("it continues");
        }
        match recover(&genesis, Start::Genesis, &journal, None, &mut |_| true) {
            Ok(_) => assert!(name.starts_with("in its place"), "{name}"),
            Err(RecoverError::NoSafeMode { .. }) => assert!(name.starts_with("and "), "{name}"),
            Err(error) => {
                let stray = matches!(error, RecoverError::StrayVoid { .. });
                assert!(stray && !name.starts_with("in its place") && !name.starts_with("and "), "{name}: {error}")
            }
        }
    }
}
