//! Hashes and states of messages, and the calls that move them; names, hashes and events are those of the Piltover contract.

use array::{ArrayTrait, SpanTrait};
use option::OptionTrait;
use poseidon::poseidon_hash_span;
use starknet::{ContractAddress, StorePacking};
use traits::Into;

/// Where a message from Starknet to the appchain stands.
#[derive(Copy, Drop, Serde, PartialEq)]
enum MessageToAppchainStatus {
    NotSent: (),
    /// Consumed by a state update.
    Sealed: (),
    Cancelled: (),
    /// Waits; its nonce.
    Pending: felt252,
}

/// Where a message from the appchain to Starknet stands.
#[derive(Copy, Drop, Serde, PartialEq)]
enum MessageToStarknetStatus {
    NothingToConsume: (),
    /// How many times it may still be consumed, more than 0.
    ReadyToConsume: felt252,
}

/// One storage word: 0 not sent, 1 sealed, 2 cancelled, nonce + 3 pending. Nonces are counted up from 0 and never near the prime.
impl MessageToAppchainStatusPacking of StorePacking<MessageToAppchainStatus, felt252> {
    fn pack(value: MessageToAppchainStatus) -> felt252 {
        match value {
            MessageToAppchainStatus::NotSent(()) => 0,
            MessageToAppchainStatus::Sealed(()) => 1,
            MessageToAppchainStatus::Cancelled(()) => 2,
            MessageToAppchainStatus::Pending(nonce) => nonce + 3,
        }
    }
    fn unpack(value: felt252) -> MessageToAppchainStatus {
        if value == 0 {
            MessageToAppchainStatus::NotSent(())
        } else if value == 1 {
            MessageToAppchainStatus::Sealed(())
        } else if value == 2 {
            MessageToAppchainStatus::Cancelled(())
        } else {
            MessageToAppchainStatus::Pending(value - 3)
        }
    }
}

/// Messages both ways. A message is sent and cancelled by the caller, and consumed by the caller it is for.
#[starknet::interface]
trait IMessaging<TContractState> {
    /// Sends a message to the handler `selector` of `to_address` on the appchain; it waits here until a state update takes
    /// it, or until its sender cancels it. Anyone may send: what stands here is not yet a deposit, and the appchain takes only
    /// its bridge's messages. Returns the message's hash and its nonce, which counts all messages from 0.
    fn send_message_to_appchain(
        ref self: TContractState,
        to_address: ContractAddress,
        selector: felt252,
        payload: Span<felt252>
    ) -> (felt252, felt252);

    /// Consumes a message that a state update brought from `from_address` for the caller; returns its hash.
    /// INVALID_MESSAGE_TO_CONSUME: there is none, or every one of it was consumed.
    fn consume_message_from_appchain(
        ref self: TContractState, from_address: ContractAddress, payload: Span<felt252>
    ) -> felt252;

    /// First step of cancelling a waiting message of the caller; the delay of this moment counts, from the last start. It gives a
    /// batch that already credited the message the time to arrive here: refunded first, the batch could never be settled.
    /// Returns the message's hash.
    /// NO_MESSAGE_TO_CANCEL: no such message of the caller waits.
    fn start_message_cancellation(
        ref self: TContractState,
        to_address: ContractAddress,
        selector: felt252,
        payload: Span<felt252>,
        nonce: felt252
    ) -> felt252;

    /// Second step, once the delay has passed: the message can never be consumed. Returns its hash.
    /// NO_MESSAGE_TO_CANCEL; CANCELLATION_NOT_REQUESTED: it was not started; CANCEL_ALLOWED_TIME_OVERFLOW: the delay it was
    /// started with is too long to ever pass; CANCELLATION_NOT_ALLOWED_YET.
    fn cancel_message(
        ref self: TContractState,
        to_address: ContractAddress,
        selector: felt252,
        payload: Span<felt252>,
        nonce: felt252
    ) -> felt252;

    fn sn_to_appchain_messages(
        self: @TContractState, message_hash: felt252
    ) -> MessageToAppchainStatus;
    fn appchain_to_sn_messages(
        self: @TContractState, message_hash: felt252
    ) -> MessageToStarknetStatus;
    /// Unix seconds at which a cancellation was last started, 0 if never. Kept after the message is gone.
    fn message_cancellation_started_at(self: @TContractState, message_hash: felt252) -> u64;
    /// Unix seconds from which a started cancellation may end, the largest number: never; 0 if never started.
    fn message_cancellation_allowed_at(self: @TContractState, message_hash: felt252) -> u64;
    /// Seconds between the start of a cancellation and its end, for cancellations started from now on.
    fn message_cancellation_delay(self: @TContractState) -> u64;
    /// Seconds. The least that the delay can be set to.
    fn message_cancellation_delay_min(self: @TContractState) -> u64;
    /// Nonce of the next message.
    fn message_nonce(self: @TContractState) -> felt252;
}

/// Poseidon of [from, to, nonce, selector, payload length, payload...].
fn hash_to_appchain(
    from: ContractAddress,
    to: ContractAddress,
    nonce: felt252,
    selector: felt252,
    payload: Span<felt252>
) -> felt252 {
    let mut words = ArrayTrait::new();
    words.append(from.into());
    words.append(to.into());
    words.append(nonce);
    words.append(selector);
    append_payload(ref words, payload);
    poseidon_hash_span(words.span())
}

/// Poseidon of [from, to, payload length, payload...].
fn hash_to_starknet(
    from: ContractAddress, to: ContractAddress, payload: Span<felt252>
) -> felt252 {
    let mut words = ArrayTrait::new();
    words.append(from.into());
    words.append(to.into());
    append_payload(ref words, payload);
    poseidon_hash_span(words.span())
}

fn append_payload(ref words: Array<felt252>, mut payload: Span<felt252>) {
    words.append(payload.len().into());
    loop {
        match payload.pop_front() {
            Option::Some(word) => {
                words.append(*word);
            },
            Option::None(()) => {
                break;
            }
        };
    };
}
