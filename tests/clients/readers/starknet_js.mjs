// The read script through starknet.js: each step's answer in its canonical form (see script.mjs).
import { RpcProvider, hash } from "starknet";
import { felt } from "./script.mjs";

/** {step: (provider, args) => canonical answer}. */
const STEPS = {
  specVersion: (chain) => chain.getSpecVersion(),
  chainId: async (chain) => felt(await chain.getChainId()),
  blockNumber: async (chain, { atLeast }) => await chain.getBlockNumber() >= atLeast,
  tags: async (chain, { settled }) => {
    const [onL1, latest, open] = await Promise.all(["l1_accepted", "latest", "pre_confirmed"].map((tag) => chain.getBlockWithTxHashes(tag)));
    return [onL1.block_number >= settled, onL1.status, latest.block_number >= onL1.block_number, open.block_number > onL1.block_number];
  },
  header: async (chain, { number }) => {
    const block = await chain.getBlockWithTxHashes(number);
    return [felt(block.block_hash), felt(block.new_root), block.status];
  },
  blockOfHash: async (chain, { hash: of }) => (await chain.getBlockWithTxs(of)).block_number,
  body: async (chain, { number }) => {
    const [hashes, full, receipts, count] = await Promise.all([
      chain.getBlockWithTxHashes(number), chain.getBlockWithTxs(number), chain.getBlockWithReceipts(number), chain.getBlockTransactionCount(number),
    ]);
    const lists = [
      hashes.transactions, full.transactions.map(({ transaction_hash }) => transaction_hash),
      receipts.transactions.map(({ receipt }) => receipt.transaction_hash),
    ].map((list) => list.map(felt).join());
    return [count, lists[0] === lists[1], lists[1] === lists[2], felt(hashes.transactions.at(-1))];
  },
  transactionAt: async (chain, { number, index }) => felt((await chain.getTransactionByBlockIdAndIndex(number, index)).transaction_hash),
  storage: async (chain, { contract, key, number }) => {
    const answer = await chain.getStorageAt(contract, key, number);
    return felt(answer.value ?? answer);
  },
  nonce: async (chain, { contract, number }) => felt(await chain.getNonceForAddress(contract, number)),
  classHashAt: async (chain, { contract, number }) => felt(await chain.getClassHashAt(contract, number)),
  classHashes: async (chain, { contract, classHash, number }) => {
    const classes = [await chain.getClass(classHash, number), await chain.getClassAt(contract, number)];
    return classes.map((of) => felt(hash.computeSierraContractClassHash(of)));
  },
  casmHash: async (chain, { classHash }) => felt(hash.computeCompiledClassHashBlake(await chain.getCompiledCasm(classHash))),
  deposit: async (chain, { transaction }) => {
    const tx = await chain.getTransactionByHash(transaction);
    return [tx.type, felt(tx.contract_address), felt(tx.nonce), ...tx.calldata.map(felt)];
  },
  receipt: async (chain, { transaction }) => {
    const { value } = await chain.getTransactionReceipt(transaction);
    return [value.finality_status, value.execution_status, value.block_number, value.events.length, felt(value.actual_fee.amount),
      ...(value.message_hash ? [felt(value.message_hash)] : [])];
  },
  messageSent: async (chain, { transaction }) => {
    const { value } = await chain.getTransactionReceipt(transaction);
    return value.messages_sent.map(({ from_address: from, to_address: to, payload }) => [from, to, ...payload].map(felt));
  },
  status: async (chain, { transaction }) => {
    const { finality_status, execution_status } = await chain.getTransactionStatus(transaction);
    return [finality_status, execution_status];
  },
  messagesStatus: async (chain, { l1Transaction }) =>
    (await chain.getL1MessagesStatus(l1Transaction)).map((message) => [felt(message.transaction_hash), message.finality_status, message.execution_status]),
  events: async (chain, { address, keys, from, to, chunk }) => {
    const filter = { address, keys, from_block: { block_number: from }, to_block: { block_number: to }, chunk_size: chunk };
    const found = [];
    for (let token; ;) {
      const page = await chain.getEvents({ ...filter, ...(token && { continuation_token: token }) });
      found.push(...page.events.map((event) => [...event.keys, ...event.data].map(felt)));
      token = page.continuation_token;
      if (!token) return found;
    }
  },
  stateUpdate: async (chain, { number, contract, key }) => {
    const update = await chain.getStateUpdate(number);
    const written = update.state_diff.storage_diffs.find(({ address }) => felt(address) === contract);
    const entry = written?.storage_entries.find((one) => felt(one.key) === key);
    return [felt(update.block_hash), felt(update.new_root), entry ? felt(entry.value) : "unwritten"];
  },
  proofRoot: async (chain, { number, contract, key }) => {
    const proof = await chain.getStorageProof([], [contract], [{ contract_address: contract, storage_keys: [key] }], number);
    const { contracts_tree_root: contracts, classes_tree_root: classes, block_hash } = proof.global_roots;
    const version = BigInt(`0x${Buffer.from("STARKNET_STATE_V0").toString("hex")}`);
    const root = hash.computePoseidonHashOnElements([version, contracts, classes].map(BigInt));
    return [felt(block_hash), felt(root), felt(proof.contracts_proof.contract_leaves_data[0].class_hash)];
  },
  error: async (chain, { of, ...args }) => {
    const calls = {
      block: () => chain.getBlockWithTxHashes(args.number),
      transaction: () => chain.getTransactionByHash(args.transaction),
      contract: () => chain.getClassHashAt(args.contract, args.number),
      class: () => chain.getClass(args.classHash, args.number),
      call: () => chain.callContract({ contractAddress: args.contract, entrypoint: args.entrypoint, calldata: [] }, args.number),
    };
    try {
      await calls[of]();
    } catch (error) {
      return error.baseError?.code ?? error.code ?? `${error}`;
    }
    return "no error";
  },
};

export const steps = Object.keys(STEPS);

/** Runs every step `passes` times; resolves with [{step, expected, got}] of those that differ, and how many ran. */
export async function read({ url, version, script, passes }) {
  const chain = new RpcProvider({ nodeUrl: url, specVersion: version });
  const wrong = [];
  let ran = 0;
  for (let pass = 0; pass < passes; pass++) {
    for (const { step, args, expect } of script) {
      ran += 1;
      const got = await STEPS[step](chain, args).catch((error) => `${error}`);
      if (JSON.stringify(got) !== JSON.stringify(expect)) wrong.push({ step, args, expect, got });
    }
  }
  return { ran, wrong };
}
