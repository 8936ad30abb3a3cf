//! `keel dev`: a development chain's contracts and money on a local settlement layer, with the public keys of `genesis/dev-keys.json`.

use crate::config::Config;
use crate::keys::{Keys, LayerKey};
use anyhow::{Context, Result};
use clap::Subcommand;
use keel_settlement::ethereum::dev::{self, DevKeys};
use keel_settlement::starknet::dev::DevAccount;
use keel_settlement::{ethereum, starknet};
use keel_types::{Address, Felt, L1Address, SettlementLayer};
use serde_json::json;
use std::sync::Arc;

#[derive(Subcommand)]
pub enum Dev {
    /// Deploys tokens, registry, core and bridge at the addresses of genesis; does nothing when they are there.
    Deploy {
        /// An attestor of the registry, by its address (Ethereum) or public key (Starknet); may be repeated. Without any, the one of the key file.
        #[arg(long = "attestor")]
        attestors: Vec<String>,
        /// How many of them make a fact valid: a majority.
        #[arg(long, default_value_t = 1)]
        threshold: u64,
    },
    /// Mints an amount on the settlement layer and deposits it for an account.
    Fund {
        #[arg(long)]
        account: String,
        #[arg(long)]
        asset: String,
        /// Decimal, in units of the asset.
        #[arg(long)]
        amount: String,
    },
    /// What an address holds on the settlement layer.
    Balance {
        #[arg(long)]
        owner: String,
        #[arg(long)]
        asset: String,
    },
}

impl Dev {
    /// Does one thing and prints the result as JSON.
    pub async fn run(self, config: &Config) -> Result<()> {
        let genesis = Arc::new(crate::genesis(&config.genesis)?);
        let endpoint = &config.settlement.endpoints()[0];
        let answer = match self {
            Dev::Deploy { attestors, threshold } => {
                deploy(config, &attestors, threshold).await?;
                let at = &genesis.settlement;
                json!({ "core": at.core.to_string(), "registry": at.registry.to_string(), "bridge": at.bridge.to_string() })
            }
            Dev::Fund { account, asset, amount } => {
                let (nonce, block) = fund(config, &account, &asset, &amount).await?;
                json!({ "messageNonce": nonce.to_string(), "l1Block": block.to_string() })
            }
            Dev::Balance { owner, asset } => {
                let owner: L1Address =
                    genesis.settlement.layer.parse_address(&owner).map_err(|why| anyhow::anyhow!("--owner: {why}"))?;
                let id = genesis.asset_id(&asset).with_context(|| format!("--asset {asset}: not in genesis"))?;
                let units = match genesis.settlement.layer {
                    SettlementLayer::Ethereum { .. } => dev::balance(endpoint, &genesis, id, owner).await?,
                    SettlementLayer::Starknet { .. } => starknet::dev::balance(endpoint, &genesis, id, owner).await?,
                };
                json!({ "units": units.to_string() })
            }
        };
        println!("{answer}");
        Ok(())
    }
}

/// See [Dev::Deploy].
pub async fn deploy(config: &Config, attestors: &[String], threshold: u64) -> Result<()> {
    let genesis = Arc::new(crate::genesis(&config.genesis)?);
    let (keys, endpoint) = (Keys::load(&config.keys)?, &config.settlement.endpoints()[0]);
    match genesis.settlement.layer {
        SettlementLayer::Ethereum { .. } => {
            dev::deploy_dev(endpoint, &genesis, &dev_keys(&keys, attestors, threshold)?).await?;
        }
        SettlementLayer::Starknet { .. } => {
            let keys = starknet_dev_keys(&keys, attestors, threshold)?;
            starknet::dev::deploy_dev(endpoint, &genesis, &keys).await?;
        }
    }
    Ok(())
}

/// Mints and deposits; see [Dev::Fund]. The message's nonce, and its block on the settlement layer.
pub async fn fund(config: &Config, account: &str, asset: &str, amount: &str) -> Result<(u64, u64)> {
    let genesis = Arc::new(crate::genesis(&config.genesis)?);
    let recipient = Address(Felt::from_hex(account).context("--account: not an address")?);
    let id = genesis.asset_id(asset).with_context(|| format!("--asset {asset}: not in genesis"))?;
    let quantums = keel_ingress::decimal::parse_quantums(amount).map_err(|e| anyhow::anyhow!("--amount: {e}"))?;
    let unit = i128::from(genesis.assets[usize::from(id.0)].quantums_per_l1_unit);
    anyhow::ensure!(quantums > 0 && quantums % unit == 0, "--amount: must be positive and whole units of the token");
    let keys = Keys::load(&config.keys)?;
    let (endpoint, units) = (&config.settlement.endpoints()[0], (quantums / unit) as u128);
    match genesis.settlement.layer {
        SettlementLayer::Ethereum { .. } => {
            let payer = ethereum::Keys::parse(&keys.depositor.private_key, &keys.attestor)?.submitter;
            let funded = dev::fund(endpoint, &genesis, &payer, id, units, recipient).await?;
            Ok((funded.message_nonce, funded.l1_block))
        }
        SettlementLayer::Starknet { .. } => {
            let payer = dev_account(&keys.depositor, "settlement.depositor", &keys)?;
            let payer = DevAccount { address: payer.account, key: payer.submitter };
            let funded = starknet::dev::fund(endpoint, &genesis, &payer, id, units, recipient).await?;
            Ok((funded.message_nonce, funded.l1_block))
        }
    }
}

/// The address of the key file's attestor on Ethereum.
pub fn own_attestor(config: &Config) -> Result<String> {
    let attestor = Keys::load(&config.keys)?.attestor;
    Ok(ethereum::Keys::parse(&attestor, &attestor)?.submitter.address().to_string())
}

/// `attestors`: empty for the key file's own.
fn dev_keys(keys: &Keys, attestors: &[String], threshold: u64) -> Result<DevKeys> {
    let signer = |key: &str| ethereum::Keys::parse(key, key).map(|keys| keys.submitter);
    let mut addresses = attestors
        .iter()
        .map(|text| text.parse().with_context(|| format!("--attestor {text}")))
        .collect::<Result<Vec<_>>>()?;
    if addresses.is_empty() {
        addresses.push(signer(&keys.attestor)?.address());
    }
    addresses.sort_unstable();
    Ok(DevKeys {
        deployer: signer(&keys.deployer.private_key)?,
        submitter: signer(&keys.submitter.private_key)?.address(),
        attestors: addresses,
        threshold,
        guardian: signer(&keys.guardian.private_key)?.address(),
    })
}

fn dev_account(key: &LayerKey, name: &str, keys: &Keys) -> Result<starknet::Keys> {
    Ok(starknet::Keys::parse(key.account(name)?, &key.private_key, &keys.attestor)?)
}

fn starknet_dev_keys(keys: &Keys, attestors: &[String], threshold: u64) -> Result<starknet::dev::DevKeys> {
    let deployer = dev_account(&keys.deployer, "settlement.deployer", keys)?;
    let mut public_keys = attestors
        .iter()
        .map(|text| Felt::from_hex(text).with_context(|| format!("--attestor {text}")))
        .collect::<Result<Vec<_>>>()?;
    if public_keys.is_empty() {
        public_keys.push(deployer.attestor_key());
    }
    Ok(starknet::dev::DevKeys {
        attestors: public_keys,
        threshold: u32::try_from(threshold).context("--threshold: too large")?,
        deployer: DevAccount { address: deployer.account, key: deployer.submitter },
        submitter: dev_account(&keys.submitter, "settlement.submitter", keys)?.account,
        guardian: dev_account(&keys.guardian, "settlement.guardian", keys)?.account,
    })
}
