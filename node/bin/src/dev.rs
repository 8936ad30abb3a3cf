//! `keel dev`: a development chain's contracts and money on a local settlement layer, with the public keys of `genesis/dev-keys.json`.

use crate::config::Config;
use crate::keys::{Keys, LayerKey};
use anyhow::{Context, Result};
use clap::Subcommand;
use keel_settlement::ethereum::dev::{self, DevKeys};
use keel_settlement::starknet::dev::DevAccount;
use keel_settlement::{ethereum, starknet};
use keel_types::{Address, Felt, Genesis, L1Address, SettlementLayer};
use serde_json::json;
use std::sync::Arc;

#[derive(Subcommand)]
pub enum Dev {
    /// Deploys tokens, registry, core and bridge at the addresses of genesis; does nothing when they are there.
    Deploy,
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
        let endpoint = &config.settlement.endpoint;
        let answer = match self {
            Dev::Deploy => {
                let keys = Keys::load(&config.keys)?;
                match genesis.settlement.layer {
                    SettlementLayer::Ethereum { .. } => dev::deploy_dev(endpoint, &genesis, &dev_keys(&keys)?).await?,
                    SettlementLayer::Starknet { .. } => {
                        starknet::dev::deploy_dev(endpoint, &genesis, &starknet_dev_keys(&keys)?).await?;
                    }
                }
                let at = &genesis.settlement;
                json!({ "core": at.core.to_string(), "registry": at.registry.to_string(), "bridge": at.bridge.to_string() })
            }
            Dev::Fund { account, asset, amount } => {
                let (nonce, block) = fund_asset(config, &genesis, &account, &asset, &amount).await?;
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

/// Mints and deposits; see [Dev::Fund].
pub async fn fund(config: &Config, account: &str, asset: &str, amount: &str) -> Result<()> {
    let genesis = Arc::new(crate::genesis(&config.genesis)?);
    fund_asset(config, &genesis, account, asset, amount).await.map(drop)
}

/// Gives the message's nonce and its block.
async fn fund_asset(
    config: &Config,
    genesis: &Arc<Genesis>,
    account: &str,
    asset: &str,
    amount: &str,
) -> Result<(u64, u64)> {
    let recipient = Address(Felt::from_hex(account).context("--account: not an address")?);
    let id = genesis.asset_id(asset).with_context(|| format!("--asset {asset}: not in genesis"))?;
    let quantums = keel_ingress::decimal::parse_quantums(amount).map_err(|e| anyhow::anyhow!("--amount: {e}"))?;
    let unit = i128::from(genesis.assets[usize::from(id.0)].quantums_per_l1_unit);
    anyhow::ensure!(quantums > 0 && quantums % unit == 0, "--amount: must be positive and whole units of the token");
    let keys = Keys::load(&config.keys)?;
    let (endpoint, units) = (&config.settlement.endpoint, (quantums / unit) as u128);
    match genesis.settlement.layer {
        SettlementLayer::Ethereum { .. } => {
            let payer = ethereum::Keys::parse(&keys.depositor.private_key, &keys.attestor)?.submitter;
            let funded = dev::fund(endpoint, genesis, &payer, id, units, recipient).await?;
            Ok((funded.message_nonce, funded.l1_block))
        }
        SettlementLayer::Starknet { .. } => {
            let payer = dev_account(&keys.depositor, "settlement.depositor", &keys)?;
            let payer = DevAccount { address: payer.account, key: payer.submitter };
            let funded = starknet::dev::fund(endpoint, genesis, &payer, id, units, recipient).await?;
            Ok((funded.message_nonce, funded.l1_block))
        }
    }
}

fn dev_keys(keys: &Keys) -> Result<DevKeys> {
    let deployer = ethereum::Keys::parse(&keys.deployer.private_key, &keys.attestor)?;
    let submitter = ethereum::Keys::parse(&keys.submitter.private_key, &keys.guardian.private_key)?;
    Ok(DevKeys {
        deployer: deployer.submitter,
        attestor: deployer.attestor.address(),
        submitter: submitter.submitter.address(),
        guardian: submitter.attestor.address(),
    })
}

fn dev_account(key: &LayerKey, name: &str, keys: &Keys) -> Result<starknet::Keys> {
    Ok(starknet::Keys::parse(key.account(name)?, &key.private_key, &keys.attestor)?)
}

fn starknet_dev_keys(keys: &Keys) -> Result<starknet::dev::DevKeys> {
    let deployer = dev_account(&keys.deployer, "settlement.deployer", keys)?;
    Ok(starknet::dev::DevKeys {
        attestor: deployer.attestor_key(),
        deployer: DevAccount { address: deployer.account, key: deployer.submitter },
        submitter: dev_account(&keys.submitter, "settlement.submitter", keys)?.account,
        guardian: dev_account(&keys.guardian, "settlement.guardian", keys)?.account,
    })
}
