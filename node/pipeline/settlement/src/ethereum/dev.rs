//! Development only: contracts and money on a local Ethereum chain. Nothing of a node uses this.

use super::reader::{Reader, ask, eth};
use super::sender::{Call, Sender};
use crate::error::{L1Error, SendError};
use crate::withdrawals::{ClaimCall, WithdrawalClaim};
use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address as AlloyAddress, Bytes, U256, address, hex};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolEvent;
use keel_contracts::ethereum::{AppchainCore, AttestationRegistry, Bridge, CoreInit, TestToken, word};
use keel_contracts::starknet::{config_hash, program_hash};
use keel_types::{Address, AssetId, DataForm, Genesis, L1Address, SettlementLayer};
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at a local chain.
const POLL: Duration = Duration::from_millis(50);
/// A local chain that mines nothing for this long is asked with a higher fee.
const REPLACE_AFTER: Duration = Duration::from_secs(30);
/// Seconds between the signatures for a change of the attestors and its effect.
const ATTESTORS_CHANGE_DELAY_S: u64 = 86_400;
/// Least delay of message cancellations that a development chain can be set to: tests set short ones. Elsewhere it is five days.
const CANCELLATION_DELAY_MIN_S: u64 = 1;
/// What an attestor's account is given, wei.
const ATTESTOR_WEI: u128 = 10_000_000_000_000_000_000;
/// Fee of a deposit's message, wei: the least that the core contract takes.
const MESSAGE_FEE_WEI: u64 = 1;

/// The precompile that checks point proofs. [EIP-4844]
const POINT_EVALUATION: AlloyAddress = address!("0x000000000000000000000000000000000000000a");
/// Its input for the blob of zeros: versioned hash, point 0, value 0, then commitment and proof, both the point at infinity.
const POINT_PROOF_OF_ZEROS: [u8; 192] = hex!(
    "010657f37554c781402a22917dee2f75def7ab966d7b770905398eba3c444014"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "c00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "c00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
);

/// Who is who on a development chain.
#[derive(Clone)]
pub struct DevKeys {
    /// Deploys everything, from its first transaction on; governor of the core contract.
    pub deployer: PrivateKeySigner,
    /// Becomes the operator.
    pub submitter: AlloyAddress,
    /// The attestors, ascending.
    pub attestors: Vec<AlloyAddress>,
    /// How many of them make a fact valid.
    pub threshold: u64,
    /// May pause deposits.
    pub guardian: AlloyAddress,
}

/// Why a development chain could not be set up or used.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("{0}")]
    L1(#[from] L1Error),
    #[error("send: {0}")]
    Send(String),
    #[error("deploy {contract}: {why}")]
    Deploy { contract: &'static str, why: String },
    /// The addresses of genesis are those of a deployer without history.
    #[error("deploy: {contract} came to {found}, genesis says {expected}: the deployer has sent transactions before")]
    OtherAddress { contract: &'static str, expected: L1Address, found: L1Address },
    #[error("deploy: the settlement layer has chain id {found}, genesis says {expected}")]
    OtherChain { expected: u64, found: u64 },
    #[error("deploy: the settlement layer takes no blobs: it is of a fork before Cancun")]
    NoBlobs,
    #[error("the genesis has no asset {0}")]
    UnknownAsset(AssetId),
    #[error("{0} has no event of ours")]
    NoEvent(&'static str),
    /// A claim of a withdrawal to another layer.
    #[error("the claim is not one on Ethereum")]
    OtherClaim,
}

impl From<SendError> for DevError {
    fn from(error: SendError) -> Self {
        DevError::Send(error.to_string())
    }
}

/// Deploys a token for each asset, registry, core and bridge, in this order, then registers the submitter as operator: the
/// addresses are those of genesis, which is checked. Does nothing if the bridge is there already.
///
/// # Errors
/// See [`DevError`]. What was deployed before a failure stays.
pub async fn deploy_dev(endpoint: &str, genesis: &Arc<Genesis>, keys: &DevKeys) -> Result<(), DevError> {
    let l1 = connect(endpoint, genesis)?;
    let found = l1.provider.get_chain_id().await.map_err(L1Error::from)?;
    if found != l1.chain_id {
        return Err(DevError::OtherChain { expected: l1.chain_id, found });
    }
    let operator = l1.core.registerOperator(keys.submitter).calldata().clone();
    let there = l1.provider.get_code_at(eth(genesis.settlement.bridge)).await.map_err(L1Error::from)?;
    if there.is_empty() {
        deploy_contracts(&deployer(endpoint, keys)?, genesis, keys).await?;
    }
    for attestor in &keys.attestors {
        give_ether(&l1, &keys.deployer, *attestor).await?;
    }
    if !ask(l1.core.isOperator(keys.submitter)).await? {
        send(&l1, &keys.deployer, *l1.core.address(), operator).await?;
    }
    match genesis.settlement.layer {
        SettlementLayer::Ethereum { data: DataForm::Blobs, .. } => check_blobs(endpoint).await,
        SettlementLayer::Ethereum { data: DataForm::Calldata, .. } | SettlementLayer::Starknet { .. } => Ok(()),
    }
}

/// Attestations are paid for by who brings them.
async fn give_ether(l1: &Reader, from: &PrivateKeySigner, account: AlloyAddress) -> Result<(), DevError> {
    if l1.provider.get_balance(account).await.map_err(L1Error::from)?.is_zero() {
        let call = Call { value: U256::from(ATTESTOR_WEI), ..Call::new(account, Bytes::new()) };
        Sender::new(l1.clone(), from.clone(), POLL, REPLACE_AFTER).transact(&call, None, &mut |_| Ok(())).await?;
    }
    Ok(())
}

/// Has the layer check a point proof: of the blob of zeros. A development chain loads the setup of KZG when it is first asked, and answers nobody
/// for seconds meanwhile; better before an exchange depends on it than with its first batch.
async fn check_blobs(endpoint: &str) -> Result<(), DevError> {
    let url = endpoint.parse().map_err(|error| L1Error::Unreachable(format!("{endpoint}: {error}")))?;
    // Without the time limit of a node's requests.
    let provider = ProviderBuilder::new().connect_http(url);
    let request = TransactionRequest::default().with_to(POINT_EVALUATION).with_input(POINT_PROOF_OF_ZEROS);
    let answer = provider.call(request).await.map_err(L1Error::from)?;
    if answer.is_empty() { Err(DevError::NoBlobs) } else { Ok(()) }
}

async fn deploy_contracts(provider: &DynProvider, genesis: &Genesis, keys: &DevKeys) -> Result<(), DevError> {
    let failed =
        |contract: &'static str| move |error: alloy::contract::Error| DevError::Deploy { contract, why: error.to_string() };
    for asset in &genesis.assets {
        let name = format!("Keel development {}", asset.symbol);
        let token = TestToken::deploy(provider.clone(), name, asset.symbol.clone()).await.map_err(failed("TestToken"))?;
        at_address("TestToken", asset.token, *token.address())?;
    }
    let delay = U256::from(ATTESTORS_CHANGE_DELAY_S);
    let registry = AttestationRegistry::deploy(provider.clone(), keys.attestors.clone(), U256::from(keys.threshold), delay)
        .await
        .map_err(failed("AttestationRegistry"))?;
    at_address("AttestationRegistry", genesis.settlement.registry, *registry.address())?;

    let config = config_hash(genesis.chain_id.0, genesis.fee_token);
    let init = CoreInit::genesis(program_hash(genesis.rules_version), config, *registry.address());
    let delay_min = U256::from(CANCELLATION_DELAY_MIN_S);
    let core = AppchainCore::deploy(provider.clone(), init.encode(), delay_min).await.map_err(failed("AppchainCore"))?;
    at_address("AppchainCore", genesis.settlement.core, *core.address())?;

    // A thousand of the largest deposits of each token.
    let cap = |max: i128, unit: u64| U256::from(max.unsigned_abs() / u128::from(unit)).saturating_mul(U256::from(1_000));
    let listed = genesis.assets.iter().map(|asset| {
        let cap_max = (U256::ONE << 127) - U256::ONE;
        (eth(asset.token), cap(asset.deposit_max.0, asset.quantums_per_l1_unit).min(cap_max))
    });
    let (tokens, caps) = listed.unzip();
    let bridge = Bridge::deploy(provider.clone(), *core.address(), word(genesis.exchange.0), keys.guardian, tokens, caps)
        .await
        .map_err(failed("Bridge"))?;
    at_address("Bridge", genesis.settlement.bridge, *bridge.address())
}

fn connect(endpoint: &str, genesis: &Arc<Genesis>) -> Result<Reader, L1Error> {
    match genesis.settlement.layer {
        SettlementLayer::Ethereum { chain_id, .. } => Reader::connect(&[endpoint.to_owned()], 1, genesis.clone(), chain_id),
        layer => Err(L1Error::OtherLayer(layer)),
    }
}

/// A provider that fills in everything and signs as the deployer.
fn deployer(endpoint: &str, keys: &DevKeys) -> Result<DynProvider, DevError> {
    let url = endpoint.parse().map_err(|error| L1Error::Unreachable(format!("{endpoint}: {error}")))?;
    let wallet = EthereumWallet::from(keys.deployer.clone());
    let provider = ProviderBuilder::new().wallet(wallet).connect_http(url);
    provider.client().set_poll_interval(POLL);
    Ok(provider.erased())
}

fn at_address(contract: &'static str, expected: L1Address, found: AlloyAddress) -> Result<(), DevError> {
    let found = L1Address::ethereum(found.0.0);
    if expected == found { Ok(()) } else { Err(DevError::OtherAddress { contract, expected, found }) }
}

/// A deposit that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Funded {
    pub message_nonce: u64,
    pub l1_block: u64,
}

/// Mints `amount` (units of the token), approves and deposits it for `recipient`.
///
/// # Errors
/// See [`DevError`].
pub async fn fund(
    endpoint: &str,
    genesis: &Arc<Genesis>,
    depositor: &PrivateKeySigner,
    asset: AssetId,
    amount: u128,
    recipient: Address,
) -> Result<Funded, DevError> {
    let l1 = connect(endpoint, genesis)?;
    let token = eth(genesis.asset(asset).ok_or(DevError::UnknownAsset(asset))?.token);
    let (contract, amount) = (TestToken::new(token, l1.provider.clone()), U256::from(amount));
    let (mint, approve) = (contract.mint(depositor.address(), amount), contract.approve(*l1.bridge.address(), amount));
    send(&l1, depositor, token, mint.calldata().clone()).await?;
    send(&l1, depositor, token, approve.calldata().clone()).await?;
    let deposit = l1.bridge.deposit(token, amount, word(recipient.0)).calldata().clone();
    let value = U256::from(MESSAGE_FEE_WEI);
    let deposit = Call { value, ..Call::new(*l1.bridge.address(), deposit) };
    let sender = Sender::new(l1.clone(), depositor.clone(), POLL, REPLACE_AFTER);
    let receipt = sender.transact(&deposit, None, &mut |_| Ok(())).await?;
    let sent = event::<Bridge::DepositSent>(&receipt).ok_or(DevError::NoEvent("deposit"))?;
    let message_nonce = u64::try_from(sent.nonce).map_err(|_| DevError::NoEvent("deposit"))?;
    Ok(Funded { message_nonce, l1_block: receipt.block_number.unwrap_or_default() })
}

/// Finishes a withdrawal with the call that [`crate::withdrawal_claim`] gives. Anybody may.
///
/// # Errors
/// See [`DevError`]; it cannot be claimed yet, or was claimed before.
pub async fn claim(
    endpoint: &str,
    genesis: &Arc<Genesis>,
    payer: &PrivateKeySigner,
    claim: &WithdrawalClaim,
) -> Result<(), DevError> {
    let l1 = connect(endpoint, genesis)?;
    let ClaimCall::Ethereum { calldata } = &claim.call else { return Err(DevError::OtherClaim) };
    send(&l1, payer, eth(claim.to), calldata.clone().into()).await.map(drop)
}

/// Token units that `owner` holds on the settlement layer.
///
/// # Errors
/// See [`DevError`].
pub async fn balance(endpoint: &str, genesis: &Arc<Genesis>, asset: AssetId, owner: L1Address) -> Result<u128, DevError> {
    let l1 = connect(endpoint, genesis)?;
    let token = eth(genesis.asset(asset).ok_or(DevError::UnknownAsset(asset))?.token);
    let balance = ask(TestToken::new(token, l1.provider.clone()).balanceOf(eth(owner))).await?;
    Ok(u128::try_from(balance).unwrap_or(u128::MAX))
}

async fn send(l1: &Reader, from: &PrivateKeySigner, to: AlloyAddress, data: Bytes) -> Result<TransactionReceipt, DevError> {
    let sender = Sender::new(l1.clone(), from.clone(), POLL, REPLACE_AFTER);
    Ok(sender.transact(&Call::new(to, data), None, &mut |_| Ok(())).await?)
}

fn event<E: SolEvent>(receipt: &TransactionReceipt) -> Option<E> {
    receipt.logs().iter().find_map(|log| log.log_decode::<E>().ok()).map(|log| log.inner.data)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use keel_types::*;

    /// A genesis whose contracts are those of anvil's first account.
    pub(crate) fn genesis() -> Genesis {
        let deployer = AlloyAddress::from([0xf3; 20]);
        let created = |nonce: u64| L1Address::ethereum(deployer.create(nonce).0.0);
        let felt = |value: u64| Felt::from(value);
        let asset = |symbol: &str, nonce, quantums_per_l1_unit| AssetSpec {
            symbol: symbol.into(),
            token: created(nonce),
            quantums_per_l1_unit,
            deposit_max: Amount(1_000_000 * 100_000_000),
        };
        Genesis {
            chain_id: FeltBytes(felt(0x4b45)),
            rules_version: 1,
            ts: Ts(1),
            exchange: Address(felt(1_111)),
            operator: Address(felt(2_222)),
            fee_token: Address(felt(3_333)),
            sequencer: Address(felt(77)),
            block_key: StarkKey(felt(5)),
            settlement: SettlementSpec {
                layer: SettlementLayer::Ethereum { chain_id: 31_337, data: DataForm::Calldata },
                core: created(4),
                bridge: created(5),
                registry: created(3),
                deposit_depth: 3,
                confirm_depth: 2,
            },
            account_templates: vec![],
            fee_account: Address(felt(11)),
            insurance_account: Address(felt(12)),
            assets: vec![asset("USDC", 0, 100), asset("ETH", 1, 1), asset("BTC", 2, 1)],
            markets: vec![],
            oracle: OracleSpec { publishers: vec![], quorum: 1, report_age_max_ms: 1, stale_ms: 1 },
            limits: EngineLimits { orders_per_account_market: 1, nonces_per_account: 1, fills_per_command: 1 },
        }
    }
}
