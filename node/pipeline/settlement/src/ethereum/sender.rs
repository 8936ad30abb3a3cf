//! One transaction at a time, from an account that nobody else uses.
//!
//! The nonce is the account's count at the newest block, read for each transaction: a second transaction with the
//! same nonce can only replace the first, so nothing is ever done twice. What is about to be sent is noted first.

use super::reader::Reader;
use crate::error::{L1Error, SendError};
use crate::layer::{FactSignature, NoteTx};
use alloy::consensus::Transaction as _;
use alloy::eips::BlockId;
use alloy::eips::eip2718::Encodable2718;
use alloy::network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, Signature, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use keel_batches::{Batch, DataAvailability};
use keel_contracts::ethereum::{attestation_digest, attestation_signatures, word};
use keel_types::{Bytes32, Felt};
use std::time::{Duration, Instant};

/// Gas above the estimate, in percent: the state may move between the estimate and the block.
const GAS_MARGIN_PERCENT: u64 = 25;
/// Never more than this per gas, in wei: 1,000 gwei. Above it waiting is better than paying.
const FEE_MAX_WEI: u128 = 1_000_000_000_000;
/// Looks at a nonce that is used up without a receipt of ours before it is believed.
const MISSES_MAX: u32 = 5;

impl From<alloy::transports::TransportError> for SendError {
    fn from(error: alloy::transports::TransportError) -> Self {
        SendError::L1(error.into())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fees {
    max: u128,
    tip: u128,
}

impl Fees {
    /// At least a quarter more than before, as nodes ask of a replacement, or what the market asks if that is more.
    fn replacing(self, market: Fees) -> Fees {
        let more = |before: u128, now: u128| (before + before.div_ceil(4)).max(now).clamp(1, FEE_MAX_WEI);
        Fees { max: more(self.max, market.max), tip: more(self.tip, market.tip) }
    }
}

/// Sends from one account.
pub(crate) struct Sender {
    l1: Reader,
    wallet: EthereumWallet,
    address: Address,
    poll: Duration,
    replace_after: Duration,
}

/// Transactions with one nonce, of which at most one can get into a block.
struct Flight {
    nonce: u64,
    gas: u64,
    fees: Fees,
    hashes: Vec<B256>,
    sent: Instant,
}

impl Sender {
    pub(crate) fn new(l1: Reader, signer: PrivateKeySigner, poll: Duration, replace_after: Duration) -> Sender {
        let address = signer.address();
        Sender { l1, wallet: EthereumWallet::from(signer), address, poll, replace_after }
    }

    /// Brings the signatures of a fact to the registry.
    pub(crate) async fn attest(&self, fact: Bytes32, signatures: &[FactSignature]) -> Result<(), SendError> {
        let registry = *self.l1.registry.address();
        let fact = B256::from(fact.0);
        let digest = attestation_digest(self.l1.chain_id, registry, fact);
        let parse = |signature: &FactSignature| Signature::from_raw(&signature.bytes);
        let parsed = signatures.iter().map(parse).collect::<Result<Vec<_>, _>>();
        let ordered = parsed.and_then(|signatures| attestation_signatures(digest, &signatures));
        let ordered = ordered.map_err(|error| SendError::Sign(error.to_string()))?;
        let call = self.l1.registry.attest(fact, ordered);
        self.transact(registry, call.calldata().clone(), None, &mut |_| Ok(())).await.map(drop)
    }

    /// Gets a batch onto the core contract; see [`crate::layer::Sender::submit`].
    pub(crate) async fn submit(
        &self,
        batch: &Batch,
        before: Option<Bytes32>,
        note: NoteTx<'_>,
    ) -> Result<Bytes32, SendError> {
        let words = |felts: &[Felt]| felts.iter().copied().map(word).collect::<Vec<U256>>();
        let DataAvailability::Calldata { words: data } = &batch.content.data else {
            return Err(SendError::Form(batch.content.id));
        };
        let call = self.l1.core.updateStateWithData(words(&batch.output), words(data));
        let before = before.map(|tx| B256::from(tx.0));
        let receipt = self.transact(*self.l1.core.address(), call.calldata().clone(), before, note).await?;
        tracing::info!(batch = %batch.content.id, tx = %receipt.transaction_hash, gas = receipt.gas_used, "batch on the contract");
        Ok(Bytes32(receipt.transaction_hash.0))
    }

    /// Gets a call of `to` into a block: sends, waits, replaces with a higher fee. `before` is an earlier try at the same
    /// call, perhaps of an earlier process: it is taken up if it still waits. `note` keeps each hash before it is sent.
    pub(crate) async fn transact(
        &self,
        to: Address,
        data: Bytes,
        before: Option<B256>,
        note: NoteTx<'_>,
    ) -> Result<TransactionReceipt, SendError> {
        self.transact_paying(to, data, U256::ZERO, before, note).await
    }

    /// The same with `value` wei.
    pub(crate) async fn transact_paying(
        &self,
        to: Address,
        data: Bytes,
        value: U256,
        before: Option<B256>,
        note: NoteTx<'_>,
    ) -> Result<TransactionReceipt, SendError> {
        let nonce = self.l1.provider.get_transaction_count(self.address).await?;
        let call = TransactionRequest::default()
            .with_from(self.address)
            .with_to(to)
            .with_input(data)
            .with_value(value)
            .with_nonce(nonce)
            .with_chain_id(self.l1.chain_id);
        let mut flight = match self.take_up(before, &call, nonce).await? {
            Some(flight) => flight,
            None => {
                // A refusal comes back here, with its reason and for free. At the newest block, not the pending one: there
                // our own earlier try may seem done, and a second attestation costs less gas than the first.
                let gas = self.l1.provider.estimate_gas(call.clone()).block(BlockId::latest()).await?;
                let gas = gas + gas * GAS_MARGIN_PERCENT / 100;
                let mut flight = Flight { nonce, gas, fees: self.market().await?, hashes: vec![], sent: Instant::now() };
                self.send(&mut flight, &call, note).await?;
                flight
            }
        };
        self.follow(&mut flight, &call, note).await
    }

    async fn follow(
        &self,
        flight: &mut Flight,
        call: &TransactionRequest,
        note: NoteTx<'_>,
    ) -> Result<TransactionReceipt, SendError> {
        let mut misses = 0;
        loop {
            for hash in &flight.hashes {
                if let Some(receipt) = self.l1.provider.get_transaction_receipt(*hash).await? {
                    return if receipt.status() { Ok(receipt) } else { Err(SendError::Reverted(Bytes32(hash.0))) };
                }
            }
            if self.l1.provider.get_transaction_count(self.address).await? > flight.nonce {
                misses += 1;
                if misses > MISSES_MAX {
                    return Err(SendError::NonceTaken(flight.nonce));
                }
            }
            if flight.sent.elapsed() >= self.replace_after {
                flight.fees = flight.fees.replacing(self.market().await?);
                tracing::warn!(nonce = flight.nonce, max_fee = flight.fees.max, "transaction waits too long: replacing it");
                self.send(flight, call, note).await?;
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    /// An earlier transaction that is the same call: in a block already, or waiting with the nonce that is next.
    async fn take_up(
        &self,
        before: Option<B256>,
        call: &TransactionRequest,
        nonce: u64,
    ) -> Result<Option<Flight>, SendError> {
        let Some(hash) = before else { return Ok(None) };
        let Some(found) = self.l1.provider.get_transaction_by_hash(hash).await? else { return Ok(None) };
        let waits = found.block_number.is_none() && found.nonce() == nonce;
        let same = Some(found.input()) == call.input.input() && found.to() == call.to.and_then(|to| to.to().copied());
        if !same || !(waits || found.block_number.is_some()) {
            return Ok(None);
        }
        let fees = Fees { max: found.max_fee_per_gas(), tip: found.max_priority_fee_per_gas().unwrap_or_default() };
        let (nonce, gas) = (found.nonce(), found.gas_limit());
        Ok(Some(Flight { nonce, gas, fees, hashes: vec![hash], sent: Instant::now() }))
    }

    async fn market(&self) -> Result<Fees, SendError> {
        let fees = self.l1.provider.estimate_eip1559_fees().await?;
        Ok(Fees { max: fees.max_fee_per_gas.min(FEE_MAX_WEI), tip: fees.max_priority_fee_per_gas.min(FEE_MAX_WEI) })
    }

    /// Signs and sends; raises the fee as long as the node says that it replaces too little.
    async fn send(&self, flight: &mut Flight, call: &TransactionRequest, note: NoteTx<'_>) -> Result<(), SendError> {
        loop {
            let have = self.l1.provider.get_balance(self.address).await?;
            let needed = U256::from(flight.gas) * U256::from(flight.fees.max) + call.value.unwrap_or_default();
            if have < needed {
                return Err(out_of_funds(needed, have));
            }
            let request = call
                .clone()
                .with_gas_limit(flight.gas)
                .with_max_fee_per_gas(flight.fees.max)
                .with_max_priority_fee_per_gas(flight.fees.tip.min(flight.fees.max));
            let signed = request.build(&self.wallet).await.map_err(|error| SendError::Sign(error.to_string()))?;
            let hash = *signed.tx_hash();
            note(Bytes32(hash.0))?;
            flight.hashes.push(hash);
            flight.sent = Instant::now();
            match self.l1.provider.send_raw_transaction(&signed.encoded_2718()).await {
                Ok(_) => return Ok(()),
                Err(error) => match L1Error::from(error) {
                    L1Error::Rpc { message, .. } if says(&message, &["already known", "already imported"]) => return Ok(()),
                    L1Error::Rpc { message, .. } if says(&message, &["nonce too low"]) => {
                        // In a block meanwhile: one of ours, or a stranger's, which following will tell.
                        return Ok(());
                    }
                    L1Error::Rpc { message, .. } if says(&message, &["underpriced"]) && flight.fees.max < FEE_MAX_WEI => {
                        flight.fees = flight.fees.replacing(self.market().await?);
                    }
                    L1Error::Rpc { message, .. } if says(&message, &["insufficient funds"]) => {
                        return Err(out_of_funds(needed, have));
                    }
                    other => return Err(other.into()),
                },
            }
        }
    }
}

fn out_of_funds(needed: U256, have: U256) -> SendError {
    let wei = |amount: U256| u128::try_from(amount).unwrap_or(u128::MAX);
    SendError::OutOfFunds { needed: wei(needed), have: wei(have) }
}

/// Nodes agree on these words, in different cases, and on no code.
fn says(message: &str, words: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    words.iter().any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_pays_a_quarter_more_or_the_market_but_never_above_the_limit() {
        let fees = |max, tip| Fees { max, tip };
        assert_eq!(fees(100, 8).replacing(fees(90, 1)), fees(125, 10));
        assert_eq!(fees(100, 8).replacing(fees(400, 30)), fees(400, 30));
        assert_eq!(fees(1, 0).replacing(fees(1, 0)), fees(2, 1));
        assert_eq!(fees(FEE_MAX_WEI, 1).replacing(fees(1, 1)).max, FEE_MAX_WEI);
    }
}
