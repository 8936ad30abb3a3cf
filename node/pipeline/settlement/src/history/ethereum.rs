//! [`super::History`] of a chain that settles on Ethereum: events of the core contract, and the transactions that made them.

use super::source::{BlobSource, BlockOfBlobs};
use super::{Accepted, AcceptedData, DataSource, HistoryError, SettledState, Update};
use crate::error::L1Error;
use crate::ethereum::quorum;
use crate::ethereum::reader::{LOG_BLOCKS_MAX, ask};
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, Bytes, I256, U64, U256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::{SolCall, SolEvent};
use keel_batches::blob::from_blobs;
use keel_contracts::ethereum::{AppchainCore, felt};
use keel_types::{BatchId, Bytes32, Felt, Height, L1Address};
use serde::Deserialize;

/// What is read of a transaction: with several endpoints, what they agree on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Carrier {
    to: Option<Address>,
    input: Bytes,
    blob_versioned_hashes: Option<Vec<B256>>,
}

/// What is read of a block.
#[derive(Debug, Deserialize)]
struct Header {
    timestamp: U64,
}

pub(super) struct Ethereum {
    provider: DynProvider,
    core: AppchainCore::AppchainCoreInstance<DynProvider>,
    blobs: BlobSource,
}

impl Ethereum {
    pub(super) fn connect(
        endpoints: &[String],
        quorum: usize,
        core: L1Address,
        data: DataSource,
    ) -> Result<Ethereum, L1Error> {
        let provider = quorum::connect(endpoints, quorum)?;
        let address = core.to_ethereum().ok_or_else(|| L1Error::NotOurs(format!("{core} is no address of Ethereum")))?;
        let core = AppchainCore::new(Address::from(address), provider.clone());
        Ok(Ethereum { core, provider, blobs: BlobSource::connect(data)? })
    }

    pub(super) async fn chain_id(&self) -> Result<Felt, L1Error> {
        Ok(self.provider.get_chain_id().await?.into())
    }

    pub(super) async fn head(&self) -> Result<u64, L1Error> {
        Ok(self.provider.get_block_number().await?)
    }

    pub(super) async fn state_at(&self, block: u64) -> Result<SettledState, L1Error> {
        let pinned = BlockId::number(block);
        let number = ask(self.core.stateBlockNumber().block(pinned)).await?;
        let root = ask(self.core.stateRoot().block(pinned)).await?;
        let hash = ask(self.core.stateBlockHash().block(pinned)).await?;
        let last_block = if number == I256::MINUS_ONE { None } else { Some(height(number)?) };
        Ok(SettledState { last_block, root: word(root)?, block_hash: word(hash)? })
    }

    pub(super) async fn updates(&self, from: u64, to: u64) -> Result<Vec<Update>, L1Error> {
        let filter =
            Filter::new().address(*self.core.address()).event_signature(AppchainCore::LogStateUpdate::SIGNATURE_HASH);
        let mut updates = Vec::new();
        let mut start = from;
        while start <= to {
            let end = to.min(start.saturating_add(LOG_BLOCKS_MAX - 1));
            let mut logs = self.provider.get_logs(&filter.clone().from_block(start).to_block(end)).await?;
            logs.sort_by_key(|log| (log.block_number, log.log_index));
            for log in &logs {
                updates.push(update(log)?);
            }
            start = end.saturating_add(1);
        }
        Ok(updates)
    }

    pub(super) async fn accepted(&self, batch: BatchId, update: &Update) -> Result<Accepted, HistoryError> {
        let tx = update.l1_tx_hash;
        let wrong = |why| HistoryError::Transaction { batch, tx, why };
        let found = self.provider.raw_request::<_, Option<Carrier>>("eth_getTransactionByHash".into(), [B256::from(tx.0)]);
        let Carrier { to, input, blob_versioned_hashes } =
            found.await.map_err(L1Error::from)?.ok_or(HistoryError::NoTransaction { batch, tx })?;
        if to != Some(*self.core.address()) {
            return Err(wrong("it calls another contract than the core contract"));
        }
        let (output, data) = if let Ok(call) = AppchainCore::updateStateWithDataCall::abi_decode(&input) {
            (call.programOutput, AcceptedData::Words(words(call.daWords)?))
        } else if let Ok(call) = AppchainCore::updateStateKzgDACall::abi_decode(&input) {
            let hashes = blob_versioned_hashes.ok_or(wrong("it carries no blobs"))?;
            // As many as the output names (word 11, after z): what followed them would not be the batch's.
            let named = call.programOutput.get(11).and_then(|count| usize::try_from(*count).ok());
            let hashes =
                named.and_then(|count| hashes.get(..count)).ok_or(wrong("it carries fewer blobs than its output names"))?;
            (call.programOutput, AcceptedData::Blobs(hashes.iter().map(|hash| Bytes32(hash.0)).collect()))
        } else {
            return Err(wrong("its input is no state update with data"));
        };
        Ok(Accepted { output: words(output)?, data })
    }

    pub(super) async fn words(
        &self,
        batch: BatchId,
        update: &Update,
        data: AcceptedData,
    ) -> Result<Vec<Felt>, HistoryError> {
        let unreadable = |why| HistoryError::Data { batch, why };
        match data {
            AcceptedData::Words(words) => Ok(words),
            AcceptedData::Blobs(hashes) => {
                let block = self.block_of_blobs(update.l1_block).await?;
                let blobs = self.blobs.blobs(batch, &block, &hashes).await.map_err(unreadable)?;
                from_blobs(&blobs).map_err(|error| unreadable(error.into()))
            }
            AcceptedData::Chunks(_) => Err(L1Error::Contradiction("an update on Ethereum has chunks".into()).into()),
        }
    }

    async fn block_of_blobs(&self, number: u64) -> Result<BlockOfBlobs, L1Error> {
        let header = self.provider.raw_request("eth_getBlockByNumber".into(), (BlockNumberOrTag::Number(number), false));
        let header: Option<Header> = header.await?;
        let header = header.ok_or_else(|| L1Error::Unreachable(format!("block {number} of an event is not there yet")))?;
        Ok(BlockOfBlobs { number, timestamp: header.timestamp.to() })
    }
}

fn update(log: &Log) -> Result<Update, L1Error> {
    let event = log.log_decode::<AppchainCore::LogStateUpdate>().map_err(|error| L1Error::NotOurs(error.to_string()))?;
    let event = event.inner.data;
    let (Some(l1_block), Some(tx)) = (log.block_number, log.transaction_hash) else {
        return Err(L1Error::Contradiction("an event of a block range is in no block".into()));
    };
    Ok(Update {
        last_block: height(event.blockNumber)?,
        root: word(event.globalRoot)?,
        block_hash: word(event.blockHash)?,
        l1_block,
        l1_tx_hash: Bytes32(tx.0),
    })
}

fn height(number: I256) -> Result<Height, L1Error> {
    u64::try_from(number).map(Height).map_err(|_| L1Error::Contradiction(format!("the last block is {number}")))
}

fn word(word: U256) -> Result<Felt, L1Error> {
    felt(word).ok_or_else(|| L1Error::Contradiction(format!("{word:#x} is not below the field's prime")))
}

fn words(words: Vec<U256>) -> Result<Vec<Felt>, L1Error> {
    words.into_iter().map(word).collect()
}
