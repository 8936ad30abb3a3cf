//! One transaction at a time, from an account that nobody else uses.
//!
//! The nonce is the account's at the newest block, read for each transaction: of two transactions with one nonce at most one is
//! executed, so nothing is ever done twice. What is about to be sent is noted first.

use super::reader::{Client, Reader, ask, bytes, felt, latest, within};
use crate::error::{L1Error, Refusal, SendError};
use crate::layer::{FactSignature, NoteTx};
use keel_batches::Batch;
use keel_contracts::starknet::settlement::{ContractCall, attest, register_data, update_state};
use keel_types::{Bytes32, Felt, L1Address};
use starknet::accounts::{Account, ExecutionEncoding, SingleOwnerAccount};
use starknet::core::types::{
    Call, ExecutionResult, FeeEstimate, InvokeTransaction, StarknetError, Transaction, TransactionStatus,
};
use starknet::providers::{Provider, ProviderError};
use starknet::signers::{LocalWallet, SigningKey};
use std::time::{Duration, Instant};

/// Gas and its price above the estimate, in percent: both may move until the transaction is executed.
const MARGIN_PERCENT: u64 = 50;
/// Looks at a nonce of the account below that of a transaction that waits, before it is believed.
const GAPS_MAX: u32 = 5;
/// The token that pays fees, on every Starknet network.
const STRK: L1Address =
    L1Address(Felt::from_hex_unchecked("0x4718f5a0fc34cc1af16a1cdee98ffb20c31f5cd61d6ab07201858f4287c938d"));

/// The account of a sender.
pub(crate) type Signer = SingleOwnerAccount<Client, LocalWallet>;

/// Sends from one account.
pub(crate) struct Sender {
    l1: Reader,
    account: Signer,
    poll: Duration,
    /// A transaction that no node knows for this long is forgotten.
    forget_after: Duration,
}

/// What became of a transaction.
enum Fate {
    Executed,
    Reverted(String),
    /// Received, or executed in a block that is not closed. With its nonce.
    Waits(Felt),
    Unknown,
}

impl Sender {
    pub(crate) fn new(l1: Reader, address: L1Address, key: SigningKey, poll: Duration, forget_after: Duration) -> Sender {
        let wallet = LocalWallet::from_signing_key(key);
        let mut account = SingleOwnerAccount::new(l1.client.clone(), wallet, address.0, l1.chain_id, ExecutionEncoding::New);
        account.set_block_id(latest());
        Sender { l1, account, poll, forget_after }
    }

    /// Brings the signatures of a fact to the registry, ascending by signer.
    pub(crate) async fn attest(&self, fact: Bytes32, signatures: &[FactSignature]) -> Result<(), SendError> {
        let parse = |signature: &FactSignature| match signature.bytes.split_at_checked(32) {
            Some((r, s)) if s.len() == 32 => {
                Ok([signature.attestor, Felt::from_bytes_be_slice(r), Felt::from_bytes_be_slice(s)])
            }
            _ => Err(SendError::Sign(format!("a signature of {} bytes is not r, s", signature.bytes.len()))),
        };
        let mut ordered = signatures.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        ordered.sort_unstable();
        ordered.dedup_by_key(|signature| signature[0]);
        let call = attest(self.l1.genesis.settlement.registry, felt(fact), &ordered);
        self.transact(vec![call], None, &mut |_| Ok(())).await.map(drop)
    }

    /// Gets a batch onto the core contract; see [`crate::layer::Sender::submit`]. Chunks that the contract has are not sent again.
    pub(crate) async fn submit(
        &self,
        batch: &Batch,
        before: Option<Bytes32>,
        note: NoteTx<'_>,
    ) -> Result<Bytes32, SendError> {
        let core = self.l1.genesis.settlement.core;
        let hashes = batch.content.data.chunk_hashes();
        for (chunk, hash) in batch.content.data.chunks().zip(&hashes) {
            if !self.l1.is_data_registered(*hash).await? {
                tracing::info!(batch = %batch.content.id, words = chunk.len(), "registering data");
                self.transact(vec![register_data(core, chunk)], None, &mut |_| Ok(())).await?;
            }
        }
        let tx = self.transact(vec![update_state(core, &batch.output, &hashes)], before, note).await?;
        tracing::info!(batch = %batch.content.id, %tx, "batch on the contract");
        Ok(tx)
    }

    /// Gets calls into a block, in one transaction. `before` is an earlier try at the same, perhaps of an earlier process: it is
    /// taken up if it still waits. `note` keeps the hash before it is sent.
    pub(crate) async fn transact(
        &self,
        calls: Vec<ContractCall>,
        before: Option<Bytes32>,
        note: NoteTx<'_>,
    ) -> Result<Bytes32, SendError> {
        if let Some(before) = before {
            match self.fate(before).await? {
                Fate::Executed => return Ok(before),
                Fate::Waits(nonce) if nonce == self.nonce().await? => return self.follow(before).await,
                // Why it was reverted, the estimate below says, if it would be again. One that waits for a transaction before
                // it, which a reorganisation took back, may wait for ever: if both are executed, the contract refuses one.
                Fate::Waits(_) | Fate::Reverted(_) | Fate::Unknown => {}
            }
        }
        let call = |call: ContractCall| Call { to: call.to.0, selector: call.selector, calldata: call.calldata };
        let nonce = self.nonce().await?;
        // No tip: blocks are not full, and there is nothing to bid for.
        let execution = self.account.execute_v3(calls.into_iter().map(call).collect()).nonce(nonce).tip(0);
        // A refusal comes back here, with its reason and for free.
        let bounds = Bounds::of(&within(execution.estimate_fee()).await??);
        let have = self.l1.amount(STRK, "balance_of", self.account.address(), latest()).await?;
        if have < bounds.total() {
            return Err(SendError::OutOfFunds { needed: bounds.total(), have });
        }
        let [l1_gas, l2_gas, l1_data_gas] = bounds.0;
        let execution = execution
            .l1_gas(l1_gas.0)
            .l1_gas_price(l1_gas.1)
            .l2_gas(l2_gas.0)
            .l2_gas_price(l2_gas.1)
            .l1_data_gas(l1_data_gas.0)
            .l1_data_gas_price(l1_data_gas.1)
            .prepared()
            .map_err(|error| SendError::Sign(error.to_string()))?;
        let hash = bytes(execution.transaction_hash(false));
        note(hash)?;
        match within(execution.send()).await? {
            Ok(_) => {}
            Err(starknet::accounts::AccountError::Provider(ProviderError::StarknetError(error))) => match error {
                // Sent before, with the same bounds.
                StarknetError::DuplicateTx => {}
                // An earlier one waits, or was executed meanwhile: the next cycle sees what it did.
                StarknetError::InvalidTransactionNonce(_) => {
                    return Err(SendError::NonceTaken(number(nonce)));
                }
                StarknetError::InsufficientAccountBalance => {
                    return Err(SendError::OutOfFunds { needed: bounds.total(), have });
                }
                other => return Err(ProviderError::StarknetError(other).into()),
            },
            Err(other) => return Err(other.into()),
        }
        self.follow(hash).await
    }

    /// Waits until a transaction is in a closed block.
    pub(crate) async fn follow(&self, hash: Bytes32) -> Result<Bytes32, SendError> {
        let mut seen = Instant::now();
        let mut gaps = 0;
        loop {
            match self.fate(hash).await? {
                Fate::Executed => return Ok(hash),
                Fate::Reverted(reason) => {
                    tracing::warn!(tx = %hash, reason, "a transaction was reverted");
                    return Err(L1Error::Refused(Refusal::of_text(&reason)).into());
                }
                Fate::Waits(nonce) => {
                    seen = Instant::now();
                    gaps = if self.nonce().await? < nonce { gaps + 1 } else { 0 };
                    if gaps > GAPS_MAX {
                        return Err(SendError::NonceGap(number(nonce)));
                    }
                }
                Fate::Unknown if seen.elapsed() > self.forget_after => return Err(SendError::Forgotten(hash)),
                Fate::Unknown => {}
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    async fn fate(&self, hash: Bytes32) -> Result<Fate, SendError> {
        Ok(match within(self.l1.client.get_transaction_status(felt(hash))).await? {
            Ok(TransactionStatus::AcceptedOnL2(result) | TransactionStatus::AcceptedOnL1(result)) => match result {
                ExecutionResult::Succeeded => Fate::Executed,
                ExecutionResult::Reverted { reason } => Fate::Reverted(reason),
            },
            Ok(TransactionStatus::Received | TransactionStatus::Candidate | TransactionStatus::PreConfirmed(_)) => {
                match within(self.l1.client.get_transaction_by_hash(felt(hash))).await? {
                    Ok(Transaction::Invoke(InvokeTransaction::V3(found))) => Fate::Waits(found.nonce),
                    // We send no others.
                    Ok(_) | Err(ProviderError::StarknetError(StarknetError::TransactionHashNotFound)) => Fate::Unknown,
                    Err(error) => return Err(error.into()),
                }
            }
            Err(ProviderError::StarknetError(StarknetError::TransactionHashNotFound)) => Fate::Unknown,
            Err(error) => return Err(error.into()),
        })
    }

    /// Of the account, at the newest block.
    async fn nonce(&self) -> Result<Felt, L1Error> {
        ask(self.l1.client.get_nonce(latest(), self.account.address())).await
    }

    pub(crate) fn account(&self) -> &Signer {
        &self.account
    }
}

fn number(nonce: Felt) -> u64 {
    u64::try_from(nonce).unwrap_or(u64::MAX)
}

/// Most gas and its highest price, for each of L1 gas, L2 gas and L1 data gas. Prices in fri.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bounds([(u64, u128); 3]);

impl Bounds {
    fn of(estimate: &FeeEstimate) -> Bounds {
        let gas = |gas: u64| gas.saturating_add(gas.saturating_mul(MARGIN_PERCENT) / 100);
        let price = |price: u128| price.saturating_add(price.saturating_mul(MARGIN_PERCENT.into()) / 100);
        Bounds([
            (gas(estimate.l1_gas_consumed), price(estimate.l1_gas_price)),
            (gas(estimate.l2_gas_consumed), price(estimate.l2_gas_price)),
            (gas(estimate.l1_data_gas_consumed), price(estimate.l1_data_gas_price)),
        ])
    }

    /// What the account must have.
    fn total(&self) -> u128 {
        self.0.iter().map(|(gas, price)| price.saturating_mul((*gas).into())).fold(0, u128::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_half_above_the_estimate_and_the_account_must_have_all_of_them() {
        let estimate = FeeEstimate {
            l1_gas_consumed: 0,
            l1_gas_price: 7,
            l2_gas_consumed: 100,
            l2_gas_price: 10,
            l1_data_gas_consumed: 3,
            l1_data_gas_price: 1,
            overall_fee: 1_003,
        };
        let bounds = Bounds::of(&estimate);
        assert_eq!(bounds, Bounds([(0, 10), (150, 15), (4, 1)]));
        assert_eq!(bounds.total(), 150 * 15 + 4);
    }
}
