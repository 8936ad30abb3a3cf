//! A batch as JSON: what `bridge_*` answers, and what `keel batch show --json` prints of a data folder.
use crate::context::Submission;
use crate::limits::BATCH_DATA_WORDS_PER_PAGE;
use crate::node::brief;
use keel_batches::{Batch, CloseReason, DataAvailability, MessageToL1, MessageToL2, StatePoint};
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

fn pages(words: &[Felt]) -> usize {
    words.len().div_ceil(BATCH_DATA_WORDS_PER_PAGE).max(1)
}

fn data_kind(data: &DataAvailability) -> &'static str {
    match data {
        DataAvailability::Calldata { .. } => "CALLDATA",
        DataAvailability::Blobs { .. } => "BLOBS",
        DataAvailability::Chunks { .. } => "CHUNKS",
    }
}

fn data_brief(data: &DataAvailability) -> Value {
    let words = data.words();
    json!({"kind": data_kind(data), "words": words.len().to_string(), "pages": pages(words).to_string()})
}

/// A page of the words: `BatchData` of the document; `None` behind the last page. Page 0 exists even when there are no words.
pub fn data_page(batch: &Batch, page: usize) -> Option<Value> {
    let words = batch.content.data.words();
    if page >= pages(words) {
        return None;
    }
    let shown = words.chunks(BATCH_DATA_WORDS_PER_PAGE).nth(page).unwrap_or(&[]);
    Some(json!({
        "batch": batch.content.id.to_string(), "kind": data_kind(&batch.content.data), "page": page.to_string(), "pages": pages(words).to_string(),
        "words": hexes(shown),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_without_words_has_one_empty_page() {
        let words = vec![Felt::ONE; BATCH_DATA_WORDS_PER_PAGE + 1];
        assert_eq!([pages(&[]), pages(&words[1..]), pages(&words)], [1, 1, 2]);
    }
}
