//! The node's keys, one for each purpose. The file form is for development; the keys of `genesis/dev-keys.json` are public.

use anyhow::{Context, Result, ensure};
use keel_types::Felt;
use serde::Deserialize;
use std::path::Path;

/// Keys as the node uses them.
pub struct Keys {
    /// Signs block hashes and integrity reports, nothing else.
    pub block: Felt,
    /// Sign prices, in genesis order. Only `keel publish` uses them.
    pub publishers: Vec<Felt>,
    /// Signs attestations (secp256k1, 0x and 64 hex digits).
    pub attestor: String,
    /// Sends settlement transactions (secp256k1).
    pub submitter: String,
    /// Deploys the contracts of a development chain.
    pub deployer: String,
    /// May pause deposits of a development chain.
    pub guardian: String,
    /// Brings money to a development chain.
    pub depositor: String,
}

#[derive(Deserialize)]
struct File {
    operator: StarkPair,
    publishers: Vec<StarkPair>,
    attestor: EthPair,
    settlement: SettlementPairs,
}

#[derive(Deserialize)]
struct StarkPair {
    private_key: Felt,
}

#[derive(Deserialize)]
struct EthPair {
    private_key: String,
}

#[derive(Deserialize)]
struct SettlementPairs {
    deployer: EthPair,
    submitter: EthPair,
    depositor: EthPair,
    guardian: EthPair,
}

impl Keys {
    /// Reads the key file. Errors never show a key.
    pub fn load(path: &Path) -> Result<Keys> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read keys {}", path.display()))?;
        let file: File = serde_json::from_str(&text).map_err(|error| {
            anyhow::anyhow!("keys {}: line {}, column {}: not a key file", path.display(), error.line(), error.column())
        })?;
        let keys = Keys {
            block: file.operator.private_key,
            publishers: file.publishers.into_iter().map(|pair| pair.private_key).collect(),
            attestor: file.attestor.private_key,
            submitter: file.settlement.submitter.private_key,
            deployer: file.settlement.deployer.private_key,
            depositor: file.settlement.depositor.private_key,
            guardian: file.settlement.guardian.private_key,
        };
        for (name, key) in [("attestor", &keys.attestor), ("settlement.submitter", &keys.submitter)] {
            let digits = key.strip_prefix("0x").unwrap_or_default();
            ensure!(
                digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
                "keys: {name} is not a 32-byte hex key"
            );
        }
        Ok(keys)
    }
}
