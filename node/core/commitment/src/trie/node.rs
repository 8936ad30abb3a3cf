//! Nodes and their stored form.

use starknet_types_core::felt::Felt;

use super::path::Path;
use crate::hash::Hasher;

const TAG_BINARY: u8 = 0;
const TAG_EDGE: u8 = 1;

/// A stored node of a trie. Hashes of children are kept here; leaves are not nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// Both subtrees are non-empty; the hashes of what hangs left and right.
    Binary { left: Felt, right: Felt },
    /// `path` (at least one bit) leads to a binary node or a leaf with hash `child`.
    Edge { path: Path, child: Felt },
}

/// Bytes that are not a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a trie node: tag, length or felt out of range")]
pub struct NodeError;

impl Node {
    /// The node's hash: `H(left, right)`, or `H(child, path) + length`. [spec/starknet.md (a)]
    pub fn hash<H: Hasher>(&self) -> Felt {
        let (left, right, length) = self.preimage();
        H::hash(&left, &right) + length
    }

    /// [`Node::hash`] of many nodes, in their order.
    pub fn hash_many<H: Hasher>(nodes: &[Node]) -> Vec<Felt> {
        let pairs: Vec<(Felt, Felt)> = nodes.iter().map(Node::preimage).map(|(left, right, _)| (left, right)).collect();
        H::hash_many(&pairs).into_iter().zip(nodes).map(|(hash, node)| hash + node.preimage().2).collect()
    }

    /// What is hashed, and what is added to the hash.
    fn preimage(&self) -> (Felt, Felt, Felt) {
        match self {
            Node::Binary { left, right } => (*left, *right, Felt::ZERO),
            Node::Edge { path, child } => (*child, path.value(), Felt::from(path.len())),
        }
    }

    /// Stored form. Felts are 32 bytes, big-endian.
    ///
    /// | node | bytes |
    /// |---|---|
    /// | binary | `00`, left (32), right (32) |
    /// | edge | `01`, number of bits (1), the bits left-aligned in as few bytes as hold them, child (32) |
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Node::Binary { left, right } => [&[TAG_BINARY][..], &left.to_bytes_be(), &right.to_bytes_be()].concat(),
            Node::Edge { path, child } => {
                let bits = &path.to_key()[..bytes_of_bits(path.len())];
                [&[TAG_EDGE, path.len()][..], bits, &child.to_bytes_be()].concat()
            }
        }
    }

    /// Reads [`Node::encode`] back.
    ///
    /// # Errors
    /// [`NodeError`] unless the bytes are exactly what `encode` writes for some node.
    pub fn decode(bytes: &[u8]) -> Result<Node, NodeError> {
        match bytes {
            [TAG_BINARY, felts @ ..] if felts.len() == 64 => {
                Ok(Node::Binary { left: felt(&felts[..32])?, right: felt(&felts[32..])? })
            }
            [TAG_EDGE, len, rest @ ..] if *len > 0 && rest.len() == bytes_of_bits(*len) + 32 => {
                let (bits, child) = rest.split_at(bytes_of_bits(*len));
                Ok(Node::Edge { path: Path::from_bits(bits, *len).ok_or(NodeError)?, child: felt(child)? })
            }
            _ => Err(NodeError),
        }
    }
}

fn bytes_of_bits(bits: u8) -> usize {
    usize::from(bits).div_ceil(8)
}

fn felt(bytes: &[u8]) -> Result<Felt, NodeError> {
    let bytes: &[u8; 32] = bytes.try_into().map_err(|_| NodeError)?;
    // `from_bytes_be` reduces modulo P: a second spelling of the same felt must not be read.
    Some(Felt::from_bytes_be(bytes)).filter(|felt| felt.to_bytes_be() == *bytes).ok_or(NodeError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nodes_survive_encoding(a in any::<[u8; 32]>(), b in any::<[u8; 32]>(), len in 1..=251u8) {
            let (a, b) = (Felt::from_bytes_be(&a), Felt::from_bytes_be(&b));
            let key = Path::new(&Felt::from_bytes_be_slice(&b.to_bytes_be()[1..]), 251).unwrap();
            for node in [Node::Binary { left: a, right: b }, Node::Edge { path: key.prefix(len), child: a }] {
                let bytes = node.encode();
                prop_assert_eq!(Node::decode(&bytes), Ok(node));
                prop_assert_eq!(Node::decode(&bytes[..bytes.len() - 1]), Err(NodeError));
            }
        }

        #[test]
        fn decoding_accepts_only_what_encoding_writes(bytes in prop::collection::vec(any::<u8>(), 0..100), tag in 0..2u8, len in any::<u8>()) {
            let mut bytes = bytes;
            bytes.splice(0..0, [tag, len]);
            if let Ok(node) = Node::decode(&bytes) {
                prop_assert_eq!(node.encode(), bytes);
            }
        }
    }

    #[test]
    fn bad_nodes_are_refused() {
        let edge = Node::Edge { path: Path::ROOT.child(true).child(false), child: Felt::ONE }.encode();
        assert_eq!(edge[..3], [1, 2, 0b1000_0000]);
        let cases: [(&str, Vec<u8>); 6] = [
            ("empty", vec![]),
            ("unknown tag", vec![2; 65]),
            ("edge of no bits", [&[1, 0][..], &[0; 32]].concat()),
            ("edge of 252 bits", [&[1, 252][..], &[0; 64]].concat()),
            ("stray bit after the path", [&[1, 2, 0b1010_0000][..], &[0; 32]].concat()),
            ("felt not below P", [&[0][..], &[0xff; 64]].concat()),
        ];
        for (name, bytes) in cases {
            assert_eq!(Node::decode(&bytes), Err(NodeError), "{name}");
        }
    }
}
