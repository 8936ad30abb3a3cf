//! The read script through the `starknet-rust` provider: {url, script, passes} in a JSON file, {ran, wrong} printed as JSON. See script.mjs.

use serde_json::{Value, json};
use starknet_rust_core::types::{
    AddressFilter, BlockId, BlockStatus, BlockTag, ConfirmedBlockId, ContractClass, ContractStorageKeys, EventFilter,
    ExecutionResult, Felt, FunctionCall, Hash256, MaybePreConfirmedBlockWithReceipts, MaybePreConfirmedBlockWithTxHashes,
    MaybePreConfirmedBlockWithTxs, MaybePreConfirmedStateUpdate, StarknetError, StorageKey, Transaction,
    TransactionFinalityStatus, TransactionReceipt, TransactionStatus,
};
use starknet_rust_core::utils::get_selector_from_name;
use starknet_rust_providers::jsonrpc::HttpTransport;
use starknet_rust_providers::{JsonRpcClient, Provider, ProviderError, Url};

type Chain = JsonRpcClient<HttpTransport>;
type Answer = Result<Value, ProviderError>;

/// Canonical form of a field element.
fn felt(value: &Felt) -> Value {
    json!(format!("{value:#x}"))
}

fn felts<'a>(values: impl IntoIterator<Item = &'a Felt>) -> Vec<Value> {
    values.into_iter().map(felt).collect()
}

/// The arguments of a step; the script is ours, so what is missing or malformed is a bug.
struct Args<'a>(&'a Value);

impl Args<'_> {
    fn felt(&self, name: &str) -> Felt {
        Felt::from_hex(self.text(name)).expect("a felt")
    }
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_else(|| panic!("no {name}"))
    }
    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("no {name}"))
    }
    fn block(&self) -> BlockId {
        BlockId::Number(self.number("number"))
    }
}

fn block_status(status: BlockStatus) -> &'static str {
    match status {
        BlockStatus::PreConfirmed => "PRE_CONFIRMED",
        BlockStatus::AcceptedOnL2 => "ACCEPTED_ON_L2",
        BlockStatus::AcceptedOnL1 => "ACCEPTED_ON_L1",
    }
}

fn finality(status: TransactionFinalityStatus) -> &'static str {
    match status {
        TransactionFinalityStatus::PreConfirmed => "PRE_CONFIRMED",
        TransactionFinalityStatus::AcceptedOnL2 => "ACCEPTED_ON_L2",
        TransactionFinalityStatus::AcceptedOnL1 => "ACCEPTED_ON_L1",
    }
}

fn execution(result: &ExecutionResult) -> &'static str {
    match result {
        ExecutionResult::Succeeded => "SUCCEEDED",
        ExecutionResult::Reverted { .. } => "REVERTED",
    }
}

/// (number, status, hash, root, transactions) of a block; hash and root are zero while it is being built.
async fn hashes(chain: &Chain, id: BlockId) -> Result<(u64, &'static str, Felt, Felt, Vec<Felt>), ProviderError> {
    Ok(match chain.get_block_with_tx_hashes(id).await? {
        MaybePreConfirmedBlockWithTxHashes::Block(b) => {
            (b.block_number, block_status(b.status), b.block_hash, b.new_root, b.transactions)
        }
        MaybePreConfirmedBlockWithTxHashes::PreConfirmedBlock(b) => {
            (b.block_number, "PRE_CONFIRMED", Felt::ZERO, Felt::ZERO, b.transactions)
        }
    })
}

async fn tags(chain: &Chain, args: Args<'_>) -> Answer {
    let (on_l1, status, ..) = hashes(chain, BlockId::Tag(BlockTag::L1Accepted)).await?;
    let (latest, ..) = hashes(chain, BlockId::Tag(BlockTag::Latest)).await?;
    let (open, ..) = hashes(chain, BlockId::Tag(BlockTag::PreConfirmed)).await?;
    Ok(json!([on_l1 >= args.number("settled"), status, latest >= on_l1, open > on_l1]))
}

async fn body(chain: &Chain, args: Args<'_>) -> Answer {
    let (.., hashes) = hashes(chain, args.block()).await?;
    let full: Vec<Felt> = match chain.get_block_with_txs(args.block(), None).await? {
        MaybePreConfirmedBlockWithTxs::Block(b) => b.transactions.iter().map(|tx| *tx.transaction_hash()).collect(),
        MaybePreConfirmedBlockWithTxs::PreConfirmedBlock(_) => vec![],
    };
    let receipts: Vec<Felt> = match chain.get_block_with_receipts(args.block(), None).await? {
        MaybePreConfirmedBlockWithReceipts::Block(b) => {
            b.transactions.iter().map(|one| *one.receipt.transaction_hash()).collect()
        }
        MaybePreConfirmedBlockWithReceipts::PreConfirmedBlock(_) => vec![],
    };
    let count = chain.get_block_transaction_count(args.block()).await?;
    let last = hashes.last().map(felt);
    Ok(json!([count, hashes == full, full == receipts, last]))
}

fn class_hash(class: &ContractClass) -> Value {
    match class {
        ContractClass::Sierra(class) => felt(&class.class_hash()),
        ContractClass::Legacy(_) => json!("a class of Cairo 0"),
    }
}

async fn class_hashes(chain: &Chain, args: Args<'_>) -> Answer {
    let by_hash = chain.get_class(args.block(), args.felt("classHash")).await?;
    let by_address = chain.get_class_at(args.block(), args.felt("contract")).await?;
    Ok(json!([class_hash(&by_hash), class_hash(&by_address)]))
}

async fn deposit(chain: &Chain, args: Args<'_>) -> Answer {
    let Transaction::L1Handler(tx) = chain.get_transaction_by_hash(args.felt("transaction"), None).await? else {
        return Ok(json!("not an L1 handler"));
    };
    let mut words = vec![json!("L1_HANDLER"), felt(&tx.contract_address), felt(&tx.nonce.into())];
    words.extend(felts(&tx.calldata));
    Ok(json!(words))
}

async fn receipt(chain: &Chain, args: Args<'_>) -> Answer {
    let found = chain.get_transaction_receipt(args.felt("transaction")).await?;
    let left = &found.receipt;
    let fee = match left {
        TransactionReceipt::Invoke(r) => r.actual_fee.amount,
        TransactionReceipt::L1Handler(r) => r.actual_fee.amount,
        _ => return Ok(json!("a kind of transaction that this chain does not have")),
    };
    let mut words = vec![
        json!(finality(*left.finality_status())),
        json!(execution(left.execution_result())),
        json!(found.block.block_number()),
        json!(left.events().len()),
        felt(&fee),
    ];
    if let TransactionReceipt::L1Handler(r) = left {
        words.push(json!(hash256(&r.message_hash)));
    }
    Ok(json!(words))
}

/// Canonical form of 256 bits, which need not be a field element.
fn hash256(hash: &Hash256) -> String {
    let digits: String = hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{}", digits.trim_start_matches('0'))
}

async fn message_sent(chain: &Chain, args: Args<'_>) -> Answer {
    let found = chain.get_transaction_receipt(args.felt("transaction")).await?;
    let TransactionReceipt::Invoke(left) = found.receipt else { return Ok(json!("not an invoke")) };
    let words = left.messages_sent.iter().map(|m| felts([&m.from_address, &m.to_address].into_iter().chain(&m.payload)));
    Ok(words.map(Value::from).collect())
}

async fn status(chain: &Chain, args: Args<'_>) -> Answer {
    Ok(match chain.get_transaction_status(args.felt("transaction")).await? {
        TransactionStatus::Received => json!(["RECEIVED"]),
        TransactionStatus::Candidate => json!(["CANDIDATE"]),
        TransactionStatus::PreConfirmed(result) => json!(["PRE_CONFIRMED", execution(&result)]),
        TransactionStatus::AcceptedOnL2(result) => json!(["ACCEPTED_ON_L2", execution(&result)]),
        TransactionStatus::AcceptedOnL1(result) => json!(["ACCEPTED_ON_L1", execution(&result)]),
    })
}

async fn messages_status(chain: &Chain, args: Args<'_>) -> Answer {
    let l1_transaction = Hash256::from_hex(args.text("l1Transaction")).expect("a hash of the settlement layer");
    let found = chain.get_messages_status(l1_transaction).await?;
    let one = |m: &starknet_rust_core::types::MessageStatus| {
        json!([felt(&m.transaction_hash), finality(m.finality_status), execution(&m.execution_result)])
    };
    Ok(found.iter().map(one).collect())
}

async fn events(chain: &Chain, args: Args<'_>) -> Answer {
    let keys = |positions: &Value| -> Vec<Vec<Felt>> {
        let keys = |keys: &Value| -> Vec<Felt> {
            let keys = keys.as_array().expect("keys").iter();
            keys.map(|key| Felt::from_hex(key.as_str().expect("a key")).expect("a felt")).collect()
        };
        positions.as_array().expect("positions").iter().map(keys).collect()
    };
    let filter = || EventFilter {
        from_block: Some(BlockId::Number(args.number("from"))),
        to_block: Some(BlockId::Number(args.number("to"))),
        address: Some(AddressFilter::Single(args.felt("address"))),
        keys: Some(keys(&args.0["keys"])),
    };
    let (mut found, mut token): (Vec<Value>, _) = (vec![], None);
    loop {
        let page = chain.get_events(filter(), token, args.number("chunk")).await?;
        found.extend(page.events.iter().map(|event| Value::from(felts(event.keys.iter().chain(&event.data)))));
        token = page.continuation_token;
        if token.is_none() {
            return Ok(json!(found));
        }
    }
}

async fn state_update(chain: &Chain, args: Args<'_>) -> Answer {
    let MaybePreConfirmedStateUpdate::Update(update) = chain.get_state_update(args.block()).await? else {
        return Ok(json!("a block that is being built"));
    };
    let of_contract = update.state_diff.storage_diffs.iter().filter(|of| of.address == args.felt("contract"));
    let entry = of_contract.flat_map(|of| &of.storage_entries).find(|entry| entry.key == args.felt("key"));
    let value = entry.map_or(json!("unwritten"), |entry| felt(&entry.value));
    Ok(json!([felt(&update.block_hash), felt(&update.new_root), value]))
}

async fn proof_root(chain: &Chain, args: Args<'_>) -> Answer {
    let contract = args.felt("contract");
    let keys =
        ContractStorageKeys { contract_address: contract, storage_keys: vec![StorageKey(args.text("key").to_owned())] };
    let at = ConfirmedBlockId::Number(args.number("number"));
    let proof = chain.get_storage_proof(at, [], [contract], [keys]).await?;
    let roots = &proof.global_roots;
    let version = Felt::from_bytes_be_slice(b"STARKNET_STATE_V0");
    let root = starknet_rust_crypto::poseidon_hash_many(&[version, roots.contracts_tree_root, roots.classes_tree_root]);
    let class = proof.contracts_proof.contract_leaves_data.first().map(|leaf| felt(&leaf.class_hash));
    Ok(json!([felt(&roots.block_hash), felt(&root), class]))
}

async fn error(chain: &Chain, args: Args<'_>) -> Answer {
    let answered = match args.text("of") {
        "block" => chain.get_block_with_tx_hashes(args.block()).await.map(drop),
        "transaction" => chain.get_transaction_by_hash(args.felt("transaction"), None).await.map(drop),
        "contract" => chain.get_class_hash_at(args.block(), args.felt("contract")).await.map(drop),
        "class" => chain.get_class(args.block(), args.felt("classHash")).await.map(drop),
        "call" => {
            let call = FunctionCall {
                contract_address: args.felt("contract"),
                entry_point_selector: get_selector_from_name(args.text("entrypoint")).expect("a name"),
                calldata: vec![],
            };
            chain.call(call, args.block()).await.map(drop)
        }
        other => panic!("no error of {other}"),
    };
    match answered {
        Ok(()) => Ok(json!("no error")),
        Err(ProviderError::StarknetError(error)) => Ok(match error {
            StarknetError::BlockNotFound => json!(24),
            StarknetError::TransactionHashNotFound => json!(29),
            StarknetError::ContractNotFound => json!(20),
            StarknetError::ClassHashNotFound => json!(28),
            StarknetError::EntrypointNotFound => json!(21),
            StarknetError::ContractError(_) => json!(40),
            other => json!(other.to_string()),
        }),
        Err(other) => Err(other),
    }
}

async fn run(chain: &Chain, step: &str, args: Args<'_>) -> Answer {
    match step {
        "specVersion" => Ok(json!(chain.spec_version().await?)),
        "chainId" => Ok(felt(&chain.chain_id().await?)),
        "blockNumber" => Ok(json!(chain.block_number().await? >= args.number("atLeast"))),
        "tags" => tags(chain, args).await,
        "header" => {
            let (_, status, hash, root, _) = hashes(chain, args.block()).await?;
            Ok(json!([felt(&hash), felt(&root), status]))
        }
        "blockOfHash" => Ok(json!(hashes(chain, BlockId::Hash(args.felt("hash"))).await?.0)),
        "body" => body(chain, args).await,
        "transactionAt" => {
            let found = chain.get_transaction_by_block_id_and_index(args.block(), args.number("index"), None).await?;
            Ok(felt(found.transaction_hash()))
        }
        "storage" => {
            let found = chain.get_storage_at(args.felt("contract"), args.felt("key"), args.block(), None).await?;
            Ok(felt(&found.value()))
        }
        "nonce" => Ok(felt(&chain.get_nonce(args.block(), args.felt("contract")).await?)),
        "classHashAt" => Ok(felt(&chain.get_class_hash_at(args.block(), args.felt("contract")).await?)),
        "classHashes" => class_hashes(chain, args).await,
        "deposit" => deposit(chain, args).await,
        "receipt" => receipt(chain, args).await,
        "messageSent" => message_sent(chain, args).await,
        "status" => status(chain, args).await,
        "messagesStatus" => messages_status(chain, args).await,
        "events" => events(chain, args).await,
        "stateUpdate" => state_update(chain, args).await,
        "proofRoot" => proof_root(chain, args).await,
        "error" => error(chain, args).await,
        other => panic!("no step {other}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let path = std::env::args().nth(1).expect("a file with the script");
    let text = std::fs::read_to_string(path).expect("the file can be read");
    let task: Value = serde_json::from_str(&text).expect("the file is JSON");
    let url = Url::parse(task["url"].as_str().expect("a url")).expect("an address");
    let chain = JsonRpcClient::new(HttpTransport::new(url));
    let (mut ran, mut wrong) = (0, vec![]);
    for _ in 0..task["passes"].as_u64().expect("a number of passes") {
        for one in task["script"].as_array().expect("a script") {
            ran += 1;
            let step = one["step"].as_str().expect("a step");
            let got = run(&chain, step, Args(&one["args"])).await.unwrap_or_else(|error| json!(error.to_string()));
            if got != one["expect"] {
                let mut differing = one.clone();
                differing["got"] = got;
                wrong.push(differing);
            }
        }
    }
    println!("{}", json!({"ran": ran, "wrong": wrong}));
}
