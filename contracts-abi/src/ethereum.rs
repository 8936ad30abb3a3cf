//! Ethereum contracts: bindings from the committed artifacts, construction, and every hash the settlement side computes.
//!
//! The hashes repeat what the contracts compute, in the same word order; `ethereum/test/vectors.json` is checked against the
//! contracts on a real node by the contract tests and against this module by its own. A fact that the registry holds valid
//! was attested by k of n nodes that re-executed the batch. It is an attestation, not a validity proof.

use alloy::contract::Error as ContractError;
use alloy::primitives::{Address, B256, Bytes, I256, Signature, SignatureError, U256, keccak256, uint};
use alloy::providers::Provider;
use alloy::sol_types::{SolStruct, SolValue, eip712_domain};
use starknet_types_core::felt::Felt;
use std::collections::BTreeMap;
use std::fmt;

pub use bindings::{AppchainCore, AttestationRegistry, Bridge, TestToken};

mod bindings {
    #![allow(missing_docs, clippy::all)]
    use alloy::sol;

    sol!(
        #[sol(rpc)]
        #[derive(Debug, PartialEq, Eq)]
        AppchainCore,
        "artifacts/ethereum/AppchainCore.json"
    );
    sol!(
        #[sol(rpc)]
        #[derive(Debug, PartialEq, Eq)]
        AttestationRegistry,
        "artifacts/ethereum/AttestationRegistry.json"
    );
    sol!(
        #[sol(rpc)]
        #[derive(Debug, PartialEq, Eq)]
        Bridge,
        "artifacts/ethereum/Bridge.json"
    );
    sol!(
        #[sol(rpc)]
        #[derive(Debug, PartialEq, Eq)]
        TestToken,
        "artifacts/ethereum/TestToken.json"
    );
    sol! {
        /// What an attestor signs (EIP-712), see `AttestationRegistry.attestationDigest`.
        struct Attestation {
            bytes32 fact;
        }
    }
}

/// Starknet selector of `handle_deposit`: keccak of the name, cut to 250 bits.
pub const HANDLE_DEPOSIT_SELECTOR: U256 = uint!(0x2d757788a8d8d6f21d1cd40bce38a8222d70654214e96ff95d8086e684fbee5_U256);
/// Largest address of the appchain: 2^251 - 257. The smallest is 1.
pub const L2_ADDRESS_MAX: U256 = uint!(0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeff_U256);
/// The field's prime. Every word of a program output and of its data is below it.
pub const FIELD_PRIME: U256 = uint!(0x800000000000011000000000000000000000000000000000000000000000001_U256);
/// Previous block number of the first batch: -1 in the field.
pub const PREV_BLOCK_NUMBER_GENESIS: U256 = uint!(0x800000000000011000000000000000000000000000000000000000000000000_U256);
/// First word of the fact of a transition with data: 'KEEL_DATA' as a Starknet short string.
const DATA_TAG: U256 = uint!(0x4b45454c5f44415441_U256);
/// Least message fee the core contract takes, in wei.
pub const MESSAGE_FEE_MIN: U256 = U256::ONE;
/// Greatest message fee the core contract takes, in wei: 1 ether.
pub const MESSAGE_FEE_MAX: U256 = uint!(1_000_000_000_000_000_000_U256);

/// A field element as a contract word.
pub fn word(felt: Felt) -> U256 {
    U256::from_be_bytes(felt.to_bytes_be())
}

/// A contract word as a field element; `None` from the prime up.
pub fn felt(word: U256) -> Option<Felt> {
    (word < FIELD_PRIME).then(|| Felt::from_bytes_be(&word.to_be_bytes()))
}

/// keccak over the words, 32 big-endian bytes each.
pub fn hash_words(words: &[U256]) -> B256 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect();
    keccak256(bytes)
}

/// Fact of a state transition whose data is in the calldata (`updateStateWithData`):
/// `keccak('KEEL_DATA', keccak(output), keccak(data))`. `updateState`, which sees no data, makes no such fact.
pub fn transition_fact_with_data(program_output: &[U256], da_words: &[U256]) -> B256 {
    hash_words(&[DATA_TAG, hash_words(program_output).into(), hash_words(da_words).into()])
}

/// Fact of a state transition whose data is in blobs (`updateStateKzgDA`): keccak over the program output.
pub fn transition_fact_with_blobs(program_output: &[U256]) -> B256 {
    hash_words(program_output)
}

/// What the core contract asks the registry, and what attestors sign: keccak over program hash and transition fact.
pub fn fact(program_hash: Felt, transition_fact: B256) -> B256 {
    hash_words(&[word(program_hash), transition_fact.into()])
}

/// EIP-712 digest of the attestation of `fact` to the registry at `registry` on chain `chain_id`.
pub fn attestation_digest(chain_id: u64, registry: Address, fact: B256) -> B256 {
    let domain = eip712_domain! {
        name: "Keel AttestationRegistry",
        version: "1",
        chain_id: chain_id,
        verifying_contract: registry,
    };
    bindings::Attestation { fact }.eip712_signing_hash(&domain)
}

/// Signatures of `digest` in the form `AttestationRegistry.attest` takes: 65 bytes each (r, s, v), low s, ascending by signer,
/// one per signer. Whether the signers are attestors is for the registry to say. Errors on one that no key could have made.
pub fn attestation_signatures(digest: B256, signatures: &[Signature]) -> Result<Vec<Bytes>, SignatureError> {
    let mut by_signer = BTreeMap::new();
    for signature in signatures {
        let low = signature.normalized_s();
        by_signer.insert(low.recover_address_from_prehash(&digest)?, Bytes::from(low.as_bytes().to_vec()));
    }
    Ok(by_signer.into_values().collect())
}

/// A message from Ethereum to the appchain, as it waits on the core contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageToL2 {
    /// Who sent it. Only the genesis bridge's messages are ever consumed.
    pub from: Address,
    /// Contract of the appchain.
    pub to: Felt,
    /// `l1ToL2MessageNonce` at sending.
    pub nonce: U256,
    /// Entry point of `to`.
    pub selector: Felt,
    /// Calldata after the sender.
    pub payload: Vec<Felt>,
}

impl MessageToL2 {
    /// Its words in the messages-to-L2 segment: `[from, to, nonce, selector, len, payload...]`.
    pub fn words(&self) -> Vec<U256> {
        let prefix =
            [address_word(self.from), word(self.to), self.nonce, word(self.selector), U256::from(self.payload.len())];
        prefix.into_iter().chain(self.payload.iter().copied().map(word)).collect()
    }

    /// Key of `l1ToL2Messages` and `l1ToL2MessageCancellations`: keccak over the words.
    pub fn hash(&self) -> B256 {
        hash_words(&self.words())
    }
}

/// A message from the appchain to Ethereum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageToL1 {
    /// Contract of the appchain.
    pub from: Felt,
    /// Who may consume it.
    pub to: Address,
    /// Its content.
    pub payload: Vec<Felt>,
}

impl MessageToL1 {
    /// Its words in the messages-to-L1 segment: `[from, to, len, payload...]`.
    pub fn words(&self) -> Vec<U256> {
        let prefix = [word(self.from), address_word(self.to), U256::from(self.payload.len())];
        prefix.into_iter().chain(self.payload.iter().copied().map(word)).collect()
    }

    /// Key of `l2ToL1Messages`: keccak over the words.
    pub fn hash(&self) -> B256 {
        hash_words(&self.words())
    }
}

/// An Ethereum address as a contract word.
pub fn address_word(address: Address) -> U256 {
    U256::from_be_bytes(address.into_word().0)
}

/// The seven words `AppchainCore` is constructed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreInit {
    /// Names the rules of the chain; not zero.
    pub program_hash: Felt,
    /// For outputs whose word 6 is not zero. Ours never are.
    pub aggregator_program_hash: Felt,
    /// The fact registry.
    pub verifier: Address,
    /// Hash of chain id and fee token.
    pub config_hash: Felt,
    /// State root to start from.
    pub root: Felt,
    /// Block number to start from, -1 before the first block.
    pub block_number: i64,
    /// Block hash to start from.
    pub block_hash: Felt,
}

impl CoreInit {
    /// A new chain: root 0, block number -1, block hash 0, so that batch 0 carries the genesis diff.
    pub fn genesis(program_hash: Felt, config_hash: Felt, verifier: Address) -> Self {
        Self {
            program_hash,
            aggregator_program_hash: Felt::ZERO,
            verifier,
            config_hash,
            root: Felt::ZERO,
            block_number: -1,
            block_hash: Felt::ZERO,
        }
    }

    /// Constructor argument of `AppchainCore`.
    pub fn encode(&self) -> Bytes {
        let number = I256::try_from(self.block_number).expect("an i64 fits 256 bits");
        let words = (
            word(self.program_hash),
            word(self.aggregator_program_hash),
            self.verifier,
            word(self.config_hash),
            word(self.root),
            number,
            word(self.block_hash),
        );
        words.abi_encode_params().into()
    }
}

/// A token the bridge lists, with the most that may be in escrow, in token units (1 to 2^127 - 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedToken {
    /// ERC-20 contract.
    pub address: Address,
    /// Cap on the escrow counter.
    pub cap: U256,
}

/// All that a new chain needs on Ethereum. The deployer becomes the core contract's governor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployPlan {
    /// Signers of the attestation registry, in any order, each once.
    pub attestors: Vec<Address>,
    /// How many of them make a fact valid; more than half.
    pub threshold: u64,
    /// Seconds between the signatures for a change of the attestors and its effect, 1 to 31,536,000.
    pub attestors_change_delay_s: u64,
    /// The least that the delay of message cancellations can ever be set to, in seconds, 1 to 432,000 (five days, which the
    /// delay is at first). It must be longer than a batch takes from crediting a deposit to the contract.
    pub cancellation_delay_min_s: u64,
    /// See [`CoreInit::program_hash`].
    pub program_hash: Felt,
    /// See [`CoreInit::config_hash`].
    pub config_hash: Felt,
    /// Address of the exchange contract on the appchain.
    pub exchange: Felt,
    /// May pause and resume deposits; zero for nobody.
    pub guardian: Address,
    /// Submits state updates.
    pub operator: Address,
    /// Tokens that can be deposited.
    pub tokens: Vec<ListedToken>,
}

/// The contracts of one chain.
#[derive(Clone, Debug)]
pub struct Deployment<P> {
    /// k-of-n attestations.
    pub registry: AttestationRegistry::AttestationRegistryInstance<P>,
    /// State and messages.
    pub core: AppchainCore::AppchainCoreInstance<P>,
    /// Escrow.
    pub bridge: Bridge::BridgeInstance<P>,
}

/// Which step of a deployment failed; contracts of earlier steps exist and are of no use.
#[derive(Debug)]
pub enum DeployError {
    /// The constructor refused, or the node could not be reached.
    Deploy {
        /// Its name.
        contract: &'static str,
        /// What the node said.
        source: ContractError,
    },
    /// The operator could not be registered.
    RegisterOperator(ContractError),
}

impl fmt::Display for DeployError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deploy { contract, source } => write!(f, "failed to deploy {contract}: {source}"),
            Self::RegisterOperator(source) => write!(f, "failed to register the operator: {source}"),
        }
    }
}

impl std::error::Error for DeployError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Deploy { source, .. } | Self::RegisterOperator(source) => Some(source),
        }
    }
}

fn deploying(contract: &'static str) -> impl FnOnce(ContractError) -> DeployError {
    move |source| DeployError::Deploy { contract, source }
}

/// Deploys registry, core and bridge and registers the operator, in this order, each confirmed before the next.
pub async fn deploy<P: Provider + Clone>(provider: P, plan: &DeployPlan) -> Result<Deployment<P>, DeployError> {
    let mut attestors = plan.attestors.clone();
    attestors.sort_unstable();
    let delay = U256::from(plan.attestors_change_delay_s);
    let registry = AttestationRegistry::deploy(provider.clone(), attestors, U256::from(plan.threshold), delay)
        .await
        .map_err(deploying("AttestationRegistry"))?;

    let init = CoreInit::genesis(plan.program_hash, plan.config_hash, *registry.address());
    let delay_min = U256::from(plan.cancellation_delay_min_s);
    let core = AppchainCore::deploy(provider.clone(), init.encode(), delay_min).await.map_err(deploying("AppchainCore"))?;
    let registration = core.registerOperator(plan.operator).send().await.map_err(DeployError::RegisterOperator)?;
    registration.get_receipt().await.map_err(|error| DeployError::RegisterOperator(error.into()))?;

    let (tokens, caps) = plan.tokens.iter().map(|token| (token.address, token.cap)).unzip();
    let bridge = Bridge::deploy(provider, *core.address(), word(plan.exchange), plan.guardian, tokens, caps)
        .await
        .map_err(deploying("Bridge"))?;
    Ok(Deployment { registry, core, bridge })
}

/// Deploys a token with 6 decimals that anybody may mint. Development only.
pub async fn deploy_test_token<P: Provider>(
    provider: P,
    name: &str,
    symbol: &str,
) -> Result<TestToken::TestTokenInstance<P>, DeployError> {
    TestToken::deploy(provider, name.into(), symbol.into()).await.map_err(deploying("TestToken"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::signers::{SignerSync, local::PrivateKeySigner};
    use serde_json::Value;
    use std::str::FromStr;

    /// Checked against the contracts on a real node by `ethereum/test/vectors.test.mjs`.
    const VECTORS: &str = include_str!("../ethereum/test/vectors.json");

    fn vectors() -> Value {
        serde_json::from_str(VECTORS).expect("vectors.json is JSON")
    }

    fn text(value: &Value) -> &str {
        value.as_str().expect("a string")
    }

    fn parse<T: FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
        text(value).parse().expect("a number, hash or address")
    }

    fn words_of(value: &Value) -> Vec<U256> {
        value.as_array().expect("an array").iter().map(parse).collect()
    }

    fn felt_of(value: &Value) -> Felt {
        Felt::from_hex(text(value)).expect("a felt")
    }

    fn payload_of(message: &Value) -> Vec<Felt> {
        message["payload"].as_array().expect("an array").iter().map(felt_of).collect()
    }

    #[test]
    fn facts_digest_and_init_data_are_those_the_contracts_accepted() {
        let vectors = vectors();
        let output = words_of(&vectors["programOutput"]);
        let transition = transition_fact_with_data(&output, &words_of(&vectors["daWords"]));
        assert_eq!(transition, parse::<B256>(&vectors["stateTransitionFact"]));
        assert_eq!(transition_fact_with_blobs(&output), parse::<B256>(&vectors["outputHash"]));
        let program_hash = felt_of(&vectors["programHash"]);
        let fact = fact(program_hash, transition);
        assert_eq!(fact, parse::<B256>(&vectors["fact"]));

        let attestation = &vectors["attestation"];
        let registry = parse(&attestation["registry"]);
        let chain_id = attestation["chainId"].as_u64().expect("a chain id");
        assert_eq!(attestation_digest(chain_id, registry, fact), parse::<B256>(&attestation["digest"]));

        let mut init = CoreInit::genesis(program_hash, felt_of(&vectors["configHash"]), registry);
        init.aggregator_program_hash = felt_of(&vectors["aggregatorProgramHash"]);
        assert_eq!(init.encode(), parse::<Bytes>(&vectors["initData"]));
        assert_eq!(output[2], PREV_BLOCK_NUMBER_GENESIS);
    }

    #[test]
    fn message_hashes_are_those_of_the_contracts() {
        let vectors = vectors();
        let (down, up) = (&vectors["messageToL2"], &vectors["messageToL1"]);
        let message = MessageToL2 {
            from: parse(&down["from"]),
            to: felt_of(&down["to"]),
            nonce: parse(&down["nonce"]),
            selector: felt_of(&down["selector"]),
            payload: payload_of(down),
        };
        assert_eq!(word(message.selector), HANDLE_DEPOSIT_SELECTOR);
        assert_eq!(message.hash(), parse::<B256>(&down["hash"]));
        let message = MessageToL1 { from: felt_of(&up["from"]), to: parse(&up["to"]), payload: payload_of(up) };
        assert_eq!(message.hash(), parse::<B256>(&up["hash"]));
    }

    /// starknet-rs, starknet-core/src/types/msg.rs.
    #[test]
    fn message_hash_of_a_mainnet_deposit() {
        let hex = |text: &str| Felt::from_hex(text).expect("a felt");
        let message = MessageToL2 {
            from: Address::from_str("0xc3511006C04EF1d78af4C8E0e74Ec18A6E64Ff9e").expect("an address"),
            to: hex("0x73314940630fd6dcda0d772d4c972c4e0a9946bef9dabf4ef84eda8ef542b82"),
            nonce: U256::from(775_628),
            selector: hex("0x2d757788a8d8d6f21d1cd40bce38a8222d70654214e96ff95d8086e684fbee5"),
            payload: vec![
                hex("0x689ead7d814e51ed93644bc145f0754839b8dcb340027ce0c30953f38f55d7"),
                hex("0x2c68af0bb140000"),
                Felt::ZERO,
            ],
        };
        let expected = "0xc51a543ef9563ad2545342b390b67edfcddf9886aa36846cf70382362fc5fab3";
        assert_eq!(message.hash(), B256::from_str(expected).expect("a hash"));
    }

    #[test]
    fn constants_are_what_their_names_say() {
        let mask = (U256::ONE << 250) - U256::ONE;
        assert_eq!(HANDLE_DEPOSIT_SELECTOR, U256::from_be_bytes(keccak256("handle_deposit").0) & mask);
        assert_eq!(L2_ADDRESS_MAX, (U256::ONE << 251) - U256::from(257));
        assert_eq!(FIELD_PRIME, (U256::ONE << 251) + (U256::from(17) << 192) + U256::ONE);
        assert_eq!(PREV_BLOCK_NUMBER_GENESIS, word(Felt::ZERO - Felt::ONE));
        assert_eq!(felt(PREV_BLOCK_NUMBER_GENESIS), Some(Felt::ZERO - Felt::ONE));
        assert_eq!(felt(FIELD_PRIME), None);
        assert_eq!(DATA_TAG, U256::from_be_slice(b"KEEL_DATA"));
    }

    #[test]
    fn signatures_go_out_ascending_by_signer_once_each_with_low_s() {
        let digest = keccak256("a fact");
        let signers: Vec<PrivateKeySigner> =
            (1u8..=4).map(|key| PrivateKeySigner::from_bytes(&B256::with_last_byte(key)).expect("a key")).collect();
        let mut given: Vec<Signature> =
            signers.iter().map(|signer| signer.sign_hash_sync(&digest).expect("a signature")).collect();
        let first = given[0];
        let order = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
        given.push(Signature::new(first.r(), order - first.s(), !first.v()));

        let out = attestation_signatures(digest, &given).expect("all recoverable");
        let recovered: Vec<Address> = out
            .iter()
            .map(|bytes| Signature::from_raw(bytes).expect("65 bytes").recover_address_from_prehash(&digest))
            .map(|address| address.expect("recoverable"))
            .collect();
        let mut expected: Vec<Address> = signers.iter().map(PrivateKeySigner::address).collect();
        expected.sort_unstable();
        assert_eq!(recovered, expected);
        assert!(out.iter().all(|bytes| bytes.len() == 65 && (bytes[64] == 27 || bytes[64] == 28)));
        assert!(out.contains(&Bytes::from(first.as_bytes().to_vec())), "the high form came out low");

        given.push(Signature::new(U256::ZERO, U256::ZERO, false));
        assert!(attestation_signatures(digest, &given).is_err());
    }

    /// Name, kind, parameters with their indexing, results and mutability of each entry, without parameter names.
    fn signatures_of(abi: &Value) -> std::collections::BTreeSet<String> {
        let list = |entry: &Value, key: &str| {
            let parameters = entry[key].as_array().cloned().unwrap_or_default();
            let types: Vec<String> =
                parameters.iter().map(|p| format!("{}{}", text(&p["type"]), p["indexed"] == true)).collect();
            types.join(",")
        };
        let entries = abi.as_array().expect("an ABI").iter().filter(|entry| entry["name"].is_string());
        entries
            .map(|entry| {
                let (inputs, outputs) = (list(entry, "inputs"), list(entry, "outputs"));
                format!("{} {}({inputs})->({outputs}) {}", entry["type"], entry["name"], entry["stateMutability"])
            })
            .collect()
    }

    #[test]
    fn core_abi_holds_all_of_the_starknet_core_contracts_but_initialize() {
        let Ok(fixtures) = std::env::var("KEEL_FIXTURES") else {
            println!("SKIPPED: core_abi_holds_all_of_the_starknet_core_contracts_but_initialize: KEEL_FIXTURES is not set");
            return;
        };
        let path = std::path::Path::new(&fixtures).join("l1/starknet_core_abi.json");
        let theirs: Value = serde_json::from_slice(&std::fs::read(path).expect("the fixture")).expect("JSON");
        let artifact: Value = serde_json::from_str(include_str!("../artifacts/ethereum/AppchainCore.json")).expect("JSON");
        let ours = signatures_of(&artifact["abi"]);
        let missing: Vec<String> = signatures_of(&theirs).into_iter().filter(|entry| !ours.contains(entry)).collect();
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].contains("\"initialize\""), "{missing:?}");
    }
}
