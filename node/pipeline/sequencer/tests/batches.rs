//! What the order within a batch means for those in it: the sequencer's order, the engine's execution, what everybody ends up with.

use keel_engine::Engine;
use keel_ingress::queue::Submission;
use keel_sequencer::order_batch;
use keel_types::*;
use std::collections::BTreeMap;

const UNIT: u64 = QUANTUMS_PER_UNIT;

/// The development chain: spot ETH at 3,000, maker 1 bp, taker 4 bps. a, b and c have 10,000 USDC and 10 ETH each.
struct Venue {
    genesis: Genesis,
    engine: Engine,
    now: Ts,
    /// Messages so far: arrival, nonce and hash of the next.
    messages: u64,
    deposits: u64,
}

fn address(actor: char) -> Address {
    Address(Felt::from(0x1000 + actor as u64))
}

impl Venue {
    fn open() -> Venue {
        let genesis = keel_contracts::genesis::load(keel_contracts::genesis::DEV).expect("the development genesis is good");
        let engine = Engine::new(&genesis).0;
        let mut venue = Venue { now: genesis.ts, genesis, engine, messages: 0, deposits: 0 };
        for actor in "abc".chars() {
            let hash = MessageHash(Felt::from(actor as u64));
            let signed = Signed { account: address(actor), nonce: 1, hash, ..venue.sign() };
            venue.apply(&Command::Register(Register { signed, key: StarkKey(Felt::from(5)), template: 0 }));
            venue.deposit(actor, 0, 10_000);
            venue.deposit(actor, 1, 10);
        }
        let ts = venue.now;
        let report = |publisher| PriceReport { publisher, market: MarketId(0), price: Price(3_000 * UNIT), ts };
        venue.apply(&Command::Prices((0..2).map(report).collect()));
        // Message 1 is the first of the script.
        venue.messages = 0;
        venue
    }

    fn apply(&mut self, command: &Command) -> Vec<Event> {
        let events = self.engine.apply(self.engine.last_seq().next(), self.now, command).events;
        assert!(self.engine.check().is_empty());
        events
    }

    fn deposit(&mut self, actor: char, asset: usize, units: u64) {
        let spec = &self.genesis.assets[asset];
        self.deposits += 1;
        let deposit = Deposit {
            message_nonce: self.deposits,
            token: spec.token,
            recipient: address(actor),
            amount: u128::from(units * UNIT / spec.quantums_per_l1_unit),
            message_hash: Bytes32::default(),
            l1_block: 1,
            l1_block_hash: Bytes32::default(),
            depth: self.genesis.settlement.deposit_depth,
            l1_tx_hash: Bytes32::default(),
        };
        let events = self.apply(&Command::Deposit(deposit));
        assert!(matches!(events[..], [Event::Deposited { .. }]), "{events:?}");
    }

    /// The envelope of the next message; its account is the caller's.
    fn sign(&mut self) -> Signed {
        self.messages += 1;
        Signed {
            account: Address::default(),
            nonce: 1_000_000 + self.messages,
            valid_until: self.now.plus_ms(60_000),
            hash: MessageHash(Felt::from((1u64 << 32) + self.messages)),
            session_key: StarkKey::default(),
        }
    }

    /// `a sell 1 @ 3000 [ioc|post]`, `a cancel 2`: the order of message 2.
    fn message(&mut self, text: &str) -> Submission {
        let words: Vec<&str> = text.split_whitespace().collect();
        let signed = Signed { account: address(words[0].chars().next().expect("an actor")), ..self.sign() };
        let command = match words[1..] {
            ["cancel", order] => {
                let order = MessageHash(Felt::from((1u64 << 32) + order.parse::<u64>().expect(order)));
                Command::Cancel(CancelOrder { signed, order, client_id: 0 })
            }
            [side, size, "@", price, ref option @ ..] => Command::Place(PlaceOrder {
                signed,
                market: MarketId(0),
                side: if side == "buy" { Side::Buy } else { Side::Sell },
                order_type: OrderType::Limit,
                size: Qty(size.parse::<u64>().expect(size) * UNIT),
                price: Price(price.parse::<u64>().expect(price) * UNIT),
                trigger_price: Price(0),
                time_in_force: match option {
                    ["ioc"] => TimeInForce::Ioc,
                    ["post"] => TimeInForce::PostOnly,
                    _ => TimeInForce::Gtc,
                },
                good_til: Ts(0),
                reduce_only: false,
                self_trade: SelfTradeMode::CancelTaker,
                client_id: 0,
            }),
            _ => panic!("no such message: {text}"),
        };
        Submission { command, reply: None, arrival: self.messages }
    }

    fn batch(&mut self, messages: &str) -> Vec<String> {
        self.now = self.now.plus_ms(1);
        let batch = messages.split('|').map(|text| self.message(text)).collect();
        let ordered = order_batch(batch);
        let mut lines = Vec::new();
        for submission in ordered {
            let events = self.apply(&submission.command);
            lines.extend(events.iter().map(|event| format!("{}: {}", submission.arrival, describe(event))));
        }
        lines
    }

    fn holdings(&self) -> Vec<String> {
        let accounts = "abc".chars().map(|actor| (actor.to_string(), address(actor)));
        let shown = accounts.chain([("fees".into(), self.genesis.fee_account)]);
        let line = |(name, address): (String, Address)| {
            let balances = self.engine.account(&address).expect("a known account").holdings.balances;
            let held = |n: usize| format_quantums(balances[n].total);
            assert!(balances.iter().all(|balance| balance.reserved == 0), "{name} has an order left");
            format!("{name} {} USDC {} ETH", held(0), held(1))
        };
        shown.map(line).collect()
    }
}

fn describe(event: &Event) -> String {
    let names: BTreeMap<Address, char> = "abc".chars().map(|actor| (address(actor), actor)).collect();
    match event {
        Event::Order(o) => {
            let reason = if matches!(o.reason, Reason::None | Reason::Trade) { "" } else { o.reason.as_str() };
            format!("{} {} {} @ {} {} {reason}", names[&o.account], o.side.as_str(), o.size, o.price, o.state.as_str())
        }
        Event::Fill(f) => format!("fill {} @ {} fees {} {}", f.size, f.price, f.maker.fee, f.taker.fee),
        Event::Cancelled { account, count, .. } => format!("{} cancelled {count}", names[account]),
        Event::Rejected { account, reject, .. } => format!("{} rejected: {reject}", names[account]),
        other => format!("{other:?}"),
    }
}

/// Each line of `batches` is one drained batch, its messages in order of arrival. `expected`: events by the message that caused them, then what
/// everybody has.
fn check(batches: &str, expected: &str) {
    let mut venue = Venue::open();
    let mut lines: Vec<String> = batches.lines().flat_map(|batch| venue.batch(batch)).collect();
    lines.extend(venue.holdings());
    let trimmed = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(trimmed(&lines.join("\n")), trimmed(expected.trim()));
}

const NOBODY_TRADED: &str = "a 10000 USDC 10 ETH
    b 10000 USDC 10 ETH
    c 10000 USDC 10 ETH
    fees 0 USDC 0 ETH";

#[test]
fn a_maker_that_pulls_its_quote_is_not_taken_by_who_came_a_moment_earlier() {
    check(
        "a sell 1 @ 3000\nb buy 1 @ 3000 ioc | c buy 1 @ 3000 ioc | a cancel 1",
        &format!(
            "1: a SELL 1 @ 3000 OPEN
             4: a SELL 1 @ 3000 CANCELLED USER_CANCEL
             4: a cancelled 1
             2: b BUY 1 @ 3000 CANCELLED IOC_REMAINDER
             3: c BUY 1 @ 3000 CANCELLED IOC_REMAINDER
             {NOBODY_TRADED}"
        ),
    );
}

/// The taker meets the new quote, not the old one: 3,010 + 4 bps = 1.204 for b, a gets 3,010 less 0.301.
#[test]
fn a_maker_that_moves_its_quote_is_taken_at_the_new_price() {
    check(
        "a sell 1 @ 3000\nb buy 1 @ 3010 ioc | a cancel 1 | a sell 1 @ 3010 post",
        "1: a SELL 1 @ 3000 OPEN
         3: a SELL 1 @ 3000 CANCELLED USER_CANCEL
         3: a cancelled 1
         4: a SELL 1 @ 3010 OPEN
         2: fill 1 @ 3010 fees 0.301 1.204
         2: a SELL 1 @ 3010 FILLED
         2: b BUY 1 @ 3010 FILLED
         a 13009.699 USDC 9 ETH
         b 6988.796 USDC 11 ETH
         c 10000 USDC 10 ETH
         fees 1.505 USDC 0 ETH",
    );
}

#[test]
fn an_order_cancelled_in_the_batch_that_brought_it_is_placed_and_then_cancelled() {
    // The cancel follows its order into its class: behind it, and ahead of the taker that came between them.
    check(
        "a sell 1 @ 3000 post | b buy 1 @ 3000 ioc | a cancel 1",
        &format!(
            "1: a SELL 1 @ 3000 OPEN
             3: a SELL 1 @ 3000 CANCELLED USER_CANCEL
             3: a cancelled 1
             2: b BUY 1 @ 3000 CANCELLED IOC_REMAINDER
             {NOBODY_TRADED}"
        ),
    );
    check(
        "a sell 1 @ 3000 | a cancel 1 | b buy 1 @ 3000 ioc",
        &format!(
            "1: a SELL 1 @ 3000 OPEN
             2: a SELL 1 @ 3000 CANCELLED USER_CANCEL
             2: a cancelled 1
             3: b BUY 1 @ 3000 CANCELLED IOC_REMAINDER
             {NOBODY_TRADED}"
        ),
    );
}

/// An order that may take waits with the takers, in order of arrival, and so does its cancel: b came between them and trades. 3,000: 0.3 and 1.2.
#[test]
fn a_cancel_behind_an_order_that_may_take_can_lose_to_who_came_between_and_says_so() {
    check(
        "a sell 1 @ 3000 | b buy 1 @ 3000 ioc | a cancel 1",
        "1: a SELL 1 @ 3000 OPEN
         2: fill 1 @ 3000 fees 0.3 1.2
         2: a SELL 1 @ 3000 FILLED
         2: b BUY 1 @ 3000 FILLED
         3: a rejected: ORDER_NOT_OPEN
         a 12999.7 USDC 9 ETH
         b 6998.8 USDC 11 ETH
         c 10000 USDC 10 ETH
         fees 1.5 USDC 0 ETH",
    );
}
