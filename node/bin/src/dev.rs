//! `keel dev`: a development chain's contracts and money on a local settlement layer, with the public keys of `genesis/dev-keys.json`.

use crate::config::Config;
use crate::keys::Keys;
use anyhow::{Context, Result};
use clap::Subcommand;
use keel_settlement::ethereum;
use keel_settlement::ethereum::dev::{self, DevKeys};
use keel_types::{Address, Felt, Genesis, L1Address};
use serde_json::json;
use std::sync::Arc;

#[derive(Subcommand)]
pub enum Dev {
    /// Deploys tokens, registry, core and bridge at the addresses of genesis; does nothing when they are there.
    Deploy {
        /// An attestor of the registry, by its address; may be repeated. Without any, the one of the key file.
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
                dev::deploy_dev(endpoint, &genesis, &dev_keys(config, attestors, threshold)?).await?;
                let at = &genesis.settlement;
                json!({ "core": at.core.to_string(), "registry": at.registry.to_string(), "bridge": at.bridge.to_string() })
            }
            Dev::Fund { account, asset, amount } => {
                let funded = fund_asset(config, &genesis, &account, &asset, &amount).await?;
                json!({ "messageNonce": funded.message_nonce.to_string(), "l1Block": funded.l1_block.to_string() })
            }
            Dev::Balance { owner, asset } => {
                let owner: L1Address =
                    genesis.settlement.layer.parse_address(&owner).map_err(|why| anyhow::anyhow!("--owner: {why}"))?;
                let id = genesis.asset_id(&asset).with_context(|| format!("--asset {asset}: not in genesis"))?;
                json!({ "units": dev::balance(endpoint, &genesis, id, owner).await?.to_string() })
            }
        };
        println!("{answer}");
        Ok(())
    }
}

/// Mints and deposits; see [Dev::Fund].
pub async fn fund(config: &Config, account: &str, asset: &str, amount: &str) -> Result<()> {
    let genesis = Arc::new(crate::genesis(&config.genesis)?);
    fund_asset(config, &genesis, account, asset, amount).await.map(drop)
}

async fn fund_asset(
    config: &Config,
    genesis: &Arc<Genesis>,
    account: &str,
    asset: &str,
    amount: &str,
) -> Result<dev::Funded> {
    let recipient = Address(Felt::from_hex(account).context("--account: not an address")?);
    let id = genesis.asset_id(asset).with_context(|| format!("--asset {asset}: not in genesis"))?;
    let quantums = keel_ingress::decimal::parse_quantums(amount).map_err(|e| anyhow::anyhow!("--amount: {e}"))?;
    let unit = i128::from(genesis.assets[usize::from(id.0)].quantums_per_l1_unit);
    anyhow::ensure!(quantums > 0 && quantums % unit == 0, "--amount: must be positive and whole units of the token");
    let keys = Keys::load(&config.keys)?;
    let payer = ethereum::Keys::parse(&keys.depositor, &keys.attestor)?.submitter;
    Ok(dev::fund(&config.settlement.endpoints()[0], genesis, &payer, id, (quantums / unit) as u128, recipient).await?)
}

/// `attestors`: empty for the key file's own.
fn dev_keys(config: &Config, attestors: Vec<String>, threshold: u64) -> Result<DevKeys> {
    let keys = Keys::load(&config.keys)?;
    let signer = |key: &str| ethereum::Keys::parse(key, key).map(|keys| keys.submitter);
    let own = Some(&keys.attestor).filter(|_| attestors.is_empty());
    let mut addresses = Vec::new();
    for key in own {
        addresses.push(signer(key)?.address());
    }
    for text in &attestors {
        addresses.push(text.parse().with_context(|| format!("--attestor {text}"))?);
    }
    addresses.sort_unstable();
    Ok(DevKeys {
        deployer: signer(&keys.deployer)?,
        submitter: signer(&keys.submitter)?.address(),
        attestors: addresses,
        threshold,
        guardian: signer(&keys.guardian)?.address(),
    })
}
