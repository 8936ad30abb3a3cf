//! Wires the settlement loops: what they ask of the engine, what they report, and the escrow check of the integrity gate.

use super::incidents::Recorder;
use crate::config::Config;
use crate::gate::{EscrowVerdict, Owed};
use crate::keys::Keys;
use anyhow::{Context, Result, bail};
use keel_feeds::Published;
use keel_ingress::Inbox;
use keel_sequencer::Control;
use keel_settlement::protection::SignatureFile;
use keel_settlement::{
    CheckError, EngineFacts, EscrowOwed, EscrowSum, Handle, Parts, SettlementConfig, SettlementKeys, TokenFigures, ethereum,
    starknet,
};
use keel_store::Store;
use keel_types::{BatchId, Genesis, LossReason, LossReasons, Phase, SettlementLayer, format_quantums};
use std::sync::Arc;

/// The configuration of the settlement crate.
pub fn config(config: &Config, genesis: &Genesis, keys: &Keys, signatures: SignatureFile) -> Result<SettlementConfig> {
    let (submitter, attestor) = (&keys.submitter.private_key, &keys.attestor);
    let keys = match genesis.settlement.layer {
        SettlementLayer::Ethereum { .. } => SettlementKeys::Ethereum(ethereum::Keys::parse(submitter, attestor)?),
        SettlementLayer::Starknet { .. } => {
            let account = keys.submitter.account("settlement.submitter")?;
            SettlementKeys::Starknet(starknet::Keys::parse(account, submitter, attestor)?)
        }
    };
    let mut settlement = SettlementConfig::new(config.settlement.endpoints(), config.settlement.poll_ms, keys, signatures);
    settlement.quorum = config.settlement.quorum;
    if let Some(gwei) = config.settlement.fee_max_gwei {
        settlement.fee_max = u128::from(gwei) * 1_000_000_000;
    }
    settlement.limits.blocks_max = config.settlement.batch_blocks_max;
    settlement.limits.age_ms = config.settlement.batch_age_ms;
    settlement.scan_from = config.settlement.scan_from;
    Ok(settlement)
}

/// What settlement works on.
pub struct Node<'a> {
    pub genesis: &'a Arc<Genesis>,
    pub store: &'a Store,
    pub published: &'a Published,
    pub inbox: &'a Inbox,
    pub control: &'a Control,
    pub recorder: &'a Recorder,
    /// The last batch the recovered engine knows to be confirmed.
    pub confirmed: Option<BatchId>,
}

/// Checks the layer against genesis, then starts the loops. A layer that does not answer is no reason not to start: trading waits
/// for it at the gate. One that answers with another chain is.
pub fn start(settings: &SettlementConfig, node: Node, runtime: &tokio::runtime::Handle) -> Result<Handle> {
    let Node { genesis, store, published, inbox, control, recorder, confirmed } = node;
    if let Err(error) = runtime.block_on(keel_settlement::check(settings, genesis)) {
        match error {
            // The venue is whole, and who may act can be changed while it runs.
            CheckError::NotAllowed { .. } => tracing::error!(%error, "settlement will wait"),
            _ if error.is_transient() => tracing::warn!(%error, "the settlement layer could not be checked yet"),
            _ => return Err(error).context("settlement layer"),
        }
    }
    let (consumed, view) = (published.clone(), published.clone());
    let engine = EngineFacts {
        deposit_consumed: Box::new(move |nonce| consumed.read(|view| view.state().messages_consumed.contains(&nonce))),
        last_confirmed: Box::new(move || view.read(|view| view.last_confirmed().map(|c| c.confirmed.batch)).or(confirmed)),
    };
    let (control, recorder, seen) = (control.clone(), recorder.clone(), published.clone());
    let on_loss = Arc::new(move |reason: LossReason, details: &str| {
        let phase = seen.phase();
        if phase.phase != Phase::Open && phase.reasons.contains(reason) {
            return; // of the running incident already: a second record would take back an operator's word
        }
        if control.halt.waiting().is_some_and(|(waiting, _)| waiting.contains(reason)) {
            return;
        }
        tracing::error!(%reason, details, "settlement reports a loss");
        let reasons = LossReasons::of(reason);
        let observed = control.halt.report(reasons, &control.clock);
        recorder.told(observed, reasons, details);
    });
    let parts =
        Parts { genesis: genesis.clone(), store: store.clone(), inbox: inbox.clone(), engine: Arc::new(engine), on_loss };
    keel_settlement::start(settings, parts, runtime).context("start settlement")
}

/// Compares the escrow's own counter with what our state owes, per asset.
pub fn check_escrow(
    handle: &Handle,
    owed: &Owed,
    genesis: &Genesis,
    runtime: &tokio::runtime::Handle,
) -> Result<EscrowVerdict> {
    let figures = runtime.block_on(handle.escrow()).context("read the escrow")?;
    let mut lines = vec![];
    for token in &figures.tokens {
        let sum = sum(token, owed)?;
        let asset = &genesis.assets[usize::from(token.asset.0)].symbol;
        let text = format_quantums;
        let line = format!(
            "{asset}: {} there, counter {} = liabilities {} + unclaimed {} + uncredited {}",
            text(sum.balance),
            text(sum.counter),
            text(sum.liabilities),
            text(sum.unclaimed),
            text(sum.uncredited)
        );
        if !sum.holds() {
            return Ok(EscrowVerdict::Differs(format!("escrow at settlement block {}: not {line}", figures.l1_block)));
        }
        lines.push(line);
    }
    Ok(EscrowVerdict::Matches(format!("escrow at settlement block {}: {}", figures.l1_block, lines.join("; "))))
}

fn sum(token: &TokenFigures, owed: &Owed) -> Result<EscrowSum> {
    let index = usize::from(token.asset.0);
    let state = EscrowOwed { liabilities: owed.liabilities[index].0, withdrawn: owed.withdrawn[index].0 };
    match token.sum(state, |nonce| owed.consumed.contains(&nonce)) {
        Some(sum) => Ok(sum),
        None => bail!("an escrow figure is out of range"),
    }
}
