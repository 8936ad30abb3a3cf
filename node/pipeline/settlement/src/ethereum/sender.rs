//! One transaction at a time, from an account that nobody else uses.
//!
//! The nonce is the account's count at the newest block, read for each transaction: a second transaction with the
//! same nonce can only replace the first, so nothing is ever done twice. What is about to be sent is noted first.

use super::blobs;
use super::fees::{Fees, Market, gas_limit};
use super::reader::Reader;
use crate::error::{L1Error, SendError};
use crate::layer::{FactSignature, NoteTx};
use alloy::consensus::Transaction as _;
use alloy::eips::BlockId;
use alloy::eips::eip2718::Encodable2718;
use alloy::eips::eip7594::{BlobTransactionSidecarEip7594, BlobTransactionSidecarVariant};
use alloy::network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder, TransactionBuilder4844};
use alloy::primitives::{Address, B256, Bytes, Signature, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use keel_batches::{Batch, DataAvailability};
use keel_contracts::ethereum::{attestation_digest, attestation_signatures, word};
use keel_types::{Bytes32, Felt};
use std::cmp::Ordering;
use std::time::{Duration, Instant};

/// Looks at an account's count that our transaction does not fit before it is believed.
const MISSES_MAX: u32 = 5;

/// What nodes say where an account has too little.
const NO_FUNDS: &str = "insufficient funds";

impl From<alloy::transports::TransportError> for SendError {
    fn from(error: alloy::transports::TransportError) -> Self {
        SendError::L1(error.into())
    }
}

/// What is to happen.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) to: Address,
    pub(crate) data: Bytes,
    /// Wei.
    pub(crate) value: U256,
    /// Blobs with their proofs.
    pub(crate) sidecar: Option<BlobTransactionSidecarEip7594>,
}

impl Call {
    pub(crate) fn new(to: Address, data: Bytes) -> Call {
        Call { to, data, value: U256::ZERO, sidecar: None }
    }

    fn blobs(&self) -> usize {
        self.sidecar.as_ref().map_or(0, |sidecar| sidecar.blobs.len())
    }
}

/// Attestations go from the attestor's account and updates from the submitter's, whose right they need. Never from one: nodes keep blobs in a
/// pool of their own and refuse an account that waits in the other, so that after a reorganisation each could wait for the other for ever.
pub(crate) struct Senders {
    pub(crate) attestor: Sender,
    pub(crate) submitter: Sender,
}

impl Senders {
    pub(crate) async fn attest(
        &self,
        fact: Bytes32,
        signatures: &[FactSignature],
        note: NoteTx<'_>,
    ) -> Result<(), SendError> {
        self.attestor.attest(fact, signatures, note).await
    }

    pub(crate) async fn submit(
        &self,
        batch: &Batch,
        before: Option<Bytes32>,
        note: NoteTx<'_>,
    ) -> Result<Bytes32, SendError> {
        self.submitter.submit(batch, before, note).await
    }
}

/// Sends from one account.
pub(crate) struct Sender {
    l1: Reader,
    wallet: EthereumWallet,
    address: Address,
    poll: Duration,
    replace_after: Duration,
    /// Most that a transaction may cost, in wei, without what it sends.
    fee_max: u128,
}

/// Transactions with one nonce, of which at most one can get into a block.
struct Flight<'a> {
    call: &'a Call,
    nonce: u64,
    gas: u64,
    fees: Fees,
    hashes: Vec<B256>,
    /// `None`: by an earlier try, and nobody knows when.
    sent: Option<Instant>,
}

impl Sender {
    pub(crate) fn new(l1: Reader, signer: PrivateKeySigner, poll: Duration, replace_after: Duration) -> Sender {
        let address = signer.address();
        Sender { l1, wallet: EthereumWallet::from(signer), address, poll, replace_after, fee_max: u128::MAX }
    }

    /// Sends nothing that may cost more wei than this.
    pub(crate) fn with_fee_max(self, fee_max: u128) -> Sender {
        Sender { fee_max, ..self }
    }

    /// Brings the signatures of a fact to the registry.
    async fn attest(&self, fact: Bytes32, signatures: &[FactSignature], note: NoteTx<'_>) -> Result<(), SendError> {
        // The nonce first: an earlier try that gets into a block after this used it.
        let nonce = self.nonce().await?;
        if self.l1.is_attested(fact).await? {
            return Ok(());
        }
        let registry = *self.l1.registry.address();
        let fact = B256::from(fact.0);
        let digest = attestation_digest(self.l1.chain_id, registry, fact);
        let parse = |signature: &FactSignature| Signature::from_raw(&signature.bytes);
        let parsed = signatures.iter().map(parse).collect::<Result<Vec<_>, _>>();
        let ordered = parsed.and_then(|signatures| attestation_signatures(digest, &signatures));
        let ordered = ordered.map_err(|error| SendError::Sign(error.to_string()))?;
        let call = Call::new(registry, self.l1.registry.attest(fact, ordered).calldata().clone());
        self.transact_at(nonce, &call, None, note).await.map(drop)
    }

    /// Gets a batch onto the core contract; see [`crate::layer::Sender::submit`].
    async fn submit(&self, batch: &Batch, before: Option<Bytes32>, note: NoteTx<'_>) -> Result<Bytes32, SendError> {
        let call = self.update(batch).await?;
        let receipt = self.transact(&call, before.map(|tx| B256::from(tx.0)), note).await?;
        let (tx, gas, blob_gas) = (receipt.transaction_hash, receipt.gas_used, receipt.blob_gas_used.unwrap_or_default());
        tracing::info!(batch = %batch.content.id, %tx, gas, blob_gas, "batch on the contract");
        Ok(Bytes32(tx.0))
    }

    /// The state update of a batch, with its data as the batch has it.
    async fn update(&self, batch: &Batch) -> Result<Call, SendError> {
        let words = |felts: &[Felt]| felts.iter().copied().map(word).collect::<Vec<U256>>();
        let (core, output) = (&self.l1.core, words(&batch.output));
        let to = *core.address();
        match &batch.content.data {
            DataAvailability::Calldata { words: data } => {
                Ok(Call::new(to, core.updateStateWithData(output, words(data)).calldata().clone()))
            }
            data @ DataAvailability::Blobs { .. } => {
                let data = data.clone();
                let work = move || Ok::<_, SendError>((blobs::point_proofs(&data)?, blobs::sidecar(&data)?));
                let worked = tokio::task::spawn_blocking(work).await;
                let (proofs, sidecar) = worked.map_err(|error| SendError::Data(error.to_string()))??;
                let call = core.updateStateKzgDA(output, proofs).calldata().clone();
                Ok(Call { sidecar, ..Call::new(to, call) })
            }
            DataAvailability::Chunks { .. } => Err(SendError::Form(batch.content.id)),
        }
    }

    /// Gets a call into a block: sends, waits, sends again, with a higher fee if the market asks more. `before` is an earlier try at the same call, perhaps
    /// of an earlier process: it is taken up if it still waits. `note` keeps each hash before it is sent.
    pub(crate) async fn transact(
        &self,
        call: &Call,
        before: Option<B256>,
        note: NoteTx<'_>,
    ) -> Result<TransactionReceipt, SendError> {
        let nonce = self.nonce().await?;
        self.transact_at(nonce, call, before, note).await
    }

    /// Of the account, at the newest block.
    async fn nonce(&self) -> Result<u64, SendError> {
        Ok(self.l1.provider.get_transaction_count(self.address).await?)
    }

    async fn transact_at(
        &self,
        nonce: u64,
        call: &Call,
        before: Option<B256>,
        note: NoteTx<'_>,
    ) -> Result<TransactionReceipt, SendError> {
        let mut flight = match self.take_up(before, call, nonce).await? {
            Some(flight) => flight,
            None => {
                let market = self.market(call).await?;
                let gas = self.estimate(call, nonce, market.offer()).await?;
                let fees = self.affordable(market, gas, call.blobs(), Some)?;
                let mut flight = Flight { call, nonce, gas, fees, hashes: vec![], sent: None };
                self.send(&mut flight, note).await?;
                flight
            }
        };
        self.follow(&mut flight, note).await
    }

    async fn follow(&self, flight: &mut Flight<'_>, note: NoteTx<'_>) -> Result<TransactionReceipt, SendError> {
        let mut misses = 0;
        loop {
            // Any of them may win, whatever was sent last.
            for hash in &flight.hashes {
                if let Some(receipt) = self.l1.provider.get_transaction_receipt(*hash).await? {
                    return if receipt.status() { Ok(receipt) } else { Err(SendError::Reverted(Bytes32(hash.0))) };
                }
            }
            match self.nonce().await?.cmp(&flight.nonce) {
                Ordering::Equal => misses = 0,
                _ if misses < MISSES_MAX => misses += 1,
                Ordering::Greater => return Err(SendError::NonceTaken(flight.nonce)),
                // A reorganisation took the one before it back. Ours waits for that one, and may wait for ever.
                Ordering::Less => return Err(SendError::NonceGap(flight.nonce)),
            }
            if flight.sent.is_none_or(|sent| sent.elapsed() >= self.replace_after) {
                let market = self.market(flight.call).await?;
                // Where the market asks no more, the same transaction again: nodes may have forgotten it.
                if !flight.fees.meets(market) {
                    flight.fees = self.raised(flight, market)?;
                }
                let Flight { nonce, fees, .. } = &flight;
                tracing::warn!(nonce, ?fees, "transaction waits too long: sending it again");
                self.send(flight, note).await?;
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    /// An earlier transaction that is the same call: in a block already, or waiting with the nonce that is next.
    async fn take_up<'a>(&self, before: Option<B256>, call: &'a Call, nonce: u64) -> Result<Option<Flight<'a>>, SendError> {
        let Some(hash) = before else { return Ok(None) };
        let found = self.l1.provider.get_transaction_by_hash(hash).await.map_err(L1Error::from);
        let found = match found {
            Ok(Some(found)) => found,
            // Endpoints need not agree on what waits. Another with its nonce replaces it.
            Ok(None) | Err(L1Error::NoQuorum(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let waits = found.block_number.is_none() && found.nonce() == nonce;
        let same = *found.input() == call.data && found.to() == Some(call.to);
        if !same || !(waits || found.block_number.is_some()) {
            return Ok(None);
        }
        // In a block without effect: whatever made it fail may have passed, and the nonce is used up.
        let receipt = self.l1.provider.get_transaction_receipt(hash).await?;
        if receipt.is_some_and(|receipt| !receipt.status()) {
            return Ok(None);
        }
        let (max, tip) = (found.max_fee_per_gas(), found.max_priority_fee_per_gas().unwrap_or_default());
        let fees = Fees { max, tip, blob: found.max_fee_per_blob_gas() };
        let (nonce, gas) = (found.nonce(), found.gas_limit());
        Ok(Some(Flight { call, nonce, gas, fees, hashes: vec![hash], sent: None }))
    }

    /// Three single numbers, of each of which a quorum of endpoints can be asked.
    async fn market(&self, call: &Call) -> Result<Market, SendError> {
        let base = self.l1.base_fee().await?;
        let tip = self.l1.provider.get_max_priority_fee_per_gas().await?;
        let blob_base = match call.sidecar {
            Some(_) => Some(self.l1.provider.get_blob_base_fee().await?),
            None => None,
        };
        Ok(Market { base, tip, blob_base })
    }

    /// What is offered in place of a transaction that waits.
    fn raised(&self, flight: &Flight<'_>, market: Market) -> Result<Fees, SendError> {
        self.affordable(market, flight.gas, flight.call.blobs(), |offer| flight.fees.replacing(offer))
    }

    /// `fees` of an offer with room, or of one without it, if only that may be paid.
    fn affordable(
        &self,
        market: Market,
        gas: u64,
        blobs: usize,
        fees: impl Fn(Fees) -> Option<Fees>,
    ) -> Result<Fees, SendError> {
        let price = market.base.saturating_add(market.tip);
        if !market.within_limits() {
            return Err(SendError::Price(price));
        }
        let mut needed = 0;
        for offer in [market.offer(), market.bare_offer()] {
            let fees = fees(offer).ok_or(SendError::Price(price))?;
            needed = fees.cost(gas, blobs);
            if needed <= self.fee_max {
                return Ok(fees);
            }
        }
        Err(SendError::FeeMax { needed, max: self.fee_max })
    }

    fn request(&self, call: &Call, nonce: u64) -> TransactionRequest {
        TransactionRequest::default()
            .with_from(self.address)
            .with_to(call.to)
            .with_input(call.data.clone())
            .with_value(call.value)
            .with_nonce(nonce)
            .with_chain_id(self.l1.chain_id)
    }

    /// The gas limit. A refusal comes back here, with its reason and for free. At the newest block, not the pending one: there our
    /// own earlier try may seem done, and a second attestation costs less gas than the first. Of blobs only the hashes are
    /// told: that is what a contract sees of them.
    async fn estimate(&self, call: &Call, nonce: u64, fees: Fees) -> Result<u64, SendError> {
        let mut request = self.request(call, nonce);
        if let Some(sidecar) = &call.sidecar {
            request.blob_versioned_hashes = Some(sidecar.versioned_hashes().collect());
            request.max_fee_per_blob_gas = fees.blob;
        }
        match self.l1.provider.estimate_gas(request).block(BlockId::latest()).await.map_err(L1Error::from) {
            Ok(gas) => gas_limit(gas).ok_or(SendError::TooMuchGas(gas)),
            // Of what is offered for blobs.
            Err(L1Error::Rpc { message, .. }) if says(&message, &[NO_FUNDS]) => {
                let have = self.l1.provider.get_balance(self.address).await?;
                Err(self.out_of_funds(U256::from(fees.cost(0, call.blobs())), have))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Signs and sends; raises the fee as long as the node says that it replaces too little.
    async fn send(&self, flight: &mut Flight<'_>, note: NoteTx<'_>) -> Result<(), SendError> {
        loop {
            let have = self.l1.provider.get_balance(self.address).await?;
            let needed = U256::from(flight.fees.cost(flight.gas, flight.call.blobs())).saturating_add(flight.call.value);
            if have < needed {
                return Err(self.out_of_funds(needed, have));
            }
            let (hash, bytes) = self.sign(flight).await?;
            note(Bytes32(hash.0))?;
            if !flight.hashes.contains(&hash) {
                flight.hashes.push(hash);
            }
            flight.sent = Some(Instant::now());
            let error = match self.l1.provider.send_raw_transaction(&bytes).await {
                Ok(_) => return Ok(()),
                Err(error) => L1Error::from(error),
            };
            match error {
                // In a block meanwhile, or in the pool: one of ours, or a stranger's, which following will tell.
                L1Error::Rpc { message, .. } if says(&message, &["already known", "already imported", "nonce too low"]) => {
                    return Ok(());
                }
                L1Error::Rpc { message, .. }
                    if says(&message, &["underpriced", "less than block", "too low to replace"]) =>
                {
                    let market = self.market(flight.call).await?;
                    flight.fees = self.raised(flight, market).map_err(|error| match error {
                        SendError::Price(_) => SendError::Outbid(flight.nonce),
                        other => other,
                    })?;
                }
                L1Error::Rpc { message, .. } if says(&message, &[NO_FUNDS]) => {
                    return Err(self.out_of_funds(needed, have));
                }
                other => return Err(other.into()),
            }
        }
    }

    fn out_of_funds(&self, needed: U256, have: U256) -> SendError {
        let wei = |amount: U256| u128::try_from(amount).unwrap_or(u128::MAX);
        SendError::OutOfFunds { account: self.address.to_string(), needed: wei(needed), have: wei(have) }
    }

    async fn sign(&self, flight: &Flight<'_>) -> Result<(B256, Vec<u8>), SendError> {
        let mut request = self
            .request(flight.call, flight.nonce)
            .with_gas_limit(flight.gas)
            .with_max_fee_per_gas(flight.fees.max)
            .with_max_priority_fee_per_gas(flight.fees.tip.min(flight.fees.max));
        if let Some(sidecar) = &flight.call.sidecar {
            request.set_blob_sidecar(BlobTransactionSidecarVariant::Eip7594(sidecar.clone()));
            request.set_max_fee_per_blob_gas(flight.fees.blob.unwrap_or(1));
        }
        let signed = request.build(&self.wallet).await.map_err(|error| SendError::Sign(error.to_string()))?;
        Ok((*signed.tx_hash(), signed.encoded_2718()))
    }
}

/// Nodes agree on these words, in different cases, and on no code.
fn says(message: &str, words: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    words.iter().any(|word| message.contains(word))
}
