// Starknet's storage proofs, checked as a bridge would: from the state root down to a value, with nothing but hash functions. Shares no
// code with the node. [SNIP-8 and the commitment rules of the Starknet documentation]
import { hash } from "starknet";

const HEIGHT = 251;
const PRIME = 2n ** 251n + 17n * 2n ** 192n + 1n;
const ascii = (text) => BigInt(`0x${Buffer.from(text).toString("hex")}`);

const pedersen = (a, b) => BigInt(hash.computePedersenHash(`0x${a.toString(16)}`, `0x${b.toString(16)}`));
const poseidon = (a, b) => BigInt(hash.computePoseidonHash(`0x${a.toString(16)}`, `0x${b.toString(16)}`));
const poseidonMany = (...words) => BigInt(hash.computePoseidonHashOnElements(words));

/** A node's hash by its content. */
function nodeHash(node, h) {
  if (node.child === undefined) return h(BigInt(node.left), BigInt(node.right));
  return (h(BigInt(node.child), BigInt(node.path)) + BigInt(node.length)) % PRIME;
}

/**
 * The value at `key` under `root`: a felt, or 0n where the proof shows that there is none. Throws when `nodes` do not prove either.
 * Nodes that are not on the way are for other keys; `h` is the trie's hash.
 */
export function prove(root, key, nodes, h) {
  const byHash = new Map(nodes.map(({ node_hash: of, node }) => [BigInt(of), node]));
  let at = BigInt(root);
  if (at === 0n) return 0n;
  for (let depth = 0; depth < HEIGHT;) {
    const node = byHash.get(at);
    if (node === undefined) throw new Error(`no node 0x${at.toString(16)} at depth ${depth}`);
    if (nodeHash(node, h) !== at) throw new Error(`the node at depth ${depth} has another hash than it claims`);
    const left = BigInt(HEIGHT - depth);
    if (node.child === undefined) {
      at = BigInt((BigInt(key) >> (left - 1n)) & 1n ? node.right : node.left);
      depth += 1;
    } else {
      const length = Number(node.length);
      if (length < 1 || depth + length > HEIGHT) throw new Error(`an edge of ${length} bits at depth ${depth}`);
      const bits = (BigInt(key) >> (left - BigInt(length))) & ((1n << BigInt(length)) - 1n);
      if (bits !== BigInt(node.path)) return 0n;
      at = BigInt(node.child);
      depth += length;
    }
  }
  return at;
}

/** The root of the state over the two tries. */
export const stateRoot = ({ contracts_tree_root: contracts, classes_tree_root: classes }) =>
  poseidonMany(ascii("STARKNET_STATE_V0"), BigInt(contracts), BigInt(classes));

/** Leaf of the contract trie. */
export const contractLeaf = ({ class_hash, storage_root, nonce }) =>
  pedersen(pedersen(pedersen(BigInt(class_hash), BigInt(storage_root)), BigInt(nonce)), 0n);

/** Leaf of the class trie. */
export const classLeaf = (compiledClassHash) => poseidon(ascii("CONTRACT_CLASS_LEAF_V0"), BigInt(compiledClassHash));

/** What the proof shows of a contract: its leaf, or 0n where it shows that there is none. */
export const proveContract = (proof, address) => prove(proof.global_roots.contracts_tree_root, address, proof.contracts_proof.nodes, pedersen);

/** What the proof shows of a class: its leaf, or 0n. */
export const proveClass = (proof, classHash) => prove(proof.global_roots.classes_tree_root, classHash, proof.classes_proof, poseidon);

/** What the proof shows of a slot of a contract whose storage has `storageRoot`; `index`: which of the contracts asked for. */
export const proveSlot = (proof, index, storageRoot, key) => prove(storageRoot, key, proof.contracts_storage_proofs[index], pedersen);
