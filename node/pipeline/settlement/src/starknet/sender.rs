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
use starknet::accounts::{Account, AccountError, ExecutionEncoding, SingleOwnerAccount};
use starknet::core::types::{
    Call, ExecutionResult, FeeEstimate, InvokeTransaction, ResourceBounds, ResourceBoundsMapping, StarknetError,
    Transaction, TransactionStatus,
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
    /// A transaction that waits for this long is sent again, with higher bounds if the market has left its own; one that no node
    /// knows for this long is forgotten.
    replace_after: Duration,
    /// Most that a transaction may cost, in fri.
    fee_max: u128,
}

/// What became of a transaction.
enum Fate {
    Executed,
    Reverted(String),
    /// Received, or executed in a block that is not closed.
    Waits {
        nonce: Felt,
        bounds: Bounds,
    },
    Unknown,
}

/// Transactions with one nonce, of which at most one can get into a block.
struct Flight {
    calls: Vec<Call>,
    nonce: Felt,
    bounds: Bounds,
    hashes: Vec<Bytes32>,
    /// `None`: by an earlier try, and nobody knows when.
    sent: Option<Instant>,
}

/// What is known of a flight from one look to the next.
struct Watch {
    /// When a node last knew any of it.
    seen: Instant,
    /// Looks at which the account was before its nonce.
    gaps: u32,
}

impl Watch {
    fn new() -> Watch {
        Watch { seen: Instant::now(), gaps: 0 }
    }
}

/// What a look found.
enum Look {
    Executed(Bytes32),
    Waits,
    Unknown,
}

impl Sender {
    pub(crate) fn new(l1: Reader, address: L1Address, key: SigningKey, poll: Duration, replace_after: Duration) -> Sender {
        let wallet = LocalWallet::from_signing_key(key);
        let mut account = SingleOwnerAccount::new(l1.client.clone(), wallet, address.0, l1.chain_id, ExecutionEncoding::New);
        account.set_block_id(latest());
        Sender { l1, account, poll, replace_after, fee_max: u128::MAX }
    }

    /// Sends nothing that may cost more fri than this.
    pub(crate) fn with_fee_max(self, fee_max: u128) -> Sender {
        Sender { fee_max, ..self }
    }

    /// Brings the signatures of a fact to the registry, ascending by signer.
    pub(crate) async fn attest(
        &self,
        fact: Bytes32,
        signatures: &[FactSignature],
        note: NoteTx<'_>,
    ) -> Result<(), SendError> {
        // The nonce first: an earlier try that gets into a block after this used it.
        let nonce = self.nonce().await?;
        if self.l1.is_attested(fact).await? {
            return Ok(());
        }
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
        self.transact_at(nonce, vec![call], None, note).await.map(drop)
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

    /// Gets calls into a block, in one transaction: sends, waits, sends again, with higher bounds if the market has left them. `before`
    /// is an earlier try at the same, perhaps of an earlier process: it is taken up if it still waits. `note` keeps each hash before
    /// it is sent.
    pub(crate) async fn transact(
        &self,
        calls: Vec<ContractCall>,
        before: Option<Bytes32>,
        note: NoteTx<'_>,
    ) -> Result<Bytes32, SendError> {
        let nonce = self.nonce().await?;
        self.transact_at(nonce, calls, before, note).await
    }

    async fn transact_at(
        &self,
        nonce: Felt,
        calls: Vec<ContractCall>,
        before: Option<Bytes32>,
        note: NoteTx<'_>,
    ) -> Result<Bytes32, SendError> {
        let call = |call: ContractCall| Call { to: call.to.0, selector: call.selector, calldata: call.calldata };
        let calls = calls.into_iter().map(call).collect();
        let waits = match before {
            Some(before) => match self.fate_of_before(before).await? {
                Fate::Executed => return Ok(before),
                Fate::Waits { nonce: taken, bounds } if taken == nonce => Some((before, bounds)),
                // Why it was reverted, the estimate says, if it would be again. One that waits for a transaction before
                // it, which a reorganisation took back, may wait for ever: if both are executed, the contract refuses one.
                Fate::Waits { .. } | Fate::Reverted(_) | Fate::Unknown => None,
            },
            None => None,
        };
        let flight = match waits {
            Some((before, bounds)) => Flight { calls, nonce, bounds, hashes: vec![before], sent: None },
            None => {
                let market = self.estimate(&calls, nonce).await?;
                let mut flight = Flight { calls, nonce, bounds: market.with_margin(), hashes: vec![], sent: None };
                self.send(&mut flight, note).await?;
                flight
            }
        };
        self.land(flight, note).await
    }

    /// What the calls would take now, without a margin. A refusal comes back here, with its reason and for free.
    async fn estimate(&self, calls: &[Call], nonce: Felt) -> Result<Bounds, SendError> {
        // No tip: blocks are not full, and there is nothing to bid for.
        let execution = self.account.execute_v3(calls.to_vec()).nonce(nonce).tip(0);
        Ok(Bounds::of(&within(execution.estimate_fee()).await??))
    }

    /// Signs and sends; raises the bounds as long as the node says that they replace too little.
    async fn send(&self, flight: &mut Flight, note: NoteTx<'_>) -> Result<(), SendError> {
        loop {
            let needed = flight.bounds.total();
            if needed > self.fee_max {
                return Err(SendError::FeeMax { needed, max: self.fee_max });
            }
            let have = self.l1.amount(STRK, "balance_of", self.account.address(), latest()).await?;
            if have < needed {
                return Err(self.out_of_funds(needed, have));
            }
            let [l1_gas, l2_gas, l1_data_gas] = flight.bounds.0;
            let execution = self
                .account
                .execute_v3(flight.calls.clone())
                .nonce(flight.nonce)
                .tip(0)
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
            let again = !flight.hashes.is_empty();
            if !flight.hashes.contains(&hash) {
                flight.hashes.push(hash);
            }
            flight.sent = Some(Instant::now());
            let error = match within(execution.send()).await? {
                Ok(_) => return Ok(()),
                Err(AccountError::Provider(ProviderError::StarknetError(error))) => error,
                Err(other) => return Err(other.into()),
            };
            match error {
                // Sent before, with the same bounds.
                StarknetError::DuplicateTx => return Ok(()),
                // One of ours is executed meanwhile: following tells which.
                StarknetError::InvalidTransactionNonce(_) if again => return Ok(()),
                // An earlier one waits, or was executed meanwhile: the next cycle sees what it did.
                StarknetError::InvalidTransactionNonce(_) => return Err(SendError::NonceTaken(number(flight.nonce))),
                // What waits with our nonce offers more.
                StarknetError::ReplacementTransactionUnderpriced => flight.bounds = flight.bounds.replacing(flight.bounds),
                StarknetError::InsufficientAccountBalance => return Err(self.out_of_funds(needed, have)),
                other => return Err(ProviderError::StarknetError(other).into()),
            }
        }
    }

    /// Waits until one of a flight is in a closed block.
    async fn land(&self, mut flight: Flight, note: NoteTx<'_>) -> Result<Bytes32, SendError> {
        let mut watch = Watch::new();
        loop {
            match self.look(&flight.hashes, &mut watch).await? {
                Look::Executed(hash) => return Ok(hash),
                Look::Waits if flight.sent.is_none_or(|sent| sent.elapsed() >= self.replace_after) => {
                    let market = self.estimate(&flight.calls, flight.nonce).await?;
                    // Where the market is within the bounds, the same transaction again: nodes may have forgotten it.
                    if !flight.bounds.meet(market) {
                        flight.bounds = flight.bounds.replacing(market.with_margin());
                    }
                    let Flight { nonce, bounds, .. } = &flight;
                    tracing::warn!(%nonce, ?bounds, "transaction waits too long: sending it again");
                    self.send(&mut flight, note).await?;
                }
                Look::Waits | Look::Unknown => {}
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    /// Waits until a transaction is in a closed block.
    pub(crate) async fn follow(&self, hash: Bytes32) -> Result<Bytes32, SendError> {
        let mut watch = Watch::new();
        loop {
            if let Look::Executed(hash) = self.look(&[hash], &mut watch).await? {
                return Ok(hash);
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    /// Any of them may be executed, whatever was sent last.
    async fn look(&self, hashes: &[Bytes32], watch: &mut Watch) -> Result<Look, SendError> {
        let mut waits = None;
        for hash in hashes {
            match self.fate(*hash).await? {
                Fate::Executed => return Ok(Look::Executed(*hash)),
                Fate::Reverted(reason) => {
                    tracing::warn!(tx = %hash, reason, "a transaction was reverted");
                    return Err(L1Error::Refused(Refusal::of_text(&reason)).into());
                }
                Fate::Waits { nonce, .. } => waits = Some(nonce),
                Fate::Unknown => {}
            }
        }
        let Some(nonce) = waits else {
            let last = hashes.last().copied().unwrap_or_default();
            return if watch.seen.elapsed() > self.replace_after {
                Err(SendError::Forgotten(last))
            } else {
                Ok(Look::Unknown)
            };
        };
        watch.seen = Instant::now();
        watch.gaps = if self.nonce().await? < nonce { watch.gaps + 1 } else { 0 };
        if watch.gaps > GAPS_MAX {
            return Err(SendError::NonceGap(number(nonce)));
        }
        Ok(Look::Waits)
    }

    async fn fate(&self, hash: Bytes32) -> Result<Fate, SendError> {
        Ok(match within(self.l1.client.get_transaction_status(felt(hash))).await? {
            Ok(TransactionStatus::AcceptedOnL2(result) | TransactionStatus::AcceptedOnL1(result)) => match result {
                ExecutionResult::Succeeded => Fate::Executed,
                ExecutionResult::Reverted { reason } => Fate::Reverted(reason),
            },
            Ok(TransactionStatus::Received | TransactionStatus::Candidate | TransactionStatus::PreConfirmed(_)) => {
                match within(self.l1.client.get_transaction_by_hash(felt(hash))).await? {
                    Ok(Transaction::Invoke(InvokeTransaction::V3(found))) => {
                        Fate::Waits { nonce: found.nonce, bounds: Bounds::offered(&found.resource_bounds) }
                    }
                    // We send no others.
                    Ok(_) | Err(ProviderError::StarknetError(StarknetError::TransactionHashNotFound)) => Fate::Unknown,
                    Err(error) => return Err(error.into()),
                }
            }
            Err(ProviderError::StarknetError(StarknetError::TransactionHashNotFound)) => Fate::Unknown,
            Err(error) => return Err(error.into()),
        })
    }

    fn out_of_funds(&self, needed: u128, have: u128) -> SendError {
        SendError::OutOfFunds { account: format!("{:#x}", self.account.address()), needed, have }
    }

    /// Endpoints need not agree on what waits. Another with its nonce replaces it.
    async fn fate_of_before(&self, hash: Bytes32) -> Result<Fate, SendError> {
        match self.fate(hash).await {
            Err(SendError::L1(L1Error::NoQuorum(_))) => Ok(Fate::Unknown),
            fate => fate,
        }
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
    /// What an estimate says, without a margin.
    fn of(estimate: &FeeEstimate) -> Bounds {
        Bounds([
            (estimate.l1_gas_consumed, estimate.l1_gas_price),
            (estimate.l2_gas_consumed, estimate.l2_gas_price),
            (estimate.l1_data_gas_consumed, estimate.l1_data_gas_price),
        ])
    }

    /// What a transaction offers.
    fn offered(bounds: &ResourceBoundsMapping) -> Bounds {
        let of = |bounds: &ResourceBounds| (bounds.max_amount, bounds.max_price_per_unit);
        Bounds([of(&bounds.l1_gas), of(&bounds.l2_gas), of(&bounds.l1_data_gas)])
    }

    fn with_margin(self) -> Bounds {
        let gas = |gas: u64| gas.saturating_add(gas.saturating_mul(MARGIN_PERCENT) / 100);
        let price = |price: u128| price.saturating_add(price.saturating_mul(MARGIN_PERCENT.into()) / 100);
        Bounds(self.0.map(|(gas_used, price_now)| (gas(gas_used), price(price_now))))
    }

    /// Whether no price of the market is above these.
    fn meet(self, market: Bounds) -> bool {
        self.0.iter().zip(market.0).all(|((_, offered), (_, now))| *offered >= now)
    }

    /// What a transaction with the same nonce must offer to take the place of one that offers this: nodes ask for a tenth more of
    /// the price of L2 gas (a quarter here, of each); or `market`, where that is more.
    fn replacing(self, market: Bounds) -> Bounds {
        let mut raised = self;
        for (bound, now) in raised.0.iter_mut().zip(market.0) {
            let least = bound.1.saturating_add(bound.1.div_ceil(4));
            *bound = (bound.0.max(now.0), least.max(now.1));
        }
        raised
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
        let bounds = Bounds::of(&estimate).with_margin();
        assert_eq!(bounds, Bounds([(0, 10), (150, 15), (4, 1)]));
        assert_eq!(bounds.total(), 150 * 15 + 4);
    }

    #[test]
    fn a_replacement_offers_a_quarter_more_or_the_market_and_only_prices_decide_whether_it_is_needed() {
        let before = Bounds([(0, 10), (150, 16), (4, 1)]);
        for (name, market, meets, expected) in [
            ("the same", Bounds([(0, 10), (150, 16), (4, 1)]), true, Bounds([(0, 13), (150, 20), (4, 2)])),
            ("more gas", Bounds([(0, 10), (160, 16), (4, 1)]), true, Bounds([(0, 13), (160, 20), (4, 2)])),
            ("a higher price", Bounds([(0, 10), (100, 40), (4, 1)]), false, Bounds([(0, 13), (150, 40), (4, 2)])),
        ] {
            assert_eq!((before.meet(market), before.replacing(market)), (meets, expected), "{name}");
        }
        let most = Bounds([(u64::MAX, u128::MAX); 3]);
        assert_eq!((most.with_margin(), most.replacing(most), most.total()), (most, most, u128::MAX));
    }
}
