//! The one table of `starknet_*`: what is registered is what is in it, and what is in it is what `rpc.discover` lists.
use super::dto::{self, Body};
use super::params::Arguments;
use super::unexecuted::NOT_EXECUTED;
use super::{Answer, Dialect, StarknetError, blocks, events, proof, state, transactions, unexecuted};
use crate::context::Shared;
use serde_json::{Value, json};

/// A method of Starknet's specification.
pub struct Method {
    pub name: &'static str,
    /// What a caller gets.
    pub summary: &'static str,
    pub params: &'static [Param],
    /// Those it may answer with, besides JSON-RPC's own.
    pub errors: &'static [StarknetError],
    /// Whether this node can do what the method is for; if not, it checks what it can and then says so in one of `errors`, where there is
    /// anything to execute.
    pub available: bool,
    pub(super) call: fn(&Shared, &Dialect, &mut Arguments) -> Answer,
}

/// A parameter, in its position.
pub struct Param {
    pub name: &'static str,
    pub required: bool,
    /// Only some versions have it.
    since: fn(&Dialect) -> bool,
}

impl Param {
    /// Whether a version has it.
    pub fn is_in(&self, dialect: &Dialect) -> bool {
        (self.since)(dialect)
    }
}

pub(super) const fn needed(name: &'static str) -> Param {
    Param { name, required: true, since: |_| true }
}

pub(super) const fn optional(name: &'static str, since: fn(&Dialect) -> bool) -> Param {
    Param { name, required: false, since }
}

impl Method {
    /// The parameters that the method has in a version, in order.
    pub fn params(&self, dialect: &Dialect) -> impl Iterator<Item = &'static Param> {
        self.params.iter().filter(|param| param.is_in(dialect))
    }
}

/// What most methods are: executed, and without a say in the matter of versions.
const fn reads(
    name: &'static str,
    summary: &'static str,
    params: &'static [Param],
    errors: &'static [StarknetError],
    call: fn(&Shared, &Dialect, &mut Arguments) -> Answer,
) -> Method {
    Method { name, summary, params, errors, available: true, call }
}

const fn unavailable(
    name: &'static str,
    summary: &'static str,
    params: &'static [Param],
    errors: &'static [StarknetError],
    call: fn(&Shared, &Dialect, &mut Arguments) -> Answer,
) -> Method {
    Method { name, summary, params, errors, available: false, call }
}

const BLOCK: Param = needed("block_id");
const FLAGS: Param = optional("response_flags", |dialect| dialect.response_flags);
const CONTRACT: Param = needed("contract_address");
const TRANSACTION: Param = needed("transaction_hash");

use StarknetError as E;

/// Every `starknet_*` method that is called and answered once.
pub const METHODS: &[Method] = &[
    reads("starknet_specVersion", "Version of the specification on this path.", &[], &[], |_, dialect, _| {
        Ok(json!(dialect.spec_version))
    }),
    reads("starknet_chainId", "The chain's id.", &[], &[], |shared, _, _| Ok(dto::felt(&shared.genesis.chain_id.0))),
    // The node makes the blocks: there is nobody ahead of it.
    reads("starknet_syncing", "Always false: this node makes the blocks.", &[], &[], |_, _, _| Ok(Value::Bool(false))),
    reads("starknet_blockNumber", "Number of the last sealed block.", &[], &[E::NoBlocks], |shared, _, _| {
        Ok(json!(blocks::tip(shared)?.block.number))
    }),
    reads("starknet_blockHashAndNumber", "The last sealed block.", &[], &[E::NoBlocks], |shared, _, _| {
        let tip = blocks::tip(shared)?;
        Ok(json!({"block_hash": dto::felt(&tip.hash), "block_number": tip.block.number}))
    }),
    reads(
        "starknet_getBlockWithTxHashes",
        "A block with the hashes of its transactions.",
        &[BLOCK],
        &[E::BlockNotFound],
        |shared, dialect, arguments| blocks::block(shared, dialect, arguments, Body::TxHashes),
    ),
    reads(
        "starknet_getBlockWithTxs",
        "A block with its transactions.",
        &[BLOCK, FLAGS],
        &[E::BlockNotFound],
        |shared, dialect, arguments| blocks::block(shared, dialect, arguments, Body::Txs),
    ),
    reads(
        "starknet_getBlockWithReceipts",
        "A block with its transactions and receipts.",
        &[BLOCK, FLAGS],
        &[E::BlockNotFound],
        |shared, dialect, arguments| blocks::block(shared, dialect, arguments, Body::Receipts),
    ),
    reads(
        "starknet_getBlockTransactionCount",
        "How many transactions a block has.",
        &[BLOCK],
        &[E::BlockNotFound],
        blocks::transaction_count,
    ),
    reads(
        "starknet_getStateUpdate",
        "What a block changed.",
        &[BLOCK, optional("contract_addresses", |dialect| dialect.contract_filter)],
        &[E::BlockNotFound],
        blocks::state_update,
    ),
    reads(
        "starknet_getStorageAt",
        "The value of a storage slot.",
        &[CONTRACT, needed("key"), BLOCK, FLAGS],
        &[E::ContractNotFound, E::BlockNotFound],
        state::storage_at,
    ),
    reads(
        "starknet_getStorageProof",
        "What the state tries hold and do not hold at a block, with the nodes that show it.",
        &[
            BLOCK,
            optional("class_hashes", |_| true),
            optional("contract_addresses", |_| true),
            optional("contracts_storage_keys", |_| true),
        ],
        &[E::BlockNotFound, E::StorageProofNotSupported],
        proof::get,
    ),
    reads(
        "starknet_getNonce",
        "The nonce of a contract.",
        &[BLOCK, CONTRACT],
        &[E::ContractNotFound, E::BlockNotFound],
        state::nonce,
    ),
    reads(
        "starknet_getClassHashAt",
        "The class of a contract, by its hash.",
        &[BLOCK, CONTRACT],
        &[E::ContractNotFound, E::BlockNotFound],
        state::class_hash_at,
    ),
    reads(
        "starknet_getClass",
        "A declared class.",
        &[BLOCK, needed("class_hash")],
        &[E::ClassHashNotFound, E::BlockNotFound],
        state::class,
    ),
    reads(
        "starknet_getClassAt",
        "The class of a contract.",
        &[BLOCK, CONTRACT],
        &[E::ContractNotFound, E::BlockNotFound],
        state::class_at,
    ),
    reads(
        "starknet_getCompiledCasm",
        "The compiled code of a declared class.",
        &[needed("class_hash")],
        &[E::ClassHashNotFound],
        state::compiled_casm,
    ),
    reads(
        "starknet_getTransactionByHash",
        "A transaction.",
        &[TRANSACTION, FLAGS],
        &[E::TxnHashNotFound],
        transactions::by_hash,
    ),
    reads(
        "starknet_getTransactionByBlockIdAndIndex",
        "A transaction by its place.",
        &[BLOCK, needed("index"), FLAGS],
        &[E::InvalidTxnIndex, E::BlockNotFound],
        transactions::by_place,
    ),
    reads(
        "starknet_getTransactionReceipt",
        "What a transaction left.",
        &[TRANSACTION],
        &[E::TxnHashNotFound],
        transactions::receipt,
    ),
    reads(
        "starknet_getTransactionStatus",
        "How final a transaction is.",
        &[TRANSACTION],
        &[E::TxnHashNotFound],
        transactions::status,
    ),
    reads(
        "starknet_getMessagesStatus",
        "The L1_HANDLER transactions of an L1 transaction, in the order in which it sent their messages, as far as they are known.",
        &[TRANSACTION],
        &[E::TxnHashNotFound],
        transactions::messages_status,
    ),
    reads(
        "starknet_getEvents",
        "Events that match a filter, page by page, up to and with the block being built if it is asked for.",
        &[needed("filter")],
        &[E::PageSizeTooBig, E::InvalidContinuationToken, E::BlockNotFound, E::TooManyKeysInFilter],
        events::get,
    ),
    unavailable(
        "starknet_call",
        "Not executed here. Answers whether the block, the contract and the entry point exist.",
        &[needed("request"), BLOCK],
        &[E::ContractNotFound, E::EntryPointNotFound, E::BlockNotFound, E::ContractError(NOT_EXECUTED)],
        unexecuted::call,
    ),
    unavailable(
        "starknet_estimateFee",
        "Not executed here. Every fee on this chain is 0.",
        &[needed("request"), needed("simulation_flags"), BLOCK],
        &[E::ContractNotFound, E::BlockNotFound, E::TransactionExecutionError(NOT_EXECUTED)],
        unexecuted::estimate_fee,
    ),
    unavailable(
        "starknet_estimateMessageFee",
        "Not executed here. Every fee on this chain is 0.",
        &[needed("message"), BLOCK],
        &[E::ContractNotFound, E::BlockNotFound, E::ContractError(NOT_EXECUTED)],
        unexecuted::estimate_message_fee,
    ),
    unavailable(
        "starknet_simulateTransactions",
        "Not executed here.",
        &[BLOCK, needed("transactions"), needed("simulation_flags")],
        &[E::BlockNotFound, E::TransactionExecutionError(NOT_EXECUTED)],
        unexecuted::simulate,
    ),
    unavailable(
        "starknet_traceTransaction",
        "Not executed here.",
        &[TRANSACTION],
        &[E::TxnHashNotFound, E::NoTraceAvailable(NOT_EXECUTED)],
        unexecuted::trace,
    ),
    unavailable(
        "starknet_traceBlockTransactions",
        "Not executed here. A block without transactions has no traces, which is answered.",
        &[BLOCK, optional("trace_flags", |dialect| dialect.initial_reads)],
        &[E::BlockNotFound, E::BlockNotTraced(NOT_EXECUTED)],
        unexecuted::trace_block,
    ),
    unavailable(
        "starknet_addInvokeTransaction",
        "Not executed here: what changes the exchange is a signed message of trade_*.",
        &[needed("invoke_transaction")],
        &[E::UnsupportedTxVersion, E::UnexpectedError(NOT_EXECUTED)],
        unexecuted::add_invoke,
    ),
    unavailable(
        "starknet_addDeclareTransaction",
        "Not executed here: the classes of this chain are declared by its genesis.",
        &[needed("declare_transaction")],
        &[E::UnsupportedTxVersion, E::UnexpectedError(NOT_EXECUTED)],
        unexecuted::add_declare,
    ),
    unavailable(
        "starknet_addDeployAccountTransaction",
        "Not executed here: an account comes to be by trade_register.",
        &[needed("deploy_account_transaction")],
        &[E::UnsupportedTxVersion, E::ClassHashNotFound, E::UnexpectedError(NOT_EXECUTED)],
        unexecuted::add_deploy_account,
    ),
];
