//! From a key and an account template to the account's address. [spec exchange, Accounts and keys]

use crate::error::IngressError;
use crate::verify::validate_key;
use keel_types::{AccountTemplate, Address, Felt, FeltBytes, StarkKey, TemplateWord, address_bound};
use starknet_types_core::felt::NonZeroFelt;
use starknet_types_core::hash::{Pedersen, StarkHash};

/// Address of a contract deployed by nobody (deployer 0), as every Starknet account is:
/// Pedersen(prefix, 0, salt, class hash, Pedersen(constructor calldata)) mod 2^251 - 256.
pub fn contract_address(class_hash: &Felt, salt: &Felt, constructor_calldata: &[Felt]) -> Address {
    let prefix = Felt::from_bytes_be_slice(b"STARKNET_CONTRACT_ADDRESS");
    let calldata_hash = Pedersen::hash_array(constructor_calldata);
    let hash = Pedersen::hash_array(&[prefix, Felt::ZERO, *salt, *class_hash, calldata_hash]);
    let bound = NonZeroFelt::try_from(address_bound()).expect("2^251 - 256 is not zero");
    Address(hash.mod_floor(&bound))
}

/// The account that a key has under a template. For clients too: it is the address they register.
pub fn account_address(template: &AccountTemplate, key: &StarkKey) -> Address {
    let word = |word: &TemplateWord| match word {
        TemplateWord::Key => key.0,
        TemplateWord::Const(FeltBytes(felt)) => *felt,
    };
    let calldata: Vec<Felt> = template.constructor_calldata.iter().map(word).collect();
    contract_address(&template.class_hash.0, &word(&template.salt), &calldata)
}

/// Whether `account` is what `key` and `template` give; a key that can never sign is refused first.
pub fn check_account(template: &AccountTemplate, key: &StarkKey, account: &Address) -> Result<(), IngressError> {
    validate_key(key).map_err(|_| IngressError::KeyInvalid("key".into()))?;
    if account_address(template, key) != *account {
        return Err(IngressError::AccountKeyMismatch);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::public_key;

    fn hex(text: &str) -> Felt {
        Felt::from_hex_unchecked(text)
    }

    #[test]
    fn contract_addresses_equal_those_of_other_implementations() {
        // Block 0 of Starknet Sepolia, a DEPLOY_ACCOUNT transaction; and starknet-modular-account, test_compute_account_address.
        let key = hex("0x39d9e6ce352ad4530a0ef5d5a18fd3303c3606a7fa6ac5b620020ad681cc33b");
        let cases = [
            (
                hex("0x5c478ee27f2112411f86f207605b2e2c58cdb647bac0df27f660ef2252359c6"),
                Felt::ZERO,
                vec![hex("0x12c4df40394d06f157edec8d0e64db61fe0c271149ea860c8fe98def29ecf02")],
                "0x43abaa073c768ebf039c0c4f46db9acc39e9ec165690418060a652aab39e7d8",
            ),
            (
                hex("0x53b91f19a9fde9cbef897670da17208b6ce60d8dd4cf301c1f45a976fd6c18f"),
                key,
                vec![key, hex("0x10")],
                "0x14f21b3280bec35cf2ef678eef63cbb59f46ba0d00034a07716ca00a6a0fa8d",
            ),
        ];
        for (class_hash, salt, calldata, expected) in cases {
            assert_eq!(contract_address(&class_hash, &salt, &calldata), Address(hex(expected)));
        }
    }

    #[test]
    fn a_template_puts_the_key_where_it_says_and_only_the_matching_account_passes() {
        let word = |felt: u64| TemplateWord::Const(FeltBytes(Felt::from(felt)));
        let template = AccountTemplate {
            name: "keel".into(),
            class_hash: FeltBytes(Felt::from(7)),
            salt: TemplateWord::Key,
            constructor_calldata: vec![word(0), TemplateWord::Key, word(1)],
        };
        let key = public_key(&Felt::from(3)).expect("in range");
        let account = account_address(&template, &key);
        assert_eq!(account, contract_address(&Felt::from(7), &key.0, &[Felt::ZERO, key.0, Felt::ONE]));
        assert_eq!(check_account(&template, &key, &account), Ok(()));
        let other = public_key(&Felt::from(4)).expect("in range");
        assert_eq!(check_account(&template, &other, &account), Err(IngressError::AccountKeyMismatch));
        let unusable = StarkKey(Felt::ZERO);
        let its_account = account_address(&template, &unusable);
        assert_eq!(check_account(&template, &unusable, &its_account), Err(IngressError::KeyInvalid("key".into())));
    }
}
