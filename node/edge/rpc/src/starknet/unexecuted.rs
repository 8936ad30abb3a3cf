//! Methods that need Cairo to be executed, which this node does not do yet. Each checks what it was sent, says what it can say without
//! executing, and then answers with the error that the specification has for it.
use super::broadcasted::Broadcasted;
use super::params::{Arguments, BlockId};
use super::state::{has_entry_point, state};
use super::{Answer, Dialect, StarknetError, sealed, transactions};
use crate::context::Shared;
use crate::error::RpcError;
use keel_types::{Felt, L1Address};
use serde_json::{Value, json};

/// What the errors say.
pub(super) const NOT_EXECUTED: &str =
    "this node does not execute Cairo yet; orders are signed messages: trade_placeOrder, see rpc.discover";
/// See [NOT_EXECUTED].
const NO_CONTRACT: &str = "there is no contract at this address";
/// See [NOT_EXECUTED].
const NO_HANDLER: &str = "only the settlement layer's bridge sends messages that this chain handles";

pub(super) fn call(shared: &Shared, dialect: &Dialect, arguments: &mut Arguments) -> Answer {
    let mut request = arguments.object("request", &["contract_address", "entry_point_selector", "calldata"])?;
    let (contract, selector) = (request.felt("contract_address")?, request.felt("entry_point_selector")?);
    request.felts("calldata")?;
    let state = state(shared, arguments.block_id("block_id")?)?;
    let class = state.class_hash(&contract)?.ok_or(StarknetError::ContractNotFound)?;
    if !has_entry_point(&class, &selector)? {
        return Err(dialect.entry_point_not_found.into());
    }
    Err(StarknetError::ContractError(NOT_EXECUTED).into())
}

/// Transactions to be run one after the other on the state of a block.
fn run(
    shared: &Shared,
    dialect: &Dialect,
    arguments: &mut Arguments,
    name: &'static str,
    estimates: bool,
) -> Result<(), RpcError> {
    let sent = arguments.list(name)?;
    let sent: Vec<_> =
        sent.into_iter().map(|tx| Broadcasted::read(dialect, tx)).collect::<Result<_, _>>().map_err(simulated)?;
    let state = state(shared, arguments.block_id("block_id")?)?;
    for transaction in &sent {
        // An account that is deployed by the transaction itself, or by one before it, need not be there.
        let Some(sender) = transaction.sender() else { break };
        if state.class_hash(sender)?.is_none() {
            return Err(match estimates && dialect.estimates_need_the_sender {
                true => StarknetError::ContractNotFound.into(),
                false => StarknetError::TransactionExecutionError(NO_CONTRACT).into(),
            });
        }
    }
    match sent.is_empty() {
        true => Ok(()),
        false => Err(StarknetError::TransactionExecutionError(NOT_EXECUTED).into()),
    }
}

/// UNSUPPORTED_TX_VERSION is an error of the methods that add transactions; for the others it is a bad parameter.
fn simulated(error: RpcError) -> RpcError {
    match error {
        RpcError::Starknet(StarknetError::UnsupportedTxVersion) => RpcError::params("version", "expected 0x3"),
        error => error,
    }
}

pub(super) fn estimate_fee(shared: &Shared, dialect: &Dialect, arguments: &mut Arguments) -> Answer {
    required_flags(arguments, ["SKIP_VALIDATE"])?;
    run(shared, dialect, arguments, "request", true)?;
    Ok(json!([]))
}

pub(super) fn simulate(shared: &Shared, dialect: &Dialect, arguments: &mut Arguments) -> Answer {
    let initial_reads = match dialect.initial_reads {
        true => required_flags(arguments, ["RETURN_INITIAL_READS", "SKIP_VALIDATE", "SKIP_FEE_CHARGE"])?[0],
        false => {
            required_flags(arguments, ["SKIP_VALIDATE", "SKIP_FEE_CHARGE"])?;
            false
        }
    };
    run(shared, dialect, arguments, "transactions", false)?;
    Ok(nothing_ran("simulated_transactions", initial_reads))
}

/// Flags of a parameter that must be there.
fn required_flags<const N: usize>(arguments: &mut Arguments, known: [&str; N]) -> Result<[bool; N], RpcError> {
    match arguments.has("simulation_flags") {
        true => arguments.flags("simulation_flags", known),
        false => Err(RpcError::params("simulation_flags", "missing")),
    }
}

/// The answer where there was nothing to execute. [OpenRPC 0.10, RETURN_INITIAL_READS]
fn nothing_ran(name: &str, initial_reads: bool) -> Value {
    match initial_reads {
        true => json!({
            name: [],
            "initial_reads": {"storage": [], "nonces": [], "class_hashes": [], "declared_contracts": []},
        }),
        false => json!([]),
    }
}

pub(super) fn estimate_message_fee(shared: &Shared, dialect: &Dialect, arguments: &mut Arguments) -> Answer {
    let fields = ["from_address", "to_address", "entry_point_selector", "payload"];
    let mut message = arguments.object("message", &fields)?;
    let from = sender(shared, &mut message)?;
    let (to, _) = (message.felt("to_address")?, message.felt("entry_point_selector")?);
    message.felts("payload")?;
    if state(shared, arguments.block_id("block_id")?)?.class_hash(&to)?.is_none() {
        return Err(match dialect.estimates_need_the_sender {
            true => StarknetError::ContractNotFound.into(),
            false => StarknetError::ContractError(NO_CONTRACT).into(),
        });
    }
    let handled = from == shared.genesis.settlement.bridge && to == shared.genesis.exchange.0;
    Err(StarknetError::ContractError(if handled { NOT_EXECUTED } else { NO_HANDLER }).into())
}

/// `from_address` of a message: an address of the settlement layer. [OpenRPC, MSG_FROM_L1: an Ethereum address has 40 digits]
fn sender(shared: &Shared, message: &mut Arguments) -> Result<L1Address, RpcError> {
    let layer = shared.genesis.settlement.layer;
    layer.parse_address(&message.text("from_address")?).map_err(|why| RpcError::params("from_address", why))
}

pub(super) fn trace(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let hash = arguments.felt("transaction_hash")?;
    Err(match transactions::find(shared, &hash)? {
        Some(_) => StarknetError::NoTraceAvailable(NOT_EXECUTED).into(),
        None => StarknetError::TxnHashNotFound.into(),
    })
}

pub(super) fn trace_block(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let id = arguments.block_id("block_id")?;
    let [initial_reads] = arguments.flags("trace_flags", ["RETURN_INITIAL_READS"])?;
    if id == BlockId::PreConfirmed {
        return Err(RpcError::params("block_id", "the block being built has no traces yet"));
    }
    let header = sealed(shared, id)?.ok_or(StarknetError::BlockNotFound)?;
    match header.block.content.transaction_count {
        0 => Ok(nothing_ran("traces", initial_reads)),
        _ => Err(StarknetError::BlockNotTraced(NOT_EXECUTED).into()),
    }
}

/// Reads a transaction that is to be added: of version 3 and of the kind of the method.
fn added(dialect: &Dialect, arguments: &mut Arguments, name: &'static str, kind: &str) -> Result<Broadcasted, RpcError> {
    let sent = arguments.required(name)?;
    if sent.get("type").is_none_or(|sent| sent != kind) {
        return Err(RpcError::params("type", "another kind of transaction than the method adds"));
    }
    // What is meant to be simulated only cannot be added.
    let only_simulated = sent.get("version").is_some_and(|version| version != "0x3" && version.is_string());
    if only_simulated {
        return Err(StarknetError::UnsupportedTxVersion.into());
    }
    Broadcasted::read(dialect, sent)
}

pub(super) fn add_invoke(_: &Shared, dialect: &Dialect, arguments: &mut Arguments) -> Answer {
    added(dialect, arguments, "invoke_transaction", "INVOKE")?;
    Err(StarknetError::UnexpectedError(NOT_EXECUTED).into())
}

pub(super) fn add_declare(_: &Shared, dialect: &Dialect, arguments: &mut Arguments) -> Answer {
    added(dialect, arguments, "declare_transaction", "DECLARE")?;
    Err(StarknetError::UnexpectedError(NOT_EXECUTED).into())
}

pub(super) fn add_deploy_account(shared: &Shared, dialect: &Dialect, arguments: &mut Arguments) -> Answer {
    let sent = added(dialect, arguments, "deploy_account_transaction", "DEPLOY_ACCOUNT")?;
    if let Broadcasted::DeployAccount { class } = sent {
        let declared: Option<Felt> = state(shared, BlockId::Latest)?.compiled_class_hash(&class)?;
        declared.ok_or(StarknetError::ClassHashNotFound)?;
    }
    Err(StarknetError::UnexpectedError(NOT_EXECUTED).into())
}
