"""The read script through starknet.py: {url, script, passes} in a JSON file, {ran, wrong} printed as JSON. See script.mjs."""

import asyncio
import json
import sys

from poseidon_py.poseidon_hash import poseidon_hash_many
from starknet_py.hash.casm_class_hash import compute_casm_class_hash
from starknet_py.hash.selector import get_selector_from_name
from starknet_py.hash.sierra_class_hash import compute_sierra_class_hash
from starknet_py.net.client_errors import ClientError
from starknet_py.net.client_models import Call, ContractsStorageKeys
from starknet_py.net.full_node_client import FullNodeClient
from starknet_py.net.schemas.rpc.transactions import MessageStatusSchema
from starknet_py.transaction_errors import TransactionNotReceivedError

STATE_VERSION = int.from_bytes(b"STARKNET_STATE_V0", "big")


def felt(value):
    return hex(value)


def number_of(text):
    return int(text, 16)


async def spec_version(chain):
    return await chain.spec_version()


async def chain_id(chain):
    return felt(number_of(await chain.get_chain_id()))


async def block_number(chain, atLeast):
    return await chain.get_block_number() >= atLeast


async def tags(chain, settled):
    on_l1 = await chain.get_block_with_tx_hashes(block_number="l1_accepted")
    latest = await chain.get_block_with_tx_hashes(block_number="latest")
    pre_confirmed = await chain.get_block_with_tx_hashes(block_number="pre_confirmed")
    return [
        on_l1.block_number >= settled,
        on_l1.status.value,
        latest.block_number >= on_l1.block_number,
        pre_confirmed.block_number > on_l1.block_number,
    ]


async def header(chain, number):
    block = await chain.get_block_with_tx_hashes(block_number=number)
    return [felt(block.block_hash), felt(block.new_root), block.status.value]


async def block_of_hash(chain, hash):
    return (await chain.get_block_with_txs(block_hash=hash)).block_number


async def body(chain, number):
    hashes = (await chain.get_block_with_tx_hashes(block_number=number)).transactions
    full = [tx.hash for tx in (await chain.get_block_with_txs(block_number=number)).transactions]
    receipts = (await chain.get_block_with_receipts(block_number=number)).transactions
    count = await chain.get_block_transaction_count(block_number=number)
    left = [one.receipt.transaction_hash for one in receipts]
    return [count, hashes == full, full == left, felt(hashes[-1])]


async def transaction_at(chain, number, index):
    return felt((await chain.get_transaction_by_block_id(index, block_number=number)).hash)


async def storage(chain, contract, key, number):
    return felt(await chain.get_storage_at(contract, number_of(key), block_number=number))


async def nonce(chain, contract, number):
    return felt(await chain.get_contract_nonce(contract, block_number=number))


async def class_hash_at(chain, contract, number):
    return felt(await chain.get_class_hash_at(contract, block_number=number))


async def class_hashes(chain, contract, classHash, number):
    by_hash = await chain.get_class_by_hash(classHash, block_number=number)
    by_address = await chain.get_class_at(contract, block_number=number)
    return [felt(compute_sierra_class_hash(found)) for found in (by_hash, by_address)]


async def casm_hash(chain, classHash):
    return felt(compute_casm_class_hash(await chain.get_compiled_casm(number_of(classHash))))


async def deposit(chain, transaction):
    tx = await chain.get_transaction(transaction)
    kind = {"L1HandlerTransaction": "L1_HANDLER"}.get(type(tx).__name__)
    return [kind, felt(tx.contract_address), felt(tx.nonce), *map(felt, tx.calldata)]


async def receipt(chain, transaction):
    left = await chain.get_transaction_receipt(transaction)
    message = [] if left.message_hash is None else [felt(left.message_hash)]
    return [
        left.finality_status.value,
        left.execution_status.value,
        left.block_number,
        len(left.events),
        felt(left.actual_fee.amount),
        *message,
    ]


async def message_sent(chain, transaction):
    left = await chain.get_transaction_receipt(transaction)
    return [[felt(m.l2_address), felt(m.l1_address), *map(felt, m.payload)] for m in left.messages_sent]


async def status(chain, transaction):
    found = await chain.get_transaction_status(transaction)
    return [found.finality_status.value, found.execution_status.value]


async def messages_status(chain, l1Transaction):
    # get_messages_status takes a hash of the settlement layer for a field element and refuses most of them: below it, the same transport
    # and the same schema.
    answer = await chain._client.call(method_name="getMessagesStatus", params={"transaction_hash": l1Transaction})
    found = MessageStatusSchema().load(answer, many=True)
    return [[felt(m.transaction_hash), m.finality_status.value, m.execution_status.value] for m in found]


async def events(chain, address, keys, **range_):
    wanted = [[number_of(key) for key in one] for one in keys]
    found = await chain.get_events(
        address=address,
        keys=wanted,
        from_block_number=range_["from"],
        to_block_number=range_["to"],
        chunk_size=range_["chunk"],
        follow_continuation_token=True,
    )
    return [[*map(felt, event.keys), *map(felt, event.data)] for event in found.events]


async def state_update(chain, number, contract, key):
    update = await chain.get_state_update(block_number=number)
    slots = {
        (felt(of.address), felt(entry.key)): felt(entry.value)
        for of in update.state_diff.storage_diffs
        for entry in of.storage_entries
    }
    return [felt(update.block_hash), felt(update.new_root), slots.get((contract, key), "unwritten")]


async def proof_root(chain, number, contract, key):
    keys = ContractsStorageKeys(contract_address=number_of(contract), storage_keys=[key])
    proof = await chain.get_storage_proof(
        block_number=number,
        contract_addresses=[number_of(contract)],
        contracts_storage_keys=[keys],
    )
    roots = proof.global_roots
    root = poseidon_hash_many([STATE_VERSION, roots.contracts_tree_root, roots.classes_tree_root])
    return [felt(roots.block_hash), felt(root), felt(proof.contracts_proof.contract_leaves_data[0].class_hash)]


async def error(chain, of, number=None, transaction=None, contract=None, classHash=None, entrypoint=None):
    calls = {
        "block": lambda: chain.get_block_with_tx_hashes(block_number=number),
        "transaction": lambda: chain.get_transaction(transaction),
        "contract": lambda: chain.get_class_hash_at(contract, block_number=number),
        "class": lambda: chain.get_class_by_hash(classHash, block_number=number),
        "call": lambda: chain.call_contract(
            Call(number_of(contract), get_selector_from_name(entrypoint), []), block_number=number
        ),
    }
    try:
        await calls[of]()
    except TransactionNotReceivedError as unknown:  # starknet.py's own, around what the node answered
        return int(unknown.__cause__.code)
    except ClientError as refused:
        return int(refused.code)
    return "no error"


STEPS = {
    "specVersion": spec_version,
    "chainId": chain_id,
    "blockNumber": block_number,
    "tags": tags,
    "header": header,
    "blockOfHash": block_of_hash,
    "body": body,
    "transactionAt": transaction_at,
    "storage": storage,
    "nonce": nonce,
    "classHashAt": class_hash_at,
    "classHashes": class_hashes,
    "casmHash": casm_hash,
    "deposit": deposit,
    "receipt": receipt,
    "messageSent": message_sent,
    "status": status,
    "messagesStatus": messages_status,
    "events": events,
    "stateUpdate": state_update,
    "proofRoot": proof_root,
    "error": error,
}


async def main(path):
    with open(path, encoding="utf-8") as file:
        task = json.load(file)
    chain = FullNodeClient(node_url=task["url"])
    ran, wrong = 0, []
    for _ in range(task["passes"]):
        for one in task["script"]:
            ran += 1
            try:
                got = await STEPS[one["step"]](chain, **one["args"])
            except Exception as failed:  # whatever it is, it is what this step answered
                got = f"{type(failed).__name__}: {failed}"
            if got != one["expect"]:
                wrong.append({**one, "got": got})
    json.dump({"ran": ran, "wrong": wrong}, sys.stdout)


asyncio.run(main(sys.argv[1]))
