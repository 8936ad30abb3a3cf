//! Transaction hashes and contract addresses. [spec/starknet.md (c); sequencer `transaction_hash.rs`]

pub mod legacy;

use starknet_types_core::felt::Felt;

use crate::hash::{PoseidonList, ascii, pedersen_array, poseidon_array};

/// Added to the version of a transaction that is only simulated: its signature must not be valid for a real one.
pub const QUERY_VERSION_BASE: Felt = Felt::from_hex_unchecked("0x100000000000000000000000000000000");

/// Contract addresses are below this: 2^251 - 256.
pub const ADDRESS_BOUND: Felt =
    Felt::from_hex_unchecked("0x7ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff00");

/// Whether a hash is of a transaction that can be executed, or of one that can only be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Execute,
    Query,
}

impl Purpose {
    fn version(self, version: u64) -> Felt {
        match self {
            Purpose::Execute => Felt::from(version),
            Purpose::Query => QUERY_VERSION_BASE + Felt::from(version),
        }
    }
}

/// Most of one resource that a transaction may use, and the most it pays for a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceBound {
    pub max_amount: u64,
    /// FRI per unit.
    pub max_price_per_unit: u128,
}

/// The bounds of a version 3 transaction. Two zero bounds and three zero bounds hash differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceBounds {
    /// Before 0.13.4.
    L1AndL2 { l1_gas: ResourceBound, l2_gas: ResourceBound },
    /// From 0.13.4; what this chain uses.
    All { l1_gas: ResourceBound, l2_gas: ResourceBound, l1_data_gas: ResourceBound },
}

impl Default for ResourceBounds {
    /// Three bounds of zero.
    fn default() -> Self {
        let zero = ResourceBound::default();
        ResourceBounds::All { l1_gas: zero, l2_gas: zero, l1_data_gas: zero }
    }
}

/// Where data of a transaction is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DaMode {
    #[default]
    L1 = 0,
    L2 = 1,
}

/// The fields that every version 3 transaction has. The default is zero or empty everywhere, three bounds, modes L1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommonV3 {
    pub nonce: Felt,
    pub tip: u64,
    pub resource_bounds: ResourceBounds,
    pub paymaster_data: Vec<Felt>,
    pub nonce_da_mode: DaMode,
    pub fee_da_mode: DaMode,
}

/// Invoke, version 3. The signature is not hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvokeV3 {
    pub common: CommonV3,
    pub sender_address: Felt,
    pub calldata: Vec<Felt>,
    pub account_deployment_data: Vec<Felt>,
    /// SNIP-36; not hashed when empty.
    pub proof_facts: Vec<Felt>,
}

/// Declare, version 3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclareV3 {
    pub common: CommonV3,
    pub sender_address: Felt,
    pub class_hash: Felt,
    pub compiled_class_hash: Felt,
    pub account_deployment_data: Vec<Felt>,
}

/// Deploy account, version 3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeployAccountV3 {
    pub common: CommonV3,
    pub class_hash: Felt,
    pub contract_address_salt: Felt,
    pub constructor_calldata: Vec<Felt>,
}

/// L1 handler, version 0: a message from the settlement layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L1Handler {
    pub contract_address: Felt,
    pub selector: Felt,
    /// The L1 sender, then the payload of the message.
    pub calldata: Vec<Felt>,
    /// Nonce of the message.
    pub nonce: Felt,
}

impl InvokeV3 {
    /// The transaction hash on the chain `chain_id` (ascii, such as `SN_MAIN`).
    pub fn hash(&self, chain_id: &Felt, purpose: Purpose) -> Felt {
        let mut list = self.common.start("invoke", purpose, &self.sender_address, chain_id);
        list.put(poseidon_array(&self.account_deployment_data));
        list.put(poseidon_array(&self.calldata));
        if !self.proof_facts.is_empty() {
            list.put(poseidon_array(&self.proof_facts));
        }
        list.finish()
    }
}

impl DeclareV3 {
    /// The transaction hash on the chain `chain_id`.
    pub fn hash(&self, chain_id: &Felt, purpose: Purpose) -> Felt {
        let mut list = self.common.start("declare", purpose, &self.sender_address, chain_id);
        list.put(poseidon_array(&self.account_deployment_data));
        list.put(self.class_hash);
        list.put(self.compiled_class_hash);
        list.finish()
    }
}

impl DeployAccountV3 {
    /// The transaction hash on the chain `chain_id`.
    pub fn hash(&self, chain_id: &Felt, purpose: Purpose) -> Felt {
        let mut list = self.common.start("deploy_account", purpose, &self.contract_address(), chain_id);
        list.put(poseidon_array(&self.constructor_calldata));
        list.put(self.class_hash);
        list.put(self.contract_address_salt);
        list.finish()
    }

    /// Where the account will stand.
    pub fn contract_address(&self) -> Felt {
        contract_address(&Felt::ZERO, &self.contract_address_salt, &self.class_hash, &self.constructor_calldata)
    }
}

impl L1Handler {
    /// The transaction hash on the chain `chain_id`.
    pub fn hash(&self, chain_id: &Felt, purpose: Purpose) -> Felt {
        pedersen_array(&[
            ascii("l1_handler"),
            purpose.version(0),
            self.contract_address,
            self.selector,
            pedersen_array(&self.calldata),
            Felt::ZERO,
            *chain_id,
            self.nonce,
        ])
    }
}

impl CommonV3 {
    /// The part that all version 3 hashes begin with.
    fn start(&self, prefix: &str, purpose: Purpose, sender: &Felt, chain_id: &Felt) -> PoseidonList {
        let mut list = PoseidonList::default();
        list.put(ascii(prefix));
        list.put(purpose.version(3));
        list.put(*sender);
        list.put(fee_fields_hash(self.tip, &self.resource_bounds));
        list.put(poseidon_array(&self.paymaster_data));
        list.put(*chain_id);
        list.put(self.nonce);
        list.put((self.nonce_da_mode as u64) << 32 | self.fee_da_mode as u64);
        list
    }
}

/// `Poseidon(tip, bounds...)`; a bound is `name (56 bits) || max_amount (64) || max_price_per_unit (128)`.
fn fee_fields_hash(tip: u64, bounds: &ResourceBounds) -> Felt {
    let word = |name: &str, bound: &ResourceBound| {
        let mut bytes = [0; 32];
        bytes[8 - name.len()..8].copy_from_slice(name.as_bytes());
        bytes[8..16].copy_from_slice(&bound.max_amount.to_be_bytes());
        bytes[16..].copy_from_slice(&bound.max_price_per_unit.to_be_bytes());
        Felt::from_bytes_be(&bytes)
    };
    let mut list = PoseidonList::default();
    list.put(tip);
    match bounds {
        ResourceBounds::L1AndL2 { l1_gas, l2_gas } => {
            list.put_all(&[word("L1_GAS", l1_gas), word("L2_GAS", l2_gas)]);
        }
        ResourceBounds::All { l1_gas, l2_gas, l1_data_gas } => {
            list.put_all(&[word("L1_GAS", l1_gas), word("L2_GAS", l2_gas), word("L1_DATA", l1_data_gas)]);
        }
    }
    list.finish()
}

/// Address of a contract deployed by `deployer` (0 for accounts and for `deploy_from_zero`):
/// `Pedersen["STARKNET_CONTRACT_ADDRESS", deployer, salt, class_hash, Pedersen[constructor calldata]] mod 2^251 - 256`.
pub fn contract_address(deployer: &Felt, salt: &Felt, class_hash: &Felt, constructor_calldata: &[Felt]) -> Felt {
    let hash = pedersen_array(&[
        ascii("STARKNET_CONTRACT_ADDRESS"),
        *deployer,
        *salt,
        *class_hash,
        pedersen_array(constructor_calldata),
    ]);
    // P is below twice the bound, so one subtraction is the remainder.
    if hash >= ADDRESS_BOUND { hash - ADDRESS_BOUND } else { hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_zero_bounds_and_three_zero_bounds_hash_differently() {
        let zero = ResourceBound::default();
        let two = ResourceBounds::L1AndL2 { l1_gas: zero, l2_gas: zero };
        assert_ne!(fee_fields_hash(0, &two), fee_fields_hash(0, &ResourceBounds::default()));
    }

    #[test]
    fn every_field_of_an_invoke_is_hashed() {
        let base = InvokeV3::default();
        let one = vec![Felt::ONE];
        let price = ResourceBound { max_amount: 0, max_price_per_unit: 1 };
        let common = |change: fn(&mut CommonV3)| {
            let mut changed = base.clone();
            change(&mut changed.common);
            changed
        };
        let zero = ResourceBound::default();
        let bounds = ResourceBounds::All { l1_gas: zero, l2_gas: price, l1_data_gas: zero };
        let priced = InvokeV3 { common: CommonV3 { resource_bounds: bounds, ..Default::default() }, ..base.clone() };
        let all = [
            base.clone(),
            InvokeV3 { sender_address: Felt::ONE, ..base.clone() },
            InvokeV3 { calldata: one.clone(), ..base.clone() },
            InvokeV3 { account_deployment_data: one.clone(), ..base.clone() },
            InvokeV3 { proof_facts: one, ..base.clone() },
            common(|c| c.nonce = Felt::ONE),
            common(|c| c.tip = 1),
            common(|c| c.paymaster_data = vec![Felt::ONE]),
            common(|c| c.nonce_da_mode = DaMode::L2),
            common(|c| c.fee_da_mode = DaMode::L2),
            priced,
        ];
        let mut hashes: Vec<Felt> = all.iter().map(|tx| tx.hash(&Felt::ONE, Purpose::Execute)).collect();
        hashes.push(base.hash(&Felt::ONE, Purpose::Query));
        hashes.push(base.hash(&Felt::TWO, Purpose::Execute));
        let count = hashes.len();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }
}
