//! `bridge_*`: batches, deposits and withdrawals, as bridges and other readers of the settlement layer need them.
//! [spec settlement, What bridges read]
use crate::context::Shared;
use crate::error::RpcError;
use crate::fields::Fields;
use crate::limits::BATCH_DATA_WORDS_PER_PAGE;
use crate::method::{Call, Method, Param};
use crate::node::brief;
use jsonrpsee::types::Params;
use keel_batches::{Batch, BatchError, CloseReason, DataAvailability, MessageToL1, MessageToL2, StatePoint};
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

fn hex(felt: &Felt) -> String {
    format!("{felt:#x}")
}

fn hexes(felts: &[Felt]) -> Value {
    felts.iter().map(|felt| Value::String(hex(felt))).collect()
}

fn load(shared: &Shared, id: BatchId) -> Result<(BatchHeader, Batch), RpcError> {
    Batch::load(&shared.store, id)?.ok_or(RpcError::UnknownBatch)
}

fn batch(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let id = BatchId(fields.integer("batch")?);
    fields.finish()?;
    let (header, batch) = load(shared, id)?;
    Ok(batch_json(shared, &header, &batch))
}

fn batch_by_block(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let height = Height(fields.integer("block")?);
    fields.finish()?;
    let id = shared.store.batch_of_block(height)?.ok_or(RpcError::UnknownBatch)?;
    let (header, batch) = load(shared, id)?;
    Ok(batch_json(shared, &header, &batch))
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

fn batch_json(shared: &Shared, header: &BatchHeader, batch: &Batch) -> Value {
    let content = &batch.content;
    let DataAvailability::Calldata { words } = &content.data;
    let submission = shared.status.submission(content.id);
    let mut answer = brief(header);
    let more = json!({
        "closed": close_reason(content.closed),
        "before": point(&content.before),
        "after": point(&content.after),
        "stateDiffLength": content.diff.len().to_string(),
        "messagesToL1": content.to_l1.iter().map(to_l1).collect::<Value>(),
        "messagesToL2": content.to_l2.iter().map(to_l2).collect::<Value>(),
        "data": {"kind": "CALLDATA", "words": words.len().to_string(), "pages": pages(words).to_string()},
        "configHash": hex(&content.config_hash),
        "programHash": hex(&content.program_hash),
        "programOutput": hexes(&batch.output),
        "transitionFact": batch.transition_fact.to_string(),
        "fact": batch.fact.to_string(),
        "settlement": submission.map(|submission| json!({
            "transactionHash": submission.l1_tx_hash.to_string(),
            "block": submission.l1_block.map(|block| block.to_string()),
        })),
    });
    if let (Value::Object(answer), Value::Object(more)) = (&mut answer, more) {
        answer.extend(more);
    }
    answer
}

fn close_reason(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Count => "COUNT",
        CloseReason::Age => "AGE",
        CloseReason::Size => "SIZE",
        CloseReason::OnDemand => "ON_DEMAND",
        CloseReason::SafeMode => "SAFE_MODE",
        CloseReason::Settled => "SETTLED",
    }
}

/// `height` is null before the first block.
fn point(point: &StatePoint) -> Value {
    json!({
        "height": point.height.map(|height| height.to_string()),
        "root": hex(&point.root),
        "blockHash": hex(&point.hash),
    })
}

fn to_l1(message: &MessageToL1) -> Value {
    json!({
        "from": hex(&message.from), "to": message.to.to_string(),
        "payload": hexes(&message.payload), "hash": message.hash().to_string(),
    })
}

fn to_l2(message: &MessageToL2) -> Value {
    json!({
        "from": message.from.to_string(), "to": hex(&message.to), "nonce": message.nonce.to_string(),
        "selector": hex(&message.selector), "payload": hexes(&message.payload), "hash": message.hash().to_string(),
    })
}

fn pages(words: &[Felt]) -> usize {
    words.len().div_ceil(BATCH_DATA_WORDS_PER_PAGE).max(1)
}

/// The words that rebuild the state. Page 0 exists even when there are none.
fn batch_data(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let id = BatchId(fields.integer("batch")?);
    let page: usize = fields.optional_integer("page")?.unwrap_or(0);
    fields.finish()?;
    let (_, batch) = load(shared, id)?;
    let DataAvailability::Calldata { words } = &batch.content.data;
    if page >= pages(words) {
        return Err(RpcError::PageOutOfRange);
    }
    let shown = words.chunks(BATCH_DATA_WORDS_PER_PAGE).nth(page).unwrap_or(&[]);
    Ok(json!({
        "batch": id.to_string(), "kind": "CALLDATA", "page": page.to_string(), "pages": pages(words).to_string(),
        "words": hexes(shown),
    }))
}

/// CREDITED and REFUSED are final. PENDING: seen, not yet final on the settlement layer.
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
        let pending = shared.status.pending_deposit(nonce).ok_or(RpcError::UnknownDeposit)?;
        return Ok(json!({
            "messageNonce": nonce.to_string(), "status": "PENDING",
            "l1Block": pending.l1_block.to_string(), "l1TransactionHash": pending.l1_tx_hash.to_string(),
            "depth": pending.depth.to_string(), "depthNeeded": pending.depth_needed.to_string(),
        }));
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
    let claim = claim_calldata(&message.payload);
    Ok(json!({
        "id": withdrawal.id.to_string(),
        "account": withdrawal.account.to_string(),
        "asset": shared.genesis.asset(withdrawal.asset).map_or("", |asset| asset.symbol.as_str()),
        "amount": withdrawal.amount.to_string(),
        "l1Amount": withdrawal.l1_amount.to_string(),
        "token": withdrawal.token.to_string(),
        "recipient": withdrawal.recipient.to_string(),
        "messageHash": message.hash().to_string(),
        "message": to_l1(&message),
        "seq": seq.to_string(),
        "ts": ts.ms().to_string(),
        "block": block.map(|block| block.to_string()),
        "batch": header.as_ref().map(|header| header.batch.to_string()),
        "status": status,
        "claimable": header.is_some_and(|header| header.status == BatchStatus::Confirmed),
        "claim": {
            "to": shared.genesis.settlement.bridge.to_string(),
            "data": format!("0x{}", hex::encode(claim)),
        },
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

/// What anybody sends to the bridge to have a withdrawal paid: its one claiming function over the four words of the payload.
fn claim_calldata(payload: &[Felt]) -> Vec<u8> {
    let selector = &keccak256(b"withdraw(address,address,uint256,uint256)")[..4];
    selector.iter().copied().chain(payload.iter().flat_map(Felt::to_bytes_be)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_the_call_that_the_bridge_has() {
        // Selector as solc gives it for `Bridge.withdraw`.
        let call = claim_calldata(&[Felt::ONE, Felt::TWO, Felt::THREE, Felt::from(4)]);
        assert_eq!(hex::encode(&call[..4]), "7bfe950c");
        assert_eq!(call.len(), 4 + 4 * 32);
        assert_eq!((call[35], call[67], call[99], call[131]), (1, 2, 3, 4));
    }

    #[test]
    fn data_without_words_has_one_empty_page() {
        let words = vec![Felt::ONE; BATCH_DATA_WORDS_PER_PAGE + 1];
        assert_eq!([pages(&[]), pages(&words[1..]), pages(&words)], [1, 1, 2]);
    }
}
