//! The settlement contract of one appchain on Starknet: its last settled root, block number and block hash, its data, and
//! its messages. Checks, their order and their errors are those of `AppchainCore` on Ethereum.
//!
//! What makes a transition acceptable is the fact registry given at construction. With `attestation_registry` that is an
//! attestation by k of n nodes that re-executed the batch. It is not a validity proof.
//!
//! Errors are short strings, at most 31 characters. Three of the Ethereum contract's are longer and stand here as:
//!   AGGREGATOR_MODE_INVALID_OS_PROGRAM_HASH  AGGREGATOR_BAD_OS_PROGRAM_HASH
//!   MESSAGE_CANCELLATION_NOT_REQUESTED       CANCELLATION_NOT_REQUESTED
//!   MESSAGE_CANCELLATION_NOT_ALLOWED_YET     CANCELLATION_NOT_ALLOWED_YET
//! New here: DATA_CHUNK_EMPTY, DATA_CHUNK_NOT_REGISTERED. Missing: those of blobs, of fees, PROGRAM_OUTPUT_VALUE_OUT_OF_RANGE, which no
//! felt can break, and NEW_BLOCK_NUMBER_OUT_OF_RANGE, which is INVALID_NEW_BLOCK_NUMBER here.
//!
//! Messaging and `get_state` are those of the Piltover contract. A watcher written for it finds these differences:
//!   LogStateUpdate          the block number is a key, not data; root and hash are the data
//!   LogStateTransitionFact  the fact is one felt, not a u256
//!   update_state            a message to the appchain that does not wait here is INVALID_MESSAGE_TO_CONSUME
//!   appointing operators    LogOperatorAdded and LogOperatorRemoved, one operator each
//!   new events              DataRegistered, MessageCancellationDelayChanged

use starknet::ContractAddress;

/// What the contract asks before it accepts a transition.
#[starknet::interface]
trait IFactRegistry<TContractState> {
    fn is_valid(self: @TContractState, fact: felt252) -> bool;
}

#[starknet::interface]
trait IAppchain<TContractState> {
    /// Last settled root, block number and block hash. The number is -1, written as the prime less one, before the first batch.
    fn get_state(self: @TContractState) -> (felt252, felt252, felt252);
    fn get_program_hash(self: @TContractState) -> felt252;
    fn get_config_hash(self: @TContractState) -> felt252;
    fn get_facts_registry(self: @TContractState) -> ContractAddress;
    /// The account that appoints operators and sets the cancellation delay. It cannot settle, and cannot make a transition pass.
    fn owner(self: @TContractState) -> ContractAddress;
    /// The account that becomes the owner when it accepts; zero when there is none.
    fn pending_owner(self: @TContractState) -> ContractAddress;
    fn is_operator(self: @TContractState, address: ContractAddress) -> bool;

    /// Names the next owner; the owner stays the owner until it accepts. Zero takes the name back. Only the owner (ONLY_GOVERNANCE).
    fn transfer_ownership(ref self: TContractState, new_owner: ContractAddress);
    /// Only the account that the owner named (ONLY_CANDIDATE_GOVERNOR).
    fn accept_ownership(ref self: TContractState);
    /// Only the owner (ONLY_GOVERNANCE). Without effect on an operator.
    fn register_operator(ref self: TContractState, address: ContractAddress);
    /// Only the owner (ONLY_GOVERNANCE). Without effect on a stranger.
    fn unregister_operator(ref self: TContractState, address: ContractAddress);
    /// Seconds, for cancellations started from now on: one that was started keeps its deadline. Only the owner (ONLY_GOVERNANCE).
    /// CANCELLATION_DELAY_TOO_SHORT: below the minimum fixed at construction.
    fn set_message_cancellation_delay(ref self: TContractState, delay_seconds: u64);

    /// Puts a chunk of a batch's data words on chain: they stand in this call's calldata, and their hash (Poseidon of the words)
    /// here. Returns the hash. Only an operator (ONLY_OPERATOR). A chunk known already may be registered again: readers look for
    /// its words in the calldata of each transaction that logged it, and find none where an operator is a contract that makes the
    /// call. DATA_CHUNK_EMPTY.
    fn register_data(ref self: TContractState, chunk: Span<felt252>) -> felt252;
    /// Words of the chunk with this hash; 0 if it was never registered.
    fn is_data_registered(self: @TContractState, hash: felt252) -> usize;

    /// Settles a batch: `program_output` as `program_output.cairo` describes it, `data_chunks` the hashes of its data's chunks
    /// in order. Only an operator (ONLY_OPERATOR). In order: STARKNET_OUTPUT_TOO_SHORT, INVALID_PREV_BLOCK_NUMBER,
    /// UNEXPECTED_KZG_DA_FLAG, DATA_CHUNK_NOT_REGISTERED, INVALID_CONFIG_HASH, FULL_OUTPUT_NOT_SUPPORTED,
    /// AGGREGATOR_BAD_OS_PROGRAM_HASH, NO_STATE_TRANSITION_PROOF, INVALID_NEW_BLOCK_NUMBER, INVALID_PREV_BLOCK_HASH,
    /// INVALID_PREVIOUS_ROOT; for each message MESSAGE_TOO_SHORT, INVALID_PAYLOAD_LENGTH, TRUNCATED_MESSAGE_PAYLOAD, and
    /// INVALID_MESSAGE_TO_CONSUME when one for the appchain does not wait here; INVALID_MESSAGE_SEGMENT_SIZE,
    /// STARKNET_OUTPUT_TOO_LONG. Any of them refuses the whole batch.
    fn update_state(
        ref self: TContractState, program_output: Span<felt252>, data_chunks: Span<felt252>
    );
}

#[starknet::contract]
mod appchain {
    use array::{ArrayTrait, SpanTrait};
    use integer::{BoundedInt, u64_checked_add};
    use option::OptionTrait;
    use poseidon::poseidon_hash_span;
    use traits::{Into, TryInto};
    use starknet::{ContractAddress, get_block_timestamp, get_caller_address};
    use settlement::messaging::{
        IMessaging, MessageToAppchainStatus, MessageToAppchainStatusPacking,
        MessageToStarknetStatus, hash_to_appchain, hash_to_starknet
    };
    use settlement::program_output;
    use super::{IFactRegistryDispatcher, IFactRegistryDispatcherTrait};
    use zeroable::Zeroable;

    /// Block number before the first batch: -1, the prime less one.
    const NO_BLOCK: felt252 = 0x800000000000011000000000000000000000000000000000000000000000000;
    /// Five days, in seconds.
    const CANCELLATION_DELAY: u64 = 432000;

    #[storage]
    struct Storage {
        owner: ContractAddress,
        pending_owner: ContractAddress,
        operators: LegacyMap::<ContractAddress, bool>,
        program_hash: felt252,
        config_hash: felt252,
        registry: ContractAddress,
        state_root: felt252,
        block_number: felt252,
        block_hash: felt252,
        /// Hash of a chunk -> its words.
        data_chunks: LegacyMap::<felt252, usize>,
        message_nonce: felt252,
        cancellation_delay: u64,
        cancellation_delay_min: u64,
        messages_to_appchain: LegacyMap::<felt252, MessageToAppchainStatus>,
        /// Message hash -> Unix seconds of the last start.
        cancellations: LegacyMap::<felt252, u64>,
        /// Message hash -> Unix seconds from which the cancellation may end; the largest number: never.
        cancellations_allowed_at: LegacyMap::<felt252, u64>,
        /// Message hash -> how many times it may still be consumed.
        messages_to_starknet: LegacyMap::<felt252, felt252>,
    }

    #[event]
    #[derive(Drop, starknet::Event)]
    enum Event {
        LogStateTransitionFact: LogStateTransitionFact,
        LogStateUpdate: LogStateUpdate,
        OwnershipTransferStarted: OwnershipTransferStarted,
        OwnershipTransferred: OwnershipTransferred,
        LogOperatorAdded: LogOperatorAdded,
        LogOperatorRemoved: LogOperatorRemoved,
        MessageCancellationDelayChanged: MessageCancellationDelayChanged,
        DataRegistered: DataRegistered,
        MessageSent: MessageSent,
        MessageConsumed: MessageConsumed,
        MessageCancellationStarted: MessageCancellationStarted,
        MessageCanceled: MessageCanceled,
        MessageToStarknetReceived: MessageToStarknetReceived,
        MessageToAppchainSealed: MessageToAppchainSealed,
    }

    #[derive(Drop, starknet::Event)]
    struct LogStateTransitionFact {
        fact: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct LogStateUpdate {
        state_root: felt252,
        #[key]
        block_number: felt252,
        block_hash: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct OwnershipTransferStarted {
        #[key]
        previous_owner: ContractAddress,
        #[key]
        new_owner: ContractAddress,
    }

    #[derive(Drop, starknet::Event)]
    struct OwnershipTransferred {
        #[key]
        previous_owner: ContractAddress,
        #[key]
        new_owner: ContractAddress,
    }

    #[derive(Drop, starknet::Event)]
    struct LogOperatorAdded {
        operator: ContractAddress,
    }

    #[derive(Drop, starknet::Event)]
    struct LogOperatorRemoved {
        operator: ContractAddress,
    }

    /// Seconds.
    #[derive(Drop, starknet::Event)]
    struct MessageCancellationDelayChanged {
        old_delay: u64,
        new_delay: u64,
    }

    #[derive(Drop, starknet::Event)]
    struct DataRegistered {
        #[key]
        hash: felt252,
        length: usize,
    }

    #[derive(Drop, starknet::Event)]
    struct MessageSent {
        #[key]
        message_hash: felt252,
        #[key]
        from: ContractAddress,
        #[key]
        to: ContractAddress,
        selector: felt252,
        nonce: felt252,
        payload: Span<felt252>,
    }

    #[derive(Drop, starknet::Event)]
    struct MessageConsumed {
        #[key]
        message_hash: felt252,
        #[key]
        from: ContractAddress,
        #[key]
        to: ContractAddress,
        payload: Span<felt252>,
    }

    #[derive(Drop, starknet::Event)]
    struct MessageCancellationStarted {
        #[key]
        message_hash: felt252,
        #[key]
        from: ContractAddress,
        #[key]
        to: ContractAddress,
        selector: felt252,
        payload: Span<felt252>,
        nonce: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct MessageCanceled {
        #[key]
        message_hash: felt252,
        #[key]
        from: ContractAddress,
        #[key]
        to: ContractAddress,
        selector: felt252,
        payload: Span<felt252>,
        nonce: felt252,
    }

    /// Sender and receiver are words of the program output and nothing checks that an account could have them: a message for an
    /// address that cannot exist is never consumed, and does not stop a batch.
    #[derive(Drop, starknet::Event)]
    struct MessageToStarknetReceived {
        #[key]
        message_hash: felt252,
        #[key]
        from: felt252,
        #[key]
        to: felt252,
        payload: Span<felt252>,
    }

    #[derive(Drop, starknet::Event)]
    struct MessageToAppchainSealed {
        #[key]
        message_hash: felt252,
        #[key]
        from: felt252,
        #[key]
        to: felt252,
        selector: felt252,
        nonce: felt252,
        payload: Span<felt252>,
    }

    /// A new chain starts at root 0, number -1 (the prime less one), hash 0. BAD_INITIALIZATION: program hash, owner or registry
    /// is zero, the number is neither -1 nor 64 bits, or the minimum of the cancellation delay is not 1 second to 5 days.
    /// It fails where the registry is no fact registry.
    #[constructor]
    fn constructor(
        ref self: ContractState,
        owner: ContractAddress,
        program_hash: felt252,
        config_hash: felt252,
        registry: ContractAddress,
        state_root: felt252,
        block_number: felt252,
        block_hash: felt252,
        cancellation_delay_min: u64
    ) {
        assert(program_hash != 0, 'BAD_INITIALIZATION');
        assert(owner.is_non_zero() && registry.is_non_zero(), 'BAD_INITIALIZATION');
        let number: Option<u64> = block_number.try_into();
        assert(block_number == NO_BLOCK || number.is_some(), 'BAD_INITIALIZATION');
        assert(cancellation_delay_min != 0, 'BAD_INITIALIZATION');
        assert(cancellation_delay_min <= CANCELLATION_DELAY, 'BAD_INITIALIZATION');
        // Only a fact registry answers.
        IFactRegistryDispatcher { contract_address: registry }.is_valid(0);
        self.owner.write(owner);
        self.program_hash.write(program_hash);
        self.config_hash.write(config_hash);
        self.registry.write(registry);
        self.state_root.write(state_root);
        self.block_number.write(block_number);
        self.block_hash.write(block_hash);
        self.cancellation_delay.write(CANCELLATION_DELAY);
        self.cancellation_delay_min.write(cancellation_delay_min);
    }

    #[external(v0)]
    impl Appchain of super::IAppchain<ContractState> {
        fn get_state(self: @ContractState) -> (felt252, felt252, felt252) {
            (self.state_root.read(), self.block_number.read(), self.block_hash.read())
        }

        fn get_program_hash(self: @ContractState) -> felt252 {
            self.program_hash.read()
        }

        fn get_config_hash(self: @ContractState) -> felt252 {
            self.config_hash.read()
        }

        fn get_facts_registry(self: @ContractState) -> ContractAddress {
            self.registry.read()
        }

        fn owner(self: @ContractState) -> ContractAddress {
            self.owner.read()
        }

        fn pending_owner(self: @ContractState) -> ContractAddress {
            self.pending_owner.read()
        }

        fn is_operator(self: @ContractState, address: ContractAddress) -> bool {
            self.operators.read(address)
        }

        fn transfer_ownership(ref self: ContractState, new_owner: ContractAddress) {
            only_owner(@self);
            self.pending_owner.write(new_owner);
            self.emit(OwnershipTransferStarted { previous_owner: self.owner.read(), new_owner });
        }

        fn accept_ownership(ref self: ContractState) {
            let new_owner = get_caller_address();
            assert(new_owner == self.pending_owner.read(), 'ONLY_CANDIDATE_GOVERNOR');
            // Calls without a caller have the zero address.
            assert(new_owner.is_non_zero(), 'ONLY_CANDIDATE_GOVERNOR');
            let previous_owner = self.owner.read();
            self.owner.write(new_owner);
            self.pending_owner.write(Zeroable::zero());
            self.emit(OwnershipTransferred { previous_owner, new_owner });
        }

        fn register_operator(ref self: ContractState, address: ContractAddress) {
            only_owner(@self);
            if !self.operators.read(address) {
                self.operators.write(address, true);
                self.emit(LogOperatorAdded { operator: address });
            }
        }

        fn unregister_operator(ref self: ContractState, address: ContractAddress) {
            only_owner(@self);
            if self.operators.read(address) {
                self.operators.write(address, false);
                self.emit(LogOperatorRemoved { operator: address });
            }
        }

        fn set_message_cancellation_delay(ref self: ContractState, delay_seconds: u64) {
            only_owner(@self);
            let allowed = delay_seconds >= self.cancellation_delay_min.read();
            assert(allowed, 'CANCELLATION_DELAY_TOO_SHORT');
            let old_delay = self.cancellation_delay.read();
            self.cancellation_delay.write(delay_seconds);
            self.emit(MessageCancellationDelayChanged { old_delay, new_delay: delay_seconds });
        }

        fn register_data(ref self: ContractState, chunk: Span<felt252>) -> felt252 {
            only_operator(@self);
            assert(!chunk.is_empty(), 'DATA_CHUNK_EMPTY');
            let hash = poseidon_hash_span(chunk);
            self.data_chunks.write(hash, chunk.len());
            self.emit(DataRegistered { hash, length: chunk.len() });
            hash
        }

        fn is_data_registered(self: @ContractState, hash: felt252) -> usize {
            self.data_chunks.read(hash)
        }

        fn update_state(
            ref self: ContractState, program_output: Span<felt252>, data_chunks: Span<felt252>
        ) {
            only_operator(@self);
            let output = program_output;
            check_beginning(@self, output);
            check_data(@self, data_chunks);
            check_rules(@self, output);
            let fact = program_output::transition_fact(
                self.program_hash.read(), output, data_chunks
            );
            // The registry is fixed and its answer a view. Were it to settle a batch meanwhile, hash and root would not continue.
            let registry = IFactRegistryDispatcher { contract_address: self.registry.read() };
            assert(registry.is_valid(fact), 'NO_STATE_TRANSITION_PROOF');
            self.emit(LogStateTransitionFact { fact });

            advance(ref self, output);
            let offset = record_messages_to_starknet(ref self, output);
            let offset = seal_messages_to_appchain(ref self, output, offset);
            assert(offset == output.len(), 'STARKNET_OUTPUT_TOO_LONG');
            self
                .emit(
                    LogStateUpdate {
                        state_root: *output.at(program_output::NEW_ROOT),
                        block_number: *output.at(program_output::NEW_BLOCK_NUMBER),
                        block_hash: *output.at(program_output::NEW_BLOCK_HASH)
                    }
                );
        }
    }

    #[external(v0)]
    impl Messaging of IMessaging<ContractState> {
        fn send_message_to_appchain(
            ref self: ContractState,
            to_address: ContractAddress,
            selector: felt252,
            payload: Span<felt252>
        ) -> (felt252, felt252) {
            let nonce = self.message_nonce.read();
            self.message_nonce.write(nonce + 1);
            let from = get_caller_address();
            let message_hash = hash_to_appchain(from, to_address, nonce, selector, payload);
            self.messages_to_appchain.write(message_hash, MessageToAppchainStatus::Pending(nonce));
            self.emit(MessageSent { message_hash, from, to: to_address, selector, nonce, payload });
            (message_hash, nonce)
        }

        fn consume_message_from_appchain(
            ref self: ContractState, from_address: ContractAddress, payload: Span<felt252>
        ) -> felt252 {
            let to = get_caller_address();
            let message_hash = hash_to_starknet(from_address, to, payload);
            let count = self.messages_to_starknet.read(message_hash);
            assert(count != 0, 'INVALID_MESSAGE_TO_CONSUME');
            self.messages_to_starknet.write(message_hash, count - 1);
            self.emit(MessageConsumed { message_hash, from: from_address, to, payload });
            message_hash
        }

        fn start_message_cancellation(
            ref self: ContractState,
            to_address: ContractAddress,
            selector: felt252,
            payload: Span<felt252>,
            nonce: felt252
        ) -> felt252 {
            let from = get_caller_address();
            let message_hash = hash_to_appchain(from, to_address, nonce, selector, payload);
            assert(is_waiting(@self, message_hash), 'NO_MESSAGE_TO_CANCEL');
            let now = get_block_timestamp();
            self.cancellations.write(message_hash, now);
            // A delay too long to add must read as "never", not as an arithmetic panic.
            let allowed_at = match u64_checked_add(now, self.cancellation_delay.read()) {
                Option::Some(allowed_at) => allowed_at,
                Option::None(()) => BoundedInt::max(),
            };
            self.cancellations_allowed_at.write(message_hash, allowed_at);
            self
                .emit(
                    MessageCancellationStarted {
                        message_hash, from, to: to_address, selector, payload, nonce
                    }
                );
            message_hash
        }

        fn cancel_message(
            ref self: ContractState,
            to_address: ContractAddress,
            selector: felt252,
            payload: Span<felt252>,
            nonce: felt252
        ) -> felt252 {
            let from = get_caller_address();
            let message_hash = hash_to_appchain(from, to_address, nonce, selector, payload);
            assert(is_waiting(@self, message_hash), 'NO_MESSAGE_TO_CANCEL');
            let allowed_at = self.cancellations_allowed_at.read(message_hash);
            assert(allowed_at != 0, 'CANCELLATION_NOT_REQUESTED');
            assert(allowed_at != BoundedInt::max(), 'CANCEL_ALLOWED_TIME_OVERFLOW');
            assert(get_block_timestamp() >= allowed_at, 'CANCELLATION_NOT_ALLOWED_YET');
            self.messages_to_appchain.write(message_hash, MessageToAppchainStatus::Cancelled(()));
            self
                .emit(
                    MessageCanceled { message_hash, from, to: to_address, selector, payload, nonce }
                );
            message_hash
        }

        fn sn_to_appchain_messages(
            self: @ContractState, message_hash: felt252
        ) -> MessageToAppchainStatus {
            self.messages_to_appchain.read(message_hash)
        }

        fn appchain_to_sn_messages(
            self: @ContractState, message_hash: felt252
        ) -> MessageToStarknetStatus {
            let count = self.messages_to_starknet.read(message_hash);
            if count == 0 {
                MessageToStarknetStatus::NothingToConsume(())
            } else {
                MessageToStarknetStatus::ReadyToConsume(count)
            }
        }

        fn message_cancellation_started_at(self: @ContractState, message_hash: felt252) -> u64 {
            self.cancellations.read(message_hash)
        }

        fn message_cancellation_allowed_at(self: @ContractState, message_hash: felt252) -> u64 {
            self.cancellations_allowed_at.read(message_hash)
        }

        fn message_cancellation_delay(self: @ContractState) -> u64 {
            self.cancellation_delay.read()
        }

        fn message_cancellation_delay_min(self: @ContractState) -> u64 {
            self.cancellation_delay_min.read()
        }

        fn message_nonce(self: @ContractState) -> felt252 {
            self.message_nonce.read()
        }
    }

    fn only_owner(self: @ContractState) {
        assert(get_caller_address() == self.owner.read(), 'ONLY_GOVERNANCE');
    }

    fn only_operator(self: @ContractState) {
        assert(self.operators.read(get_caller_address()), 'ONLY_OPERATOR');
    }

    fn is_waiting(self: @ContractState, message_hash: felt252) -> bool {
        match self.messages_to_appchain.read(message_hash) {
            MessageToAppchainStatus::NotSent(()) => false,
            MessageToAppchainStatus::Sealed(()) => false,
            MessageToAppchainStatus::Cancelled(()) => false,
            MessageToAppchainStatus::Pending(nonce) => true,
        }
    }

    fn check_beginning(self: @ContractState, output: Span<felt252>) {
        assert(output.len() > program_output::HEADER_WORDS, 'STARKNET_OUTPUT_TOO_SHORT');
        let prev_block_number = *output.at(program_output::PREV_BLOCK_NUMBER);
        assert(prev_block_number == self.block_number.read(), 'INVALID_PREV_BLOCK_NUMBER');
        assert(*output.at(program_output::USE_KZG_DA) == 0, 'UNEXPECTED_KZG_DA_FLAG');
    }

    fn check_data(self: @ContractState, mut data_chunks: Span<felt252>) {
        loop {
            match data_chunks.pop_front() {
                Option::Some(hash) => {
                    assert(self.data_chunks.read(*hash) != 0, 'DATA_CHUNK_NOT_REGISTERED');
                },
                Option::None(()) => {
                    break;
                }
            };
        };
    }

    fn check_rules(self: @ContractState, output: Span<felt252>) {
        let config_hash = *output.at(program_output::CONFIG_HASH);
        assert(config_hash == self.config_hash.read(), 'INVALID_CONFIG_HASH');
        assert(*output.at(program_output::FULL_OUTPUT) == 0, 'FULL_OUTPUT_NOT_SUPPORTED');
        // A word that is not zero is the form of an aggregated output, for which there is no program here.
        let os_program_hash = *output.at(program_output::OS_PROGRAM_HASH);
        assert(os_program_hash == 0, 'AGGREGATOR_BAD_OS_PROGRAM_HASH');
    }

    /// The number before the previous hash and root: its error is the least ambiguous of the three.
    fn advance(ref self: ContractState, output: Span<felt252>) {
        let number = *output.at(program_output::NEW_BLOCK_NUMBER);
        // A number of 64 bits can never be taken for -1.
        let height: u64 = number.try_into().expect('INVALID_NEW_BLOCK_NUMBER');
        let settled = self.block_number.read();
        if settled != NO_BLOCK {
            assert(height > settled.try_into().unwrap(), 'INVALID_NEW_BLOCK_NUMBER');
        }
        let prev_hash = *output.at(program_output::PREV_BLOCK_HASH);
        assert(prev_hash == self.block_hash.read(), 'INVALID_PREV_BLOCK_HASH');
        let prev_root = *output.at(program_output::PREV_ROOT);
        assert(prev_root == self.state_root.read(), 'INVALID_PREVIOUS_ROOT');
        self.state_root.write(*output.at(program_output::NEW_ROOT));
        self.block_number.write(number);
        self.block_hash.write(*output.at(program_output::NEW_BLOCK_HASH));
    }

    /// Adds the messages of the first segment; returns the index after it.
    fn record_messages_to_starknet(ref self: ContractState, output: Span<felt252>) -> usize {
        let (mut next, end) = program_output::segment(output, program_output::HEADER_WORDS);
        loop {
            if next >= end {
                break;
            }
            let (words, after) = program_output::message(
                output, next, program_output::MESSAGE_TO_STARKNET_PREFIX_WORDS
            );
            let message_hash = poseidon_hash_span(words);
            let count = self.messages_to_starknet.read(message_hash);
            self.messages_to_starknet.write(message_hash, count + 1);
            self
                .emit(
                    MessageToStarknetReceived {
                        message_hash,
                        from: *words.at(0),
                        to: *words.at(1),
                        payload: payload(words, program_output::MESSAGE_TO_STARKNET_PREFIX_WORDS)
                    }
                );
            next = after;
        };
        assert(next == end, 'INVALID_MESSAGE_SEGMENT_SIZE');
        end
    }

    /// Takes the messages of the segment at `offset` off this contract; returns the index after it. One message that does not
    /// wait here refuses the whole batch.
    fn seal_messages_to_appchain(
        ref self: ContractState, output: Span<felt252>, offset: usize
    ) -> usize {
        let (mut next, end) = program_output::segment(output, offset);
        loop {
            if next >= end {
                break;
            }
            let (words, after) = program_output::message(
                output, next, program_output::MESSAGE_TO_APPCHAIN_PREFIX_WORDS
            );
            let message_hash = poseidon_hash_span(words);
            assert(is_waiting(@self, message_hash), 'INVALID_MESSAGE_TO_CONSUME');
            self.messages_to_appchain.write(message_hash, MessageToAppchainStatus::Sealed(()));
            self
                .emit(
                    MessageToAppchainSealed {
                        message_hash,
                        from: *words.at(0),
                        to: *words.at(1),
                        selector: *words.at(3),
                        nonce: *words.at(2),
                        payload: payload(words, program_output::MESSAGE_TO_APPCHAIN_PREFIX_WORDS)
                    }
                );
            next = after;
        };
        assert(next == end, 'INVALID_MESSAGE_SEGMENT_SIZE');
        end
    }

    fn payload(words: Span<felt252>, prefix_words: usize) -> Span<felt252> {
        words.slice(prefix_words, words.len() - prefix_words)
    }
}
