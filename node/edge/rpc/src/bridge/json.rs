//! A batch as JSON: what `bridge_*` answers, and what `keel batch show --json` prints of a data folder.
use crate::context::Submission;
use crate::limits::BATCH_DATA_WORDS_PER_PAGE;
use crate::node::brief;
use keel_batches::blob::to_blobs;
use keel_batches::kzg::Commitment;
use keel_batches::{
    Batch, CloseReason, DATA_CHUNK_WORDS, DataAvailability, DataError as BatchDataError, MessageToL1, MessageToL2,
    StatePoint,
};
use keel_store::BatchHeader;
use keel_types::{Felt, SettlementLayer};
use serde_json::{Value, json};

fn hex(felt: &Felt) -> String {
    format!("{felt:#x}")
}

fn hexes(felts: &[Felt]) -> Value {
    felts.iter().map(|felt| Value::String(hex(felt))).collect()
}

/// Everything but the data: `Batch` of the document.
pub fn batch(layer: SettlementLayer, header: &BatchHeader, batch: &Batch, submission: Option<Submission>) -> Value {
    let content = &batch.content;
    let mut answer = with_settlement(header, submission);
    let more = json!({
        "closed": close_reason(content.closed),
        "before": point(&content.before),
        "after": point(&content.after),
        "stateDiffLength": content.diff.len().to_string(),
        "messagesToL1": content.to_l1.iter().map(|message| to_l1(layer, message)).collect::<Value>(),
        "messagesToL2": content.to_l2.iter().map(|message| to_l2(layer, message)).collect::<Value>(),
        "data": data_brief(&content.data),
        "configHash": hex(&content.config_hash),
        "programHash": hex(&content.program_hash),
        "programOutput": hexes(&batch.output),
        "transitionFact": batch.transition_fact.to_string(),
        "fact": batch.fact.to_string(),
    });
    if let (Value::Object(answer), Value::Object(more)) = (&mut answer, more) {
        answer.extend(more);
    }
    answer
}

/// A batch in short, and where it is on the settlement layer: `BatchState` of the document.
pub fn with_settlement(header: &BatchHeader, submission: Option<Submission>) -> Value {
    let mut answer = brief(header);
    answer["settlement"] = submission.map_or(Value::Null, |submission| {
        json!({
            "transactionHash": submission.l1_tx_hash.to_string(),
            "block": submission.l1_block.map(|block| block.to_string()),
        })
    });
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

pub(super) fn to_l1(layer: SettlementLayer, message: &MessageToL1) -> Value {
    json!({
        "from": hex(&message.from), "to": message.to.to_string(),
        "payload": hexes(&message.payload), "hash": message.hash(layer).to_string(),
    })
}

fn to_l2(layer: SettlementLayer, message: &MessageToL2) -> Value {
    json!({
        "from": message.from.to_string(), "to": hex(&message.to), "nonce": message.nonce.to_string(),
        "selector": hex(&message.selector), "payload": hexes(&message.payload), "hash": message.hash(layer).to_string(),
    })
}

fn data_kind(data: &DataAvailability) -> &'static str {
    match data {
        DataAvailability::Calldata { .. } => "CALLDATA",
        DataAvailability::Blobs { .. } => "BLOBS",
        DataAvailability::Chunks { .. } => "CHUNKS",
    }
}

/// Words in a page: a blob's worth, or a chunk's where there are chunks.
fn page_words(data: &DataAvailability) -> usize {
    match data {
        DataAvailability::Calldata { .. } | DataAvailability::Blobs { .. } => BATCH_DATA_WORDS_PER_PAGE,
        DataAvailability::Chunks { .. } => DATA_CHUNK_WORDS,
    }
}

fn pages(data: &DataAvailability) -> usize {
    data.words().len().div_ceil(page_words(data)).max(1)
}

fn data_brief(data: &DataAvailability) -> Value {
    let blob = |commitment: &Commitment| json!({"versionedHash": commitment.versioned_hash().to_string(), "commitment": bytes(&commitment.0)});
    json!({
        "kind": data_kind(data), "words": data.words().len().to_string(), "pages": pages(data).to_string(),
        "blobs": data.commitments().iter().map(blob).collect::<Value>(),
        "chunks": hexes(&data.chunk_hashes()),
    })
}

/// A page of the data: `BatchData` of the document; `None` behind the last page. Page 0 exists even when there are no words. Page i of data in
/// blobs is blob i, of data in chunks chunk i.
///
/// # Errors
/// What is stored of the blobs is not of the words: the store is damaged.
pub fn data_page(batch: &Batch, page: usize) -> Result<Option<Value>, BatchDataError> {
    let data = &batch.content.data;
    if page >= pages(data) {
        return Ok(None);
    }
    let shown = data.words().chunks(page_words(data)).nth(page).unwrap_or(&[]);
    let chunk = match data {
        DataAvailability::Chunks { .. } => {
            DataAvailability::Chunks { words: shown.to_vec() }.chunk_hashes().first().map(hex)
        }
        DataAvailability::Calldata { .. } | DataAvailability::Blobs { .. } => None,
    };
    let blob = match data {
        // Without the point proof: it stands in the transaction, and takes longer to make than all the rest.
        DataAvailability::Blobs { commitments, z, evaluations, .. } => {
            let (commitment, value) = commitments.get(page).zip(evaluations.get(page)).ok_or(BatchDataError::NotOfWords)?;
            let blob = to_blobs(shown).pop().ok_or(BatchDataError::NotOfWords)?;
            json!({
                "index": page.to_string(), "versionedHash": commitment.versioned_hash().to_string(),
                "commitment": bytes(&commitment.0), "z": hex(z), "value": bytes(&value.0),
                "data": bytes(blob.as_bytes()),
            })
        }
        DataAvailability::Calldata { .. } | DataAvailability::Chunks { .. } => Value::Null,
    };
    Ok(Some(json!({
        "batch": batch.content.id.to_string(), "kind": data_kind(data), "page": page.to_string(),
        "pages": pages(data).to_string(), "words": hexes(shown), "blob": blob,
        "chunkHash": chunk,
    })))
}

fn bytes(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_has_a_page_for_each_blob_or_chunk_and_one_where_there_are_no_words() {
        let words = |count: usize| vec![Felt::ONE; count];
        let calldata = |count| pages(&DataAvailability::Calldata { words: words(count) });
        assert_eq!([0, 1, 4_096, 4_097].map(calldata), [1, 1, 1, 2]);
        let chunks = |count| pages(&DataAvailability::Chunks { words: words(count) });
        assert_eq!([0, 4_500, 4_501].map(chunks), [1, 1, 2]);
    }
}
