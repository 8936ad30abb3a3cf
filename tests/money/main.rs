//! Money across both sides, at random: deposits, withdrawals and claims against the real node, with everything that goes wrong on a
//! settlement layer mixed in. At the end nothing is lost and nothing came twice.
//!
//! `KEEL_MONEY_OPERATIONS` (1,000) deposits and withdrawals, `KEEL_MONEY_SEED` repeats a run.

mod ethereum;
mod layer;
mod starknet;

use ethereum::Ethereum;
use keel_contracts::starknet::HANDLE_DEPOSIT;
use keel_ingress::MessageKind;
use keel_tests::{Ack, Node, NodeOptions, Trader, World, wait_for};
use keel_types::{Felt, Genesis, format_quantums};
use layer::{ASSETS, Act, BridgeEvent, CANCELLATION_DELAY_S, FORGER, Layer, Sent};
use serde_json::{Value, json};
use starknet::Starknet;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(90);
/// A dropped transaction of the settler is sent again after a minute, and one batch may lose two of them.
const SETTLED_TIMEOUT: Duration = Duration::from_secs(300);
const TRADERS: u64 = 8;
/// Pays for claims of anybody's.
const PAYER: usize = 8;

/// Numbers that are the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// A withdrawal as it was signed. Its fate may have to be asked for.
struct Signed {
    request: Value,
    trader: usize,
    asset: usize,
    quantums: i128,
    id: Option<u64>,
}

struct Run<L> {
    layer: L,
    genesis: Genesis,
    random: Random,
    traders: Vec<Trader>,
    nonce: u64,
    withdrawals: Vec<Signed>,
    claimed: BTreeSet<u64>,
    counts: BTreeMap<&'static str, u64>,
}

impl<L: Layer> Run<L> {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Quantums of a unit of the token.
    fn unit(asset: usize) -> i128 {
        [100, 1][asset]
    }

    /// Token units.
    fn deposit_max(&self, asset: usize) -> u128 {
        let spec = self.genesis.assets.iter().find(|spec| spec.symbol == ASSETS[asset]).unwrap();
        (spec.deposit_max.0 / Self::unit(asset)) as u128
    }

    fn depositor(&mut self) -> usize {
        4 + self.random.below(5) as usize
    }

    /// A deposit, or what looks like one.
    fn deposit(&mut self) -> (usize, Act) {
        let from = self.depositor();
        let recipient = self.traders[self.random.below(TRADERS) as usize].account.0;
        let asset = self.random.below(2) as usize;
        let amount = 1 + u128::from(self.random.below(50_000_000));
        let (what, from, act) = match self.random.below(20) {
            // By hand what the bridge would send, from somebody who pays nothing.
            0 => {
                let payload = vec![self.layer.token(asset), recipient, amount.into()];
                ("forged: not the bridge", from, Act::Message { selector: HANDLE_DEPOSIT, payload })
            }
            1 => {
                let payload = vec![amount.into()];
                ("forged: bad payload", from, Act::Message { selector: HANDLE_DEPOSIT, payload })
            }
            2 => {
                let payload = vec![Felt::ONE, recipient, amount.into()];
                ("forged: another entry point", from, Act::Message { selector: HANDLE_DEPOSIT + Felt::ONE, payload })
            }
            3 => ("forged: another bridge", FORGER, Act::DepositElsewhere { asset, amount, recipient }),
            // More than a deposit may be: the bridge takes it, the node leaves it, its owner has it back.
            4 => {
                let amount = self.deposit_max(asset) + 1;
                ("deposits over the limit", from, Act::Deposit { asset, amount, recipient })
            }
            _ => ("deposits", from, Act::Deposit { asset, amount, recipient }),
        };
        self.count(what);
        (from, act)
    }

    /// Somebody starts to take back a deposit, perhaps one that was credited long ago.
    fn start_cancellation(&mut self) {
        let sent = self.sent();
        // Half the time one of the newest, which is not final.
        let newest = if self.random.one_in(2) { 5 } else { sent.len() };
        let Some(back) = (!sent.is_empty()).then(|| 1 + self.random.below(newest.min(sent.len()) as u64) as usize) else {
            return;
        };
        let Sent { nonce, from, .. } = sent[sent.len() - back];
        self.layer.send(vec![(from, Act::StartCancellation { nonce })]);
        self.count("cancellations started");
    }

    fn dust(&mut self) {
        let (asset, amount) = (self.random.below(2) as usize, 1 + u128::from(self.random.below(1_000)));
        self.layer.send(vec![(4, Act::Dust { asset, amount })]);
        self.count("dust");
    }

    fn withdraw(&mut self, node: &Node) {
        let (trader, asset) = (self.random.below(TRADERS) as usize, self.random.below(2) as usize);
        let quantums = Self::unit(asset) * (1 + i128::from(self.random.below(20_000_000)));
        let recipient = self.depositor();
        let fields = json!({
            "asset": ASSETS[asset], "amount": format_quantums(quantums), "recipient": self.layer.account(recipient),
        });
        self.nonce += 1;
        let (request, _) = self.traders[trader].sign(MessageKind::Withdraw, self.nonce, fields);
        let ack = node.call("trade_withdraw", request.clone());
        let id = match ack {
            Ack::Done(answer) => Some(answer["id"].as_str().unwrap().parse().unwrap()),
            Ack::Refused(_) => return self.count("withdrawals refused"),
            Ack::Unknown(_) => None,
        };
        self.count(if id.is_some() { "withdrawals" } else { "withdrawals of unknown fate" });
        self.withdrawals.push(Signed { request, trader, asset, quantums, id });
    }

    /// Claims some of what can be claimed; one in four twice.
    fn claim(&mut self, node: &Node, all: bool) {
        let ids = self.withdrawals.iter().filter_map(|sent| sent.id).filter(|id| !self.claimed.contains(id));
        let (mut once, mut again) = (vec![], vec![]);
        for id in ids.collect::<Vec<u64>>() {
            if !all && !self.random.one_in(3) {
                continue;
            }
            let Ack::Done(mut found) = node.call("bridge_getWithdrawal", json!({ "id": id.to_string() })) else { continue };
            if found["claimable"] != true {
                continue;
            }
            let claim = Act::Claim(found["claim"].take());
            if self.random.one_in(4) {
                again.push((PAYER, claim.clone()));
                self.count("claims sent");
            }
            once.push((PAYER, claim));
            self.count("claims sent");
            self.claimed.insert(id);
        }
        self.layer.send(once);
        // By themselves, for they take down what goes with them.
        again.into_iter().for_each(|claim| self.layer.send(vec![claim]));
    }

    /// Deposits on the chain and withdrawals, so far.
    fn done(&self) -> u64 {
        (self.creditable().len() + self.withdrawals.len()) as u64
    }

    /// Deposits on the chain as it is.
    fn sent(&self) -> Vec<Sent> {
        let events = self.layer.bridge_events().into_iter();
        events.filter_map(|event| if let BridgeEvent::Sent(sent) = event { Some(sent) } else { None }).collect()
    }

    /// Withdrawals that were paid: id, asset and amount, each once.
    fn paid(&self) -> BTreeMap<u64, (usize, u128)> {
        let mut paid = BTreeMap::new();
        for event in self.layer.bridge_events() {
            if let BridgeEvent::Paid { withdrawal, asset, amount } = event {
                assert!(paid.insert(withdrawal, (asset, amount)).is_none(), "withdrawal {withdrawal} was paid twice");
            }
        }
        paid
    }

    /// Nonces of deposits within the limit whose cancellation nobody started.
    fn creditable(&self) -> Vec<u64> {
        let events = self.layer.bridge_events();
        let cancelled: BTreeSet<u64> = events
            .iter()
            .filter_map(|event| match event {
                BridgeEvent::CancellationStarted { nonce } => Some(*nonce),
                _ => None,
            })
            .collect();
        let nonces = events.into_iter().filter_map(|event| match event {
            BridgeEvent::Sent(sent) if sent.amount <= self.deposit_max(sent.asset) => Some(sent.nonce),
            _ => None,
        });
        nonces.filter(|nonce| !cancelled.contains(nonce)).collect()
    }

    /// Everybody takes back what was not credited, and tries it with what was.
    fn take_back(&mut self, node: &Node) {
        let credited = |sent: &Sent| is_credited(&deposit_of(node, sent.nonce));
        let (kept, back): (Vec<_>, Vec<_>) = self.sent().into_iter().partition(credited);
        let start = |sent: &Sent| (sent.from, Act::StartCancellation { nonce: sent.nonce });
        self.layer.send(back.iter().map(start).collect());
        self.layer.pass(CANCELLATION_DELAY_S + 60);
        let cancel = |sent: &Sent| (sent.from, Act::Cancel { nonce: sent.nonce });
        let tried: Vec<_> = back.iter().chain(kept.iter().rev().take(50)).collect();
        let succeeded = self.layer.tried(tried.iter().copied().map(cancel).collect());
        for (place, (sent, succeeded)) in tried.into_iter().zip(succeeded).enumerate() {
            assert_eq!(succeeded, place < back.len(), "the deposit taken back: {sent:?}");
        }
    }

    /// The last one or two blocks of the settlement layer are replaced by empty ones; what they held is gone, and was not final.
    fn reorganise(&mut self, node: &Node) {
        let blocks = 1 + self.random.below(2);
        self.layer.reorganise(blocks, node);
        self.claimed = self.paid().into_keys().collect();
        self.count("reorganisations");
    }

    /// Everything that waits for a block is lost.
    fn lose_waiting(&mut self) {
        self.layer.lose_waiting();
        self.claimed = self.paid().into_keys().collect();
        self.count("mempools dropped");
    }
}

/// `bridge_getDeposit`.
fn deposit_of(node: &Node, nonce: u64) -> Ack {
    node.call("bridge_getDeposit", json!({ "messageNonce": nonce.to_string() }))
}

fn is_credited(found: &Ack) -> bool {
    matches!(found, Ack::Done(deposit) if deposit["status"] == "CREDITED")
}

/// What became of everything, by the settlement layer's own events and the node's own answers.
struct Books {
    /// By trader and asset, quantums.
    balances: BTreeMap<(usize, usize), i128>,
    uncredited: [i128; 2],
    refunded: u64,
    credited: u64,
}

fn deposits_as_they_ended<L: Layer>(run: &Run<L>, node: &Node) -> Books {
    let refunded = run.layer.bridge_events().into_iter().filter_map(|event| match event {
        BridgeEvent::Refunded { nonce } => Some(nonce),
        _ => None,
    });
    let refunded: BTreeSet<u64> = refunded.collect();
    let mut books = Books { balances: BTreeMap::new(), uncredited: [0; 2], refunded: 0, credited: 0 };
    for sent in run.sent() {
        let quantums = i128::try_from(sent.amount).unwrap() * Run::<L>::unit(sent.asset);
        let trader = run.traders.iter().position(|trader| trader.account.0 == sent.recipient).unwrap();
        let found = deposit_of(node, sent.nonce);
        let (credited, refunded) = (is_credited(&found), refunded.contains(&sent.nonce));
        assert!(!(credited && refunded), "deposit {} was credited and paid back", sent.nonce);
        if credited {
            let deposit = found.done();
            assert_eq!(deposit["l1Amount"], sent.amount.to_string(), "{deposit}");
            *books.balances.entry((trader, sent.asset)).or_default() += quantums;
            books.credited += 1;
        } else if refunded {
            books.refunded += 1;
        } else {
            books.uncredited[sent.asset] += quantums;
        }
    }
    books
}

/// Sends the identical message again where it is not known what became of it.
fn resolve_withdrawals<L>(run: &mut Run<L>, node: &Node) {
    let mut sent = std::mem::take(&mut run.withdrawals);
    sent.retain_mut(|withdrawal| {
        if withdrawal.id.is_some() {
            return true;
        }
        match node.call("trade_withdraw", withdrawal.request.clone()) {
            Ack::Done(answer) => withdrawal.id = Some(answer["id"].as_str().unwrap().parse().unwrap()),
            Ack::Refused(_) => {}
            Ack::Unknown(why) => panic!("no answer: {why}"),
        }
        withdrawal.id.is_some()
    });
    run.withdrawals = sent;
}

/// Decimal text with up to eight places.
fn quantums(text: &str) -> i128 {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{places:0<8}").parse().unwrap()
}

fn balance(node: &Node, trader: &Trader, asset: &str) -> i128 {
    let Ack::Done(account) = node.call("trade_account", json!({ "account": trader.account.to_string() })) else { return 0 };
    let balances = account["balances"].as_array().unwrap();
    let found = balances.iter().find(|balance| balance["asset"] == asset);
    found.map_or(0, |balance| quantums(balance["total"].as_str().unwrap()))
}

#[test]
fn a_thousand_random_deposits_and_withdrawals_lose_nothing_and_double_nothing() {
    let world = World::start();
    let layer = Ethereum::new(&world);
    lose_nothing_and_double_nothing(world, layer);
}

#[test]
fn a_thousand_random_deposits_and_withdrawals_lose_nothing_and_double_nothing_on_devnet() {
    let Some((world, devnet)) = World::start_on_devnet() else { return };
    let layer = Starknet::new(&world, devnet);
    lose_nothing_and_double_nothing(world, layer);
}

fn lose_nothing_and_double_nothing(mut world: World, layer: impl Layer) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let operations = number("KEEL_MONEY_OPERATIONS").unwrap_or(1_000);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("KEEL_MONEY_SEED").unwrap_or(clock);
    println!("money: {operations} operations, KEEL_MONEY_SEED={seed}");

    let options = NodeOptions { name: "node".into(), sets: vec!["ingress.budget_factor=10000".into()] };
    let mut node = world.node(&options);
    world.publish_to(&node);
    let traders: Vec<Trader> = (0..TRADERS).map(|i| Trader::new(0x0303_0000 + i, &world.genesis)).collect();
    wait_for_spot(&node);
    traders.iter().for_each(|trader| drop(node.call("trade_register", trader.registration(1)).done()));
    let mut run = Run {
        layer,
        genesis: world.genesis.clone(),
        random: Random(seed),
        traders,
        nonce: 1,
        withdrawals: vec![],
        claimed: BTreeSet::new(),
        counts: BTreeMap::new(),
    };
    let started = Instant::now();
    while run.done() < operations {
        let deposits = (0..40).map(|_| run.deposit()).collect();
        run.layer.send(deposits);
        (0..40).for_each(|_| run.withdraw(&node));
        run.claim(&node, false);
        run.start_cancellation();
        run.dust();
        std::thread::sleep(Duration::from_millis(200 + run.random.below(1_200)));
        match run.random.below(10) {
            0..=3 => run.reorganise(&node),
            4 => run.lose_waiting(),
            5..=6 => {
                node.process.kill();
                node = world.node(&options);
                world.publish_to(&node);
                run.count("restarts");
                wait_for_spot(&node);
                resolve_withdrawals(&mut run, &node);
            }
            _ => {}
        }
    }
    resolve_withdrawals(&mut run, &node);
    let took = started.elapsed();
    settle_everything(&run, &node);
    check(&mut run, &node, "before anything is taken back or claimed");
    run.take_back(&node);
    wait_for("every withdrawal to be paid", TIMEOUT, || {
        run.claimed = run.paid().into_keys().collect();
        if run.claimed.len() == run.withdrawals.len() {
            return Some(());
        }
        run.claim(&node, true);
        std::thread::sleep(Duration::from_secs(1));
        None
    });
    let end = check(&mut run, &node, "at the end");
    assert_eq!((end.uncredited, run.paid().len()), ([0; 2], run.withdrawals.len()));
    let batches = batches_once_each(&run, &node);
    println!(
        "money: {} credited, {} paid back, {batches} batches, {:?}, in {took:?} of {:?}",
        end.credited,
        end.refunded,
        run.counts,
        started.elapsed()
    );

    // The integrity gate of a new process, which opens nothing unless the escrow adds up.
    node.process.kill();
    node = world.node(&options);
    world.publish_to(&node);
    wait_for_spot(&node);
}

/// Every state update on the chain is the next batch, whatever killed the process that sent it. How many there are.
fn batches_once_each<L: Layer>(run: &Run<L>, node: &Node) -> usize {
    let updates = run.layer.updates();
    for (batch, last_block) in updates.iter().enumerate() {
        let found = node.call("bridge_getBatch", json!({ "batch": batch.to_string() })).done();
        assert_eq!(found["lastBlock"], last_block.to_string(), "batch {batch}");
    }
    assert!(updates.len() > 5, "{} batches", updates.len());
    updates.len()
}

fn wait_for_spot(node: &Node) {
    wait_for(&format!("withdrawals to be open: {}", node.log.display()), TIMEOUT, || {
        let open = ["SPOT", "REDUCE_ONLY", "OPEN"];
        matches!(node.call("node_status", json!({})), Ack::Done(s) if open.contains(&s["phase"].as_str()?)).then_some(())
    });
}

/// Until every deposit that can be credited is, and every credit and withdrawal is in a confirmed batch.
fn settle_everything<L: Layer>(run: &Run<L>, node: &Node) {
    let confirmed = |block: &Value| {
        let batch = node.call("bridge_getBatchByBlock", json!({ "block": block }));
        block.is_string() && matches!(batch, Ack::Done(batch) if batch["status"] == "CONFIRMED")
    };
    wait_for("everything to be settled", SETTLED_TIMEOUT, || {
        let last = run.withdrawals.iter().filter_map(|sent| sent.id).max();
        let withdrawn = last.is_none_or(|id| {
            let found = node.call("bridge_getWithdrawal", json!({ "id": id.to_string() }));
            matches!(found, Ack::Done(found) if found["claimable"] == true)
        });
        let waiting = run.creditable();
        let credited = waiting.iter().rev().all(|nonce| {
            let found = deposit_of(node, *nonce);
            is_credited(&found) && confirmed(&found.done()["block"])
        });
        (withdrawn && credited).then_some(())
    });
}

/// The books of both sides, compared: every account to the quantum, every withdrawal once, the escrow of every token.
fn check<L: Layer>(run: &mut Run<L>, node: &Node, when: &str) -> Books {
    run.layer.hold();
    let books = compare(run, node, when);
    run.layer.let_go();
    books
}

fn compare<L: Layer>(run: &Run<L>, node: &Node, when: &str) -> Books {
    let mut books = deposits_as_they_ended(run, node);
    let mut withdrawn = [0; 2];
    let ids: BTreeSet<u64> = run.withdrawals.iter().filter_map(|sent| sent.id).collect();
    assert_eq!(ids, (1..=run.withdrawals.len() as u64).collect(), "{when}: each withdrawal once, and no other");
    for sent in &run.withdrawals {
        let found = node.call("bridge_getWithdrawal", json!({ "id": sent.id.unwrap().to_string() })).done();
        let is = (found["account"].as_str().unwrap().to_owned(), found["asset"].as_str().unwrap().to_owned());
        assert_eq!(is, (run.traders[sent.trader].account.to_string(), ASSETS[sent.asset].to_owned()), "{when}: {found}");
        *books.balances.entry((sent.trader, sent.asset)).or_default() -= sent.quantums;
        withdrawn[sent.asset] += sent.quantums;
    }
    let paid = run.paid();
    for (asset, symbol) in ASSETS.iter().enumerate() {
        let mut liabilities = 0;
        for (index, trader) in run.traders.iter().enumerate() {
            let found = balance(node, trader, symbol);
            let expected = books.balances.get(&(index, asset)).copied().unwrap_or_default();
            assert_eq!(found, expected, "{when}: {symbol} of trader {index}");
            liabilities += found;
        }
        let unit = Run::<L>::unit(asset);
        let quantums = |units: u128| i128::try_from(units).unwrap() * unit;
        let paid = paid.values().filter(|(of, _)| *of == asset).map(|(_, amount)| quantums(*amount));
        let unclaimed = withdrawn[asset] - paid.sum::<i128>();
        let (counter, held) = run.layer.escrow(asset);
        let (counter, held, uncredited) = (quantums(counter), quantums(held), books.uncredited[asset]);
        println!(
            "{when}: {}: counter {} = liabilities {} + unclaimed {} + uncredited {}; the bridge holds {}",
            symbol,
            format_quantums(counter),
            format_quantums(liabilities),
            format_quantums(unclaimed),
            format_quantums(uncredited),
            format_quantums(held),
        );
        assert_eq!(counter, liabilities + unclaimed + uncredited, "{when}: the escrow of {symbol}");
        assert!(held >= counter && unclaimed >= 0, "{when}: {symbol}");
    }
    books
}
