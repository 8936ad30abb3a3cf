//! A token that misbehaves on request. It keeps no allowances: whoever asks may move anything.

use starknet::ContractAddress;

#[starknet::interface]
trait IOddToken<TContractState> {
    fn balance_of(self: @TContractState, account: ContractAddress) -> u256;
    fn mint(ref self: TContractState, recipient: ContractAddress, amount: u256);
    /// Units of every transfer that the receiver does not get.
    fn set_tax(ref self: TContractState, tax: u256);
    /// Units that every transfer takes from the sender beyond its amount.
    fn set_sender_tax(ref self: TContractState, tax: u256);
    /// What the token answers to a transfer.
    fn set_answer(ref self: TContractState, answer: felt252);
    /// During every transfer the token calls the entry point `selector` of `target` with one argument. Selector 0: no call.
    fn set_call(
        ref self: TContractState, target: ContractAddress, selector: felt252, argument: felt252
    );
    fn transfer(ref self: TContractState, recipient: ContractAddress, amount: u256) -> felt252;
    fn transfer_from(
        ref self: TContractState, sender: ContractAddress, recipient: ContractAddress, amount: u256
    ) -> felt252;
}

#[starknet::contract]
mod odd_token {
    use array::{ArrayTrait, SpanTrait};
    use starknet::{ContractAddress, call_contract_syscall, get_caller_address};

    #[storage]
    struct Storage {
        balances: LegacyMap::<ContractAddress, u256>,
        tax: u256,
        sender_tax: u256,
        answer: felt252,
        target: ContractAddress,
        selector: felt252,
        argument: felt252,
    }

    #[constructor]
    fn constructor(ref self: ContractState) {
        self.answer.write(1);
    }

    #[external(v0)]
    impl OddToken of super::IOddToken<ContractState> {
        fn balance_of(self: @ContractState, account: ContractAddress) -> u256 {
            self.balances.read(account)
        }

        fn mint(ref self: ContractState, recipient: ContractAddress, amount: u256) {
            self.balances.write(recipient, self.balances.read(recipient) + amount);
        }

        fn set_tax(ref self: ContractState, tax: u256) {
            self.tax.write(tax);
        }

        fn set_sender_tax(ref self: ContractState, tax: u256) {
            self.sender_tax.write(tax);
        }

        fn set_answer(ref self: ContractState, answer: felt252) {
            self.answer.write(answer);
        }

        fn set_call(
            ref self: ContractState, target: ContractAddress, selector: felt252, argument: felt252
        ) {
            self.target.write(target);
            self.selector.write(selector);
            self.argument.write(argument);
        }

        fn transfer(ref self: ContractState, recipient: ContractAddress, amount: u256) -> felt252 {
            move_tokens(ref self, get_caller_address(), recipient, amount)
        }

        fn transfer_from(
            ref self: ContractState,
            sender: ContractAddress,
            recipient: ContractAddress,
            amount: u256
        ) -> felt252 {
            move_tokens(ref self, sender, recipient, amount)
        }
    }

    fn move_tokens(
        ref self: ContractState, sender: ContractAddress, recipient: ContractAddress, amount: u256
    ) -> felt252 {
        let selector = self.selector.read();
        if selector != 0 {
            let mut calldata = ArrayTrait::new();
            calldata.append(self.argument.read());
            call_contract_syscall(self.target.read(), selector, calldata.span()).unwrap_syscall();
        }
        let taken = amount + self.sender_tax.read();
        self.balances.write(sender, self.balances.read(sender) - taken);
        let received = amount - self.tax.read();
        self.balances.write(recipient, self.balances.read(recipient) + received);
        self.answer.read()
    }
}
