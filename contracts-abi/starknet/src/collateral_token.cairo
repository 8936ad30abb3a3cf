//! The ERC-20 at the fee-token address. Fees are zero on a Keel chain and collateral lives in the exchange's own ledger,
//! so its supply is zero at genesis; only the exchange may mint and burn.

use starknet::ContractAddress;

#[starknet::interface]
trait IERC20<TContractState> {
    fn name(self: @TContractState) -> felt252;
    fn symbol(self: @TContractState) -> felt252;
    fn decimals(self: @TContractState) -> u8;
    fn total_supply(self: @TContractState) -> u256;
    fn totalSupply(self: @TContractState) -> u256;
    fn balance_of(self: @TContractState, account: ContractAddress) -> u256;
    fn balanceOf(self: @TContractState, account: ContractAddress) -> u256;
    fn allowance(self: @TContractState, owner: ContractAddress, spender: ContractAddress) -> u256;
    fn transfer(ref self: TContractState, recipient: ContractAddress, amount: u256) -> bool;
    fn transfer_from(
        ref self: TContractState, sender: ContractAddress, recipient: ContractAddress, amount: u256
    ) -> bool;
    fn transferFrom(
        ref self: TContractState, sender: ContractAddress, recipient: ContractAddress, amount: u256
    ) -> bool;
    fn approve(ref self: TContractState, spender: ContractAddress, amount: u256) -> bool;
    fn minter(self: @TContractState) -> ContractAddress;
    fn permissioned_mint(ref self: TContractState, account: ContractAddress, amount: u256);
    fn permissioned_burn(ref self: TContractState, account: ContractAddress, amount: u256);
}

#[starknet::contract]
mod collateral_token {
    use integer::BoundedInt;
    use starknet::{ContractAddress, get_caller_address};
    use zeroable::Zeroable;

    #[storage]
    struct Storage {
        ERC20_name: felt252,
        ERC20_symbol: felt252,
        ERC20_decimals: u8,
        ERC20_total_supply: u256,
        ERC20_balances: LegacyMap::<ContractAddress, u256>,
        ERC20_allowances: LegacyMap::<(ContractAddress, ContractAddress), u256>,
        permitted_minter: ContractAddress,
    }

    #[event]
    #[derive(Drop, starknet::Event)]
    enum Event {
        Transfer: Transfer,
        Approval: Approval,
    }

    #[derive(Drop, starknet::Event)]
    struct Transfer {
        from: ContractAddress,
        to: ContractAddress,
        value: u256,
    }

    #[derive(Drop, starknet::Event)]
    struct Approval {
        owner: ContractAddress,
        spender: ContractAddress,
        value: u256,
    }

    #[constructor]
    fn constructor(
        ref self: ContractState, name: felt252, symbol: felt252, decimals: u8, minter: ContractAddress
    ) {
        self.ERC20_name.write(name);
        self.ERC20_symbol.write(symbol);
        self.ERC20_decimals.write(decimals);
        self.permitted_minter.write(minter);
    }

    #[external(v0)]
    impl Token of super::IERC20<ContractState> {
        fn name(self: @ContractState) -> felt252 {
            self.ERC20_name.read()
        }
        fn symbol(self: @ContractState) -> felt252 {
            self.ERC20_symbol.read()
        }
        fn decimals(self: @ContractState) -> u8 {
            self.ERC20_decimals.read()
        }
        fn total_supply(self: @ContractState) -> u256 {
            self.ERC20_total_supply.read()
        }
        fn totalSupply(self: @ContractState) -> u256 {
            self.ERC20_total_supply.read()
        }
        fn balance_of(self: @ContractState, account: ContractAddress) -> u256 {
            self.ERC20_balances.read(account)
        }
        fn balanceOf(self: @ContractState, account: ContractAddress) -> u256 {
            self.ERC20_balances.read(account)
        }
        fn allowance(
            self: @ContractState, owner: ContractAddress, spender: ContractAddress
        ) -> u256 {
            self.ERC20_allowances.read((owner, spender))
        }
        fn transfer(ref self: ContractState, recipient: ContractAddress, amount: u256) -> bool {
            move_tokens(ref self, get_caller_address(), recipient, amount);
            true
        }
        fn transfer_from(
            ref self: ContractState,
            sender: ContractAddress,
            recipient: ContractAddress,
            amount: u256
        ) -> bool {
            spend_and_move(ref self, sender, recipient, amount)
        }
        fn transferFrom(
            ref self: ContractState,
            sender: ContractAddress,
            recipient: ContractAddress,
            amount: u256
        ) -> bool {
            spend_and_move(ref self, sender, recipient, amount)
        }
        fn approve(ref self: ContractState, spender: ContractAddress, amount: u256) -> bool {
            assert(spender.is_non_zero(), 'ZERO_ADDRESS');
            let owner = get_caller_address();
            self.ERC20_allowances.write((owner, spender), amount);
            self.emit(Approval { owner, spender, value: amount });
            true
        }
        fn minter(self: @ContractState) -> ContractAddress {
            self.permitted_minter.read()
        }
        fn permissioned_mint(ref self: ContractState, account: ContractAddress, amount: u256) {
            only_minter(@self);
            assert(account.is_non_zero(), 'ZERO_ADDRESS');
            self.ERC20_total_supply.write(self.ERC20_total_supply.read() + amount);
            self.ERC20_balances.write(account, self.ERC20_balances.read(account) + amount);
            self.emit(Transfer { from: Zeroable::zero(), to: account, value: amount });
        }
        fn permissioned_burn(ref self: ContractState, account: ContractAddress, amount: u256) {
            only_minter(@self);
            self.ERC20_total_supply.write(self.ERC20_total_supply.read() - amount);
            self.ERC20_balances.write(account, self.ERC20_balances.read(account) - amount);
            self.emit(Transfer { from: account, to: Zeroable::zero(), value: amount });
        }
    }

    fn only_minter(self: @ContractState) {
        assert(get_caller_address() == self.permitted_minter.read(), 'NOT_MINTER');
    }

    fn spend_and_move(
        ref self: ContractState, sender: ContractAddress, recipient: ContractAddress, amount: u256
    ) -> bool {
        let spender = get_caller_address();
        let allowed = self.ERC20_allowances.read((sender, spender));
        // An allowance of everything is not used up, as ERC-20 tokens commonly have it.
        if allowed != BoundedInt::max() {
            self.ERC20_allowances.write((sender, spender), allowed - amount);
        }
        move_tokens(ref self, sender, recipient, amount);
        true
    }

    fn move_tokens(
        ref self: ContractState, sender: ContractAddress, recipient: ContractAddress, amount: u256
    ) {
        assert(sender.is_non_zero() && recipient.is_non_zero(), 'ZERO_ADDRESS');
        self.ERC20_balances.write(sender, self.ERC20_balances.read(sender) - amount);
        self.ERC20_balances.write(recipient, self.ERC20_balances.read(recipient) + amount);
        self.emit(Transfer { from: sender, to: recipient, value: amount });
    }
}
