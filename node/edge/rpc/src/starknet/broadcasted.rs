//! Transactions as clients send them: read to the last field, so that a mistake in one is told apart from what this node does not do.
use super::params::{Arguments, felt};
use super::{Dialect, StarknetError};
use crate::error::RpcError;
use keel_types::Felt;
use serde_json::Value;

/// What is looked at of a transaction.
pub(super) enum Broadcasted {
    Invoke { sender: Felt },
    Declare { sender: Felt },
    DeployAccount { class: Felt },
}

/// Version 3, and the same to be simulated only.
const VERSIONS: [&str; 2] = ["0x3", "0x100000000000000000000000000000003"];

const COMMON: [&str; 10] = [
    "type",
    "version",
    "signature",
    "nonce",
    "resource_bounds",
    "tip",
    "paymaster_data",
    "nonce_data_availability_mode",
    "fee_data_availability_mode",
    "account_deployment_data",
];

impl Broadcasted {
    /// Reads a transaction of any kind. [OpenRPC, BROADCASTED_TXN]
    ///
    /// # Errors
    /// Of the shape, and UNSUPPORTED_TX_VERSION where `version` is none that the specification has left.
    pub(super) fn read(dialect: &Dialect, value: Value) -> Result<Broadcasted, RpcError> {
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "INVOKE" => {
                let mut names = ["sender_address", "calldata"].to_vec();
                if dialect.proofs {
                    names.extend(["proof_facts", "proof"]);
                }
                let mut fields = fields(value, &names)?;
                let sender = fields.felt("sender_address")?;
                fields.felts("calldata")?;
                if let Some(facts) = fields.optional("proof_facts") {
                    super::params::felt_list("proof_facts", &facts)?;
                }
                if fields.optional("proof").is_some_and(|proof| !proof.is_string()) {
                    return Err(RpcError::params("proof", "expected a text in base64"));
                }
                common(&mut fields, true)?;
                Ok(Broadcasted::Invoke { sender })
            }
            "DECLARE" => {
                let mut fields = fields(value, &["sender_address", "compiled_class_hash", "contract_class"])?;
                let sender = fields.felt("sender_address")?;
                fields.felt("compiled_class_hash")?;
                let class = ["sierra_program", "contract_class_version", "entry_points_by_type", "abi"];
                let mut class = fields.object("contract_class", &class)?;
                class.felts("sierra_program")?;
                class.text("contract_class_version")?;
                class.object("entry_points_by_type", &["CONSTRUCTOR", "EXTERNAL", "L1_HANDLER"])?;
                common(&mut fields, true)?;
                Ok(Broadcasted::Declare { sender })
            }
            "DEPLOY_ACCOUNT" => {
                let mut fields = fields(value, &["contract_address_salt", "constructor_calldata", "class_hash"])?;
                fields.felt("contract_address_salt")?;
                fields.felts("constructor_calldata")?;
                let class = fields.felt("class_hash")?;
                common(&mut fields, false)?;
                Ok(Broadcasted::DeployAccount { class })
            }
            _ => Err(RpcError::params("type", "expected INVOKE, DECLARE or DEPLOY_ACCOUNT")),
        }
    }

    /// The contract that sends it, if it must be there already.
    pub(super) fn sender(&self) -> Option<&Felt> {
        match self {
            Broadcasted::Invoke { sender } | Broadcasted::Declare { sender } => Some(sender),
            Broadcasted::DeployAccount { .. } => None,
        }
    }
}

/// The fields of a transaction of a version that there still is.
fn fields(value: Value, own: &[&'static str]) -> Result<Arguments, RpcError> {
    // Older versions have other fields: their version is what is wrong with them.
    let version = value.get("version").and_then(Value::as_str).ok_or(RpcError::params("version", "missing"))?;
    if !VERSIONS.contains(&version) {
        return Err(StarknetError::UnsupportedTxVersion.into());
    }
    Arguments::of("transaction", value, &[&COMMON, own].concat())
}

fn common(fields: &mut Arguments, has_deployment_data: bool) -> Result<(), RpcError> {
    for name in ["signature", "paymaster_data"] {
        fields.felts(name)?;
    }
    match fields.optional("account_deployment_data") {
        Some(data) if has_deployment_data => {
            super::params::felt_list("account_deployment_data", &data)?;
        }
        Some(_) => return Err(RpcError::params("account_deployment_data", "unknown field")),
        None if has_deployment_data => return Err(RpcError::params("account_deployment_data", "missing")),
        None => {}
    }
    fields.felt("nonce")?;
    number(fields, "tip", u64::MAX.into())?;
    for name in ["nonce_data_availability_mode", "fee_data_availability_mode"] {
        if !["L1", "L2"].contains(&fields.text(name)?.as_str()) {
            return Err(RpcError::params(name, "expected L1 or L2"));
        }
    }
    let resources = ["l1_gas", "l1_data_gas", "l2_gas"];
    let mut bounds = fields.object("resource_bounds", &resources)?;
    for resource in resources {
        let mut bound = bounds.object(resource, &["max_amount", "max_price_per_unit"])?;
        number(&mut bound, "max_amount", u64::MAX.into())?;
        number(&mut bound, "max_price_per_unit", u128::MAX)?;
    }
    Ok(())
}

/// A number in hex, at most `max`.
fn number(fields: &mut Arguments, name: &'static str, max: u128) -> Result<(), RpcError> {
    let value = felt(name, &fields.required(name)?)?;
    match value > Felt::from(max) {
        true => Err(RpcError::params(name, "too large")),
        false => Ok(()),
    }
}
