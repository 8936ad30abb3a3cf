//! A plain account: one Stark key, SNIP-6. The operator's account and the first account template of genesis.

use array::{ArrayTrait, SpanTrait};
use starknet::account::Call;

#[starknet::interface]
trait IAccount<TContractState> {
    fn __validate__(ref self: TContractState, calls: Array<Call>) -> felt252;
    fn __execute__(ref self: TContractState, calls: Array<Call>) -> Array<Span<felt252>>;
    fn __validate_declare__(self: @TContractState, class_hash: felt252) -> felt252;
    fn __validate_deploy__(
        self: @TContractState, class_hash: felt252, contract_address_salt: felt252, public_key: felt252
    ) -> felt252;
    /// 'VALID' if the signature is one of this account over `hash`, else 0.
    fn is_valid_signature(self: @TContractState, hash: felt252, signature: Array<felt252>) -> felt252;
    fn supports_interface(self: @TContractState, interface_id: felt252) -> bool;
    fn get_public_key(self: @TContractState) -> felt252;
}

#[starknet::contract]
mod account {
    use array::{ArrayTrait, SpanTrait};
    use box::BoxTrait;
    use ecdsa::check_ecdsa_signature;
    use option::OptionTrait;
    use traits::Into;
    use zeroable::Zeroable;
    use starknet::{
        VALIDATED, account::Call, call_contract_syscall, get_caller_address,
        get_tx_info
    };

    /// Order of the Stark curve: the check of the corelib leaves the range of r and s to its caller.
    const CURVE_ORDER: u256 = 0x800000000000010ffffffffffffffffb781126dcae7b2321e66a241adc64d2f;
    /// SNIP-5 ids of ISRC5 and ISRC6.
    const ISRC5_ID: felt252 = 0x3f918d17e5ee77373b56385708f855659a07f75997f365cf87748628532a055;
    const ISRC6_ID: felt252 = 0x2ceccef7f994940b3962a6c67e0ba4fcd37df7d131417c604f91e03caecc1cd;
    /// Version bit of transactions that are only simulated.
    const QUERY_VERSION: felt252 = 0x100000000000000000000000000000000;

    #[storage]
    struct Storage {
        Account_public_key: felt252
    }

    #[constructor]
    fn constructor(ref self: ContractState, public_key: felt252) {
        assert(public_key != 0, 'ZERO_KEY');
        self.Account_public_key.write(public_key);
    }

    #[external(v0)]
    impl Account of super::IAccount<ContractState> {
        fn __validate__(ref self: ContractState, calls: Array<Call>) -> felt252 {
            validate_transaction(@self)
        }

        fn __execute__(ref self: ContractState, mut calls: Array<Call>) -> Array<Span<felt252>> {
            assert(get_caller_address().is_zero(), 'NOT_THE_PROTOCOL');
            let version = get_tx_info().unbox().version;
            // Version 0 has no validation.
            assert(version != 0 && version != QUERY_VERSION, 'BAD_VERSION');
            let mut results = ArrayTrait::new();
            loop {
                match calls.pop_front() {
                    Option::Some(call) => {
                        let Call{to, selector, calldata } = call;
                        results
                            .append(
                                call_contract_syscall(to, selector, calldata.span())
                                    .unwrap_syscall()
                            );
                    },
                    Option::None(()) => {
                        break;
                    }
                };
            };
            results
        }

        fn __validate_declare__(self: @ContractState, class_hash: felt252) -> felt252 {
            validate_transaction(self)
        }

        fn __validate_deploy__(
            self: @ContractState,
            class_hash: felt252,
            contract_address_salt: felt252,
            public_key: felt252
        ) -> felt252 {
            validate_transaction(self)
        }

        fn is_valid_signature(
            self: @ContractState, hash: felt252, signature: Array<felt252>
        ) -> felt252 {
            if signature_is_valid(self, hash, signature.span()) {
                VALIDATED
            } else {
                0
            }
        }

        fn supports_interface(self: @ContractState, interface_id: felt252) -> bool {
            interface_id == ISRC5_ID || interface_id == ISRC6_ID
        }

        fn get_public_key(self: @ContractState) -> felt252 {
            self.Account_public_key.read()
        }
    }

    fn validate_transaction(self: @ContractState) -> felt252 {
        let transaction = get_tx_info().unbox();
        assert(
            signature_is_valid(self, transaction.transaction_hash, transaction.signature),
            'BAD_SIGNATURE'
        );
        VALIDATED
    }

    fn signature_is_valid(self: @ContractState, hash: felt252, signature: Span<felt252>) -> bool {
        if signature.len() != 2 {
            return false;
        }
        let r = *signature.at(0);
        let s = *signature.at(1);
        if !scalar_is_valid(r) || !scalar_is_valid(s) {
            return false;
        }
        check_ecdsa_signature(hash, self.Account_public_key.read(), r, s)
    }

    fn scalar_is_valid(scalar: felt252) -> bool {
        scalar != 0 && scalar.into() < CURVE_ORDER
    }
}
