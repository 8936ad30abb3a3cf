use crate::layer::{ASSETS, Act, BridgeEvent, CANCELLATION_DELAY_S, FORGER, Layer, Sent};
use keel_contracts::starknet::settlement::{ContractCall, deposit, plan_bridge, read_u256, token_call};
use keel_contracts::starknet::starknet_keccak;
use keel_tests::{Devnet, Node, World};
use keel_types::{Felt, Genesis, L1Address};
use serde_json::{Value, json};
use std::time::Duration;

/// Calls of one account in one transaction.
const CALLS_MAX: usize = 10;
/// More than anybody spends, and as an allowance no matter how often.
const PLENTY: u128 = u64::MAX as u128;
/// Longer than any request of the node is under way.
const REQUESTS_END: Duration = Duration::from_millis(200);

/// Devnet, which executes at once and closes a block every second.
pub struct Starknet {
    devnet: Devnet,
    genesis: Genesis,
    tokens: Vec<L1Address>,
    other_bridge: L1Address,
    /// The block at which everything is read: `latest`, or while books are compared one of them.
    at: Value,
}

impl Starknet {
    pub fn new(world: &World, devnet: Devnet) -> Starknet {
        let token = |symbol: &&str| world.genesis.assets.iter().find(|asset| asset.symbol == *symbol).unwrap().token;
        let tokens: Vec<_> = ASSETS.iter().map(token).collect();
        let (forger, caps) = (devnet.accounts[FORGER].address.0, tokens.iter().map(|token| (*token, PLENTY)));
        let other_bridge = plan_bridge(forger, forger, &caps.collect::<Vec<_>>(), Felt::ONE);
        let layer = Starknet {
            devnet,
            genesis: world.genesis.clone(),
            tokens,
            other_bridge: other_bridge.address(),
            at: json!("latest"),
        };
        let (core, exchange) = (layer.genesis.settlement.core, layer.genesis.exchange.0);
        let delay = ContractCall::new(core, "set_message_cancellation_delay", vec![CANCELLATION_DELAY_S.into()]);
        let initialize = ContractCall::new(layer.other_bridge, "initialize", vec![core.0, exchange]);
        let mut sent = vec![
            layer.devnet.send(&layer.devnet.accounts[0], &[delay]),
            layer.devnet.send(&layer.devnet.accounts[FORGER], &[other_bridge.deployment(), initialize]),
        ];
        for (owner, account) in layer.devnet.accounts.iter().enumerate().skip(4) {
            let spender = if owner == FORGER { layer.other_bridge } else { layer.genesis.settlement.bridge };
            let calls = layer.tokens.iter().flat_map(|token| {
                [token_call("mint", *token, account.address, PLENTY), token_call("approve", *token, spender, PLENTY)]
            });
            sent.push(layer.devnet.send(account, &calls.collect::<Vec<_>>()));
        }
        assert!(sent.into_iter().all(|hash| layer.devnet.succeeded(hash)));
        layer
    }

    fn call(&self, act: Act) -> ContractCall {
        let settlement = &self.genesis.settlement;
        match act {
            Act::Deposit { asset, amount, recipient } => deposit(settlement.bridge, self.tokens[asset], amount, recipient),
            Act::DepositElsewhere { asset, amount, recipient } => {
                deposit(self.other_bridge, self.tokens[asset], amount, recipient)
            }
            Act::Message { selector, payload } => {
                let mut calldata = vec![self.genesis.exchange.0, selector, payload.len().into()];
                calldata.extend(payload);
                ContractCall::new(settlement.core, "send_message_to_appchain", calldata)
            }
            Act::Dust { asset, amount } => token_call("transfer", self.tokens[asset], settlement.bridge, amount),
            Act::StartCancellation { nonce } => {
                ContractCall::new(settlement.bridge, "start_deposit_cancellation", vec![nonce.into()])
            }
            Act::Cancel { nonce } => ContractCall::new(settlement.bridge, "cancel_deposit", vec![nonce.into()]),
            Act::Claim(claim) => {
                let felt = |value: &Value| Felt::from_hex(value.as_str().unwrap()).unwrap();
                ContractCall {
                    to: L1Address(felt(&claim["to"])),
                    selector: felt(&claim["selector"]),
                    calldata: claim["calldata"].as_array().unwrap().iter().map(felt).collect(),
                }
            }
        }
    }

    fn asset(&self, token: Felt) -> usize {
        self.tokens.iter().position(|listed| listed.0 == token).unwrap()
    }

    fn event(&self, keys: &[Felt], data: &[Felt]) -> Option<BridgeEvent> {
        let number = |felt: &Felt| u64::try_from(*felt).unwrap();
        let is = |name: &str| keys[0] == starknet_keccak(name);
        if is("DepositSent") {
            let ([_, nonce, token, depositor], [recipient, low, high, _hash]) = (keys, data) else { panic!("{keys:?}") };
            return Some(BridgeEvent::Sent(Sent {
                nonce: number(nonce),
                asset: self.asset(*token),
                from: self.devnet.accounts.iter().position(|account| account.address.0 == *depositor).unwrap(),
                amount: read_u256(&[*low, *high]).unwrap(),
                recipient: *recipient,
            }));
        }
        if is("DepositCancellationStarted") {
            return Some(BridgeEvent::CancellationStarted { nonce: number(&keys[1]) });
        }
        if is("DepositRefunded") {
            return Some(BridgeEvent::Refunded { nonce: number(&keys[1]) });
        }
        if is("WithdrawalPaid") {
            let (withdrawal, asset) = (number(&keys[1]), self.asset(keys[2]));
            return Some(BridgeEvent::Paid { withdrawal, asset, amount: read_u256(data).unwrap() });
        }
        None
    }
}

impl Layer for Starknet {
    fn account(&self, account: usize) -> String {
        self.devnet.accounts[account].address.to_string()
    }

    fn token(&self, asset: usize) -> Felt {
        self.tokens[asset].0
    }

    fn send(&mut self, acts: Vec<(usize, Act)>) {
        let mut calls = vec![vec![]; self.devnet.accounts.len()];
        for (from, act) in acts {
            calls[from].push(self.call(act));
        }
        for (account, calls) in self.devnet.accounts.iter().zip(calls) {
            for calls in calls.chunks(CALLS_MAX) {
                self.devnet.send(account, calls);
            }
        }
    }

    fn tried(&mut self, acts: Vec<(usize, Act)>) -> Vec<bool> {
        let send = |(from, act)| self.devnet.send(&self.devnet.accounts[from], &[self.call(act)]);
        let sent: Vec<Felt> = acts.into_iter().map(send).collect();
        sent.into_iter().map(|hash| self.devnet.succeeded(hash)).collect()
    }

    fn bridge_events(&self) -> Vec<BridgeEvent> {
        let events = self.devnet.events(self.genesis.settlement.bridge, &self.at);
        events.iter().filter_map(|(keys, data)| self.event(keys, data)).collect()
    }

    fn updates(&self) -> Vec<u64> {
        let events = self.devnet.events(self.genesis.settlement.core, &self.at);
        let updates = events.iter().filter(|(keys, _)| keys[0] == starknet_keccak("LogStateUpdate"));
        updates.map(|(keys, _)| keys[1].try_into().unwrap()).collect()
    }

    fn escrow(&self, asset: usize) -> (u128, u128) {
        let (bridge, token) = (self.genesis.settlement.bridge, self.tokens[asset]);
        let amount = |call| read_u256(&self.devnet.view(&call, &self.at)).unwrap();
        let counter = amount(ContractCall::new(bridge, "escrow", vec![token.0]));
        (counter, amount(ContractCall::new(token, "balance_of", vec![bridge.0])))
    }

    fn hold(&mut self) {
        self.at = json!({ "block_number": self.devnet.head() });
    }

    fn let_go(&mut self) {
        self.at = json!("latest");
    }

    /// The node stands still meanwhile: what devnet executes between closing a block and taking it back would be in the next block
    /// without its effects.
    fn reorganise(&mut self, blocks: u64, node: &Node) {
        node.process.signal("STOP");
        std::thread::sleep(REQUESTS_END);
        let head = self.devnet.head();
        self.devnet.request("devnet_createBlock", json!({}));
        let from = json!({ "starting_block_id": { "block_number": head + 1 - blocks } });
        self.devnet.request("devnet_abortBlocks", from);
        // A block's hash is that of any other with its number and its count of transactions on the same parent: so these are empty.
        for _ in 0..=blocks {
            self.devnet.request("devnet_createBlock", json!({}));
        }
        node.process.signal("CONT");
    }

    fn lose_waiting(&mut self) {
        self.devnet.request("devnet_abortBlocks", json!({ "starting_block_id": "pre_confirmed" }));
    }

    fn pass(&mut self, seconds: u64) {
        self.devnet.request("devnet_increaseTime", json!({ "time": seconds }));
    }
}
