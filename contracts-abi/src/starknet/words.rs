//! The three kinds of stored words. Zero means "absent" in the state trie, so no word is ever stored as zero.

use starknet_types_core::felt::Felt;

/// 2^127, what a signed number is raised by.
pub const SIGNED_OFFSET: Felt = Felt::from_hex_unchecked("0x80000000000000000000000000000000");

/// A value that cannot be zero, stored as it is. `what` names it in the panic: a zero here is a broken invariant.
pub fn encode_word(value: impl Into<Felt>, what: &str) -> Felt {
    let felt = value.into();
    assert!(felt != Felt::ZERO, "{what} is zero, which a stored word cannot be");
    felt
}

/// An unsigned number, stored as x + 1.
pub fn encode_count(value: impl Into<u128>) -> Felt {
    Felt::from(value.into()) + Felt::ONE
}

/// A signed number, stored as x + 2^127. -2^127 cannot be stored; no rule admits an amount near it.
pub fn encode_signed(value: i128) -> Felt {
    assert!(value != i128::MIN, "-2^127 cannot be stored as a signed word");
    Felt::from(value) + SIGNED_OFFSET
}

/// The value of a word; `None` when absent.
pub fn decode_word(stored: Felt) -> Option<Felt> {
    (stored != Felt::ZERO).then_some(stored)
}

/// The value of a count; `None` when absent or not one.
pub fn decode_count(stored: Felt) -> Option<u128> {
    u128::try_from(decode_word(stored)? - Felt::ONE).ok()
}

/// The value of a signed word; `None` when absent or not one.
pub fn decode_signed(stored: Felt) -> Option<i128> {
    let raised = u128::try_from(decode_word(stored)?).ok()?;
    // x + 2^127 as unsigned is x with its sign bit flipped.
    Some((raised ^ (1 << 127)) as i128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zero_is_stored_as_something_else() {
        assert_eq!(encode_count(0u8), Felt::ONE);
        assert_eq!(encode_signed(0), Felt::TWO.pow(127u32));
        assert_eq!(encode_signed(-1), Felt::TWO.pow(127u32) - Felt::ONE);
        assert_eq!(encode_signed(i128::MIN + 1), Felt::ONE);
    }

    #[test]
    fn an_absent_word_has_no_value() {
        assert_eq!((decode_word(Felt::ZERO), decode_count(Felt::ZERO), decode_signed(Felt::ZERO)), (None, None, None));
    }

    #[test]
    fn a_felt_out_of_range_is_not_a_number() {
        let beyond = Felt::TWO.pow(128u32);
        assert_eq!(decode_signed(beyond), None);
        assert_eq!(decode_count(beyond), Some(u128::MAX));
        assert_eq!(decode_count(beyond + Felt::ONE), None);
    }

    proptest! {
        #[test]
        fn numbers_come_back_as_they_were_stored(signed in (i128::MIN + 1).., count: u128) {
            prop_assert_eq!(decode_signed(encode_signed(signed)), Some(signed));
            prop_assert_eq!(decode_count(encode_count(count)), Some(count));
        }
    }
}
