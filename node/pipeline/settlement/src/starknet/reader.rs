//! Starknet as this crate reads it: typed questions, typed answers, no state.

use super::Keys;
use super::quorum::Transport;
use crate::attestation::{self, Attestors};
use crate::error::{ATTESTOR, CheckError, L1Error};
use crate::layer::{BlockTag, BridgeEvent, CancellationTimes, Cursor, DepositLog, Inclusion, MessageState};
use keel_contracts::starknet::settlement::{
    ContractCall, SettlementEvent, event_cancellation_started, event_message_sent, event_state_update, no_block, read_event,
    read_message_claimable, read_message_waits, read_u256,
};
use keel_contracts::starknet::{config_hash, program_hash};
use keel_types::{AttestorId, Bytes32, Felt, Genesis, Height, L1Address};
use starknet::core::types::{
    BlockId, BlockTag as Tag, EmittedEvent, EventFilter, FunctionCall, MaybePreConfirmedBlockWithTxHashes, StarknetError,
};
use starknet::providers::{JsonRpcClient, Provider, ProviderError};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// One question, of however many requests to however many endpoints; each request has a time of its own.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Events in one page; what public nodes take.
const EVENTS_PER_PAGE: u64 = 1_000;

/// The connection.
pub(crate) type Client = Arc<JsonRpcClient<Transport>>;

/// Readers of one chain's contracts. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(crate) client: Client,
    pub(crate) genesis: Arc<Genesis>,
    /// Short string of the settlement layer.
    pub(crate) chain_id: Felt,
}

impl Reader {
    /// Connects to `endpoints`, which need not answer yet; see [`crate::L1::connect`].
    pub(crate) fn connect(
        endpoints: &[String],
        quorum: usize,
        genesis: Arc<Genesis>,
        chain_id: Felt,
    ) -> Result<Reader, L1Error> {
        let transport = Transport::new(endpoints, quorum)?;
        Ok(Reader { client: Arc::new(JsonRpcClient::new(transport)), genesis, chain_id })
    }

    /// Compares everything both ends must agree on.
    pub(crate) async fn check(&self) -> Result<(), CheckError> {
        let spec = &self.genesis.settlement;
        same("the chain id", self.chain_id, ask(self.client.chain_id()).await?)?;
        for (what, address) in
            [("the core contract", spec.core), ("the bridge", spec.bridge), ("the registry", spec.registry)]
        {
            if !self.is_deployed(address).await? {
                return Err(CheckError::Missing { what, address });
            }
        }
        let core = async |name| self.one(spec.core, name, vec![]).await;
        same("programHash", program_hash(self.genesis.rules_version), core("get_program_hash").await?)?;
        let config = config_hash(self.genesis.chain_id.0, self.genesis.fee_token);
        same("configHash", config, core("get_config_hash").await?)?;
        same("the fact registry", spec.registry.0, core("get_facts_registry").await?)?;
        same("the bridge's core contract", spec.core.0, self.one(spec.bridge, "core", vec![]).await?)?;
        same("the bridge's exchange", self.genesis.exchange.0, self.one(spec.bridge, "exchange", vec![]).await?)?;
        for asset in &self.genesis.assets {
            if self.amount(spec.bridge, "cap", asset.token.0, latest()).await? == 0 {
                let expected = format!("{} listed at {}", asset.symbol, asset.token);
                return Err(CheckError::Differs { what: "a token of the bridge", expected, found: "not listed".into() });
            }
        }
        Ok(())
    }

    /// Whether these accounts may submit and attest.
    pub(crate) async fn check_roles(&self, keys: &Keys) -> Result<(), CheckError> {
        let spec = &self.genesis.settlement;
        if self.one(spec.core, "is_operator", vec![keys.account.0]).await? != Felt::ONE {
            let account = keys.account.to_string();
            let why = "it is no operator of the core contract";
            return Err(CheckError::NotAllowed { role: "submitter", account, why });
        }
        let attestor = keys.attestor_key();
        if self.one(spec.registry, "is_attestor", vec![attestor]).await? != Felt::ONE {
            let (account, why) = (format!("{attestor:#x}"), "it is not in the registry's set");
            return Err(CheckError::NotAllowed { role: ATTESTOR, account, why });
        }
        Ok(())
    }

    /// Number and hash of a block; `None` if there is none.
    pub(crate) async fn block(&self, which: BlockTag) -> Result<Option<(u64, Bytes32)>, L1Error> {
        let id = match which {
            BlockTag::Number(number) => BlockId::Number(number),
            BlockTag::Latest => latest(),
            BlockTag::Final => BlockId::Tag(Tag::L1Accepted),
        };
        match within(self.client.get_block_with_tx_hashes(id)).await? {
            Ok(MaybePreConfirmedBlockWithTxHashes::Block(block)) => Ok(Some((block.block_number, bytes(block.block_hash)))),
            Ok(MaybePreConfirmedBlockWithTxHashes::PreConfirmedBlock(_)) => Ok(None),
            Err(ProviderError::StarknetError(StarknetError::BlockNotFound | StarknetError::NoBlocks)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The contract's state at block `at`, pinned by its hash.
    pub(crate) async fn cursor_at(&self, at: u64, at_hash: Bytes32) -> Result<Cursor, L1Error> {
        let call = ContractCall::new(self.genesis.settlement.core, "get_state", vec![]);
        let answer = self.call(call, BlockId::Hash(felt(at_hash))).await?;
        let [root, number, hash] = answer[..] else { return Err(shape("get_state")) };
        let height = match number == no_block() {
            true => None,
            false => Some(Height(u64::try_from(number).map_err(|_| shape("get_state"))?)),
        };
        Ok(Cursor { at, at_hash, height, root, hash })
    }

    /// Every state update in blocks `from..=to`: last block of our chain -> its transaction.
    pub(crate) async fn state_updates(&self, from: u64, to: u64) -> Result<BTreeMap<Height, Inclusion>, L1Error> {
        let keys = vec![vec![event_state_update()]];
        let mut updates = BTreeMap::new();
        for event in self.events(self.genesis.settlement.core, keys, from, to).await? {
            let SettlementEvent::StateUpdate { number, .. } = decode(&event)? else { continue };
            let height = Height(u64::try_from(number).map_err(|_| shape("LogStateUpdate"))?);
            updates.insert(height, place(&event)?);
        }
        Ok(updates)
    }

    /// Messages of the genesis bridge to the exchange in blocks `from..=to`, in order; for which entry point, each says.
    pub(crate) async fn deposits(&self, from: u64, to: u64) -> Result<Vec<DepositLog>, L1Error> {
        self.messages(event_message_sent(), from, to).await
    }

    /// Those whose cancellation was started in blocks `from..=to`, in order.
    pub(crate) async fn cancellations(&self, from: u64, to: u64) -> Result<Vec<DepositLog>, L1Error> {
        self.messages(event_cancellation_started(), from, to).await
    }

    /// Events of the core contract that index sender and receiver: those of our bridge's messages.
    async fn messages(&self, event: Felt, from: u64, to: u64) -> Result<Vec<DepositLog>, L1Error> {
        let (bridge, exchange) = (self.genesis.settlement.bridge.0, self.genesis.exchange.0);
        let keys = vec![vec![event], vec![], vec![bridge], vec![exchange]];
        let mut messages = Vec::new();
        for event in self.events(self.genesis.settlement.core, keys, from, to).await? {
            let (SettlementEvent::MessageSent(message) | SettlementEvent::CancellationStarted(message)) = decode(&event)?
            else {
                continue;
            };
            let Inclusion { block, block_hash, tx } = place(&event)?;
            messages.push(DepositLog {
                from: L1Address(message.from),
                to: bytes(message.to),
                selector: bytes(message.selector),
                payload: message.payload.into_iter().map(bytes).collect(),
                nonce: bytes(message.nonce),
                block,
                block_hash,
                tx,
            });
        }
        Ok(messages)
    }

    /// What the bridge did in blocks `from..=to`, in order.
    pub(crate) async fn bridge_events(&self, from: u64, to: u64) -> Result<Vec<BridgeEvent>, L1Error> {
        let number = |felt: Felt| u64::try_from(felt).map_err(|_| shape("a number of the bridge"));
        let mut events = Vec::new();
        for event in self.events(self.genesis.settlement.bridge, vec![], from, to).await? {
            events.push(match decode(&event)? {
                SettlementEvent::DepositSent { nonce, token, amount } => {
                    BridgeEvent::Sent { nonce: number(nonce)?, token: L1Address(token), amount }
                }
                SettlementEvent::DepositRefunded { nonce, token } => {
                    BridgeEvent::Refunded { nonce: number(nonce)?, token: L1Address(token) }
                }
                SettlementEvent::WithdrawalPaid { withdrawal, token, amount } => {
                    BridgeEvent::Paid { withdrawal: number(withdrawal)?, token: L1Address(token), amount }
                }
                _ => continue,
            });
        }
        Ok(events)
    }

    /// What became of a message for our chain, at the block with hash `at`.
    pub(crate) async fn message(&self, hash: Bytes32, at: Bytes32) -> Result<MessageState, L1Error> {
        let (core, at) = (self.genesis.settlement.core, BlockId::Hash(felt(at)));
        let ask = async |name| self.call(ContractCall::new(core, name, vec![felt(hash)]), at).await;
        let waits = read_message_waits(&ask("sn_to_appchain_messages").await?).ok_or(shape("sn_to_appchain_messages"))?;
        let time = async |name| {
            let [seconds] = ask(name).await?[..] else { return Err(shape(name)) };
            u64::try_from(seconds).map_err(|_| shape(name))
        };
        let started = time("message_cancellation_started_at").await?;
        let allowed_at = time("message_cancellation_allowed_at").await?;
        Ok(MessageState { waits, cancellation: CancellationTimes::of(started, allowed_at) })
    }

    /// Whether a message of ours can be consumed on the settlement layer now.
    pub(crate) async fn claimable(&self, hash: Bytes32) -> Result<bool, L1Error> {
        let core = self.genesis.settlement.core;
        let call = ContractCall::new(core, "appchain_to_sn_messages", vec![felt(hash)]);
        read_message_claimable(&self.call(call, latest()).await?).ok_or(shape("appchain_to_sn_messages"))
    }

    /// Who may attest, and how many it takes.
    pub(crate) async fn attestors(&self) -> Result<Attestors, L1Error> {
        let registry = self.genesis.settlement.registry;
        let answer = self.call(ContractCall::new(registry, "attestors", vec![]), latest()).await?;
        // An array: its length, then its elements.
        let members = match answer.split_first() {
            Some((length, members)) if *length == Felt::from(members.len()) => members,
            _ => return Err(shape("attestors")),
        };
        let threshold = u64::try_from(self.one(registry, "threshold", vec![]).await?).map_err(|_| shape("threshold"))?;
        attestation::attestors(members.iter().copied().map(AttestorId).collect(), threshold as usize)
    }

    /// Whether the registry holds the fact valid.
    pub(crate) async fn is_attested(&self, fact: Bytes32) -> Result<bool, L1Error> {
        let valid = self.one(self.genesis.settlement.registry, "is_valid", vec![felt(fact)]).await?;
        Ok(valid == Felt::ONE)
    }

    /// Whether the core contract has a chunk of data with this hash.
    pub(crate) async fn is_data_registered(&self, hash: Felt) -> Result<bool, L1Error> {
        let words = self.one(self.genesis.settlement.core, "is_data_registered", vec![hash]).await?;
        Ok(words != Felt::ZERO)
    }

    /// The bridge's counter and its balance of a token, at one block. Units of the token.
    pub(crate) async fn escrow_at(&self, token: L1Address, block: Bytes32) -> Result<(u128, u128), L1Error> {
        let pinned = BlockId::Hash(felt(block));
        let bridge = self.genesis.settlement.bridge;
        let counter = self.amount(bridge, "escrow", token.0, pinned).await?;
        let balance = self.amount(token, "balance_of", bridge.0, pinned).await?;
        Ok((counter, balance))
    }

    /// Whether a contract stands at the address.
    pub(crate) async fn is_deployed(&self, address: L1Address) -> Result<bool, L1Error> {
        match within(self.client.get_class_hash_at(latest(), address.0)).await? {
            Ok(_) => Ok(true),
            Err(ProviderError::StarknetError(StarknetError::ContractNotFound)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A view that answers a u256, which is read as 128 bits.
    pub(crate) async fn amount(&self, to: L1Address, name: &'static str, of: Felt, at: BlockId) -> Result<u128, L1Error> {
        let answer = self.call(ContractCall::new(to, name, vec![of]), at).await?;
        read_u256(&answer).ok_or(shape(name))
    }

    /// A view that answers one word, at the newest block.
    pub(crate) async fn one(&self, to: L1Address, name: &'static str, calldata: Vec<Felt>) -> Result<Felt, L1Error> {
        match self.call(ContractCall::new(to, name, calldata), latest()).await?[..] {
            [word] => Ok(word),
            _ => Err(shape(name)),
        }
    }

    async fn call(&self, call: ContractCall, at: BlockId) -> Result<Vec<Felt>, L1Error> {
        let request =
            FunctionCall { contract_address: call.to.0, entry_point_selector: call.selector, calldata: call.calldata };
        ask(self.client.call(request, at)).await
    }

    /// Events of a contract, page by page.
    async fn events(
        &self,
        contract: L1Address,
        keys: Vec<Vec<Felt>>,
        from: u64,
        to: u64,
    ) -> Result<Vec<EmittedEvent>, L1Error> {
        let (mut events, mut token) = (Vec::new(), None);
        loop {
            let filter = EventFilter {
                from_block: Some(BlockId::Number(from)),
                to_block: Some(BlockId::Number(to)),
                address: Some(contract.0),
                keys: Some(keys.clone()),
            };
            // Of several endpoints all pages come at once: each of the requests has its own time.
            let page = self.client.get_events(filter, token, EVENTS_PER_PAGE).await?;
            events.extend(page.events);
            match page.continuation_token {
                Some(next) => token = Some(next),
                None => return Ok(events),
            }
        }
    }
}

/// The newest block that is not being built any more.
pub(crate) fn latest() -> BlockId {
    BlockId::Tag(Tag::Latest)
}

/// A 32-byte hash of Starknet, which is a field element.
pub(crate) fn felt(hash: Bytes32) -> Felt {
    Felt::from_bytes_be(&hash.0)
}

pub(crate) fn bytes(felt: Felt) -> Bytes32 {
    Bytes32(felt.to_bytes_be())
}

/// An answer within the time for one question, with the node's error as ours.
pub(crate) async fn ask<T>(request: impl Future<Output = Result<T, ProviderError>>) -> Result<T, L1Error> {
    Ok(within(request).await??)
}

/// An answer within the time for one question.
pub(crate) async fn within<T>(request: impl Future<Output = T>) -> Result<T, L1Error> {
    let late = |_| L1Error::Unreachable(format!("no answer within {QUESTION_TIMEOUT:?}"));
    tokio::time::timeout(QUESTION_TIMEOUT, request).await.map_err(late)
}

fn decode(event: &EmittedEvent) -> Result<SettlementEvent, L1Error> {
    let unknown = || L1Error::NotOurs(format!("an event of {:#x} has another shape", event.from_address));
    read_event(&event.keys, &event.data).ok_or_else(unknown)
}

fn place(event: &EmittedEvent) -> Result<Inclusion, L1Error> {
    match (event.block_number, event.block_hash) {
        (Some(block), Some(hash)) => Ok(Inclusion { block, block_hash: bytes(hash), tx: bytes(event.transaction_hash) }),
        _ => Err(L1Error::Contradiction("an event of a block range is in no block".into())),
    }
}

fn shape(what: &str) -> L1Error {
    L1Error::NotOurs(format!("{what} answers in another shape"))
}

fn same(what: &'static str, expected: Felt, found: Felt) -> Result<(), CheckError> {
    if expected == found {
        return Ok(());
    }
    Err(CheckError::Differs { what, expected: format!("{expected:#x}"), found: format!("{found:#x}") })
}
