//! Money across both sides, at random: deposits, withdrawals and claims against the real node, with everything that goes wrong on a
//! settlement layer mixed in. At the end nothing is lost and nothing came twice.
//!
//! `KEEL_MONEY_OPERATIONS` (1,000) deposits and withdrawals, `KEEL_MONEY_SEED` repeats a run.

use alloy::primitives::{Address as L1Account, Bytes, U256};
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use keel_contracts::ethereum::Bridge::BridgeEvents;
use keel_contracts::ethereum::{AppchainCore, Bridge, HANDLE_DEPOSIT_SELECTOR, TestToken, word};
use keel_ingress::MessageKind;
use keel_tests::{Ack, Node, NodeOptions, Trader, World, call, wait_for};
use keel_types::{Genesis, format_quantums};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(90);
/// A dropped transaction of the settler is sent again after a minute, and one batch may lose two of them.
const SETTLED_TIMEOUT: Duration = Duration::from_secs(300);
/// Longer than the test, so that no message can be taken back that a batch is about to consume; ended by moving the clock.
const CANCELLATION_DELAY_S: u64 = 86_400;
const TRADERS: u64 = 8;
const ASSETS: [&str; 2] = ["USDC", "ETH"];

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

fn ask(port: u16, method: &str, params: Value) -> Value {
    call(port, "/", None, method, &params).done()
}

/// The settlement layer as the people on it use it. Anvil signs for its own accounts.
struct L1 {
    port: u16,
    genesis: Genesis,
    accounts: Vec<L1Account>,
    tokens: Vec<L1Account>,
    core: L1Account,
    bridge: L1Account,
    /// The block at which everything is read: `latest`, or while books are compared one of them.
    at: Value,
}

impl L1 {
    fn new(world: &World) -> L1 {
        let address = |value: &Value| value.as_str().unwrap().parse::<L1Account>().unwrap();
        let port = world.l1_port();
        let accounts = ask(port, "eth_accounts", json!([])).as_array().unwrap().iter().map(address).collect();
        let of = |address: keel_types::L1Address| L1Account::from_word(address.0.to_bytes_be().into());
        let token = |symbol: &&str| of(world.genesis.assets.iter().find(|asset| asset.symbol == *symbol).unwrap().token);
        let settlement = &world.genesis.settlement;
        let (core, bridge) = (of(settlement.core), of(settlement.bridge));
        let tokens = ASSETS.iter().map(token).collect();
        L1 { port, genesis: world.genesis.clone(), accounts, tokens, core, bridge, at: json!("latest") }
    }

    fn ask(&self, method: &str, params: Value) -> Value {
        ask(self.port, method, params)
    }

    /// Into the mempool; in a block within a second, unless it is dropped.
    fn send(&self, from: L1Account, to: Option<L1Account>, data: Vec<u8>, value: u64) -> Value {
        let mut call = json!({ "from": from, "data": Bytes::from(data), "value": U256::from(value), "gas": "0x4c4b40" });
        if let Some(to) = to {
            call["to"] = json!(to);
        }
        self.ask("eth_sendTransaction", json!([call]))
    }

    /// Sends, and waits until it is in a block. Whether it succeeded.
    fn done(&self, from: L1Account, to: Option<L1Account>, data: Vec<u8>) -> (bool, Value) {
        self.receipt(&self.send(from, to, data, 0))
    }

    fn receipt(&self, hash: &Value) -> (bool, Value) {
        let receipt = wait_for("a receipt", TIMEOUT, || {
            let receipt = self.ask("eth_getTransactionReceipt", json!([hash]));
            receipt.is_object().then_some(receipt)
        });
        (receipt["status"] == "0x1", receipt)
    }

    fn read<C: SolCall>(&self, to: L1Account, call: &C) -> C::Return {
        let data = Bytes::from(call.abi_encode());
        let answer = self.ask("eth_call", json!([{ "to": to, "data": data }, self.at]));
        let bytes: Bytes = answer.as_str().unwrap().parse().unwrap();
        C::abi_decode_returns(&bytes).unwrap()
    }

    /// Every event of a contract on the chain as it is now.
    fn logs(&self, contract: L1Account) -> Vec<alloy::primitives::LogData> {
        let filter = json!([{ "address": contract, "fromBlock": "0x0", "toBlock": self.at }]);
        let logs = self.ask("eth_getLogs", filter);
        let data = |log: &Value| {
            let topics = log["topics"].as_array().unwrap().iter().map(|topic| topic.as_str().unwrap().parse().unwrap());
            let data: Bytes = log["data"].as_str().unwrap().parse().unwrap();
            alloy::primitives::LogData::new_unchecked(topics.collect(), data)
        };
        logs.as_array().unwrap().iter().map(data).collect()
    }

    fn bridge_events(&self) -> Vec<BridgeEvents> {
        let decode = |log: &alloy::primitives::LogData| {
            alloy::sol_types::SolEventInterface::decode_raw_log(log.topics(), &log.data).unwrap()
        };
        self.logs(self.bridge).iter().map(decode).collect()
    }

    fn deposit_data(&self, asset: usize, amount: u128, trader: &Trader) -> Vec<u8> {
        let (token, amount) = (self.tokens[asset], U256::from(amount));
        Bridge::depositCall { token, amount, l2Recipient: word(trader.account.0) }.abi_encode()
    }

    /// Everybody's tokens, allowances, and the delay of cancellations.
    fn prepare(&self) {
        let delay = U256::from(CANCELLATION_DELAY_S);
        let call = AppchainCore::setMessageCancellationDelayCall { delayInSeconds: delay }.abi_encode();
        let mut sent = vec![self.send(self.accounts[0], Some(self.core), call, 0)];
        for owner in &self.accounts[4..] {
            for token in &self.tokens {
                let mint = TestToken::mintCall { to: *owner, amount: U256::from(u64::MAX) };
                sent.push(self.send(*owner, Some(*token), mint.abi_encode(), 0));
                let approve = TestToken::approveCall { spender: self.bridge, amount: U256::MAX };
                sent.push(self.send(*owner, Some(*token), approve.abi_encode(), 0));
            }
        }
        assert!(sent.iter().all(|hash| self.receipt(hash).0));
    }

    /// A bridge of somebody else's, over our core contract and for our exchange.
    fn other_bridge(&self) -> L1Account {
        let exchange = word(self.genesis.exchange.0);
        let caps = vec![U256::from(u64::MAX); self.tokens.len()];
        let arguments = (self.core, exchange, self.accounts[9], self.tokens.clone(), caps).abi_encode_params();
        let (ok, receipt) = self.done(self.accounts[9], None, [Bridge::BYTECODE.to_vec(), arguments].concat());
        assert!(ok);
        let other: L1Account = receipt["contractAddress"].as_str().unwrap().parse().unwrap();
        for token in &self.tokens {
            let approve = TestToken::approveCall { spender: other, amount: U256::MAX };
            assert!(self.done(self.accounts[9], Some(*token), approve.abi_encode()).0);
        }
        other
    }
}

/// A withdrawal as it was sent. Its fate may have to be asked for.
struct Sent {
    request: Value,
    trader: usize,
    asset: usize,
    quantums: i128,
    id: Option<u64>,
}

struct Run {
    l1: L1,
    random: Random,
    traders: Vec<Trader>,
    other_bridge: L1Account,
    nonce: u64,
    sent: Vec<Sent>,
    claimed: BTreeSet<u64>,
    counts: BTreeMap<&'static str, u64>,
}

impl Run {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn unit(asset: usize) -> i128 {
        [100, 1][asset]
    }

    fn deposit(&mut self) {
        let from = self.l1.accounts[4 + self.random.below(5) as usize];
        let trader = self.traders[self.random.below(TRADERS) as usize].clone();
        let asset = self.random.below(2) as usize;
        let amount = 1 + u128::from(self.random.below(50_000_000));
        match self.random.below(20) {
            // By hand what the bridge would send, from somebody who pays nothing.
            0 => {
                let payload = vec![
                    U256::from_be_bytes(self.l1.tokens[asset].into_word().0),
                    word(trader.account.0),
                    U256::from(amount),
                ];
                self.forge("forged: not the bridge", payload, HANDLE_DEPOSIT_SELECTOR, from);
            }
            1 => self.forge("forged: bad payload", vec![U256::from(amount)], HANDLE_DEPOSIT_SELECTOR, from),
            2 => {
                let payload = vec![U256::from(1), word(trader.account.0), U256::from(amount)];
                self.forge("forged: another entry point", payload, HANDLE_DEPOSIT_SELECTOR + U256::from(1), from);
            }
            3 => {
                let call = self.l1.deposit_data(asset, amount, &trader);
                self.l1.send(self.l1.accounts[9], Some(self.other_bridge), call, 1);
                self.count("forged: another bridge");
            }
            // More than a deposit may be: the bridge takes it, the node leaves it, its owner has it back.
            4 => {
                let call = self.l1.deposit_data(asset, self.deposit_max(asset) + 1, &trader);
                self.l1.send(from, Some(self.l1.bridge), call, 1);
                self.count("deposits over the limit");
            }
            _ => {
                let call = self.l1.deposit_data(asset, amount, &trader);
                self.l1.send(from, Some(self.l1.bridge), call, 1);
                self.count("deposits");
            }
        }
    }

    fn forge(&mut self, what: &'static str, payload: Vec<U256>, selector: U256, from: L1Account) {
        let to = word(self.l1.genesis.exchange.0);
        let call = AppchainCore::sendMessageToL2Call { toAddress: to, selector, payload }.abi_encode();
        self.l1.send(from, Some(self.l1.core), call, 1);
        self.count(what);
    }

    /// Somebody starts to take back a deposit, perhaps one that was credited long ago.
    fn start_cancellation(&mut self) {
        let events = self.l1.bridge_events();
        let sent: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                BridgeEvents::DepositSent(sent) => Some((sent.nonce, sent.depositor)),
                _ => None,
            })
            .collect();
        // Half the time one of the newest, which is not final.
        let newest = if self.random.one_in(2) { 5 } else { sent.len() };
        let Some(back) = (!sent.is_empty()).then(|| 1 + self.random.below(newest.min(sent.len()) as u64) as usize) else {
            return;
        };
        let (nonce, depositor) = sent[sent.len() - back];
        let call = Bridge::startDepositCancellationCall { nonce }.abi_encode();
        self.l1.send(depositor, Some(self.l1.bridge), call, 0);
        self.count("cancellations started");
    }

    fn dust(&mut self) {
        let (token, amount) = (self.l1.tokens[self.random.below(2) as usize], U256::from(1 + self.random.below(1_000)));
        let call = TestToken::transferCall { to: self.l1.bridge, amount }.abi_encode();
        self.l1.send(self.l1.accounts[4], Some(token), call, 0);
        self.count("dust");
    }

    fn withdraw(&mut self, node: &Node) {
        let (trader, asset) = (self.random.below(TRADERS) as usize, self.random.below(2) as usize);
        let quantums = Self::unit(asset) * (1 + i128::from(self.random.below(20_000_000)));
        let recipient = self.l1.accounts[4 + self.random.below(5) as usize];
        let fields = json!({
            "asset": ASSETS[asset], "amount": format_quantums(quantums), "recipient": format!("{recipient:#x}"),
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
        self.sent.push(Sent { request, trader, asset, quantums, id });
    }

    /// Claims some of what can be claimed; one in four twice.
    fn claim(&mut self, node: &Node, all: bool) {
        let ids: Vec<u64> = self.sent.iter().filter_map(|sent| sent.id).filter(|id| !self.claimed.contains(id)).collect();
        let payer = self.l1.accounts[8];
        for id in ids {
            if !all && !self.random.one_in(3) {
                continue;
            }
            let Ack::Done(found) = node.call("bridge_getWithdrawal", json!({ "id": id.to_string() })) else { continue };
            if found["claimable"] != true {
                continue;
            }
            let data: Bytes = found["claim"]["data"].as_str().unwrap().parse().unwrap();
            for _ in 0..if self.random.one_in(4) { 2 } else { 1 } {
                self.l1.send(payer, Some(self.l1.bridge), data.to_vec(), 0);
                self.count("claims sent");
            }
            self.claimed.insert(id);
        }
    }

    /// Deposits on the chain and withdrawals, so far.
    fn done(&self) -> u64 {
        (self.creditable().len() + self.sent.len()) as u64
    }

    fn paid_events(&self) -> Vec<Bridge::WithdrawalPaid> {
        let events = self.l1.bridge_events().into_iter();
        let paid = events.filter_map(|event| match event {
            BridgeEvents::WithdrawalPaid(paid) => Some(paid),
            _ => None,
        });
        paid.collect()
    }

    /// Ids of the withdrawals that were paid, each once.
    fn paid(&self) -> BTreeSet<u64> {
        let paid = self.paid_events();
        let ids: BTreeSet<u64> = paid.iter().map(|paid| paid.withdrawalId.to()).collect();
        assert_eq!(ids.len(), paid.len(), "a withdrawal was paid twice");
        ids
    }

    /// Nonces of deposits within the limit whose cancellation nobody started.
    fn creditable(&self) -> Vec<U256> {
        let events = self.l1.bridge_events();
        let cancelled: BTreeSet<U256> = events
            .iter()
            .filter_map(|event| match event {
                BridgeEvents::DepositCancellationStarted(started) => Some(started.nonce),
                _ => None,
            })
            .collect();
        let within = |sent: &Bridge::DepositSent| {
            let asset = self.l1.tokens.iter().position(|token| *token == sent.token).unwrap();
            sent.amount <= U256::from(self.deposit_max(asset)) && !cancelled.contains(&sent.nonce)
        };
        let nonces = events.iter().filter_map(|event| match event {
            BridgeEvents::DepositSent(sent) if within(sent) => Some(sent.nonce),
            _ => None,
        });
        nonces.collect()
    }

    /// Token units.
    fn deposit_max(&self, asset: usize) -> u128 {
        let spec = self.l1.genesis.assets.iter().find(|spec| spec.symbol == ASSETS[asset]).unwrap();
        (spec.deposit_max.0 / Self::unit(asset)) as u128
    }

    /// Everybody takes back what was not credited, and tries it with what was.
    fn take_back(&mut self, node: &Node) {
        let sent: Vec<_> = self
            .l1
            .bridge_events()
            .into_iter()
            .filter_map(|event| match event {
                BridgeEvents::DepositSent(sent) => Some(sent),
                _ => None,
            })
            .collect();
        let credited = |nonce: U256| {
            let found = node.call("bridge_getDeposit", json!({ "messageNonce": nonce.to_string() }));
            matches!(found, Ack::Done(deposit) if deposit["status"] == "CREDITED")
        };
        let (kept, back): (Vec<_>, Vec<_>) = sent.into_iter().partition(|sent| credited(sent.nonce));
        for sent in &back {
            let call = Bridge::startDepositCancellationCall { nonce: sent.nonce }.abi_encode();
            self.l1.send(sent.depositor, Some(self.l1.bridge), call, 0);
        }
        std::thread::sleep(Duration::from_secs(2));
        self.l1.ask("evm_increaseTime", json!([CANCELLATION_DELAY_S + 60]));
        std::thread::sleep(Duration::from_secs(2));
        let tried = back.iter().map(|sent| (sent, true)).chain(kept.iter().rev().take(50).map(|sent| (sent, false)));
        let tried: Vec<_> = tried
            .map(|(sent, expected)| {
                let call = Bridge::cancelDepositCall { nonce: sent.nonce }.abi_encode();
                (self.l1.send(sent.depositor, Some(self.l1.bridge), call, 0), sent.nonce, expected)
            })
            .collect();
        for (hash, nonce, expected) in tried {
            assert_eq!(self.l1.receipt(&hash).0, expected, "deposit {nonce}");
        }
    }

    /// The last one or two blocks of the settlement layer are replaced by empty ones; what they held is gone, and was not final.
    fn reorganise(&mut self) {
        let depth = 1 + self.random.below(2);
        self.l1.ask("anvil_reorg", json!([depth, []]));
        self.claimed.clear();
        self.count("reorganisations");
    }

    /// Everything that waits for a block is lost.
    fn drop_mempool(&mut self) {
        self.l1.ask("anvil_dropAllTransactions", json!([]));
        self.claimed.clear();
        self.count("mempools dropped");
    }
}

/// What became of everything, by the settlement layer's own events and the node's own answers.
struct Books {
    /// By trader and asset, quantums.
    balances: BTreeMap<(usize, usize), i128>,
    uncredited: [i128; 2],
    refunded: u64,
    credited: u64,
}

fn deposits_as_they_ended(run: &Run, node: &Node) -> Books {
    let events = run.l1.bridge_events();
    let refunded: BTreeSet<U256> = events
        .iter()
        .filter_map(|event| match event {
            BridgeEvents::DepositRefunded(refunded) => Some(refunded.nonce),
            _ => None,
        })
        .collect();
    let mut books = Books { balances: BTreeMap::new(), uncredited: [0; 2], refunded: 0, credited: 0 };
    for event in events {
        let BridgeEvents::DepositSent(sent) = event else { continue };
        let asset = run.l1.tokens.iter().position(|token| *token == sent.token).unwrap();
        let quantums = i128::try_from(sent.amount).unwrap() * Run::unit(asset);
        let trader = run.traders.iter().position(|trader| word(trader.account.0) == sent.l2Recipient).unwrap();
        let found = node.call("bridge_getDeposit", json!({ "messageNonce": sent.nonce.to_string() }));
        let credited = matches!(&found, Ack::Done(deposit) if deposit["status"] == "CREDITED");
        assert!(!(credited && refunded.contains(&sent.nonce)), "deposit {} was credited and paid back", sent.nonce);
        if credited {
            let deposit = found.done();
            assert_eq!(deposit["l1Amount"], sent.amount.to_string(), "{deposit}");
            *books.balances.entry((trader, asset)).or_default() += quantums;
            books.credited += 1;
        } else if refunded.contains(&sent.nonce) {
            books.refunded += 1;
        } else {
            books.uncredited[asset] += quantums;
        }
    }
    books
}

/// Sends the identical message again where it is not known what became of it.
fn resolve_withdrawals(run: &mut Run, node: &Node) {
    let mut sent = std::mem::take(&mut run.sent);
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
    run.sent = sent;
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
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let operations = number("KEEL_MONEY_OPERATIONS").unwrap_or(1_000);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("KEEL_MONEY_SEED").unwrap_or(clock);
    println!("money: {operations} operations, KEEL_MONEY_SEED={seed}");

    let mut world = World::start();
    let options = NodeOptions { name: "node".into(), sets: vec!["ingress.budget_factor=10000".into()] };
    let mut node = world.node(&options);
    world.publish_to(&node);
    let l1 = L1::new(&world);
    l1.prepare();
    let other_bridge = l1.other_bridge();
    let traders: Vec<Trader> = (0..TRADERS).map(|i| Trader::new(0x0303_0000 + i, &world.genesis)).collect();
    wait_for_spot(&node);
    traders.iter().for_each(|trader| drop(node.call("trade_register", trader.registration(1)).done()));
    let mut run = Run {
        l1,
        random: Random(seed),
        traders,
        other_bridge,
        nonce: 1,
        sent: vec![],
        claimed: BTreeSet::new(),
        counts: BTreeMap::new(),
    };
    let started = Instant::now();
    while run.done() < operations {
        (0..40).for_each(|_| run.deposit());
        (0..40).for_each(|_| run.withdraw(&node));
        run.claim(&node, false);
        run.start_cancellation();
        run.dust();
        std::thread::sleep(Duration::from_millis(200 + run.random.below(1_200)));
        match run.random.below(10) {
            0..=3 => run.reorganise(),
            4 => run.drop_mempool(),
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
        run.claimed = run.paid();
        if run.claimed.len() == run.sent.len() {
            return Some(());
        }
        run.claim(&node, true);
        std::thread::sleep(Duration::from_secs(1));
        None
    });
    let end = check(&mut run, &node, "at the end");
    assert_eq!((end.uncredited, run.paid().len()), ([0; 2], run.sent.len()));
    let batches = batches_once_each(&run, &node);
    println!(
        "money: {} credited, {} paid back, {batches} batches, {:?}, in {took:?}",
        end.credited, end.refunded, run.counts
    );

    // The integrity gate of a new process, which opens nothing unless the escrow adds up.
    node.process.kill();
    node = world.node(&options);
    world.publish_to(&node);
    wait_for_spot(&node);
}

/// Every state update on the chain is the next batch, whatever killed the process that sent it. How many there are.
fn batches_once_each(run: &Run, node: &Node) -> u64 {
    let logs = run.l1.logs(run.l1.core);
    let updates = logs.iter().filter_map(|log| AppchainCore::LogStateUpdate::decode_log_data(log).ok());
    let mut batches = 0;
    for update in updates {
        let batch = node.call("bridge_getBatch", json!({ "batch": batches.to_string() })).done();
        assert_eq!(batch["lastBlock"], update.blockNumber.to_string(), "batch {batches}");
        batches += 1;
    }
    assert!(batches > 5, "{batches} batches");
    batches
}

fn wait_for_spot(node: &Node) {
    wait_for(&format!("withdrawals to be open: {}", node.log.display()), TIMEOUT, || {
        let open = ["SPOT", "REDUCE_ONLY", "OPEN"];
        matches!(node.call("node_status", json!({})), Ack::Done(s) if open.contains(&s["phase"].as_str()?)).then_some(())
    });
}

/// Until every deposit that can be credited is, and every credit and withdrawal is in a confirmed batch.
fn settle_everything(run: &Run, node: &Node) {
    let confirmed = |block: &Value| {
        let batch = node.call("bridge_getBatchByBlock", json!({ "block": block }));
        block.is_string() && matches!(batch, Ack::Done(batch) if batch["status"] == "CONFIRMED")
    };
    wait_for("everything to be settled", SETTLED_TIMEOUT, || {
        let last = run.sent.iter().filter_map(|sent| sent.id).max();
        let withdrawn = last.is_none_or(|id| {
            let found = node.call("bridge_getWithdrawal", json!({ "id": id.to_string() }));
            matches!(found, Ack::Done(found) if found["claimable"] == true)
        });
        let waiting = run.creditable();
        let credited = waiting.iter().rev().all(|nonce| {
            let found = node.call("bridge_getDeposit", json!({ "messageNonce": nonce.to_string() }));
            matches!(&found, Ack::Done(deposit) if deposit["status"] == "CREDITED" && confirmed(&deposit["block"]))
        });
        (withdrawn && credited).then_some(())
    });
}

/// The books of both sides, compared: every account to the quantum, every withdrawal once, the escrow of every token.
fn check(run: &mut Run, node: &Node, when: &str) -> Books {
    run.l1.at = run.l1.ask("eth_blockNumber", json!([]));
    let books = compare(run, node, when);
    run.l1.at = json!("latest");
    books
}

fn compare(run: &Run, node: &Node, when: &str) -> Books {
    let mut books = deposits_as_they_ended(run, node);
    let mut withdrawn = [0; 2];
    let ids: BTreeSet<u64> = run.sent.iter().filter_map(|sent| sent.id).collect();
    assert_eq!(ids, (1..=run.sent.len() as u64).collect(), "{when}: each withdrawal once, and no other");
    for sent in &run.sent {
        let found = node.call("bridge_getWithdrawal", json!({ "id": sent.id.unwrap().to_string() })).done();
        let is = (found["account"].as_str().unwrap().to_owned(), found["asset"].as_str().unwrap().to_owned());
        assert_eq!(is, (run.traders[sent.trader].account.to_string(), ASSETS[sent.asset].to_owned()), "{when}: {found}");
        *books.balances.entry((sent.trader, sent.asset)).or_default() -= sent.quantums;
        withdrawn[sent.asset] += sent.quantums;
    }
    let paid = run.paid_events();
    for (asset, token) in run.l1.tokens.iter().enumerate() {
        let mut liabilities = 0;
        for (index, trader) in run.traders.iter().enumerate() {
            let found = balance(node, trader, ASSETS[asset]);
            let expected = books.balances.get(&(index, asset)).copied().unwrap_or_default();
            assert_eq!(found, expected, "{when}: {} of trader {index}", ASSETS[asset]);
            liabilities += found;
        }
        let paid: i128 =
            paid.iter().filter(|paid| paid.token == *token).map(|paid| i128::try_from(paid.amount).unwrap()).sum();
        let unit = Run::unit(asset);
        let unclaimed = withdrawn[asset] - paid * unit;
        let counter = i128::try_from(run.l1.read(run.l1.bridge, &Bridge::escrowCall(*token))).unwrap() * unit;
        let held = run.l1.read(*token, &TestToken::balanceOfCall(run.l1.bridge));
        let (held, uncredited) = (i128::try_from(held).unwrap() * unit, books.uncredited[asset]);
        println!(
            "{when}: {}: counter {} = liabilities {} + unclaimed {} + uncredited {}; the bridge holds {}",
            ASSETS[asset],
            format_quantums(counter),
            format_quantums(liabilities),
            format_quantums(unclaimed),
            format_quantums(uncredited),
            format_quantums(held),
        );
        assert_eq!(counter, liabilities + unclaimed + uncredited, "{when}: the escrow of {}", ASSETS[asset]);
        assert!(held >= counter && unclaimed >= 0, "{when}: {}", ASSETS[asset]);
    }
    books
}
