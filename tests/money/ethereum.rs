use crate::TIMEOUT;
use crate::layer::{ASSETS, Act, BridgeEvent, CANCELLATION_DELAY_S, FORGER, Layer, Sent};
use alloy::primitives::{Address, Bytes, LogData, U256};
use alloy::sol_types::{SolCall, SolEvent, SolEventInterface, SolValue};
use keel_contracts::ethereum::Bridge::BridgeEvents;
use keel_contracts::ethereum::{AppchainCore, Bridge, TestToken, word};
use keel_tests::{Node, World, call, wait_for};
use keel_types::{Felt, Genesis, L1Address};
use serde_json::{Value, json};

/// Anvil, which signs for its own accounts.
pub struct Ethereum {
    port: u16,
    genesis: Genesis,
    accounts: Vec<Address>,
    tokens: Vec<Address>,
    core: Address,
    bridge: Address,
    other_bridge: Address,
    /// The block at which everything is read: `latest`, or while books are compared one of them.
    at: Value,
}

fn small(value: U256) -> u128 {
    value.try_into().expect("an amount or number of this test")
}

impl Ethereum {
    pub fn new(world: &World) -> Ethereum {
        let port = world.l1_port();
        let accounts = call(port, "/", None, "eth_accounts", &json!([])).done();
        let of = |address: L1Address| Address::from_word(address.0.to_bytes_be().into());
        let token = |symbol: &&str| of(world.genesis.assets.iter().find(|asset| asset.symbol == *symbol).unwrap().token);
        let settlement = &world.genesis.settlement;
        let mut layer = Ethereum {
            port,
            genesis: world.genesis.clone(),
            accounts: accounts.as_array().unwrap().iter().map(|text| text.as_str().unwrap().parse().unwrap()).collect(),
            tokens: ASSETS.iter().map(token).collect(),
            core: of(settlement.core),
            bridge: of(settlement.bridge),
            other_bridge: Address::ZERO,
            at: json!("latest"),
        };
        layer.prepare();
        layer
    }

    /// Everybody's tokens, allowances, the delay of cancellations, and the other bridge.
    fn prepare(&mut self) {
        let delay = U256::from(CANCELLATION_DELAY_S);
        let call = AppchainCore::setMessageCancellationDelayCall { delayInSeconds: delay }.abi_encode();
        let mut sent = vec![self.submit(0, Some(self.core), call, 0)];
        let exchange = word(self.genesis.exchange.0);
        let caps = vec![U256::from(u64::MAX); self.tokens.len()];
        let arguments = (self.core, exchange, self.accounts[FORGER], self.tokens.clone(), caps).abi_encode_params();
        let deployment = self.submit(FORGER, None, [Bridge::BYTECODE.to_vec(), arguments].concat(), 0);
        self.other_bridge = self.receipt(&deployment)["contractAddress"].as_str().unwrap().parse().unwrap();
        for owner in 4..self.accounts.len() {
            let spender = if owner == FORGER { self.other_bridge } else { self.bridge };
            for token in &self.tokens {
                let mint = TestToken::mintCall { to: self.accounts[owner], amount: U256::from(u64::MAX) };
                sent.push(self.submit(owner, Some(*token), mint.abi_encode(), 0));
                let approve = TestToken::approveCall { spender, amount: U256::MAX };
                sent.push(self.submit(owner, Some(*token), approve.abi_encode(), 0));
            }
        }
        assert!(sent.iter().all(|hash| self.succeeded(hash)));
    }

    fn ask(&self, method: &str, params: Value) -> Value {
        call(self.port, "/", None, method, &params).done()
    }

    /// Into the mempool; in a block within a second, unless it is dropped.
    fn submit(&self, from: usize, to: Option<Address>, data: Vec<u8>, value: u64) -> Value {
        let mut call = json!({
            "from": self.accounts[from], "data": Bytes::from(data), "value": U256::from(value), "gas": "0x4c4b40",
        });
        if let Some(to) = to {
            call["to"] = json!(to);
        }
        self.ask("eth_sendTransaction", json!([call]))
    }

    fn receipt(&self, hash: &Value) -> Value {
        wait_for("a receipt", TIMEOUT, || {
            let receipt = self.ask("eth_getTransactionReceipt", json!([hash]));
            receipt.is_object().then_some(receipt)
        })
    }

    fn succeeded(&self, hash: &Value) -> bool {
        self.receipt(hash)["status"] == "0x1"
    }

    fn act(&self, from: usize, act: Act) -> Value {
        let token = |asset: usize| self.tokens[asset];
        let deposit = |asset: usize, amount: u128, recipient: Felt| {
            let (token, amount) = (token(asset), U256::from(amount));
            Bridge::depositCall { token, amount, l2Recipient: word(recipient) }.abi_encode()
        };
        let nonce = |nonce: u64| U256::from(nonce);
        // A message pays a fee of 1 wei.
        let (to, data, value) = match act {
            Act::Deposit { asset, amount, recipient } => (self.bridge, deposit(asset, amount, recipient), 1),
            Act::DepositElsewhere { asset, amount, recipient } => (self.other_bridge, deposit(asset, amount, recipient), 1),
            Act::Message { selector, payload } => {
                let (exchange, payload) = (word(self.genesis.exchange.0), payload.into_iter().map(word).collect());
                let call = AppchainCore::sendMessageToL2Call { toAddress: exchange, selector: word(selector), payload };
                (self.core, call.abi_encode(), 1)
            }
            Act::Dust { asset, amount } => {
                let call = TestToken::transferCall { to: self.bridge, amount: U256::from(amount) };
                (token(asset), call.abi_encode(), 0)
            }
            Act::StartCancellation { nonce: of } => {
                (self.bridge, Bridge::startDepositCancellationCall { nonce: nonce(of) }.abi_encode(), 0)
            }
            Act::Cancel { nonce: of } => (self.bridge, Bridge::cancelDepositCall { nonce: nonce(of) }.abi_encode(), 0),
            Act::Claim(claim) => {
                let data: Bytes = claim["data"].as_str().unwrap().parse().unwrap();
                (self.bridge, data.to_vec(), 0)
            }
        };
        self.submit(from, Some(to), data, value)
    }

    fn read<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        let data = Bytes::from(call.abi_encode());
        let answer = self.ask("eth_call", json!([{ "to": to, "data": data }, self.at]));
        let bytes: Bytes = answer.as_str().unwrap().parse().unwrap();
        C::abi_decode_returns(&bytes).unwrap()
    }

    /// Every event of a contract on the chain as it is now.
    fn logs(&self, contract: Address) -> Vec<LogData> {
        let filter = json!([{ "address": contract, "fromBlock": "0x0", "toBlock": self.at }]);
        let logs = self.ask("eth_getLogs", filter);
        let data = |log: &Value| {
            let topics = log["topics"].as_array().unwrap().iter().map(|topic| topic.as_str().unwrap().parse().unwrap());
            let data: Bytes = log["data"].as_str().unwrap().parse().unwrap();
            LogData::new_unchecked(topics.collect(), data)
        };
        logs.as_array().unwrap().iter().map(data).collect()
    }

    fn asset(&self, token: Address) -> usize {
        self.tokens.iter().position(|listed| *listed == token).unwrap()
    }

    fn event(&self, event: BridgeEvents) -> Option<BridgeEvent> {
        let nonce = |nonce: U256| small(nonce) as u64;
        Some(match event {
            BridgeEvents::DepositSent(sent) => BridgeEvent::Sent(Sent {
                nonce: nonce(sent.nonce),
                asset: self.asset(sent.token),
                from: self.accounts.iter().position(|account| *account == sent.depositor).unwrap(),
                amount: small(sent.amount),
                recipient: Felt::from_bytes_be(&sent.l2Recipient.to_be_bytes()),
            }),
            BridgeEvents::DepositCancellationStarted(started) => {
                BridgeEvent::CancellationStarted { nonce: nonce(started.nonce) }
            }
            BridgeEvents::DepositRefunded(refunded) => BridgeEvent::Refunded { nonce: nonce(refunded.nonce) },
            BridgeEvents::WithdrawalPaid(paid) => BridgeEvent::Paid {
                withdrawal: small(paid.withdrawalId) as u64,
                asset: self.asset(paid.token),
                amount: small(paid.amount),
            },
            _ => return None,
        })
    }
}

impl Layer for Ethereum {
    fn account(&self, account: usize) -> String {
        format!("{:#x}", self.accounts[account])
    }

    fn token(&self, asset: usize) -> Felt {
        Felt::from_bytes_be_slice(self.tokens[asset].as_slice())
    }

    fn send(&mut self, acts: Vec<(usize, Act)>) {
        for (from, act) in acts {
            self.act(from, act);
        }
    }

    fn tried(&mut self, acts: Vec<(usize, Act)>) -> Vec<bool> {
        let sent: Vec<Value> = acts.into_iter().map(|(from, act)| self.act(from, act)).collect();
        sent.iter().map(|hash| self.succeeded(hash)).collect()
    }

    fn bridge_events(&self) -> Vec<BridgeEvent> {
        let logs = self.logs(self.bridge).into_iter();
        logs.filter_map(|log| self.event(BridgeEvents::decode_raw_log(log.topics(), &log.data).unwrap())).collect()
    }

    fn updates(&self) -> Vec<u64> {
        let logs = self.logs(self.core);
        let updates = logs.iter().filter_map(|log| AppchainCore::LogStateUpdate::decode_log_data(log).ok());
        updates.map(|update| update.blockNumber.try_into().unwrap()).collect()
    }

    fn escrow(&self, asset: usize) -> (u128, u128) {
        let token = self.tokens[asset];
        let counter = self.read(self.bridge, &Bridge::escrowCall(token));
        (small(counter), small(self.read(token, &TestToken::balanceOfCall(self.bridge))))
    }

    fn hold(&mut self) {
        self.at = self.ask("eth_blockNumber", json!([]));
    }

    fn let_go(&mut self) {
        self.at = json!("latest");
    }

    fn reorganise(&mut self, blocks: u64, _: &Node) {
        self.ask("anvil_reorg", json!([blocks, []]));
    }

    fn lose_waiting(&mut self) {
        self.ask("anvil_dropAllTransactions", json!([]));
    }

    fn pass(&mut self, seconds: u64) {
        std::thread::sleep(std::time::Duration::from_secs(2));
        self.ask("evm_increaseTime", json!([seconds]));
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
}
