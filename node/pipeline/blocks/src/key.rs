use crate::error::BlocksError;
use keel_commitment::Felt;
use keel_store::Signature;
use keel_types::{Genesis, StarkKey};
use starknet_crypto::{SignError, get_public_key, rfc6979_generate_k, sign};

/// The node's key. Signs block hashes and nothing else. [spec settlement, Blocks]
pub struct BlockKey {
    secret: Felt,
}

impl BlockKey {
    /// The key of this chain.
    ///
    /// # Errors
    /// It is not the one genesis names.
    pub fn new(secret: Felt, genesis: &Genesis) -> Result<BlockKey, BlocksError> {
        let found = StarkKey(get_public_key(&secret));
        match found == genesis.block_key {
            true => Ok(BlockKey { secret }),
            false => Err(BlocksError::OtherKey { expected: genesis.block_key, found }),
        }
    }

    /// Signs a block hash; deterministic (RFC 6979). `None` for the one hash in 2^54 that is not below 2^251, which
    /// ECDSA on this curve cannot sign.
    pub fn sign(&self, hash: &Felt) -> Option<Signature> {
        let mut seed = None;
        loop {
            let k = rfc6979_generate_k(hash, &self.secret, seed.as_ref());
            match sign(&self.secret, hash, &k) {
                Ok(signature) => return Some(Signature { r: signature.r, s: signature.s }),
                Err(SignError::InvalidMessageHash) => return None,
                // As the SDKs do: the next nonce.
                Err(SignError::InvalidK) => seed = Some(seed.unwrap_or(Felt::ZERO) + Felt::ONE),
            }
        }
    }
}

impl std::fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockKey(..)")
    }
}
