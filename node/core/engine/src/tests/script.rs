//! The language of the scenarios. Steps are separated by `|` or lines; `#n` in the output counts steps.
//!
//! ```text
//! a buy 3 @ 101 [perp|btc] [ioc|post|fok|gtt=5s] [ro] [stp=maker|both] [cid=7] [stop=90|tp=110]
//! a sell 3 @ market [95]                 worst price 95
//! a modify 2 1.5 @ 99                    total size 1.5
//! a cancel 2 | a cancel cid 7 | a cancel all [perp]      2: the order placed by step 2
//! a schedule 5s | a schedule off | a ws cancel 2 | a ws cancel all [perp] | a lost
//! a grant k 60s [perp,btc] [max=100] | a revoke k | a login | any message `by k`
//! a transfer 10 USDC b
//! a restore 1 2,5 [gtt=5s]               what incident 1 cancelled of the orders of steps 2 and 5; 9:2: the order by which step 9 restored that of step 2
//! a withdraw 10 USDC | a deposit 10 ETH | a register
//! a again | a twist                      the last message of a again; another message with its nonce
//! price perp 105 | report 0 perp 105 [-3s]      1 ms later than the step before
//! wait 10s | tick | seal | batch 0 1
//! oracle perp 105                        as price, without showing it
//! due | due sum                          ticks while work is due, as the sequencer does; equal events counted
//! each abc sell 1 @ market               the step for each of them
//! times 300 a sell 1 @ market            the step so often; equal events counted
//! insure 1000                            a deposit to the insurance fund
//! halt OPERATOR | phase SPOT [5s] | resume 0
//! show a | show funds | show perp | show mark btc | show funding btc
//! show all                               what everybody has, and all of it together
//! ```

use super::world::{PERP, PERP_B, SPOT, World, address, genesis};
use expect_test::Expect;
use keel_types::*;
use std::collections::BTreeMap;

/// Runs a script in a funded world and compares its events.
pub fn check(script: &str, expect: Expect) {
    check_in(World::funded(genesis()), script, expect);
}

/// As [check], in a world of the caller's.
pub fn check_in(world: World, script: &str, expect: Expect) {
    let mut run = Run { world, step: 0, orders: BTreeMap::new(), restores: BTreeMap::new(), last: BTreeMap::new() };
    let steps = script.split(['|', '\n']).map(str::trim).filter(|step| !step.is_empty());
    let lines: Vec<String> = steps.flat_map(|step| run.step(step)).collect();
    run.world.check_history();
    expect.assert_eq(&lines.join("\n"));
}

struct Run {
    world: World,
    step: usize,
    /// Hash of the order each step placed.
    orders: BTreeMap<usize, MessageHash>,
    restores: BTreeMap<usize, RestoreOrders>,
    last: BTreeMap<char, Command>,
}

fn quantums(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= 8, "{text}");
    whole.parse::<u64>().expect(text) * QUANTUMS_PER_UNIT + format!("{fraction:0<8}").parse::<u64>().expect(text)
}

/// Milliseconds of `1.5s`.
fn seconds(text: &str) -> u64 {
    quantums(text.strip_suffix('s').expect(text)) / (QUANTUMS_PER_UNIT / 1_000)
}

/// A key by its letter; `m` is the main key of actor a.
fn session_key(name: &str) -> StarkKey {
    let letter = name.chars().next().expect("a key");
    match letter {
        '0' => StarkKey::default(),
        'm' => StarkKey(Felt::from(0x2000 + 'a' as u64)),
        letter => StarkKey(Felt::from(0x5000 + letter as u64)),
    }
}

fn by_session_key(mut command: Command, key: StarkKey) -> Command {
    match &mut command {
        Command::Place(c) => c.signed.session_key = key,
        Command::Modify(c) => c.signed.session_key = key,
        Command::Cancel(c) => c.signed.session_key = key,
        Command::CancelAll(c) => c.signed.session_key = key,
        Command::ScheduleCancel(c) => c.signed.session_key = key,
        Command::Session(c) => c.signed.session_key = key,
        Command::RestoreOrders(c) => c.signed.session_key = key,
        Command::Withdraw(c) => c.signed.session_key = key,
        Command::Transfer(c) => c.signed.session_key = key,
        Command::SessionKey(c) => c.signed.session_key = key,
        Command::RevokeSessionKey(c) => c.signed.session_key = key,
        other => panic!("not signed by a session key: {other:?}"),
    }
    command
}

fn market(word: &str) -> Option<MarketId> {
    match word {
        "spot" => Some(SPOT),
        "perp" => Some(PERP),
        "btc" => Some(PERP_B),
        _ => None,
    }
}

impl Run {
    fn step(&mut self, step: &str) -> Vec<String> {
        self.step += 1;
        let words: Vec<&str> = step.split_whitespace().collect();
        self.run(&words).into_iter().map(|line| format!("#{} {line}", self.step)).collect()
    }

    fn run(&mut self, words: &[&str]) -> Vec<String> {
        match words[0] {
            "show" => self.show_words(&words[1..]),
            "times" => {
                let times: usize = words[1].parse().expect(words[1]);
                counted((0..times).flat_map(|_| self.run(&words[2..])).collect())
            }
            "each" => {
                words[1].split("").filter(|a| !a.is_empty()).flat_map(|a| self.run(&[&[a], &words[2..]].concat())).collect()
            }
            "due" if words.len() == 2 => counted(self.due()),
            "wait" => {
                self.world.now = self.world.now.plus_ms(seconds(words[1]));
                vec![]
            }
            "due" => self.due(),
            "oracle" => {
                self.world.now = self.world.now.plus_ms(1);
                let command = self.command(&["price", words[1], words[2]]);
                let events = self.world.apply(command);
                events.iter().filter(|event| !matches!(event, Event::Price { .. })).map(describe).collect()
            }
            word => {
                if matches!(word, "price" | "report") {
                    // No publisher says two things at one instant.
                    self.world.now = self.world.now.plus_ms(1);
                }
                let command = self.command(words);
                if let Command::Place(order) = &command {
                    self.orders.insert(self.step, order.signed.hash);
                }
                if let Command::RestoreOrders(restore) = &command {
                    self.restores.insert(self.step, restore.clone());
                }
                self.world.apply(command).iter().map(describe).collect()
            }
        }
    }

    /// Ticks while there is work due, as the sequencer does; funding is not shown.
    fn due(&mut self) -> Vec<String> {
        let mut shown = Vec::new();
        for _ in 0..1_000 {
            if !self.world.engine.due(self.world.now) {
                return shown;
            }
            let events = self.world.apply(Command::Tick);
            shown.extend(events.iter().filter(|event| !matches!(event, Event::Funding { .. })).map(describe));
        }
        panic!("work stays due: {shown:#?}");
    }

    fn command(&mut self, words: &[&str]) -> Command {
        let now = self.world.now;
        let incident = self.world.engine.phase().incident;
        match words {
            ["tick"] => Command::Tick,
            ["insure", amount] => {
                let fund = self.world.genesis.insurance_account;
                self.world.deposit_to(fund, AssetId(0), i128::from(quantums(amount)))
            }
            ["price", name, price] => {
                let market = market(name).expect(name);
                let price = Price(quantums(price));
                Command::Prices((0..2).map(|publisher| PriceReport { publisher, market, price, ts: now }).collect())
            }
            ["report", publisher, name, price, rest @ ..] => {
                let ts = match rest {
                    [ago] if ago.starts_with('-') => Ts(now.0 - seconds(&ago[1..]) * 1_000_000),
                    [ahead] => now.plus_ms(seconds(ahead.trim_start_matches('+'))),
                    _ => now,
                };
                Command::Prices(vec![PriceReport {
                    publisher: publisher.parse().expect(publisher),
                    market: market(name).unwrap_or(MarketId(99)),
                    price: Price(quantums(price)),
                    ts,
                }])
            }
            ["seal"] => Command::SealBlock(SealBlock {
                height: Height(self.world.engine.height().0 + 1),
                engine_digest: self.world.engine.digest(),
            }),
            ["batch", batch, last_block] => Command::BatchConfirmed(BatchConfirmed {
                batch: BatchId(batch.parse().expect(batch)),
                last_block: Height(last_block.parse().expect(last_block)),
                root: FeltBytes(Felt::ONE),
                l1_block: 1,
                l1_tx_hash: Bytes32::default(),
            }),
            ["halt", reason] => Command::EnterSafeMode(EnterSafeMode {
                incident,
                reasons: LossReasons::of(LossReason::parse(reason).expect(reason)),
                observed_ts: now,
            }),
            ["phase", phase, rest @ ..] => Command::SetPhase(SetPhase {
                incident,
                phase: Phase::parse(phase).expect(phase),
                post_only_until: rest.first().map_or(Ts(0), |wait| now.plus_ms(seconds(wait))),
                integrity_report: if *phase == "SPOT" { Bytes32([7; 32]) } else { Bytes32::default() },
            }),
            ["resume", operator] => Command::Resume(Resume { incident, operator: operator.parse().expect(operator) }),
            [actor, rest @ ..] => {
                let actor = actor.chars().next().expect("an actor");
                let command = match rest {
                    [rest @ .., "by", key] => by_session_key(self.message(actor, rest), session_key(key)),
                    rest => self.message(actor, rest),
                };
                self.last.insert(actor, command.clone());
                command
            }
            [] => unreachable!("empty steps are skipped"),
        }
    }

    fn message(&mut self, actor: char, words: &[&str]) -> Command {
        let asset = |symbol: &str| {
            AssetId(if symbol == "USDC" {
                0
            } else if symbol == "ETH" {
                1
            } else {
                9
            })
        };
        match words {
            ["register"] => self.world.register(actor),
            ["deposit", amount, symbol] => {
                let amount = i128::from(quantums(amount));
                self.world.deposit(actor, asset(symbol), amount)
            }
            ["withdraw", amount, symbol] => Command::Withdraw(Withdraw {
                signed: self.world.sign(actor),
                asset: asset(symbol),
                amount: Amount(i128::from(quantums(amount))),
                recipient: L1Address::ethereum([9; 20]),
            }),
            ["again"] => self.last[&actor].clone(),
            ["twist"] => {
                let mut command = self.last[&actor].clone();
                if let Command::Place(order) = &mut command {
                    order.signed.hash = MessageHash(order.signed.hash.0 + Felt::from(1u64 << 40));
                }
                command
            }
            ["cancel", "all", rest @ ..] => Command::CancelAll(CancelAll {
                signed: self.world.sign(actor),
                market: rest.first().and_then(|name| market(name)),
            }),
            ["cancel", "cid", id] => Command::Cancel(CancelOrder {
                signed: self.world.sign(actor),
                order: MessageHash::default(),
                client_id: id.parse().expect(id),
            }),
            ["cancel", step] => {
                let order = self.order_of(step);
                Command::Cancel(CancelOrder { signed: self.world.sign(actor), order, client_id: 0 })
            }
            ["modify", step, size, "@", price] => {
                let (order, signed) = (self.order_of(step), self.world.sign(actor));
                Command::Modify(ModifyOrder { signed, order, price: Price(quantums(price)), size: Qty(quantums(size)) })
            }
            ["schedule", wait] => {
                let at = if *wait == "off" { Ts(0) } else { self.world.now.plus_ms(seconds(wait)) };
                Command::ScheduleCancel(ScheduleCancel { signed: self.world.sign(actor), at })
            }
            ["ws", "cancel", "all", rest @ ..] => Command::SessionCancelAll(SessionCancelAll {
                account: address(actor),
                market: rest.first().and_then(|name| market(name)),
                disconnected: false,
            }),
            ["lost"] => {
                Command::SessionCancelAll(SessionCancelAll { account: address(actor), market: None, disconnected: true })
            }
            ["ws", "cancel", step] => {
                let order = self.order_of(step);
                Command::SessionCancel(SessionCancel { account: address(actor), order, client_id: 0 })
            }
            ["login"] => Command::Session(OpenSession { signed: self.world.sign(actor) }),
            ["grant", key, life, bounds @ ..] => {
                let expiry = self.world.now.plus_ms(seconds(life));
                let mut terms = SessionTerms { expiry, markets: Vec::new(), max_order_notional: Amount(0) };
                for bound in bounds {
                    match bound.strip_prefix("max=") {
                        Some(notional) => terms.max_order_notional = Amount(i128::from(quantums(notional))),
                        None => terms.markets = bound.split(',').map(|m| market(m).unwrap_or(MarketId(99))).collect(),
                    }
                }
                Command::SessionKey(GrantSessionKey { signed: self.world.sign(actor), key: session_key(key), terms })
            }
            ["revoke", key] => {
                Command::RevokeSessionKey(RevokeSessionKey { signed: self.world.sign(actor), key: session_key(key) })
            }
            ["restore", incident, orders, rest @ ..] => {
                let good_til = rest
                    .first()
                    .map_or(Ts(0), |life| self.world.now.plus_ms(seconds(life.strip_prefix("gtt=").expect(life))));
                Command::RestoreOrders(RestoreOrders {
                    signed: self.world.sign(actor),
                    incident: IncidentId(incident.parse().expect(incident)),
                    orders: orders.split(',').map(|step| self.order_of(step)).collect(),
                    good_til,
                })
            }
            ["transfer", amount, symbol, to] => Command::Transfer(Transfer {
                signed: self.world.sign(actor),
                recipient: if *to == "nobody" { Address(Felt::ZERO) } else { address(to.chars().next().expect(to)) },
                asset: asset(symbol),
                amount: Amount(i128::from(quantums(amount))),
            }),
            [side @ ("buy" | "sell"), size, "@", price, options @ ..] => {
                let side = if *side == "buy" { Side::Buy } else { Side::Sell };
                self.order(actor, side, size, price, options)
            }
            other => panic!("no such step: {other:?}"),
        }
    }

    /// Hash of the order that a step placed; of none, when it did not.
    fn order_of(&self, step: &str) -> MessageHash {
        if let Some((restore, order)) = step.split_once(':') {
            return self.restores[&restore.parse().expect(restore)].order_restored(&self.order_of(order));
        }
        self.orders.get(&step.parse().expect(step)).copied().unwrap_or(MessageHash(Felt::from(99u64)))
    }

    fn order(&mut self, actor: char, side: Side, size: &str, price: &str, options: &[&str]) -> Command {
        let at_market = price == "market";
        let limit = Price(if at_market { 0 } else { quantums(price) });
        let mut order = self.world.order(actor, SPOT, side, Qty(quantums(size)), limit);
        if at_market {
            order.order_type = OrderType::Market;
        }
        for option in options {
            match *option {
                "ioc" => order.time_in_force = TimeInForce::Ioc,
                "post" => order.time_in_force = TimeInForce::PostOnly,
                "fok" => order.time_in_force = TimeInForce::Fok,
                "stop" => order.order_type = OrderType::StopLimit,
                "gtt" => order.time_in_force = TimeInForce::Gtt,
                "ro" => order.reduce_only = true,
                "stp=maker" => order.self_trade = SelfTradeMode::CancelMaker,
                "stp=both" => order.self_trade = SelfTradeMode::CancelBoth,
                "late" => order.signed.valid_until = Ts(self.world.now.0 - 1),
                "early" => order.signed.valid_until = self.world.now.plus_ms(VALID_UNTIL_AHEAD_ORDER_MS_MAX + 1),
                "nowhere" => order.market = MarketId(99),
                option => match (market(option), option.split_once('=')) {
                    (Some(market), _) => order.market = market,
                    (None, Some(("cid", id))) => order.client_id = id.parse().expect(id),
                    (None, Some(("trigger", price))) => order.trigger_price = Price(quantums(price)),
                    (None, Some((kind @ ("stop" | "tp"), price))) => {
                        order.trigger_price = Price(quantums(price));
                        order.order_type = match (kind, at_market) {
                            ("stop", false) => OrderType::StopLimit,
                            ("stop", true) => OrderType::StopMarket,
                            (_, false) => OrderType::TakeProfitLimit,
                            (_, true) => OrderType::TakeProfitMarket,
                        };
                    }
                    (None, Some(("gtt", life))) => {
                        order.time_in_force = TimeInForce::Gtt;
                        order.good_til = self.world.now.plus_ms(seconds(life));
                    }
                    (None, Some(("until", life))) => order.good_til = self.world.now.plus_ms(seconds(life)),
                    _ => order.price = Price(quantums(option)),
                },
            }
        }
        Command::Place(order)
    }

    fn show_words(&self, words: &[&str]) -> Vec<String> {
        let state = |name: &str| self.world.engine.markets.get(u32::from(market(name).expect(name).0));
        match words {
            ["all"] => self.show_all(),
            ["mark", name] => vec![format!("{name} oracle {} mark {}", state(name).oracle, state(name).mark)],
            ["funding", name] => {
                let state = state(name);
                vec![format!("{name} index {} F {}", state.funding_index, format_quantums(state.funding_pool))]
            }
            [what] => vec![self.show(what)],
            other => panic!("nothing to show: {other:?}"),
        }
    }

    /// Every party there is, and the whole: balances and F less costs, which nothing but deposits and withdrawals may change.
    fn show_all(&self) -> Vec<String> {
        let (engine, genesis) = (&self.world.engine, &self.world.genesis);
        let actors: Vec<char> = ('a'..='z').filter(|actor| engine.account(&address(*actor)).is_some()).collect();
        let mut lines: Vec<String> = actors.iter().map(|actor| self.show(&actor.to_string())).collect();
        let mut funds = self.show("funds");
        let fund = engine.account(&genesis.insurance_account).expect("an account of genesis").holdings;
        let mut whole = 0;
        for at in actors.iter().map(|actor| address(*actor)).chain([genesis.fee_account, genesis.insurance_account]) {
            let holdings = engine.account(&at).expect("a known account").holdings;
            whole += holdings.balances[0].total - holdings.markets.iter().map(|m| m.position.cost).sum::<i128>();
        }
        for (name, market) in [("perp", PERP), ("btc", PERP_B)] {
            let position = fund.markets[usize::from(market.0)].position;
            if position.size != 0 {
                let (size, cost) = (format_quantums(position.size), format_quantums(position.cost));
                funds += &format!("; {name} {size} cost {cost}");
            }
            let pool = engine.markets.get(u32::from(market.0)).funding_pool;
            if pool != 0 {
                funds += &format!("; F of {name} {}", format_quantums(pool));
            }
            whole += pool;
        }
        lines.extend([funds, format!("in all {} USDC", format_quantums(whole))]);
        lines
    }

    fn show(&self, what: &str) -> String {
        let engine = &self.world.engine;
        let amount = |asset: usize, at: &Address| {
            let holdings = engine.account(at).expect("a known account").holdings;
            format_quantums(holdings.balances[asset].total)
        };
        match what {
            "funds" => {
                let genesis = &self.world.genesis;
                format!("fees {} insurance {}", amount(0, &genesis.fee_account), amount(0, &genesis.insurance_account))
            }
            "spot" | "perp" | "btc" => {
                let book = engine.book(market(what).expect(what)).expect("a market");
                let side = |side| {
                    let orders = book.makers(side).map(|order| format!("{}@{}", order.remaining, order.price));
                    orders.collect::<Vec<_>>().join(" ")
                };
                format!("bids [{}] asks [{}]", side(Side::Buy), side(Side::Sell))
            }
            actor => {
                let actor = actor.chars().next().expect("an actor");
                let Some(view) = engine.account(&address(actor)) else { return format!("{actor} unknown") };
                let mut text = format!("{actor}");
                for (symbol, balance) in ["USDC", "ETH"].iter().zip(&view.holdings.balances) {
                    text += &format!(" {} {symbol}", format_quantums(balance.total));
                    if balance.reserved != 0 {
                        text += &format!(" ({} reserved)", format_quantums(balance.reserved));
                    }
                }
                for (name, market) in ["perp", "btc"].iter().zip(&view.holdings.markets[1..]) {
                    if market.listed {
                        let (size, cost) = (market.position.size, market.position.cost);
                        text += &format!("; {name} {} cost {}", format_quantums(size), format_quantums(cost));
                    }
                }
                let margin = view.margin;
                if margin.initial != 0 {
                    text += &format!("; AV {} IMR {}", format_quantums(margin.value), format_quantums(margin.initial));
                    text += &format!(" MMR {}", format_quantums(margin.maintenance));
                }
                text
            }
        }
    }
}

/// Equal lines once, with their number, in the order in which each was first seen; fills without the number of the trade, makers
/// without how far they are filled.
fn counted(lines: Vec<String>) -> Vec<String> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for line in lines {
        let line = match line.strip_prefix("fill ").and_then(|fill| fill.split_once(' ')) {
            Some((_, fill)) => format!("fill {fill}"),
            None => line,
        };
        let line = match line.split_once(" PARTIALLY_FILLED ") {
            Some((order, _)) => format!("{order} PARTIALLY_FILLED"),
            None => line,
        };
        match counts.iter_mut().find(|(known, _)| *known == line) {
            Some((_, count)) => *count += 1,
            None => counts.push((line, 1)),
        }
    }
    counts.into_iter().map(|(line, count)| format!("{count}x {line}")).collect()
}

fn actor(account: &Address) -> String {
    ('a'..='z').find(|actor| address(*actor) == *account).map_or_else(|| format!("{account}"), |actor| actor.to_string())
}

fn market_suffix(market: MarketId) -> &'static str {
    [" ", " perp ", " btc "][usize::from(market.0)]
}

fn describe(event: &Event) -> String {
    match event {
        Event::Order(o) => {
            let side = o.side.as_str().to_lowercase();
            let mut line = format!("{} {side} {} @ {}", actor(&o.account), o.size, o.price);
            line += market_suffix(o.market);
            line += o.state.as_str();
            if !o.filled.is_zero() && o.state != OrderState::Filled {
                line += &format!(" {}/{}", o.filled, o.size);
            }
            if !matches!(o.reason, Reason::None | Reason::Trade) {
                line += &format!(" {} by {}", o.reason, o.initiator);
            }
            if o.incident != IncidentId(0) {
                line += &format!(" incident {}", o.incident);
            }
            line
        }
        Event::Fill(f) => {
            let party = |side: &FillSide| {
                let pnl = match side.realized_pnl.0 {
                    0 => String::new(),
                    _ => format!(" pnl {}", side.realized_pnl),
                };
                format!("{} fee {}{pnl}", actor(&side.account), side.fee)
            };
            let (maker, taker) = (party(&f.maker), party(&f.taker));
            format!("fill {} {} @ {}: maker {maker}, taker {taker}", f.trade, f.size, f.price)
        }
        Event::Rejected { account, reject, nonce_consumed, .. } => {
            let kept = if *nonce_consumed { "" } else { ", nonce kept" };
            format!("{} rejected: {reject}{kept}", actor(account))
        }
        Event::Replayed { account, outcome, .. } => format!("{} replayed: {:?}", actor(account), outcome.result),
        Event::Registered { account, .. } => format!("{} registered", actor(account)),
        Event::Cancelled { account, count, .. } => format!("{} cancelled {count}", actor(account)),
        Event::Withdrawn(w) => format!("{} withdrew {} as {} units, id {}", actor(&w.account), w.amount, w.l1_amount, w.id),
        Event::Deposited { account, amount, .. } => format!("{} credited {amount}", actor(account)),
        Event::Price { market, oracle, .. } => format!("price of {market} {oracle}"),
        Event::PriceHeld { market, median } => format!("held {market} at {median}"),
        Event::ReportDiscarded { publisher, reason, .. } => format!("report of {publisher} discarded: {reason}"),
        Event::SafeModeEntered { incident, reasons, cancelled } => {
            let reasons: Vec<_> = reasons.iter().map(LossReason::as_str).collect();
            format!("safe mode {incident} {} cancelled {cancelled}", reasons.join("+"))
        }
        Event::PhaseChanged { from, to, .. } => format!("{from} -> {to}"),
        Event::SystemRejected { reject } => format!("system rejected: {reject}"),
        Event::DepositRefused { reject, .. } => format!("deposit refused: {reject}"),
        Event::Resumed { operator, .. } => format!("resumed by {operator}"),
        Event::BlockSealed { height } => format!("sealed {height}"),
        Event::BatchConfirmed { batch } => format!("confirmed {batch}"),
        Event::SessionKeySet { account, .. } => format!("{} session key set", actor(account)),
        Event::SessionKeyRevoked { account, .. } => format!("{} session key revoked", actor(account)),
        Event::SessionOpened { account, .. } => format!("{} session opened", actor(account)),
        Event::CancelScheduled { account, at: Ts(0) } => format!("{} cancels all: off", actor(account)),
        Event::CancelScheduled { account, at } => {
            format!("{} cancels all at +{} ms", actor(account), at.ms() - super::world::START.ms())
        }
        Event::Transferred { account, recipient, amount, .. } => {
            format!("{} transferred {amount} to {}", actor(account), actor(recipient))
        }
        Event::TriggerRefused { account, reject, .. } => format!("{} trigger refused: {reject}", actor(account)),
        Event::OrderRestored { account, incident, .. } => format!("{} restores, of incident {incident}:", actor(account)),
        Event::RestoreRefused { account, reject, .. } => format!("{} cannot restore: {reject}", actor(account)),
        Event::Funding { market, rate, index, .. } => format!("funding of {market} at {rate}, index {index}"),
        Event::Liquidation(receipt) => {
            format!("liquidation of {}: {}", actor(&receipt.account), decision(&receipt.decision))
        }
    }
}

fn decision(decision: &LiquidationDecision) -> String {
    match decision {
        LiquidationDecision::Cancel { count } => format!("CANCEL {count}"),
        LiquidationDecision::Close { fifths, orders, fee, .. } => {
            let orders = orders.iter().map(|o| {
                let side = o.side.as_str().to_lowercase();
                format!("{side} {}/{}{}limit {}", o.filled, o.size, market_suffix(o.market), o.limit)
            });
            format!("CLOSE {}%: {}; fee {fee}", fifths * 20, orders.collect::<Vec<_>>().join(", "))
        }
        LiquidationDecision::TakeOver { left, fee, deficit } => {
            format!("TAKE_OVER left {left} fee {fee} deficit {deficit}")
        }
        LiquidationDecision::Deleverage { market, side, price, size, shares, .. } => {
            let side = side.as_str().to_lowercase();
            let shares: Vec<String> = shares.iter().map(|s| format!("{} {}", actor(&s.account), s.size)).collect();
            format!("DELEVERAGE {side} {size}{}@ {price}: {}", market_suffix(*market), shares.join(", "))
        }
    }
}
