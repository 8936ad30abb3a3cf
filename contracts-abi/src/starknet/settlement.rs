//! The contracts of a chain that settles on Starknet: their classes, calls, answers and events, and what is hashed there.
//!
//! Normative source: `starknet/src/settlement/*.cairo`. A fact that the registry holds valid was attested by k of n nodes
//! that re-executed the batch. It is an attestation, not a validity proof.

use super::{contract_address, short_string, starknet_keccak};
use keel_types::L1Address;
use starknet_types_core::felt::Felt;
use starknet_types_core::hash::{Poseidon, StarkHash};
use std::sync::LazyLock;

/// A class that is declared on the settlement layer.
#[derive(Clone, Copy, Debug)]
pub struct SettlementClass {
    /// Hash of the Sierra class.
    pub class_hash: Felt,
    /// Blake2s hash of the CASM class, which a declaration names since Starknet 0.14.1.
    pub compiled_class_hash: Felt,
    /// The Sierra class as the compiler writes it, JSON.
    pub sierra: &'static str,
}

/// The classes of one chain's contracts.
#[derive(Clone, Copy, Debug)]
pub struct SettlementClasses {
    pub appchain: SettlementClass,
    pub registry: SettlementClass,
    pub bridge: SettlementClass,
    /// Development only.
    pub test_token: SettlementClass,
}

static CLASSES: LazyLock<SettlementClasses> = LazyLock::new(|| {
    let listed: serde_json::Value = serde_json::from_str(include_str!("../../artifacts/starknet/settlement/classes.json"))
        .expect("classes.json is committed JSON");
    let class = |name: &str, sierra| {
        let entry = listed.as_array().and_then(|list| list.iter().find(|entry| entry["name"] == name));
        let entry = entry.expect("classes.json lists every class");
        let hash = |field: &str| Felt::from_hex_unchecked(entry[field].as_str().expect("classes.json has every hash"));
        SettlementClass { class_hash: hash("class_hash"), compiled_class_hash: hash("compiled_class_hash_blake"), sierra }
    };
    SettlementClasses {
        appchain: class("appchain", include_str!("../../artifacts/starknet/settlement/appchain.contract_class.json")),
        registry: class(
            "attestation_registry",
            include_str!("../../artifacts/starknet/settlement/attestation_registry.contract_class.json"),
        ),
        bridge: class("bridge", include_str!("../../artifacts/starknet/settlement/bridge.contract_class.json")),
        test_token: class("test_token", include_str!("../../artifacts/starknet/settlement/test_token.contract_class.json")),
    }
});

/// The committed classes.
pub fn settlement_classes() -> &'static SettlementClasses {
    &CLASSES
}

/// Block number before the first batch: -1 in the field.
pub fn no_block() -> Felt {
    -Felt::ONE
}

/// What the attestors sign for a fact: bound to the chain and the registry.
pub fn attestation_digest(chain_id: Felt, registry: L1Address, fact: Felt) -> Felt {
    Poseidon::hash_array(&[short_string("KEEL_ATTESTATION"), chain_id, registry.0, fact])
}

/// A call of an entry point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContractCall {
    pub to: L1Address,
    pub selector: Felt,
    pub calldata: Vec<Felt>,
}

impl ContractCall {
    /// Of the entry point `name` at `to`.
    pub fn new(to: L1Address, name: &str, calldata: Vec<Felt>) -> ContractCall {
        ContractCall { to, selector: starknet_keccak(name), calldata }
    }
}

/// A span as calldata: its length, then its words.
fn span(words: &[Felt]) -> impl Iterator<Item = Felt> + '_ {
    std::iter::once(Felt::from(words.len())).chain(words.iter().copied())
}

/// A u256 as calldata, low half first.
fn u256(amount: u128) -> [Felt; 2] {
    [Felt::from(amount), Felt::ZERO]
}

/// `register_data` of a chunk.
pub fn register_data(core: L1Address, chunk: &[Felt]) -> ContractCall {
    ContractCall::new(core, "register_data", span(chunk).collect())
}

/// `update_state` with the hashes of the chunks.
pub fn update_state(core: L1Address, output: &[Felt], chunk_hashes: &[Felt]) -> ContractCall {
    ContractCall::new(core, "update_state", span(output).chain(span(chunk_hashes)).collect())
}

/// `attest`: `signatures` are (public key, r, s), ascending by key.
pub fn attest(registry: L1Address, fact: Felt, signatures: &[[Felt; 3]]) -> ContractCall {
    let mut calldata = vec![fact, Felt::from(signatures.len())];
    calldata.extend(signatures.iter().flatten());
    ContractCall::new(registry, "attest", calldata)
}

/// `deposit` of units of a token for an account of our chain.
pub fn deposit(bridge: L1Address, token: L1Address, amount: u128, recipient: Felt) -> ContractCall {
    let [low, high] = u256(amount);
    ContractCall::new(bridge, "deposit", vec![token.0, low, high, recipient])
}

/// `withdraw`: what anybody calls to have a withdrawal paid.
pub fn withdraw(bridge: L1Address, token: L1Address, recipient: L1Address, amount: u128, id: u64) -> ContractCall {
    let [low, high] = u256(amount);
    ContractCall::new(bridge, "withdraw", vec![token.0, recipient.0, low, high, id.into()])
}

/// `mint` or `approve` of a token.
pub fn token_call(name: &str, token: L1Address, account: L1Address, amount: u128) -> ContractCall {
    let [low, high] = u256(amount);
    ContractCall::new(token, name, vec![account.0, low, high])
}

/// A u256 answer; `None` if it is none. Above 128 bits it is the largest that fits.
pub fn read_u256(words: &[Felt]) -> Option<u128> {
    let [low, high] = words else { return None };
    if *high != Felt::ZERO {
        return Some(u128::MAX);
    }
    u128::try_from(*low).ok()
}

/// Whether `sn_to_appchain_messages` says that the message waits: the variant `Pending(nonce)`.
pub fn read_message_waits(words: &[Felt]) -> Option<bool> {
    match words {
        [variant] if *variant < Felt::THREE => Some(false),
        [variant, _nonce] if *variant == Felt::THREE => Some(true),
        _ => None,
    }
}

/// Whether `appchain_to_sn_messages` says that the message can be consumed: the variant `ReadyToConsume(count)`.
pub fn read_message_claimable(words: &[Felt]) -> Option<bool> {
    match words {
        [variant] if *variant == Felt::ZERO => Some(false),
        [variant, _count] if *variant == Felt::ONE => Some(true),
        _ => None,
    }
}

/// An event of the contracts that the node reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettlementEvent {
    StateUpdate {
        root: Felt,
        number: Felt,
        hash: Felt,
    },
    MessageSent(MessageToAppchain),
    /// Of a message that waits.
    CancellationStarted(MessageToAppchain),
    DepositSent {
        nonce: Felt,
        token: Felt,
        amount: u128,
    },
    DepositRefunded {
        nonce: Felt,
        token: Felt,
    },
    WithdrawalPaid {
        withdrawal: Felt,
        token: Felt,
        amount: u128,
    },
    /// Any other.
    Other,
}

/// A message to the appchain, as its events tell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageToAppchain {
    pub hash: Felt,
    pub from: Felt,
    pub to: Felt,
    pub selector: Felt,
    pub nonce: Felt,
    pub payload: Vec<Felt>,
}

/// Key of the state update's event.
pub fn event_state_update() -> Felt {
    starknet_keccak("LogStateUpdate")
}

/// Key of the event of a message to the appchain.
pub fn event_message_sent() -> Felt {
    starknet_keccak("MessageSent")
}

/// Key of the event that the sender of a message began to take it back.
pub fn event_cancellation_started() -> Felt {
    starknet_keccak("MessageCancellationStarted")
}

/// Decodes an event of the appchain contract or of the bridge; `None`: it has a name of ours and another shape.
pub fn read_event(keys: &[Felt], data: &[Felt]) -> Option<SettlementEvent> {
    let (name, keys) = keys.split_first()?;
    let is = |text: &str| *name == starknet_keccak(text);
    if *name == event_state_update() {
        let ([number], [root, hash]) = (keys, data) else { return None };
        return Some(SettlementEvent::StateUpdate { root: *root, number: *number, hash: *hash });
    }
    if *name == event_message_sent() {
        let ([hash, from, to], [selector, nonce, length, payload @ ..]) = (keys, data) else { return None };
        let (hash, from, to, selector, nonce) = (*hash, *from, *to, *selector, *nonce);
        let whole = *length == Felt::from(payload.len());
        let message = MessageToAppchain { hash, from, to, selector, nonce, payload: payload.to_vec() };
        return whole.then_some(SettlementEvent::MessageSent(message));
    }
    if *name == event_cancellation_started() {
        let ([hash, from, to], [selector, length, payload @ .., nonce]) = (keys, data) else { return None };
        let (hash, from, to, selector, nonce) = (*hash, *from, *to, *selector, *nonce);
        let whole = *length == Felt::from(payload.len());
        let message = MessageToAppchain { hash, from, to, selector, nonce, payload: payload.to_vec() };
        return whole.then_some(SettlementEvent::CancellationStarted(message));
    }
    if is("DepositSent") {
        let ([nonce, token, _depositor], [_recipient, low, high, _hash]) = (keys, data) else { return None };
        let amount = read_u256(&[*low, *high])?;
        return Some(SettlementEvent::DepositSent { nonce: *nonce, token: *token, amount });
    }
    if is("DepositRefunded") {
        let [nonce, token, _depositor] = keys else { return None };
        return Some(SettlementEvent::DepositRefunded { nonce: *nonce, token: *token });
    }
    if is("WithdrawalPaid") {
        let ([withdrawal, token, _recipient], [low, high]) = (keys, data) else { return None };
        let amount = read_u256(&[*low, *high])?;
        return Some(SettlementEvent::WithdrawalPaid { withdrawal: *withdrawal, token: *token, amount });
    }
    Some(SettlementEvent::Other)
}

/// A contract of ours before it is deployed: its class and constructor calldata. By nobody (deployer 0) and with salt `salt`,
/// so that its address is known before it exists, and is in genesis.
#[derive(Clone, Debug)]
pub struct PlannedContract {
    /// For messages.
    pub name: &'static str,
    pub class_hash: Felt,
    pub salt: Felt,
    pub calldata: Vec<Felt>,
}

impl PlannedContract {
    /// Where it will be.
    pub fn address(&self) -> L1Address {
        L1Address(contract_address(self.class_hash, self.salt, &self.calldata).0)
    }

    /// The call of the universal deployer that deploys it.
    pub fn deployment(&self) -> ContractCall {
        let deployer = Felt::from_hex_unchecked("0x2ceed65a4bd731034c01113685c831b01c15d7d432f71afb1cf1634b53a2125");
        // `deploy_contract(class_hash, salt, not_from_zero: bool, calldata)`: from zero, the sender is not hashed.
        let prefix = [self.class_hash, self.salt, Felt::ZERO];
        ContractCall::new(L1Address(deployer), "deploy_contract", prefix.into_iter().chain(span(&self.calldata)).collect())
    }
}

/// A token for development: units of `symbol` that anybody may mint.
pub fn plan_test_token(name: &str, symbol: &str) -> PlannedContract {
    PlannedContract {
        name: "test_token",
        class_hash: CLASSES.test_token.class_hash,
        salt: short_string(symbol),
        calldata: vec![short_string(name), short_string(symbol)],
    }
}

/// The registry: attestors by public key in any order, how many make a fact valid, and the seconds a change of them waits.
pub fn plan_registry(attestors: &[Felt], threshold: u32, change_delay_s: u64, salt: Felt) -> PlannedContract {
    let mut attestors = attestors.to_vec();
    attestors.sort_unstable();
    let calldata = span(&attestors).chain([threshold.into(), change_delay_s.into()]).collect();
    PlannedContract { name: "attestation_registry", class_hash: CLASSES.registry.class_hash, salt, calldata }
}

/// The bridge: `tokens` with their caps in units. It is told core contract and exchange later, by `initializer`, since the
/// exchange's address follows from the bridge's and the core's configuration from the exchange's.
pub fn plan_bridge(initializer: Felt, guardian: Felt, tokens: &[(L1Address, u128)], salt: Felt) -> PlannedContract {
    let mut calldata = vec![initializer, guardian, tokens.len().into()];
    calldata.extend(tokens.iter().map(|(token, _)| token.0));
    calldata.push(tokens.len().into());
    calldata.extend(tokens.iter().flat_map(|(_, cap)| u256(*cap)));
    PlannedContract { name: "bridge", class_hash: CLASSES.bridge.class_hash, salt, calldata }
}

/// The core contract of a new chain: root 0, block number -1, block hash 0. Deployed after its registry. `delay_min_s`: the least
/// that the delay of message cancellations can ever be set to, in seconds, 1 to 432,000 (five days, which the delay is at first).
pub fn plan_appchain(
    owner: Felt,
    program_hash: Felt,
    config_hash: Felt,
    registry: L1Address,
    delay_min_s: u64,
    salt: Felt,
) -> PlannedContract {
    let state = [Felt::ZERO, no_block(), Felt::ZERO];
    let mut calldata = vec![owner, program_hash, config_hash, registry.0];
    calldata.extend(state);
    calldata.push(delay_min_s.into());
    PlannedContract { name: "appchain", class_hash: CLASSES.appchain.class_hash, salt, calldata }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn felt(value: u64) -> Felt {
        Felt::from(value)
    }

    /// Names of the ABI's functions and events, so that a renamed one fails here and not on a chain.
    fn abi_of(sierra: &str) -> String {
        let class: serde_json::Value = serde_json::from_str(sierra).expect("an artifact is JSON");
        match &class["abi"] {
            serde_json::Value::String(text) => text.clone(),
            list => list.to_string(),
        }
    }

    #[test]
    fn every_name_that_is_called_or_read_is_in_the_abi() {
        let classes = settlement_classes();
        let cases: [(&SettlementClass, &[&str]); 4] = [
            (
                &classes.appchain,
                &[
                    "get_state",
                    "get_program_hash",
                    "get_config_hash",
                    "get_facts_registry",
                    "is_operator",
                    "register_operator",
                    "register_data",
                    "is_data_registered",
                    "update_state",
                    "sn_to_appchain_messages",
                    "appchain_to_sn_messages",
                    "message_cancellation_started_at",
                    "message_cancellation_allowed_at",
                    "LogStateUpdate",
                    "MessageSent",
                ],
            ),
            (&classes.registry, &["is_valid", "is_attestor", "attest"]),
            (
                &classes.bridge,
                &[
                    "core",
                    "exchange",
                    "cap",
                    "escrow",
                    "initialize",
                    "deposit",
                    "withdraw",
                    "DepositSent",
                    "DepositRefunded",
                    "WithdrawalPaid",
                ],
            ),
            (&classes.test_token, &["mint", "approve", "balance_of"]),
        ];
        for (class, names) in cases {
            let abi = abi_of(class.sierra).replace(' ', "");
            for name in names {
                let found = abi.contains(&format!("\"name\":\"{name}\"")) || abi.contains(&format!("::{name}\""));
                assert!(found, "{name}");
            }
        }
    }

    #[test]
    fn answers_of_another_shape_are_none() {
        assert_eq!(read_message_waits(&[felt(3), felt(9)]), Some(true));
        assert_eq!(read_message_waits(&[felt(1)]), Some(false));
        assert_eq!(read_message_waits(&[felt(3)]), None);
        assert_eq!(read_message_claimable(&[felt(1), felt(2)]), Some(true));
        assert_eq!(read_message_claimable(&[felt(0)]), Some(false));
        assert_eq!(read_message_claimable(&[]), None);
        assert_eq!(read_u256(&[felt(7), felt(0)]), Some(7));
        assert_eq!(read_u256(&[felt(7), felt(1)]), Some(u128::MAX));
        assert_eq!(read_u256(&[Felt::TWO.pow(128u32), felt(0)]), None);
        assert_eq!(read_u256(&[felt(7)]), None);
    }

    #[test]
    fn events_are_read_to_the_word() {
        let sent = [event_message_sent(), felt(1), felt(2), felt(3)];
        let event = read_event(&sent, &[felt(4), felt(5), felt(2), felt(6), felt(7)]);
        let message = MessageToAppchain {
            hash: felt(1),
            from: felt(2),
            to: felt(3),
            selector: felt(4),
            nonce: felt(5),
            payload: vec![felt(6), felt(7)],
        };
        assert_eq!(event, Some(SettlementEvent::MessageSent(message.clone())));
        let started = [event_cancellation_started(), felt(1), felt(2), felt(3)];
        let event = read_event(&started, &[felt(4), felt(2), felt(6), felt(7), felt(5)]);
        assert_eq!(event, Some(SettlementEvent::CancellationStarted(message)));
        assert_eq!(read_event(&sent, &[felt(4), felt(5), felt(3), felt(6), felt(7)]), None, "a word is missing");
        assert_eq!(read_event(&[starknet_keccak("Initialized")], &[]), Some(SettlementEvent::Other));
        assert_eq!(read_event(&[], &[]), None);
    }
}
