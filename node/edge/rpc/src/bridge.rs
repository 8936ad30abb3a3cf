//! `bridge_*`: batches, deposits and withdrawals, as bridges and other readers of the settlement layer need them.
//! [spec settlement, What bridges read]
pub mod json;
pub(crate) mod stream;

use crate::context::{DepositState, Shared};
use crate::error::RpcError;
use crate::fields::Fields;
use crate::limits::{HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX};
use crate::method::{Call, Method, Param};
use crate::node::brief;
use json::to_l1;
use jsonrpsee::types::Params;
use keel_batches::{Batch, BatchError, MessageToL1};
use keel_commitment::hash::keccak256;
use keel_store::{BatchHeader, BatchStatus, DepositResult, DepositRow, WithdrawalRow};
use keel_types::*;
use serde_json::{Value, json};

const BATCH: Param = Param::required("batch", "uint", "Number of the settlement batch; the first is 0.");

/// The methods.
pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "bridge_getBatch",
        summary: "A settlement batch: its blocks, roots, messages, program output and facts.",
        params: &[BATCH],
        result: "Batch",
        errors: &["UNKNOWN_BATCH"],
        call: Call::Store(batch),
    },
    Method {
        name: "bridge_getBatchByBlock",
        summary: "The settlement batch that holds a block.",
        params: &[Param::required("block", "uint", "Height of the block.")],
        result: "Batch",
        errors: &["UNKNOWN_BATCH"],
        call: Call::Store(batch_by_block),
    },
    Method {
        name: "bridge_getLatest",
        summary: "The newest batch that was built, submitted, confirmed.",
        params: &[],
        result: "LatestBatches",
        errors: &[],
        call: Call::Store(latest),
    },
    Method {
        name: "bridge_getBatches",
        summary: "Batches in short, newest first, by page.",
        params: &[
            Param::optional(
                "from",
                "uint",
                "The newest batch to show; without it the newest there is. `next` of the page before.",
            ),
            Param::optional("limit", "uint", "Batches in the page."),
        ],
        result: "Batches",
        errors: &[],
        call: Call::Store(batches),
    },
    stream::SUBSCRIBE_BATCHES,
    stream::UNSUBSCRIBE_BATCHES,
    Method {
        name: "bridge_getBatchData",
        summary: "The words of a batch that rebuild the state, by page.",
        params: &[BATCH, Param::optional("page", "uint", "From 0, else 0.")],
        result: "BatchData",
        errors: &["UNKNOWN_BATCH", "PAGE_OUT_OF_RANGE"],
        call: Call::Store(batch_data),
    },
    Method {
        name: "bridge_getDeposit",
        summary: "What became of a deposit: PENDING on the settlement layer, CREDITED or REFUSED here.",
        params: &[Param::required("messageNonce", "uint", "Nonce of its message on the settlement contract.")],
        result: "Deposit",
        errors: &["UNKNOWN_DEPOSIT"],
        call: Call::Store(deposit),
    },
    Method {
        name: "bridge_getWithdrawal",
        summary: "Where a withdrawal is, and the call that claims it.",
        params: &[Param::required("id", "uint", "As `trade_withdraw` answered.")],
        result: "Withdrawal",
        errors: &["UNKNOWN_WITHDRAWAL"],
        call: Call::Store(withdrawal),
    },
];

impl From<BatchError> for RpcError {
    fn from(error: BatchError) -> Self {
        tracing::error!(%error, "read a batch for a request");
        RpcError::Internal
    }
}

fn load(shared: &Shared, id: BatchId) -> Result<(BatchHeader, Batch), RpcError> {
    Batch::load(&shared.store, id)?.ok_or(RpcError::UnknownBatch)
}

fn batch(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let id = BatchId(fields.integer("batch")?);
    fields.finish()?;
    let (header, batch) = load(shared, id)?;
    Ok(json::batch(shared.genesis.settlement.layer, &header, &batch, shared.status.submission(&header)))
}

fn batch_by_block(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let height = Height(fields.integer("block")?);
    fields.finish()?;
    let id = shared.store.batch_of_block(height)?.ok_or(RpcError::UnknownBatch)?;
    let (header, batch) = load(shared, id)?;
    Ok(json::batch(shared.genesis.settlement.layer, &header, &batch, shared.status.submission(&header)))
}

fn latest(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    Fields::read(params)?.finish()?;
    let latest = |status| -> Result<Value, RpcError> {
        Ok(shared.store.latest_batch_with(status)?.map_or(Value::Null, |header| brief(&header)))
    };
    Ok(json!({
        "built": latest(BatchStatus::Built)?,
        "submitted": latest(BatchStatus::Submitted)?,
        "confirmed": latest(BatchStatus::Confirmed)?,
    }))
}

/// The words that rebuild the state. Page 0 exists even when there are none.
fn batch_data(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let id = BatchId(fields.integer("batch")?);
    let page: usize = fields.optional_integer("page")?.unwrap_or(0);
    fields.finish()?;
    let (_, batch) = load(shared, id)?;
    let shown = json::data_page(&batch, page).map_err(|error| RpcError::from(BatchError::from(error)))?;
    shown.ok_or(RpcError::PageOutOfRange)
}

/// Newest first. `from` and everything below it; `next` is the batch to go on from, null at the end.
fn batches(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let from = BatchId(fields.optional_integer("from")?.unwrap_or(u64::MAX));
    let limit = fields.rows("limit", HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX)?;
    fields.finish()?;
    let found = shared.store.batches_down(from, limit)?;
    let next = found.last().filter(|_| found.len() == limit).and_then(|last| last.batch.0.checked_sub(1));
    Ok(json!({
        "batches": found.iter().map(|header| json::with_settlement(header, shared.status.submission(header))).collect::<Value>(),
        "next": next.map(|next| next.to_string()),
    }))
}

/// CREDITED is final. PENDING: seen, not yet final on the settlement layer. REFUSED: by us, finally; or, while its message was not
/// consumed (no `seq`), until its sender takes back what he started.
fn deposit(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let nonce: u64 = fields.integer("messageNonce")?;
    fields.finish()?;
    // The view first: history is written a moment after publishing.
    let known = shared.published.read(|view| view.deposit_of(nonce).copied()).map(|known| DepositRow {
        deposit: known.deposit,
        result: match known.result {
            Ok((asset, amount)) => DepositResult::Credited { asset, amount },
            Err(reject) => DepositResult::Refused(reject),
        },
        seq: known.seq,
        ts: known.ts,
    });
    let row = match known {
        Some(row) => Some(row),
        None => shared.store.deposit(nonce)?,
    };
    let Some(row) = row else {
        return match shared.status.deposit(nonce).ok_or(RpcError::UnknownDeposit)? {
            DepositState::Pending(pending) => Ok(json!({
                "messageNonce": nonce.to_string(), "status": "PENDING",
                "l1Block": pending.l1_block.to_string(), "l1TransactionHash": pending.l1_tx_hash.to_string(),
                "depth": pending.depth.to_string(), "depthNeeded": pending.depth_needed.to_string(),
            })),
            DepositState::Refused(reason) => {
                Ok(json!({ "messageNonce": nonce.to_string(), "status": "REFUSED", "reason": reason }))
            }
        };
    };
    let deposit = &row.deposit;
    let block = shared.store.height_of_seq(row.seq)?;
    let mut answer = json!({
        "messageNonce": nonce.to_string(),
        "messageHash": deposit.message_hash.to_string(),
        "account": deposit.recipient.to_string(),
        "token": deposit.token.to_string(),
        "l1Amount": deposit.amount.to_string(),
        "l1Block": deposit.l1_block.to_string(),
        "l1BlockHash": deposit.l1_block_hash.to_string(),
        "l1TransactionHash": deposit.l1_tx_hash.to_string(),
        "seq": row.seq.to_string(),
        "ts": row.ts.ms().to_string(),
        "block": block.map(|block| block.to_string()),
    });
    match row.result {
        DepositResult::Credited { asset, amount } => {
            answer["status"] = json!("CREDITED");
            answer["asset"] = json!(shared.genesis.asset(asset).map_or("", |asset| asset.symbol.as_str()));
            answer["amount"] = json!(amount.to_string());
        }
        DepositResult::Refused(reject) => {
            answer["status"] = json!("REFUSED");
            answer["reason"] = json!(reject.as_str());
        }
    }
    Ok(answer)
}

/// `status`: EXECUTED (debited, in no block yet), SEALED (in a block, in no batch), or that of its batch; `claimable` with CONFIRMED.
/// Whether it was claimed already is for the settlement layer to say.
fn withdrawal(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let id: u64 = fields.integer("id")?;
    fields.finish()?;
    shared.wait_for_history()?;
    let WithdrawalRow { withdrawal, seq, ts } = shared.store.withdrawal(id)?.ok_or(RpcError::UnknownWithdrawal)?;
    let block = shared.store.height_of_seq(seq)?;
    let batch = block.map_or(Ok(None), |block| shared.store.batch_of_block(block))?;
    let header = batch.map_or(Ok(None), |batch| shared.store.batch_header(batch))?;
    let status = match (&header, block) {
        (Some(header), _) => header.status.as_str(),
        (None, Some(_)) => "SEALED",
        (None, None) => "EXECUTED",
    };
    let message = withdrawal_message(&shared.genesis, &withdrawal);
    let layer = shared.genesis.settlement.layer;
    Ok(json!({
        "id": withdrawal.id.to_string(),
        "account": withdrawal.account.to_string(),
        "asset": shared.genesis.asset(withdrawal.asset).map_or("", |asset| asset.symbol.as_str()),
        "amount": withdrawal.amount.to_string(),
        "l1Amount": withdrawal.l1_amount.to_string(),
        "token": withdrawal.token.to_string(),
        "recipient": withdrawal.recipient.to_string(),
        "messageHash": message.hash(layer).to_string(),
        "message": to_l1(layer, &message),
        "seq": seq.to_string(),
        "ts": ts.ms().to_string(),
        "block": block.map(|block| block.to_string()),
        "batch": header.as_ref().map(|header| header.batch.to_string()),
        "status": status,
        "claimable": header.is_some_and(|header| header.status == BatchStatus::Confirmed),
        "claim": claim(&shared.genesis, &withdrawal, &message.payload),
    }))
}

/// The message that the block carries for a withdrawal. [spec settlement, Messages and money]
fn withdrawal_message(genesis: &Genesis, withdrawal: &Withdrawal) -> MessageToL1 {
    MessageToL1 {
        from: genesis.exchange.0,
        to: genesis.settlement.bridge,
        payload: keel_contracts::starknet::withdrawal_message(withdrawal),
    }
}

/// The call that anybody sends to the bridge to have a withdrawal paid: `EthereumCall` or `StarknetCall` of the document.
fn claim(genesis: &Genesis, withdrawal: &Withdrawal, payload: &[Felt]) -> Value {
    let to = genesis.settlement.bridge.to_string();
    match genesis.settlement.layer {
        SettlementLayer::Ethereum { .. } => {
            json!({"to": to, "data": format!("0x{}", hex::encode(claim_on_ethereum(payload)))})
        }
        SettlementLayer::Starknet { .. } => {
            let calldata: Value = claim_on_starknet(withdrawal).iter().map(|word| json!(format!("{word:#x}"))).collect();
            let selector = format!("{:#x}", keel_contracts::starknet::starknet_keccak("withdraw"));
            json!({"to": to, "entrypoint": "withdraw", "selector": selector, "calldata": calldata})
        }
    }
}

/// The bridge's one claiming function over the four words of the payload.
fn claim_on_ethereum(payload: &[Felt]) -> Vec<u8> {
    let selector = &keccak256(b"withdraw(address,address,uint256,uint256)")[..4];
    selector.iter().copied().chain(payload.iter().flat_map(Felt::to_bytes_be)).collect()
}

/// `withdraw(token, recipient, amount: u256, withdrawal_id)`: the amount takes two words, low and high 128 bits.
fn claim_on_starknet(withdrawal: &Withdrawal) -> [Felt; 5] {
    let Withdrawal { token, recipient, l1_amount, id, .. } = withdrawal;
    [token.0, recipient.0, Felt::from(*l1_amount), Felt::ZERO, Felt::from(*id)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_the_call_that_the_bridge_has() {
        // Selector as solc gives it for `Bridge.withdraw`.
        let call = claim_on_ethereum(&[Felt::ONE, Felt::TWO, Felt::THREE, Felt::from(4)]);
        assert_eq!(hex::encode(&call[..4]), "7bfe950c");
        assert_eq!(call.len(), 4 + 4 * 32);
        assert_eq!((call[35], call[67], call[99], call[131]), (1, 2, 3, 4));
    }
    #[test]
    fn a_claim_on_starknet_has_the_amount_in_two_words() {
        let withdrawal = Withdrawal {
            id: 9,
            account: Address(Felt::ONE),
            asset: AssetId(0),
            amount: Amount(1),
            l1_amount: 7,
            token: L1Address(Felt::from(5)),
            recipient: L1Address(Felt::from(6)),
            hash: MessageHash(Felt::ONE),
        };
        assert_eq!(claim_on_starknet(&withdrawal), [5, 6, 7, 0, 9].map(Felt::from));
    }
}
