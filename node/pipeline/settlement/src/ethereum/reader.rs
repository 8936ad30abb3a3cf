//! Ethereum as this crate reads it: typed questions, typed answers, no state.

use super::Keys;
use crate::attestation::{self, Attestors, attestor_of};
use crate::error::{ATTESTOR, CheckError, L1Error};
use crate::layer::{BlockTag, BridgeEvent, CancellationTimes, Cursor, DepositLog, Inclusion, MessageState};
use alloy::contract::CallBuilder;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, I256, U64, U128, U256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::{SolEvent, SolEventInterface};
use keel_contracts::ethereum::Bridge::BridgeEvents;
use keel_contracts::ethereum::{AppchainCore, AttestationRegistry, Bridge, HANDLE_DEPOSIT_SELECTOR, TestToken, felt, word};
use keel_contracts::starknet::{config_hash, program_hash};
use keel_types::{Bytes32, Genesis, Height, L1Address};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Blocks in one request for events; what public nodes take.
pub(crate) const LOG_BLOCKS_MAX: u64 = 5_000;

/// What is read of a block: with several endpoints, what they agree on.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    number: U64,
    hash: B256,
    base_fee_per_gas: Option<U128>,
}

/// Readers of one chain's contracts. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(crate) provider: DynProvider,
    pub(crate) genesis: Arc<Genesis>,
    /// EIP-155 id.
    pub(crate) chain_id: u64,
    pub(crate) core: AppchainCore::AppchainCoreInstance<DynProvider>,
    pub(crate) registry: AttestationRegistry::AttestationRegistryInstance<DynProvider>,
    pub(crate) bridge: Bridge::BridgeInstance<DynProvider>,
}

impl Reader {
    /// Connects to `endpoints`, which need not answer yet; see [`crate::L1::connect`].
    pub(crate) fn connect(
        endpoints: &[String],
        quorum: usize,
        genesis: Arc<Genesis>,
        chain_id: u64,
    ) -> Result<Reader, L1Error> {
        let provider = super::quorum::connect(endpoints, quorum)?;
        let spec = &genesis.settlement;
        Ok(Reader {
            core: AppchainCore::new(eth(spec.core), provider.clone()),
            registry: AttestationRegistry::new(eth(spec.registry), provider.clone()),
            bridge: Bridge::new(eth(spec.bridge), provider.clone()),
            provider,
            genesis,
            chain_id,
        })
    }

    /// Compares everything both ends must agree on.
    ///
    /// # Errors
    /// The first difference, by name; or nobody answered.
    pub(crate) async fn check(&self) -> Result<(), CheckError> {
        let spec = &self.genesis.settlement;
        let chain_id = self.provider.get_chain_id().await.map_err(L1Error::from)?;
        same("the chain id", self.chain_id, chain_id)?;
        for (what, address) in
            [("the core contract", spec.core), ("the bridge", spec.bridge), ("the registry", spec.registry)]
        {
            let code = self.provider.get_code_at(eth(address)).await.map_err(L1Error::from)?;
            if code.is_empty() {
                return Err(CheckError::Missing { what, address });
            }
        }
        let ours = program_hash(self.genesis.rules_version);
        same_hex("programHash", word(ours), ask(self.core.programHash()).await?)?;
        let ours = config_hash(self.genesis.chain_id.0, self.genesis.fee_token);
        same_hex("configHash", word(ours), ask(self.core.configHash()).await?)?;
        same("the fact registry", eth(spec.registry), ask(self.core.verifier()).await?)?;
        same("the bridge's core contract", eth(spec.core), ask(self.bridge.core()).await?)?;
        same_hex("the bridge's exchange", word(self.genesis.exchange.0), ask(self.bridge.exchange()).await?)?;
        for asset in &self.genesis.assets {
            if ask(self.bridge.cap(eth(asset.token))).await?.is_zero() {
                let expected = format!("{} listed at {}", asset.symbol, asset.token);
                return Err(CheckError::Differs { what: "a token of the bridge", expected, found: "not listed".into() });
            }
        }
        Ok(())
    }

    /// Whether these accounts may submit and attest.
    ///
    /// # Errors
    /// They may not; or nobody answered.
    pub(crate) async fn check_roles(&self, keys: &Keys) -> Result<(), CheckError> {
        let (submitter, attestor) = (keys.submitter.address(), keys.attestor.address());
        if !ask(self.core.isOperator(submitter)).await? {
            let account = submitter.to_string();
            return Err(CheckError::NotAllowed {
                role: "submitter",
                account,
                why: "it is no operator of the core contract",
            });
        }
        if !ask(self.registry.isAttestor(attestor)).await? {
            let account = attestor.to_string();
            return Err(CheckError::NotAllowed { role: ATTESTOR, account, why: "it is not in the registry's set" });
        }
        Ok(())
    }

    /// Number and hash of a block; `None` if there is none.
    pub(crate) async fn block(&self, which: BlockTag) -> Result<Option<(u64, Bytes32)>, L1Error> {
        let which = match which {
            BlockTag::Number(number) => BlockNumberOrTag::Number(number),
            BlockTag::Latest => BlockNumberOrTag::Latest,
            BlockTag::Final => BlockNumberOrTag::Finalized,
        };
        let Some(block) = self.header(which).await? else { return Ok(None) };
        Ok(Some((block.number.to(), Bytes32(block.hash.0))))
    }

    /// Base fee of the newest block, wei per gas.
    pub(crate) async fn base_fee(&self) -> Result<u128, L1Error> {
        let newest = self.header(BlockNumberOrTag::Latest).await?;
        let fee = newest.and_then(|block| block.base_fee_per_gas);
        Ok(fee.ok_or_else(|| L1Error::Contradiction("the newest block has no base fee".into()))?.to())
    }

    async fn header(&self, which: BlockNumberOrTag) -> Result<Option<Header>, L1Error> {
        Ok(self.provider.raw_request("eth_getBlockByNumber".into(), (which, false)).await?)
    }

    /// The contract's state at block `at`, pinned by its hash.
    pub(crate) async fn cursor_at(&self, at: u64, at_hash: Bytes32) -> Result<Cursor, L1Error> {
        let pinned = BlockId::hash(at_hash.0.into());
        let number = ask(self.core.stateBlockNumber().block(pinned)).await?;
        let root = ask(self.core.stateRoot().block(pinned)).await?;
        let hash = ask(self.core.stateBlockHash().block(pinned)).await?;
        let height = match number == I256::MINUS_ONE {
            true => None,
            false => Some(Height(u64::try_from(number).map_err(|_| contradiction("stateBlockNumber", number))?)),
        };
        let root = felt(root).ok_or_else(|| contradiction("stateRoot", root))?;
        let hash = felt(hash).ok_or_else(|| contradiction("stateBlockHash", hash))?;
        Ok(Cursor { at, at_hash, height, root, hash })
    }

    /// Every state update in blocks `from..=to`: last block of our chain -> its transaction.
    pub(crate) async fn state_updates(&self, from: u64, to: u64) -> Result<BTreeMap<Height, Inclusion>, L1Error> {
        let filter =
            Filter::new().address(*self.core.address()).event_signature(AppchainCore::LogStateUpdate::SIGNATURE_HASH);
        let mut updates = BTreeMap::new();
        for log in self.logs(filter, from, to).await? {
            let update = decode::<AppchainCore::LogStateUpdate>(&log)?;
            let height =
                u64::try_from(update.blockNumber).map_err(|_| contradiction("LogStateUpdate", update.blockNumber))?;
            updates.insert(Height(height), place(&log)?);
        }
        Ok(updates)
    }

    /// Messages of the genesis bridge to the exchange for `handle_deposit` in blocks `from..=to`, in order.
    pub(crate) async fn deposits(&self, from: u64, to: u64) -> Result<Vec<DepositLog>, L1Error> {
        let logs = self.logs(self.of_deposits(AppchainCore::LogMessageToL2::SIGNATURE_HASH), from, to).await?;
        let read = |log: &Log| {
            let sent = decode::<AppchainCore::LogMessageToL2>(log)?;
            deposit_log(log, sent.fromAddress, [sent.toAddress, sent.selector, sent.nonce], sent.payload)
        };
        logs.iter().map(read).collect()
    }

    /// Those whose cancellation was started in blocks `from..=to`, in order.
    pub(crate) async fn cancellations(&self, from: u64, to: u64) -> Result<Vec<DepositLog>, L1Error> {
        let event = AppchainCore::MessageToL2CancellationStarted::SIGNATURE_HASH;
        let read = |log: &Log| {
            let of = decode::<AppchainCore::MessageToL2CancellationStarted>(log)?;
            deposit_log(log, of.fromAddress, [of.toAddress, of.selector, of.nonce], of.payload)
        };
        self.logs(self.of_deposits(event), from, to).await?.iter().map(read).collect()
    }

    /// Events of the core contract that index sender, receiver and entry point: those of our deposits.
    fn of_deposits(&self, event: B256) -> Filter {
        let bridge = self.bridge.address().into_word();
        let (exchange, handler) = (B256::from(word(self.genesis.exchange.0)), B256::from(HANDLE_DEPOSIT_SELECTOR));
        Filter::new().address(*self.core.address()).event_signature(event).topic1(bridge).topic2(exchange).topic3(handler)
    }

    /// What the bridge did in blocks `from..=to`, in order.
    pub(crate) async fn bridge_events(&self, from: u64, to: u64) -> Result<Vec<BridgeEvent>, L1Error> {
        let logs = self.logs(Filter::new().address(*self.bridge.address()), from, to).await?;
        let mut events = Vec::new();
        for log in &logs {
            let event = BridgeEvents::decode_log(&log.inner).map_err(|error| L1Error::NotOurs(error.to_string()))?;
            events.extend(bridge_event(event.data)?);
        }
        Ok(events)
    }

    /// What became of a message for our chain, at the block with hash `at`.
    pub(crate) async fn message(&self, hash: Bytes32, at: Bytes32) -> Result<MessageState, L1Error> {
        let pinned = BlockId::hash(at.0.into());
        let fee = ask(self.core.l1ToL2Messages(hash.0.into()).block(pinned)).await?;
        let started = ask(self.core.l1ToL2MessageCancellations(hash.0.into()).block(pinned)).await?;
        let started = u64::try_from(started).map_err(|_| contradiction("the start of a cancellation", started))?;
        let allowed_at = ask(self.core.messageCancellationAllowedAt(hash.0.into()).block(pinned)).await?;
        let allowed_at = u64::try_from(allowed_at).unwrap_or(u64::MAX);
        Ok(MessageState { waits: !fee.is_zero(), cancellation: CancellationTimes::of(started, allowed_at) })
    }

    /// Whether a message of ours can be consumed on the settlement layer now.
    pub(crate) async fn claimable(&self, message_hash: Bytes32) -> Result<bool, L1Error> {
        Ok(!ask(self.core.l2ToL1Messages(message_hash.0.into())).await?.is_zero())
    }

    /// Who may attest, and how many it takes.
    pub(crate) async fn attestors(&self) -> Result<Attestors, L1Error> {
        let members = ask(self.registry.attestors()).await?.into_iter().map(attestor_of).collect();
        let threshold = ask(self.registry.threshold()).await?;
        attestation::attestors(members, usize::try_from(threshold).unwrap_or(usize::MAX))
    }

    /// Whether the registry holds the fact valid.
    pub(crate) async fn is_attested(&self, fact: Bytes32) -> Result<bool, L1Error> {
        ask(self.registry.isValid(fact.0.into())).await
    }

    /// The bridge's counter and its balance of a token, at one block. Units of the token.
    pub(crate) async fn escrow_at(&self, token: L1Address, block: Bytes32) -> Result<(u128, u128), L1Error> {
        let pinned = BlockId::hash(block.0.into());
        let counter = ask(self.bridge.escrow(eth(token)).block(pinned)).await?;
        let contract = TestToken::new(eth(token), self.provider.clone());
        let balance = ask(contract.balanceOf(*self.bridge.address()).block(pinned)).await?;
        // Anybody may send a token of a broken issuer here: more than fits is still enough.
        Ok((small(counter)?, u128::try_from(balance).unwrap_or(u128::MAX)))
    }

    async fn logs(&self, filter: Filter, from: u64, to: u64) -> Result<Vec<Log>, L1Error> {
        let mut logs = Vec::new();
        let mut start = from;
        while start <= to {
            let end = to.min(start.saturating_add(LOG_BLOCKS_MAX - 1));
            logs.extend(self.provider.get_logs(&filter.clone().from_block(start).to_block(end)).await?);
            start = end.saturating_add(1);
        }
        Ok(logs)
    }
}

/// An address of genesis or of a command, whose range was checked by layer when it was read.
pub(crate) fn eth(address: L1Address) -> Address {
    address.to_ethereum().expect("an address of a chain that settles on Ethereum has 160 bits").into()
}

/// Calls, with the answer's error as ours.
pub(crate) async fn ask<P, D>(call: CallBuilder<P, D>) -> Result<D::CallOutput, L1Error>
where
    P: Provider,
    D: alloy::contract::CallDecoder + Unpin,
{
    Ok(call.call().await?)
}

fn decode<E: SolEvent>(log: &Log) -> Result<E, L1Error> {
    let decoded = log.log_decode::<E>().map_err(|error| L1Error::NotOurs(error.to_string()))?;
    Ok(decoded.inner.data)
}

fn deposit_log(
    log: &Log,
    from: Address,
    [to, selector, nonce]: [U256; 3],
    payload: Vec<U256>,
) -> Result<DepositLog, L1Error> {
    let Inclusion { block, block_hash, tx } = place(log)?;
    let (to, selector, nonce) = (bytes(to), bytes(selector), bytes(nonce));
    let payload = payload.into_iter().map(bytes).collect();
    Ok(DepositLog { from: l1_address(from), to, selector, payload, nonce, block, block_hash, tx })
}

fn bridge_event(event: BridgeEvents) -> Result<Option<BridgeEvent>, L1Error> {
    Ok(match event {
        BridgeEvents::DepositSent(sent) => Some(BridgeEvent::Sent {
            nonce: number(sent.nonce)?,
            token: l1_address(sent.token),
            amount: small(sent.amount)?,
        }),
        BridgeEvents::DepositRefunded(refunded) => {
            Some(BridgeEvent::Refunded { nonce: number(refunded.nonce)?, token: l1_address(refunded.token) })
        }
        BridgeEvents::WithdrawalPaid(paid) => Some(BridgeEvent::Paid {
            withdrawal: number(paid.withdrawalId)?,
            token: l1_address(paid.token),
            amount: small(paid.amount)?,
        }),
        BridgeEvents::DepositCancellationStarted(_) | BridgeEvents::DepositsPausedSet(_) => None,
    })
}

/// Bridge amounts are below 2^127 by its own cap.
fn small(amount: U256) -> Result<u128, L1Error> {
    u128::try_from(amount).map_err(|_| contradiction("an amount of the bridge", amount))
}

fn number(value: U256) -> Result<u64, L1Error> {
    u64::try_from(value).map_err(|_| contradiction("a number of the bridge", value))
}

fn bytes(word: U256) -> Bytes32 {
    Bytes32(word.to_be_bytes())
}

fn l1_address(address: Address) -> L1Address {
    L1Address::ethereum(address.0.0)
}

fn place(log: &Log) -> Result<Inclusion, L1Error> {
    match (log.block_number, log.block_hash, log.transaction_hash) {
        (Some(block), Some(block_hash), Some(tx)) => {
            Ok(Inclusion { block, block_hash: Bytes32(block_hash.0), tx: Bytes32(tx.0) })
        }
        _ => Err(L1Error::Contradiction("an event of a block range is in no block".into())),
    }
}

fn contradiction(what: &str, found: impl std::fmt::Display) -> L1Error {
    L1Error::Contradiction(format!("{what} is {found}"))
}

fn same<T: PartialEq + std::fmt::Display>(what: &'static str, expected: T, found: T) -> Result<(), CheckError> {
    if expected == found {
        return Ok(());
    }
    Err(CheckError::Differs { what, expected: expected.to_string(), found: found.to_string() })
}

fn same_hex(what: &'static str, expected: U256, found: U256) -> Result<(), CheckError> {
    same(what, format!("{expected:#x}"), format!("{found:#x}"))
}
