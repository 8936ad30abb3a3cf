//! The words of a batch's program output: where they stand, and what a fact covers.
//!
//! header (10 words): previous root, new root, previous block number, new block number, previous block hash,
//!   new block hash, program hash (0 here), config hash, blob flag (0 here), full-output flag (0 here)
//! messages to Starknet: number of words, then [from, to, payload length, payload...] each
//! messages to the appchain: number of words, then [from, to, nonce, selector, payload length, payload...] each
//!
//! Every word is a felt by its type, so there is no check of their range as the Ethereum contract has it.

use array::{ArrayTrait, SpanTrait};
use option::OptionTrait;
use poseidon::poseidon_hash_span;
use traits::{Into, TryInto};

const PREV_ROOT: usize = 0;
const NEW_ROOT: usize = 1;
const PREV_BLOCK_NUMBER: usize = 2;
const NEW_BLOCK_NUMBER: usize = 3;
const PREV_BLOCK_HASH: usize = 4;
const NEW_BLOCK_HASH: usize = 5;
const OS_PROGRAM_HASH: usize = 6;
const CONFIG_HASH: usize = 7;
const USE_KZG_DA: usize = 8;
const FULL_OUTPUT: usize = 9;
const HEADER_WORDS: usize = 10;

/// Words of a message before its payload; the last of them is the payload's length.
const MESSAGE_TO_STARKNET_PREFIX_WORDS: usize = 3;
const MESSAGE_TO_APPCHAIN_PREFIX_WORDS: usize = 5;
/// 2^30. Upper bound on any length word, so that sums of lengths cannot overflow.
const LENGTH_LIMIT: usize = 0x40000000;

/// What the fact registry is asked about: Poseidon of ['KEEL_TRANSITION', program hash, Poseidon of the output, Poseidon of the
/// chunk hashes].
fn transition_fact(
    program_hash: felt252, output: Span<felt252>, data_chunks: Span<felt252>
) -> felt252 {
    let mut words = ArrayTrait::new();
    words.append('KEEL_TRANSITION');
    words.append(program_hash);
    words.append(poseidon_hash_span(output));
    words.append(poseidon_hash_span(data_chunks));
    poseidon_hash_span(words.span())
}

/// A segment whose length word stands at `offset`: the index of its first message, and the index after its last.
fn segment(output: Span<felt252>, offset: usize) -> (usize, usize) {
    assert(offset < output.len(), 'STARKNET_OUTPUT_TOO_SHORT');
    let length = length_word(*output.at(offset), 'INVALID_MESSAGE_SEGMENT_SIZE');
    (offset + 1, offset + 1 + length)
}

/// The message that starts at `start`, as the words its hash covers, and the index after it.
fn message(output: Span<felt252>, start: usize, prefix_words: usize) -> (Span<felt252>, usize) {
    let payload_at = start + prefix_words;
    assert(payload_at <= output.len(), 'MESSAGE_TOO_SHORT');
    let payload_words = length_word(*output.at(payload_at - 1), 'INVALID_PAYLOAD_LENGTH');
    let end = payload_at + payload_words;
    assert(end <= output.len(), 'TRUNCATED_MESSAGE_PAYLOAD');
    (output.slice(start, end - start), end)
}

fn length_word(word: felt252, error: felt252) -> usize {
    let length: usize = word.try_into().expect(error);
    assert(length < LENGTH_LIMIT, error);
    length
}
