//! `node_status`: answered from published state, also when the engine is stuck. [spec safe-mode, What a client sees]
use crate::context::Shared;
use crate::error::{RpcError, phase_fields};
use crate::fields::Fields;
use crate::method::{Call, Method};
use crate::starknet::{V09, V10};
use jsonrpsee::types::Params;
use keel_store::{BatchHeader, BatchStatus};
use keel_types::SettlementLayer;
use serde_json::{Value, json};

/// The methods.
pub(crate) const METHODS: &[Method] = &[Method {
    name: "node_status",
    summary: "Phase, incident, heights, settlement; answered also when nothing is executed.",
    params: &[],
    result: "NodeStatus",
    errors: &[],
    call: Call::Store(status),
}];

fn status(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    Fields::read(params)?.finish()?;
    let (at, phase, open_orders) = shared.published.read(|view| (view.at(), view.phase(), view.orders().open_count()));
    let settlement = shared.status.settlement();
    let batch = |status| -> Result<Value, RpcError> {
        Ok(shared.store.latest_batch_with(status)?.map_or(Value::Null, |batch| brief(&batch)))
    };
    let tip = shared.store.tip()?;
    let mut status = phase_fields(&phase, shared.status.phase_eta(&phase));
    let others = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "chainId": short_string(&shared.genesis.chain_id.0),
        "genesis": shared.genesis.hash().to_string(),
        "specVersions": [V09.spec_version, V10.spec_version],
        "seq": at.seq.to_string(),
        "ts": at.ts.ms().to_string(),
        "height": at.height.to_string(),
        "openOrders": open_orders.to_string(),
        "failingMonitors": shared.status.failing_monitors().into_iter().map(|(monitor, why)| json!({
            "monitor": monitor,
            "why": why,
        })).collect::<Value>(),
        "block": tip.map(|tip| json!({
            "height": tip.block.number.to_string(),
            "hash": format!("{:#x}", tip.hash),
            "root": format!("{:#x}", tip.block.state_root),
        })),
        "settlement": {
            "layer": match shared.genesis.settlement.layer {
                SettlementLayer::Ethereum { .. } => "ethereum",
                SettlementLayer::Starknet { .. } => "starknet",
            },
            "chainId": match shared.genesis.settlement.layer {
                SettlementLayer::Ethereum { chain_id, .. } => chain_id.to_string(),
                SettlementLayer::Starknet { chain_id } => chain_id.to_string(),
            },
            "head": settlement.head.map(|head| head.to_string()),
            "headAgeMs": settlement.head_age_ms.map(|age| age.to_string()),
            "submitter": settlement.submitter,
            "backlog": {
                "batches": settlement.backlog_batches.to_string(),
                "oldest": settlement.backlog_oldest.map(|oldest| oldest.ms().to_string()),
            },
            "cancellations": settlement.cancellations.iter().map(|cancellation| json!({
                "messageNonce": cancellation.message_nonce.to_string(),
                "started": cancellation.started.ms().to_string(),
                "deadline": cancellation.deadline.ms().to_string(),
            })).collect::<Value>(),
            "built": batch(BatchStatus::Built)?,
            "submitted": batch(BatchStatus::Submitted)?,
            "confirmed": batch(BatchStatus::Confirmed)?,
        },
    });
    if let (Value::Object(status), Value::Object(others)) = (&mut status, others) {
        status.extend(others);
    }
    Ok(status)
}

/// A batch in one line.
pub(crate) fn brief(batch: &BatchHeader) -> Value {
    json!({
        "batch": batch.batch.to_string(),
        "firstBlock": batch.first_block.to_string(),
        "lastBlock": batch.last_block.to_string(),
        "status": batch.status.as_str(),
    })
}

/// The text of a short string felt.
pub fn short_string(felt: &keel_types::Felt) -> String {
    let bytes = felt.to_bytes_be();
    let text: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    String::from_utf8_lossy(&text).into_owned()
}
