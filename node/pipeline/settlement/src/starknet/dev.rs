//! Development only: contracts and money on a local Starknet. Nothing of a node uses this.

use super::reader::{Reader, ask, bytes, felt, latest, within};
use super::sender::Sender;
use crate::error::{L1Error, SendError};
use crate::withdrawals::{ClaimCall, WithdrawalClaim};
use keel_contracts::starknet::settlement::{
    ContractCall, PlannedContract, SettlementClass, SettlementEvent, deposit, plan_appchain, plan_bridge, plan_registry,
    plan_test_token, read_event, settlement_classes, token_call,
};
use keel_contracts::starknet::{config_hash, program_hash};
use keel_types::{Address, AssetId, Bytes32, Felt, Genesis, L1Address, SettlementLayer};
use starknet::accounts::{Account, AccountError};
use starknet::core::types::contract::SierraClass;
use starknet::core::types::{StarknetError, TransactionReceipt};
use starknet::providers::{Provider, ProviderError};
use starknet::signers::SigningKey;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at a local chain.
const POLL: Duration = Duration::from_millis(50);
/// A local chain that does not know a transaction for this long never will.
const FORGET_AFTER: Duration = Duration::from_secs(30);
/// Seconds between the signatures for a change of the attestors and its effect.
const ATTESTORS_CHANGE_DELAY_S: u64 = 86_400;
/// Least delay of message cancellations that a development chain can be set to: tests set short ones. Elsewhere it is five days.
const CANCELLATION_DELAY_MIN_S: u64 = 1;

/// An account of a development chain.
#[derive(Clone)]
pub struct DevAccount {
    pub address: L1Address,
    pub key: SigningKey,
}

/// Who is who on a development chain.
#[derive(Clone)]
pub struct DevKeys {
    /// Deploys everything; owner of the core contract.
    pub deployer: DevAccount,
    /// Becomes the operator.
    pub submitter: L1Address,
    /// Public keys of the attestors.
    pub attestors: Vec<Felt>,
    /// How many of them make a fact valid: a majority.
    pub threshold: u32,
    /// May pause deposits.
    pub guardian: L1Address,
}

/// Why a development chain could not be set up or used.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("{0}")]
    L1(#[from] L1Error),
    #[error("send: {0}")]
    Send(String),
    /// Genesis has the addresses of other contracts, or of those of other keys.
    #[error("deploy: {contract} would be at {found}, genesis says {expected}")]
    OtherAddress { contract: &'static str, expected: L1Address, found: L1Address },
    #[error("deploy: the settlement layer has chain id {found:#x}, genesis says {expected:#x}")]
    OtherChain { expected: Felt, found: Felt },
    #[error("the genesis has no asset {0}")]
    UnknownAsset(AssetId),
    #[error("class of {0}: {1}")]
    Class(&'static str, String),
    #[error("{0} has no event of ours")]
    NoEvent(&'static str),
    /// A claim of a withdrawal to another layer.
    #[error("the claim is not one on Starknet")]
    OtherClaim,
}

impl From<SendError> for DevError {
    fn from(error: SendError) -> Self {
        DevError::Send(error.to_string())
    }
}

/// The contracts of a development chain, in the order in which they are deployed. A token depends on its symbol, the registry on the
/// attestor, the bridge on these and the deployer, the core contract on what the exchange's address makes of the bridge's.
struct Plan {
    tokens: Vec<PlannedContract>,
    registry: PlannedContract,
    bridge: PlannedContract,
}

impl Plan {
    fn new(genesis: &Genesis, keys: &DevKeys) -> Plan {
        let token = |symbol: &str| plan_test_token("Keel development", symbol);
        let tokens: Vec<_> = genesis.assets.iter().map(|asset| token(&asset.symbol)).collect();
        // A thousand of the largest deposits of each token.
        let caps = genesis.assets.iter().map(|asset| {
            let units = asset.deposit_max.0.unsigned_abs() / u128::from(asset.quantums_per_l1_unit);
            units.saturating_mul(1_000).min((1 << 127) - 1)
        });
        let listed: Vec<_> = tokens.iter().map(PlannedContract::address).zip(caps).collect();
        let salt = genesis.chain_id.0;
        Plan {
            registry: plan_registry(&keys.attestors, keys.threshold, ATTESTORS_CHANGE_DELAY_S, salt),
            bridge: plan_bridge(keys.deployer.address.0, keys.guardian.0, &listed, salt),
            tokens,
        }
    }

    /// The core contract, once exchange and fee token of the genesis are final.
    fn core(&self, genesis: &Genesis, keys: &DevKeys) -> PlannedContract {
        let config = config_hash(genesis.chain_id.0, genesis.fee_token);
        let program = program_hash(genesis.rules_version);
        let (owner, registry) = (keys.deployer.address.0, self.registry.address());
        plan_appchain(owner, program, config, registry, CANCELLATION_DELAY_MIN_S, genesis.chain_id.0)
    }
}

/// Puts the addresses that the contracts will have into a genesis: tokens, registry and bridge; then `finish`, which computes what
/// follows from the bridge's address; then the core contract.
pub fn place(genesis: &mut Genesis, keys: &DevKeys, finish: impl FnOnce(&mut Genesis)) {
    let plan = Plan::new(genesis, keys);
    for (asset, token) in genesis.assets.iter_mut().zip(&plan.tokens) {
        asset.token = token.address();
    }
    genesis.settlement.registry = plan.registry.address();
    genesis.settlement.bridge = plan.bridge.address();
    finish(genesis);
    genesis.settlement.core = plan.core(genesis, keys).address();
}

/// Declares the classes, deploys a token for each asset, registry, bridge and core, tells the bridge its core and registers the
/// submitter: what is there already is left. The addresses are those of genesis, which is checked first.
///
/// # Errors
/// See [`DevError`]. What was deployed before a failure stays.
pub async fn deploy_dev(endpoint: &str, genesis: &Arc<Genesis>, keys: &DevKeys) -> Result<(), DevError> {
    let l1 = connect(endpoint, genesis)?;
    let found = ask(l1.client.chain_id()).await?;
    if found != l1.chain_id {
        return Err(DevError::OtherChain { expected: l1.chain_id, found });
    }
    let plan = Plan::new(genesis, keys);
    let spec = &genesis.settlement;
    let core = plan.core(genesis, keys);
    let tokens = plan.tokens.iter().zip(&genesis.assets).map(|(token, asset)| (token, asset.token));
    let others = [(&plan.registry, spec.registry), (&plan.bridge, spec.bridge), (&core, spec.core)];
    let contracts: Vec<_> = tokens.chain(others).collect();
    for (contract, expected) in &contracts {
        let (contract, found) = (contract.name, contract.address());
        if found != *expected {
            return Err(DevError::OtherAddress { contract, expected: *expected, found });
        }
    }
    let sender = sender(&l1, &keys.deployer);
    let classes = settlement_classes();
    for (name, class) in [
        ("test_token", &classes.test_token),
        ("attestation_registry", &classes.registry),
        ("bridge", &classes.bridge),
        ("appchain", &classes.appchain),
    ] {
        declare(&l1, &sender, name, class).await?;
    }
    for (contract, address) in contracts {
        if !l1.is_deployed(address).await? {
            send(&sender, vec![contract.deployment()]).await?;
        }
    }
    if l1.one(spec.bridge, "core", vec![]).await? == Felt::ZERO {
        let calldata = vec![spec.core.0, genesis.exchange.0];
        send(&sender, vec![ContractCall::new(spec.bridge, "initialize", calldata)]).await?;
    }
    if l1.one(spec.core, "is_operator", vec![keys.submitter.0]).await? == Felt::ZERO {
        send(&sender, vec![ContractCall::new(spec.core, "register_operator", vec![keys.submitter.0])]).await?;
    }
    Ok(())
}

async fn declare(l1: &Reader, sender: &Sender, name: &'static str, class: &SettlementClass) -> Result<(), DevError> {
    match within(l1.client.get_class(latest(), class.class_hash)).await? {
        Ok(_) => return Ok(()),
        Err(ProviderError::StarknetError(StarknetError::ClassHashNotFound)) => {}
        Err(error) => return Err(L1Error::from(error).into()),
    }
    let failed = |why: String| DevError::Class(name, why);
    let sierra: SierraClass = serde_json::from_str(class.sierra).map_err(|error| failed(error.to_string()))?;
    let flattened = sierra.flatten().map_err(|error| failed(error.to_string()))?;
    let declaration = sender.account().declare_v3(Arc::new(flattened), class.compiled_class_hash).tip(0);
    // A class takes the node longer than any other request.
    match declaration.send().await {
        Ok(declared) => {
            sender.follow(bytes(declared.transaction_hash)).await?;
            Ok(())
        }
        Err(AccountError::Provider(ProviderError::StarknetError(StarknetError::ClassAlreadyDeclared))) => Ok(()),
        Err(error) => Err(SendError::from(error).into()),
    }
}

/// A deposit that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Funded {
    pub message_nonce: u64,
    pub l1_block: u64,
}

/// Mints `amount` (units of the token), approves and deposits it for `recipient`, in one transaction.
///
/// # Errors
/// See [`DevError`].
pub async fn fund(
    endpoint: &str,
    genesis: &Arc<Genesis>,
    depositor: &DevAccount,
    asset: AssetId,
    amount: u128,
    recipient: Address,
) -> Result<Funded, DevError> {
    let l1 = connect(endpoint, genesis)?;
    let token = genesis.asset(asset).ok_or(DevError::UnknownAsset(asset))?.token;
    let bridge = genesis.settlement.bridge;
    let calls = vec![
        token_call("mint", token, depositor.address, amount),
        token_call("approve", token, bridge, amount),
        deposit(bridge, token, amount, recipient.0),
    ];
    let hash = send(&sender(&l1, depositor), calls).await?;
    let receipt = ask(l1.client.get_transaction_receipt(felt(hash))).await?;
    let TransactionReceipt::Invoke(invoke) = receipt.receipt else { return Err(DevError::NoEvent("deposit")) };
    let nonce = invoke.events.iter().filter(|event| event.from_address == bridge.0).find_map(|event| {
        match read_event(&event.keys, &event.data) {
            Some(SettlementEvent::DepositSent { nonce, .. }) => u64::try_from(nonce).ok(),
            _ => None,
        }
    });
    let message_nonce = nonce.ok_or(DevError::NoEvent("deposit"))?;
    Ok(Funded { message_nonce, l1_block: receipt.block.block_number() })
}

/// Sends calls from an account, in one transaction, and waits until they are in a block.
///
/// # Errors
/// See [`DevError`]; a refusal of the contract is in its text.
pub async fn execute(
    endpoint: &str,
    genesis: &Arc<Genesis>,
    from: &DevAccount,
    calls: Vec<ContractCall>,
) -> Result<Bytes32, DevError> {
    let l1 = connect(endpoint, genesis)?;
    send(&sender(&l1, from), calls).await
}

/// Finishes a withdrawal with the call that [`crate::withdrawal_claim`] gives. Anybody may.
///
/// # Errors
/// See [`DevError`]; it cannot be claimed yet, or was claimed before.
pub async fn claim(
    endpoint: &str,
    genesis: &Arc<Genesis>,
    payer: &DevAccount,
    claim: &WithdrawalClaim,
) -> Result<(), DevError> {
    let ClaimCall::Starknet { selector, calldata } = &claim.call else { return Err(DevError::OtherClaim) };
    let call = ContractCall { to: claim.to, selector: *selector, calldata: calldata.clone() };
    execute(endpoint, genesis, payer, vec![call]).await.map(drop)
}

/// Token units that `owner` holds on the settlement layer.
///
/// # Errors
/// See [`DevError`].
pub async fn balance(endpoint: &str, genesis: &Arc<Genesis>, asset: AssetId, owner: L1Address) -> Result<u128, DevError> {
    let l1 = connect(endpoint, genesis)?;
    let token = genesis.asset(asset).ok_or(DevError::UnknownAsset(asset))?.token;
    Ok(l1.amount(token, "balance_of", owner.0, latest()).await?)
}

fn connect(endpoint: &str, genesis: &Arc<Genesis>) -> Result<Reader, L1Error> {
    match genesis.settlement.layer {
        SettlementLayer::Starknet { chain_id } => Reader::connect(&[endpoint.to_owned()], 1, genesis.clone(), chain_id.0),
        layer => Err(L1Error::OtherLayer(layer)),
    }
}

fn sender(l1: &Reader, from: &DevAccount) -> Sender {
    Sender::new(l1.clone(), from.address, from.key.clone(), POLL, FORGET_AFTER)
}

async fn send(sender: &Sender, calls: Vec<ContractCall>) -> Result<Bytes32, DevError> {
    Ok(sender.transact(calls, None, &mut |_| Ok(())).await?)
}
