//! Escrow of the ERC-20 tokens that trade on the appchain.
//!
//! A deposit moves tokens in and sends a message to the exchange; a withdrawal consumes a message of the exchange and moves
//! tokens out. `escrow` counts what came in by deposits less what went out: tokens sent here by other means never enter it.
//! Messages are as trustworthy as the core contract's fact registry: an attestation, not a validity proof.
//!
//! Nobody owns this contract. The guardian may stop and resume deposits and nothing else; tokens and caps are fixed.
//!
//! Checks, their order and their errors are those of `Bridge` on Ethereum, as short strings. One thing differs. An address on
//! Starknet commits to the arguments of the constructor, the exchange's address commits to this contract's, and the core
//! contract's to the exchange's (through the config hash). So core and exchange are told by `initialize`: once, by the account
//! named at construction, and until then there are no deposits.

use starknet::ContractAddress;

/// A deposit as it was sent, kept so that it can be cancelled. `depositor` is zero when there is none.
#[derive(Copy, Drop, Serde, starknet::Store)]
struct Deposit {
    depositor: ContractAddress,
    token: ContractAddress,
    l2_recipient: felt252,
    /// Token units.
    amount: u128,
}

#[starknet::interface]
trait IBridge<TContractState> {
    /// Once, by the initializer. NOT_INITIALIZER, ALREADY_INITIALIZED, BAD_CONFIGURATION: `exchange` is not an appchain address.
    /// The call fails where `core` is no core contract.
    fn initialize(ref self: TContractState, core: ContractAddress, exchange: felt252);

    /// Zero before `initialize`.
    fn core(self: @TContractState) -> ContractAddress;
    /// Zero before `initialize`.
    fn exchange(self: @TContractState) -> felt252;
    fn guardian(self: @TContractState) -> ContractAddress;
    fn deposits_paused(self: @TContractState) -> bool;
    fn tokens(self: @TContractState) -> Array<ContractAddress>;
    /// Token units. The most that may be in escrow; zero for a token that is not listed.
    fn cap(self: @TContractState, token: ContractAddress) -> u256;
    /// Token units: deposited, less withdrawn and refunded.
    fn escrow(self: @TContractState, token: ContractAddress) -> u256;
    /// The deposit of this message nonce; all zero when there is none, or when it was paid back.
    fn deposits(self: @TContractState, nonce: felt252) -> Deposit;

    /// Only the guardian (NOT_GUARDIAN).
    fn set_deposits_paused(ref self: TContractState, paused: bool);

    /// Moves `amount` units of `token` from the caller, who has approved it, into escrow and tells the exchange to credit
    /// `l2_recipient`, an appchain address (1 to 2^251 - 257). Returns the nonce of the message.
    /// REENTERED, DEPOSITS_PAUSED, NOT_INITIALIZED, TOKEN_NOT_LISTED, BAD_RECIPIENT, BAD_AMOUNT (zero), CAP_EXCEEDED,
    /// TRANSFER_FAILED (the token did not answer true), TRANSFER_INEXACT (it kept a part), and the token's own.
    fn deposit(
        ref self: TContractState, token: ContractAddress, amount: u256, l2_recipient: felt252
    ) -> felt252;

    /// First step of taking back a deposit that the appchain has not credited. Only the depositor. REENTERED, NO_SUCH_DEPOSIT,
    /// NOT_DEPOSITOR; the core contract's NO_MESSAGE_TO_CANCEL when it was credited.
    fn start_deposit_cancellation(ref self: TContractState, nonce: felt252);

    /// Second step, once the core contract's delay has passed: pays the deposit back to the depositor. Errors as of the first
    /// step, those of the core contract's `cancel_message`, and those of a payment.
    fn cancel_deposit(ref self: TContractState, nonce: felt252);

    /// Pays a withdrawal whose batch is settled. Anyone may call; the tokens go to `recipient`. REENTERED, NOT_INITIALIZED,
    /// BAD_RECIPIENT (zero or this contract), BAD_AMOUNT (zero or over 127 bits), the core contract's
    /// INVALID_MESSAGE_TO_CONSUME, and those of a payment: ESCROW_TOO_SMALL, TRANSFER_FAILED, TRANSFER_INEXACT, and the
    /// token's own.
    fn withdraw(
        ref self: TContractState,
        token: ContractAddress,
        recipient: ContractAddress,
        amount: u256,
        withdrawal_id: felt252
    );
}

#[starknet::contract]
mod bridge {
    use array::{ArrayTrait, SpanTrait};
    use option::OptionTrait;
    use serde::Serde;
    use traits::{Into, TryInto};
    use starknet::{
        ContractAddress, call_contract_syscall, get_caller_address, get_contract_address
    };
    use settlement::appchain::{IAppchainDispatcher, IAppchainDispatcherTrait};
    use settlement::messaging::{IMessagingDispatcher, IMessagingDispatcherTrait};
    use super::Deposit;
    use zeroable::Zeroable;

    /// Selectors: keccak of the name, cut to 250 bits.
    const HANDLE_DEPOSIT: felt252 = 0x2d757788a8d8d6f21d1cd40bce38a8222d70654214e96ff95d8086e684fbee5;
    const TRANSFER: felt252 = 0x83afd3f4caedc6eebf44246fe54e38c95e3179a5ec9ea81740eca5b482d12e;
    const TRANSFER_FROM: felt252 = 0x3704ffe8fba161be0e994951751a5033b1462b918ff785c0a636be718dfdb68;
    const BALANCE_OF: felt252 = 0x35a73cd311a05d46deda634c5ee045db92f811b4e74bca4437fcb5302b7af33;
    /// 2^251 - 256: appchain addresses are below it.
    const L2_ADDRESS_BOUND: u256 = 0x7ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff00;
    /// 2^127 - 1. A cap, and so any amount, fits 127 bits: the appchain keeps signed amounts.
    const CAP_MAX: u256 = 0x7fffffffffffffffffffffffffffffff;

    #[storage]
    struct Storage {
        initializer: ContractAddress,
        core: ContractAddress,
        exchange: felt252,
        guardian: ContractAddress,
        deposits_paused: bool,
        entered: bool,
        token_count: usize,
        tokens: LegacyMap::<usize, ContractAddress>,
        cap: LegacyMap::<ContractAddress, u128>,
        escrow: LegacyMap::<ContractAddress, u128>,
        /// By the nonce of the message.
        deposits: LegacyMap::<felt252, Deposit>,
    }

    #[event]
    #[derive(Drop, starknet::Event)]
    enum Event {
        Initialized: Initialized,
        DepositSent: DepositSent,
        DepositCancellationStarted: DepositCancellationStarted,
        DepositRefunded: DepositRefunded,
        WithdrawalPaid: WithdrawalPaid,
        DepositsPausedSet: DepositsPausedSet,
    }

    #[derive(Drop, starknet::Event)]
    struct Initialized {
        core: ContractAddress,
        exchange: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct DepositSent {
        #[key]
        nonce: felt252,
        #[key]
        token: ContractAddress,
        #[key]
        depositor: ContractAddress,
        l2_recipient: felt252,
        amount: u256,
        message_hash: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct DepositCancellationStarted {
        #[key]
        nonce: felt252,
        #[key]
        depositor: ContractAddress,
    }

    #[derive(Drop, starknet::Event)]
    struct DepositRefunded {
        #[key]
        nonce: felt252,
        #[key]
        token: ContractAddress,
        #[key]
        depositor: ContractAddress,
        amount: u256,
    }

    #[derive(Drop, starknet::Event)]
    struct WithdrawalPaid {
        #[key]
        withdrawal_id: felt252,
        #[key]
        token: ContractAddress,
        #[key]
        recipient: ContractAddress,
        amount: u256,
    }

    #[derive(Drop, starknet::Event)]
    struct DepositsPausedSet {
        paused: bool,
    }

    /// `caps` in units of the token, one for each of `token_list`: 1 to 2^127 - 1. BAD_CONFIGURATION: the initializer is zero or
    /// the lists differ in length. BAD_LISTING: a token twice, or a bad cap. It fails where a token is no ERC-20 contract.
    #[constructor]
    fn constructor(
        ref self: ContractState,
        initializer: ContractAddress,
        guardian: ContractAddress,
        token_list: Span<ContractAddress>,
        caps: Span<u256>
    ) {
        assert(initializer.is_non_zero(), 'BAD_CONFIGURATION');
        assert(token_list.len() == caps.len(), 'BAD_CONFIGURATION');
        self.initializer.write(initializer);
        self.guardian.write(guardian);
        let mut position = 0;
        loop {
            if position == token_list.len() {
                break;
            }
            list(ref self, position, *token_list.at(position), *caps.at(position));
            position += 1;
        };
        self.token_count.write(position);
    }

    #[external(v0)]
    impl Bridge of super::IBridge<ContractState> {
        fn initialize(ref self: ContractState, core: ContractAddress, exchange: felt252) {
            assert(get_caller_address() == self.initializer.read(), 'NOT_INITIALIZER');
            assert(self.core.read().is_zero(), 'ALREADY_INITIALIZED');
            assert(core.is_non_zero() && is_l2_address(exchange), 'BAD_CONFIGURATION');
            // Only a core contract answers.
            let program_hash = IAppchainDispatcher { contract_address: core }.get_program_hash();
            assert(program_hash != 0, 'BAD_CONFIGURATION');
            self.core.write(core);
            self.exchange.write(exchange);
            self.emit(Initialized { core, exchange });
        }

        fn core(self: @ContractState) -> ContractAddress {
            self.core.read()
        }

        fn exchange(self: @ContractState) -> felt252 {
            self.exchange.read()
        }

        fn guardian(self: @ContractState) -> ContractAddress {
            self.guardian.read()
        }

        fn deposits_paused(self: @ContractState) -> bool {
            self.deposits_paused.read()
        }

        fn tokens(self: @ContractState) -> Array<ContractAddress> {
            let count = self.token_count.read();
            let mut list = ArrayTrait::new();
            let mut position = 0;
            loop {
                if position == count {
                    break;
                }
                list.append(self.tokens.read(position));
                position += 1;
            };
            list
        }

        fn cap(self: @ContractState, token: ContractAddress) -> u256 {
            self.cap.read(token).into()
        }

        fn escrow(self: @ContractState, token: ContractAddress) -> u256 {
            self.escrow.read(token).into()
        }

        fn deposits(self: @ContractState, nonce: felt252) -> Deposit {
            self.deposits.read(nonce)
        }

        fn set_deposits_paused(ref self: ContractState, paused: bool) {
            assert(get_caller_address() == self.guardian.read(), 'NOT_GUARDIAN');
            self.deposits_paused.write(paused);
            self.emit(DepositsPausedSet { paused });
        }

        fn deposit(
            ref self: ContractState, token: ContractAddress, amount: u256, l2_recipient: felt252
        ) -> felt252 {
            enter(ref self);
            assert(!self.deposits_paused.read(), 'DEPOSITS_PAUSED');
            let core = core_contract(@self);
            let cap = self.cap.read(token);
            assert(cap != 0, 'TOKEN_NOT_LISTED');
            assert(is_l2_address(l2_recipient), 'BAD_RECIPIENT');
            assert(amount != 0, 'BAD_AMOUNT');
            // The cap bounds the amount first, so that the sum cannot overflow.
            assert(amount <= cap.into(), 'CAP_EXCEEDED');
            let amount = amount.low;
            let escrow_after = self.escrow.read(token) + amount;
            assert(escrow_after <= cap, 'CAP_EXCEEDED');

            let depositor = get_caller_address();
            self.escrow.write(token, escrow_after);
            pull(token, depositor, amount);
            let (message_hash, nonce) = core
                .send_message_to_appchain(
                    self.exchange.read().try_into().unwrap(),
                    HANDLE_DEPOSIT,
                    deposit_payload(token, l2_recipient, amount)
                );
            self.deposits.write(nonce, Deposit { depositor, token, l2_recipient, amount });
            self
                .emit(
                    DepositSent {
                        nonce, token, depositor, l2_recipient, amount: amount.into(), message_hash
                    }
                );
            leave(ref self);
            nonce
        }

        fn start_deposit_cancellation(ref self: ContractState, nonce: felt252) {
            enter(ref self);
            let sent = deposit_of_caller(@self, nonce);
            core_contract(@self)
                .start_message_cancellation(
                    self.exchange.read().try_into().unwrap(),
                    HANDLE_DEPOSIT,
                    deposit_payload(sent.token, sent.l2_recipient, sent.amount),
                    nonce
                );
            self.emit(DepositCancellationStarted { nonce, depositor: sent.depositor });
            leave(ref self);
        }

        fn cancel_deposit(ref self: ContractState, nonce: felt252) {
            enter(ref self);
            let sent = deposit_of_caller(@self, nonce);
            self
                .deposits
                .write(
                    nonce,
                    Deposit {
                        depositor: Zeroable::zero(),
                        token: Zeroable::zero(),
                        l2_recipient: 0,
                        amount: 0
                    }
                );
            core_contract(@self)
                .cancel_message(
                    self.exchange.read().try_into().unwrap(),
                    HANDLE_DEPOSIT,
                    deposit_payload(sent.token, sent.l2_recipient, sent.amount),
                    nonce
                );
            release(ref self, sent.token, sent.depositor, sent.amount);
            self
                .emit(
                    DepositRefunded {
                        nonce,
                        token: sent.token,
                        depositor: sent.depositor,
                        amount: sent.amount.into()
                    }
                );
            leave(ref self);
        }

        fn withdraw(
            ref self: ContractState,
            token: ContractAddress,
            recipient: ContractAddress,
            amount: u256,
            withdrawal_id: felt252
        ) {
            enter(ref self);
            let core = core_contract(@self);
            assert(recipient.is_non_zero(), 'BAD_RECIPIENT');
            assert(recipient != get_contract_address(), 'BAD_RECIPIENT');
            assert(amount != 0 && amount <= CAP_MAX, 'BAD_AMOUNT');
            let mut payload = ArrayTrait::new();
            payload.append(token.into());
            payload.append(recipient.into());
            payload.append(amount.low.into());
            payload.append(withdrawal_id);
            core
                .consume_message_from_appchain(
                    self.exchange.read().try_into().unwrap(), payload.span()
                );
            release(ref self, token, recipient, amount.low);
            self.emit(WithdrawalPaid { withdrawal_id, token, recipient, amount });
            leave(ref self);
        }
    }

    fn enter(ref self: ContractState) {
        assert(!self.entered.read(), 'REENTERED');
        self.entered.write(true);
    }

    fn leave(ref self: ContractState) {
        self.entered.write(false);
    }

    fn core_contract(self: @ContractState) -> IMessagingDispatcher {
        let contract_address = self.core.read();
        assert(contract_address.is_non_zero(), 'NOT_INITIALIZED');
        IMessagingDispatcher { contract_address }
    }

    fn list(ref self: ContractState, position: usize, token: ContractAddress, cap: u256) {
        assert(cap != 0 && cap <= CAP_MAX, 'BAD_LISTING');
        assert(self.cap.read(token) == 0, 'BAD_LISTING');
        // Only a token answers.
        balance_here(token);
        self.cap.write(token, cap.low);
        self.tokens.write(position, token);
    }

    fn deposit_of_caller(self: @ContractState, nonce: felt252) -> Deposit {
        let sent = self.deposits.read(nonce);
        assert(sent.depositor.is_non_zero(), 'NO_SUCH_DEPOSIT');
        assert(sent.depositor == get_caller_address(), 'NOT_DEPOSITOR');
        sent
    }

    fn deposit_payload(
        token: ContractAddress, l2_recipient: felt252, amount: u128
    ) -> Span<felt252> {
        let mut payload = ArrayTrait::new();
        payload.append(token.into());
        payload.append(l2_recipient);
        payload.append(amount.into());
        payload.span()
    }

    /// A token that keeps a part of what is moved would leave the escrow short, so the balance must rise by exactly `amount`.
    fn pull(token: ContractAddress, from: ContractAddress, amount: u128) {
        let before = balance_here(token);
        let mut arguments = ArrayTrait::new();
        arguments.append(from.into());
        arguments.append(get_contract_address().into());
        call_token(token, TRANSFER_FROM, arguments, amount);
        assert(balance_here(token) == before + amount.into(), 'TRANSFER_INEXACT');
    }

    fn release(ref self: ContractState, token: ContractAddress, to: ContractAddress, amount: u128) {
        let held = self.escrow.read(token);
        assert(held >= amount, 'ESCROW_TOO_SMALL');
        self.escrow.write(token, held - amount);
        let before = balance_here(token);
        let mut arguments = ArrayTrait::new();
        arguments.append(to.into());
        call_token(token, TRANSFER, arguments, amount);
        assert(balance_here(token) + amount.into() == before, 'TRANSFER_INEXACT');
    }

    fn balance_here(token: ContractAddress) -> u256 {
        let mut arguments = ArrayTrait::new();
        arguments.append(get_contract_address().into());
        let mut answer = call_contract_syscall(token, BALANCE_OF, arguments.span())
            .unwrap_syscall();
        Serde::<u256>::deserialize(ref answer).expect('TRANSFER_FAILED')
    }

    /// An ERC-20 on Starknet answers true. Anything else is a failure.
    fn call_token(
        token: ContractAddress, selector: felt252, mut arguments: Array<felt252>, amount: u128
    ) {
        arguments.append(amount.into());
        arguments.append(0); // the high half of the amount
        let answer = call_contract_syscall(token, selector, arguments.span()).unwrap_syscall();
        assert(!answer.is_empty(), 'TRANSFER_FAILED');
        assert(*answer.at(0) == 1, 'TRANSFER_FAILED');
    }

    fn is_l2_address(value: felt252) -> bool {
        value != 0 && value.into() < L2_ADDRESS_BOUND
    }
}
