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
    /// Signs attestations (0x and 64 hex digits, on the curve of the settlement layer).
    pub attestor: String,
    /// Sends settlement transactions.
    pub submitter: LayerKey,
    /// Deploys the contracts of a development chain.
    pub deployer: LayerKey,
    /// May pause deposits of a development chain.
    pub guardian: LayerKey,
    /// Brings money to a development chain.
    pub depositor: LayerKey,
}

/// An account on the settlement layer.
#[derive(Clone, Deserialize)]
pub struct LayerKey {
    /// 0x and 64 hex digits: secp256k1 on Ethereum, the Stark curve on Starknet.
    pub private_key: String,
    /// The account's address on Starknet, which does not follow from the key.
    #[serde(default)]
    account: Option<String>,
}

impl LayerKey {
    /// The account on Starknet. The error names the key of the file that lacks it.
    pub fn account(&self, name: &str) -> Result<&str> {
        self.account.as_deref().with_context(|| format!("keys: {name} has no account, which the settlement layer needs"))
    }
}

#[derive(Deserialize)]
struct File {
    operator: StarkPair,
    publishers: Vec<StarkPair>,
    attestor: LayerKey,
    settlement: SettlementPairs,
}

#[derive(Deserialize)]
struct StarkPair {
    private_key: Felt,
}

#[derive(Deserialize)]
struct SettlementPairs {
    deployer: LayerKey,
    submitter: LayerKey,
    depositor: LayerKey,
    guardian: LayerKey,
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
            submitter: file.settlement.submitter,
            deployer: file.settlement.deployer,
            depositor: file.settlement.depositor,
            guardian: file.settlement.guardian,
        };
        for (name, key) in [("attestor", &keys.attestor), ("settlement.submitter", &keys.submitter.private_key)] {
            let digits = key.strip_prefix("0x").unwrap_or_default();
            ensure!(
                digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
                "keys: {name} is not a 32-byte hex key"
            );
        }
        Ok(keys)
    }
}
