//! Hashes of transactions before version 3, for reading other chains and for checking this crate against them.
//! This chain makes none. [sequencer `transaction_hash.rs`, `deprecated` forms included]

use starknet_types_core::felt::Felt;

use super::{L1Handler, Purpose, contract_address};
use crate::hash::{ascii, pedersen_array, selector};

/// Early mainnet hashed neither version nor fee; such hashes stand in the first blocks of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Before versions were hashed.
    Unversioned,
    Versioned(Purpose),
}

/// What legacy account transactions share.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub sender_address: Felt,
    pub max_fee: Felt,
    pub nonce: Felt,
    pub chain_id: Felt,
}

impl Account {
    fn hash(&self, prefix: &str, version: Felt, content: &[Felt], more: &[Felt]) -> Felt {
        let head = [ascii(prefix), version, self.sender_address, Felt::ZERO];
        let tail = [pedersen_array(content), self.max_fee, self.chain_id];
        pedersen_array(&[&head[..], &tail, more].concat())
    }

    /// Invoke, version 1.
    pub fn invoke_v1(&self, purpose: Purpose, calldata: &[Felt]) -> Felt {
        self.hash("invoke", purpose.version(1), calldata, &[self.nonce])
    }

    /// Declare, version 0.
    pub fn declare_v0(&self, purpose: Purpose, class_hash: Felt) -> Felt {
        self.hash("declare", purpose.version(0), &[], &[class_hash])
    }

    /// Declare, version 1.
    pub fn declare_v1(&self, purpose: Purpose, class_hash: Felt) -> Felt {
        self.hash("declare", purpose.version(1), &[class_hash], &[self.nonce])
    }

    /// Declare, version 2.
    pub fn declare_v2(&self, purpose: Purpose, class_hash: Felt, compiled_class_hash: Felt) -> Felt {
        self.hash("declare", purpose.version(2), &[class_hash], &[self.nonce, compiled_class_hash])
    }

    /// Deploy account, version 1; the sender is the address of the new account.
    pub fn deploy_account_v1(&self, purpose: Purpose, class_hash: Felt, salt: Felt, constructor_calldata: &[Felt]) -> Felt {
        let content = [&[class_hash, salt], constructor_calldata].concat();
        self.hash("deploy_account", purpose.version(1), &content, &[self.nonce])
    }
}

/// Invoke, version 0: a direct call.
pub fn invoke_v0(form: Form, contract: Felt, selector: Felt, calldata: &[Felt], max_fee: Felt, chain_id: Felt) -> Felt {
    call("invoke", form, [contract, selector], calldata, max_fee, chain_id)
}

/// Deploy, version 0: a contract without an account behind it.
pub fn deploy(form: Form, class_hash: Felt, salt: Felt, constructor_calldata: &[Felt], chain_id: Felt) -> Felt {
    let address = contract_address(&Felt::ZERO, &salt, &class_hash, constructor_calldata);
    call("deploy", form, [address, selector("constructor")], constructor_calldata, Felt::ZERO, chain_id)
}

/// L1 handler of the time when neither its version nor its fee was hashed.
pub fn l1_handler_unversioned(handler: &L1Handler, chain_id: Felt) -> Felt {
    pedersen_array(&[
        ascii("l1_handler"),
        handler.contract_address,
        handler.selector,
        pedersen_array(&handler.calldata),
        chain_id,
        handler.nonce,
    ])
}

fn call(prefix: &str, form: Form, callee: [Felt; 2], calldata: &[Felt], max_fee: Felt, chain_id: Felt) -> Felt {
    let calldata = pedersen_array(calldata);
    let [contract, selector] = callee;
    match form {
        Form::Unversioned => pedersen_array(&[ascii(prefix), contract, selector, calldata, chain_id]),
        Form::Versioned(purpose) => {
            let version = purpose.version(0);
            pedersen_array(&[ascii(prefix), version, contract, selector, calldata, max_fee, chain_id])
        }
    }
}
