//! A fact is valid here once k of n attestors have signed it. An attestor is a node that re-executed the batch and arrived at
//! the same root. Its name is its Stark public key (the x coordinate); it signs with ECDSA on the Stark curve.
//!
//! This is an attestation, not a validity proof: k dishonest attestors can make any fact valid.
//!
//! There is no administrator. What changes, changes only by k signatures of the current set, and only after `change_delay`
//! seconds in which everybody can see the change coming and k signatures can cancel it: the set of attestors with its k; and the
//! successor, a fact registry (a proof verifier, say) that decides from then on. While there is one, this registry takes no
//! attestations: what it has attested stays valid, and everything else is for the successor to say. Errors are those of `AttestationRegistry` on Ethereum,
//! as short strings.

use starknet::ContractAddress;

#[starknet::interface]
trait IAttestationRegistry<TContractState> {
    /// Whether k of n attestors have signed the fact, or the successor holds it valid.
    fn is_valid(self: @TContractState, fact: felt252) -> bool;
    /// Whether k of n attestors have signed the fact here. An attestation, not a validity proof.
    fn is_attested(self: @TContractState, fact: felt252) -> bool;
    /// Decides over facts that are not attested here. Zero: there is none, and attestations are taken.
    fn successor(self: @TContractState) -> ContractAddress;
    /// In ascending order.
    fn attestors(self: @TContractState) -> Array<felt252>;
    fn is_attestor(self: @TContractState, public_key: felt252) -> bool;
    fn threshold(self: @TContractState) -> usize;
    /// Seconds between a change's signatures and its effect.
    fn change_delay(self: @TContractState) -> u64;
    /// Number of the next change. Signatures for a change or its cancellation are good for one number only.
    fn change_nonce(self: @TContractState) -> u64;
    /// What a cancellation names: Poseidon of [Poseidon of the set, threshold], or of ['KEEL_SUCCESSOR', successor]; 0 when there
    /// is none.
    fn pending_change(self: @TContractState) -> felt252;
    /// Unix seconds from which the pending change may be executed; 0 when there is none.
    fn pending_allowed_at(self: @TContractState) -> u64;

    /// What an attestor signs for a fact, bound to this chain and this contract: Poseidon of ['KEEL_ATTESTATION', chain id,
    /// address of this contract, fact].
    fn attestation_digest(self: @TContractState, fact: felt252) -> felt252;
    /// What an attestor signs for the change numbered `change_nonce`, good until `deadline` (Unix seconds, inclusive): Poseidon of
    /// ['KEEL_CHANGE_ATTESTORS', chain id, address of this contract, nonce, Poseidon of the set, threshold, deadline].
    fn change_digest(
        self: @TContractState, new_attestors: Span<felt252>, new_threshold: usize, deadline: u64
    ) -> felt252;
    /// The same for a successor: Poseidon of ['KEEL_SUCCESSOR', chain id, address of this contract, nonce, successor, deadline].
    fn successor_digest(
        self: @TContractState, new_successor: ContractAddress, deadline: u64
    ) -> felt252;
    /// What an attestor signs to cancel the pending change: Poseidon of ['KEEL_CANCEL_CHANGE', chain id, address of this
    /// contract, nonce, `pending_change`].
    fn cancel_digest(self: @TContractState) -> felt252;

    /// Anyone may bring the signatures: (public key, r, s) each, ascending by public key, at least k, all of them good.
    /// Bringing them again changes nothing. SUCCEEDED: there is a successor. TOO_FEW_SIGNATURES; for each BAD_SIGNATURE, NOT_AN_ATTESTOR, SIGNERS_NOT_ASCENDING.
    fn attest(
        ref self: TContractState, fact: felt252, signatures: Span<(felt252, felt252, felt252)>
    );
    /// Signatures as for `attest`. CHANGE_ALREADY_PENDING, SIGNATURES_EXPIRED (the deadline has passed), BAD_SET, BAD_THRESHOLD, and
    /// those of the signatures.
    fn schedule_change(
        ref self: TContractState,
        new_attestors: Span<felt252>,
        new_threshold: usize,
        deadline: u64,
        signatures: Span<(felt252, felt252, felt252)>
    );
    /// Zero takes the successor back. Signatures as for `attest`. CHANGE_ALREADY_PENDING, SIGNATURES_EXPIRED, BAD_SUCCESSOR (it is this
    /// contract), and those of the signatures. The call fails where the successor is no fact registry.
    fn schedule_successor(
        ref self: TContractState,
        new_successor: ContractAddress,
        deadline: u64,
        signatures: Span<(felt252, felt252, felt252)>
    );
    /// Signatures as for `attest`; a change that expired needs none. NO_CHANGE_PENDING, and those of the signatures.
    fn cancel_change(ref self: TContractState, signatures: Span<(felt252, felt252, felt252)>);
    /// Anyone may execute a change whose delay has passed, for 30 days. NO_CHANGE_PENDING, CHANGE_DIFFERS, CHANGE_NOT_YET_ALLOWED,
    /// CHANGE_EXPIRED.
    fn execute_change(
        ref self: TContractState, new_attestors: Span<felt252>, new_threshold: usize
    );
    /// As `execute_change`.
    fn execute_successor(ref self: TContractState, new_successor: ContractAddress);
}

#[starknet::contract]
mod attestation_registry {
    use array::{ArrayTrait, SpanTrait};
    use box::BoxTrait;
    use ec::ec_point_from_x;
    use ecdsa::check_ecdsa_signature;
    use option::OptionTrait;
    use poseidon::poseidon_hash_span;
    use traits::Into;
    use super::IAttestationRegistry;
    use settlement::appchain::{IFactRegistryDispatcher, IFactRegistryDispatcherTrait};
    use starknet::{ContractAddress, get_block_timestamp, get_contract_address, get_tx_info};
    use zeroable::Zeroable;

    /// Bounds the cost of one call; far above any set that could be run.
    const ATTESTORS_MAX: usize = 64;
    /// 365 days, in seconds.
    const CHANGE_DELAY_MAX: u64 = 31536000;
    /// 30 days, in seconds: so long may a change be executed once its delay has passed.
    const EXECUTION_WINDOW: u64 = 2592000;
    /// Order of the Stark curve: the check of the corelib leaves the range of r and s to its caller.
    const CURVE_ORDER: u256 = 0x800000000000010ffffffffffffffffb781126dcae7b2321e66a241adc64d2f;

    #[storage]
    struct Storage {
        attested: LegacyMap::<felt252, bool>,
        successor: ContractAddress,
        members: LegacyMap::<felt252, bool>,
        /// Position -> public key, ascending.
        attestors: LegacyMap::<usize, felt252>,
        attestor_count: usize,
        threshold: usize,
        change_delay: u64,
        change_nonce: u64,
        pending_change: felt252,
        pending_allowed_at: u64,
    }

    #[event]
    #[derive(Drop, starknet::Event)]
    enum Event {
        FactAttested: FactAttested,
        ChangeScheduled: ChangeScheduled,
        SuccessorScheduled: SuccessorScheduled,
        ChangeCancelled: ChangeCancelled,
        AttestorsChanged: AttestorsChanged,
        SuccessorChanged: SuccessorChanged,
    }

    /// k of n attestors have signed `fact`. An attestation, not a validity proof.
    #[derive(Drop, starknet::Event)]
    struct FactAttested {
        #[key]
        fact: felt252,
        signatures: usize,
    }

    #[derive(Drop, starknet::Event)]
    struct ChangeScheduled {
        #[key]
        nonce: u64,
        attestors: Span<felt252>,
        threshold: usize,
        allowed_at: u64,
    }

    #[derive(Drop, starknet::Event)]
    struct SuccessorScheduled {
        #[key]
        nonce: u64,
        successor: ContractAddress,
        allowed_at: u64,
    }

    #[derive(Drop, starknet::Event)]
    struct ChangeCancelled {
        #[key]
        nonce: u64,
    }

    #[derive(Drop, starknet::Event)]
    struct AttestorsChanged {
        attestors: Span<felt252>,
        threshold: usize,
    }

    #[derive(Drop, starknet::Event)]
    struct SuccessorChanged {
        successor: ContractAddress,
    }

    /// BAD_DELAY: 0 or over a year. BAD_SET, BAD_THRESHOLD.
    #[constructor]
    fn constructor(
        ref self: ContractState,
        initial_attestors: Span<felt252>,
        initial_threshold: usize,
        change_delay_seconds: u64
    ) {
        assert(change_delay_seconds != 0, 'BAD_DELAY');
        assert(change_delay_seconds <= CHANGE_DELAY_MAX, 'BAD_DELAY');
        self.change_delay.write(change_delay_seconds);
        check_set(initial_attestors, initial_threshold);
        install(ref self, initial_attestors, initial_threshold);
    }

    #[external(v0)]
    impl AttestationRegistry of IAttestationRegistry<ContractState> {
        fn is_valid(self: @ContractState, fact: felt252) -> bool {
            if self.attested.read(fact) {
                return true;
            }
            let successor = self.successor.read();
            if successor.is_zero() {
                return false;
            }
            IFactRegistryDispatcher { contract_address: successor }.is_valid(fact)
        }

        fn is_attested(self: @ContractState, fact: felt252) -> bool {
            self.attested.read(fact)
        }

        fn successor(self: @ContractState) -> ContractAddress {
            self.successor.read()
        }

        fn attestors(self: @ContractState) -> Array<felt252> {
            let count = self.attestor_count.read();
            let mut set = ArrayTrait::new();
            let mut position = 0;
            loop {
                if position == count {
                    break;
                }
                set.append(self.attestors.read(position));
                position += 1;
            };
            set
        }

        fn is_attestor(self: @ContractState, public_key: felt252) -> bool {
            self.members.read(public_key)
        }

        fn threshold(self: @ContractState) -> usize {
            self.threshold.read()
        }

        fn change_delay(self: @ContractState) -> u64 {
            self.change_delay.read()
        }

        fn change_nonce(self: @ContractState) -> u64 {
            self.change_nonce.read()
        }

        fn pending_change(self: @ContractState) -> felt252 {
            self.pending_change.read()
        }

        fn pending_allowed_at(self: @ContractState) -> u64 {
            self.pending_allowed_at.read()
        }

        fn attestation_digest(self: @ContractState, fact: felt252) -> felt252 {
            let mut words = bound_to_here('KEEL_ATTESTATION');
            words.append(fact);
            poseidon_hash_span(words.span())
        }

        fn change_digest(
            self: @ContractState, new_attestors: Span<felt252>, new_threshold: usize, deadline: u64
        ) -> felt252 {
            let mut words = bound_to_here('KEEL_CHANGE_ATTESTORS');
            words.append(self.change_nonce.read().into());
            words.append(poseidon_hash_span(new_attestors));
            words.append(new_threshold.into());
            words.append(deadline.into());
            poseidon_hash_span(words.span())
        }

        fn successor_digest(
            self: @ContractState, new_successor: ContractAddress, deadline: u64
        ) -> felt252 {
            let mut words = bound_to_here('KEEL_SUCCESSOR');
            words.append(self.change_nonce.read().into());
            words.append(new_successor.into());
            words.append(deadline.into());
            poseidon_hash_span(words.span())
        }

        fn cancel_digest(self: @ContractState) -> felt252 {
            let mut words = bound_to_here('KEEL_CANCEL_CHANGE');
            words.append(self.change_nonce.read().into());
            words.append(self.pending_change.read());
            poseidon_hash_span(words.span())
        }

        fn attest(
            ref self: ContractState, fact: felt252, signatures: Span<(felt252, felt252, felt252)>
        ) {
            assert(self.successor.read().is_zero(), 'SUCCEEDED');
            check_signatures(@self, self.attestation_digest(fact), signatures);
            if !self.attested.read(fact) {
                self.attested.write(fact, true);
                self.emit(FactAttested { fact, signatures: signatures.len() });
            }
        }

        fn schedule_change(
            ref self: ContractState,
            new_attestors: Span<felt252>,
            new_threshold: usize,
            deadline: u64,
            signatures: Span<(felt252, felt252, felt252)>
        ) {
            check_schedulable(@self, deadline);
            check_set(new_attestors, new_threshold);
            let digest = self.change_digest(new_attestors, new_threshold, deadline);
            check_signatures(@self, digest, signatures);
            let allowed_at = schedule(ref self, change_hash(new_attestors, new_threshold));
            self
                .emit(
                    ChangeScheduled {
                        nonce: self.change_nonce.read(),
                        attestors: new_attestors,
                        threshold: new_threshold,
                        allowed_at
                    }
                );
        }

        fn schedule_successor(
            ref self: ContractState,
            new_successor: ContractAddress,
            deadline: u64,
            signatures: Span<(felt252, felt252, felt252)>
        ) {
            check_schedulable(@self, deadline);
            check_successor(new_successor);
            let digest = self.successor_digest(new_successor, deadline);
            check_signatures(@self, digest, signatures);
            let allowed_at = schedule(ref self, successor_hash(new_successor));
            let nonce = self.change_nonce.read();
            self.emit(SuccessorScheduled { nonce, successor: new_successor, allowed_at });
        }

        fn cancel_change(ref self: ContractState, signatures: Span<(felt252, felt252, felt252)>) {
            assert(self.pending_change.read() != 0, 'NO_CHANGE_PENDING');
            if !is_expired(@self) {
                check_signatures(@self, self.cancel_digest(), signatures);
            }
            self.emit(ChangeCancelled { nonce: self.change_nonce.read() });
            close_change(ref self);
        }

        fn execute_change(
            ref self: ContractState, new_attestors: Span<felt252>, new_threshold: usize
        ) {
            check_executable(@self, change_hash(new_attestors, new_threshold));
            close_change(ref self);
            let mut dismissed = self.attestors().span();
            loop {
                match dismissed.pop_front() {
                    Option::Some(public_key) => {
                        self.members.write(*public_key, false);
                    },
                    Option::None(()) => {
                        break;
                    }
                };
            };
            install(ref self, new_attestors, new_threshold);
        }

        fn execute_successor(ref self: ContractState, new_successor: ContractAddress) {
            check_executable(@self, successor_hash(new_successor));
            close_change(ref self);
            self.successor.write(new_successor);
            self.emit(SuccessorChanged { successor: new_successor });
        }
    }

    /// The first words of everything that is signed.
    fn bound_to_here(purpose: felt252) -> Array<felt252> {
        let mut words = ArrayTrait::new();
        words.append(purpose);
        words.append(get_tx_info().unbox().chain_id);
        words.append(get_contract_address().into());
        words
    }

    fn check_schedulable(self: @ContractState, deadline: u64) {
        assert(self.pending_change.read() == 0, 'CHANGE_ALREADY_PENDING');
        assert(get_block_timestamp() <= deadline, 'SIGNATURES_EXPIRED');
    }

    /// Keeps the change; returns from when it may be executed.
    fn schedule(ref self: ContractState, change: felt252) -> u64 {
        let allowed_at = get_block_timestamp() + self.change_delay.read();
        self.pending_change.write(change);
        self.pending_allowed_at.write(allowed_at);
        allowed_at
    }

    fn check_executable(self: @ContractState, change: felt252) {
        let pending = self.pending_change.read();
        assert(pending != 0, 'NO_CHANGE_PENDING');
        assert(pending == change, 'CHANGE_DIFFERS');
        let allowed_at = self.pending_allowed_at.read();
        assert(get_block_timestamp() >= allowed_at, 'CHANGE_NOT_YET_ALLOWED');
        assert(!is_expired(self), 'CHANGE_EXPIRED');
    }

    fn is_expired(self: @ContractState) -> bool {
        get_block_timestamp() > self.pending_allowed_at.read() + EXECUTION_WINDOW
    }

    /// A registry that did not answer would refuse every batch, and this one would ask itself for ever.
    fn check_successor(candidate: ContractAddress) {
        if candidate.is_zero() {
            return;
        }
        assert(candidate != get_contract_address(), 'BAD_SUCCESSOR');
        IFactRegistryDispatcher { contract_address: candidate }.is_valid(0);
    }

    /// Ascending, no duplicate, each the x coordinate of a point of the curve (zero is none); and k is a majority, so that two
    /// sets of k cannot attest opposite facts without somebody signing both.
    fn check_set(mut set: Span<felt252>, k: usize) {
        let count = set.len();
        assert(count != 0 && count <= ATTESTORS_MAX, 'BAD_SET');
        let mut previous: u256 = 0;
        loop {
            match set.pop_front() {
                Option::Some(public_key) => {
                    let key: u256 = (*public_key).into();
                    assert(key > previous, 'BAD_SET');
                    assert(ec_point_from_x(*public_key).is_some(), 'BAD_SET');
                    previous = key;
                },
                Option::None(()) => {
                    break;
                }
            };
        };
        // k first, so that the product cannot overflow.
        assert(k <= count, 'BAD_THRESHOLD');
        assert(2 * k > count, 'BAD_THRESHOLD');
    }

    fn install(ref self: ContractState, set: Span<felt252>, k: usize) {
        let mut keys = set;
        let mut position = 0;
        loop {
            match keys.pop_front() {
                Option::Some(public_key) => {
                    self.members.write(*public_key, true);
                    self.attestors.write(position, *public_key);
                    position += 1;
                },
                Option::None(()) => {
                    break;
                }
            };
        };
        self.attestor_count.write(position);
        self.threshold.write(k);
        self.emit(AttestorsChanged { attestors: set, threshold: k });
    }

    fn close_change(ref self: ContractState) {
        self.pending_change.write(0);
        self.pending_allowed_at.write(0);
        self.change_nonce.write(self.change_nonce.read() + 1);
    }

    fn check_signatures(
        self: @ContractState, digest: felt252, mut signatures: Span<(felt252, felt252, felt252)>
    ) {
        assert(signatures.len() >= self.threshold.read(), 'TOO_FEW_SIGNATURES');
        let mut previous: u256 = 0;
        loop {
            match signatures.pop_front() {
                Option::Some(signature) => {
                    let (public_key, r, s) = *signature;
                    assert(is_scalar(r) && is_scalar(s), 'BAD_SIGNATURE');
                    assert(check_ecdsa_signature(digest, public_key, r, s), 'BAD_SIGNATURE');
                    assert(self.members.read(public_key), 'NOT_AN_ATTESTOR');
                    // Strictly ascending is what makes each signer count once.
                    let key: u256 = public_key.into();
                    assert(key > previous, 'SIGNERS_NOT_ASCENDING');
                    previous = key;
                },
                Option::None(()) => {
                    break;
                }
            };
        };
    }

    fn is_scalar(value: felt252) -> bool {
        value != 0 && value.into() < CURVE_ORDER
    }

    fn change_hash(set: Span<felt252>, k: usize) -> felt252 {
        let mut words = ArrayTrait::new();
        words.append(poseidon_hash_span(set));
        words.append(k.into());
        poseidon_hash_span(words.span())
    }

    fn successor_hash(successor: ContractAddress) -> felt252 {
        let mut words = ArrayTrait::new();
        words.append('KEEL_SUCCESSOR');
        words.append(successor.into());
        poseidon_hash_span(words.span())
    }
}
