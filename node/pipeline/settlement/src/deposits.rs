//! Deposits: final messages of our bridge become `Deposit` commands, each exactly once. [spec settlement, Messages and money]

use crate::backoff::Backoff;
use crate::error::L1Error;
use crate::l1::{DepositLog, L1};
use crate::start::{EngineFacts, OnLoss};
use crate::view::View;
use alloy::eips::BlockNumberOrTag;
use alloy::primitives::B256;
use keel_batches::MessageToL2;
use keel_contracts::ethereum::{HANDLE_DEPOSIT_SELECTOR, felt, word};
use keel_ingress::Inbox;
use keel_ingress::queue::Answer;
use keel_types::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest wait for the engine's word on one deposit; then the deposit is looked at again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Before a deposit that the engine does not take now (it credits nothing while HALTED) is offered again: each offer is a
/// journaled command.
const OFFER_PAUSE: Duration = Duration::from_secs(1);

/// Why a message is not consumed. It stays on the settlement contract, where its sender may take it back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DepositError {
    #[error("sent by {0}, not by the bridge")]
    Sender(L1Address),
    #[error("not a call of handle_deposit of the exchange")]
    Receiver,
    #[error("nonce {0} does not fit 64 bits")]
    Nonce(String),
    #[error("payload of {0} words is not (token, recipient, amount)")]
    Payload(usize),
    #[error("token {0} is not listed")]
    Token(String),
    #[error("recipient {0} is no address of this chain")]
    Recipient(String),
    #[error("amount {0} is zero or over the limit of one deposit")]
    Amount(String),
    #[error("its cancellation was started")]
    CancellationStarted,
    #[error("it does not wait on the core contract any more")]
    Gone,
}

/// Reads a message strictly: from the genesis bridge, to the exchange, for `handle_deposit`, with a payload that is exactly a
/// known token, an address in 1..2^251-256 and a positive amount under the limit. `head` is the newest block.
///
/// # Errors
/// The first thing that is not so.
pub fn read_deposit(genesis: &Genesis, log: &DepositLog, head: u64) -> Result<Deposit, DepositError> {
    let from = L1Address::ethereum(log.from.0.0);
    if from != genesis.settlement.bridge {
        return Err(DepositError::Sender(from));
    }
    if log.to != word(genesis.exchange.0) || log.selector != HANDLE_DEPOSIT_SELECTOR {
        return Err(DepositError::Receiver);
    }
    let message_nonce = u64::try_from(log.nonce).map_err(|_| DepositError::Nonce(log.nonce.to_string()))?;
    let [token_word, recipient_word, amount_word] = log.payload[..] else {
        return Err(DepositError::Payload(log.payload.len()));
    };
    let unknown = || DepositError::Token(format!("{token_word:#x}"));
    let token = felt(token_word).map(L1Address).ok_or_else(unknown)?;
    let asset = genesis.asset_of_token(token).and_then(|id| genesis.asset(id)).ok_or_else(unknown)?;
    let recipient = felt(recipient_word)
        .filter(|recipient| *recipient != Felt::ZERO && *recipient < address_bound())
        .ok_or_else(|| DepositError::Recipient(format!("{recipient_word:#x}")))?;
    let amount = u128::try_from(amount_word)
        .ok()
        .filter(|amount| *amount > 0)
        .filter(|amount| {
            let quantums = amount.checked_mul(asset.quantums_per_l1_unit.into()).and_then(|q| i128::try_from(q).ok());
            quantums.is_some_and(|quantums| quantums <= asset.deposit_max.0)
        })
        .ok_or_else(|| DepositError::Amount(amount_word.to_string()))?;
    let message = MessageToL2 {
        from,
        to: genesis.exchange.0,
        nonce: message_nonce,
        selector: word_felt(HANDLE_DEPOSIT_SELECTOR),
        payload: vec![token.0, recipient, Felt::from(amount)],
    };
    Ok(Deposit {
        message_nonce,
        token,
        recipient: Address(recipient),
        amount,
        message_hash: message.hash(),
        l1_block: log.block,
        l1_block_hash: Bytes32(log.block_hash.0),
        depth: head.saturating_sub(log.block),
        l1_tx_hash: Bytes32(log.tx.0),
    })
}

fn word_felt(selector: alloy::primitives::U256) -> Felt {
    felt(selector).expect("a selector has 250 bits")
}

/// What became of one try.
enum Consumed {
    /// Decided: credited, refused, or never to be consumed.
    Done,
    /// Not now: the node is stopping, or in safe mode.
    Later,
}

/// The loop.
pub(crate) struct DepositWatcher {
    pub(crate) l1: L1,
    pub(crate) inbox: Inbox,
    pub(crate) engine: Arc<EngineFacts>,
    pub(crate) view: View,
    pub(crate) on_loss: OnLoss,
    pub(crate) poll: Duration,
    /// First block that was not yet read as final. A restart reads everything again: what the engine knows is skipped.
    pub(crate) next: u64,
    /// Final and not yet decided, in order.
    pub(crate) line: VecDeque<DepositLog>,
    /// The last block that was read as final: if it is ever another one, the chain broke its word.
    pub(crate) anchor: Option<(u64, B256)>,
    /// When the first in line may be offered again.
    pub(crate) not_before: Option<Instant>,
}

impl DepositWatcher {
    /// Runs for ever, or until something final was undone.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(self.poll);
        loop {
            let pause = match self.cycle().await {
                Ok(true) => {
                    backoff.reset();
                    self.poll
                }
                Ok(false) => return,
                Err(error) => {
                    let pause = backoff.next();
                    tracing::warn!(%error, ?pause, "deposits cannot be read");
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// `false`: something final was undone; nothing may be consumed any more.
    async fn cycle(&mut self) -> Result<bool, L1Error> {
        let head = self.l1.head().await?;
        if !self.anchor_holds(head).await? {
            return Ok(false);
        }
        if let Some(last) = self.last_final(head).await?.filter(|last| *last >= self.next) {
            let Some((_, hash)) = self.l1.block(BlockNumberOrTag::Number(last)).await? else { return Ok(true) };
            let logs = self.l1.deposits(self.next, last).await?;
            self.line.extend(logs);
            self.next = last + 1;
            self.anchor = Some((last, hash));
        }
        while self.not_before.is_none_or(|moment| Instant::now() >= moment) {
            let Some(log) = self.line.front().cloned() else { break };
            match self.consume(&log, head).await? {
                Consumed::Done => drop(self.line.pop_front()),
                Consumed::Later => self.not_before = Some(Instant::now() + OFFER_PAUSE),
            }
        }
        let young = if head >= self.next { self.l1.deposits(self.next, head).await? } else { vec![] };
        let usable = |log: &&DepositLog| read_deposit(&self.l1.genesis, log, head).is_ok();
        let depth = self.l1.genesis.settlement.deposit_depth;
        self.view.pending(head, depth, self.line.iter().chain(&young).filter(usable));
        Ok(true)
    }

    /// A node that lags has no such block: no answer. Another block in its place is an answer.
    async fn anchor_holds(&self, head: u64) -> Result<bool, L1Error> {
        let Some((number, hash)) = self.anchor.filter(|(number, _)| *number <= head) else { return Ok(true) };
        match self.l1.block(BlockNumberOrTag::Number(number)).await? {
            Some((_, found)) if found != hash => {
                let why = format!("block {number} of the settlement layer, final as {hash}, is now {found}");
                (self.on_loss)(LossReason::SettlementReorg, &why);
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    async fn last_final(&self, head: u64) -> Result<Option<u64>, L1Error> {
        match self.l1.genesis.settlement.deposit_depth {
            0 => Ok(self.l1.block(BlockNumberOrTag::Finalized).await?.map(|(number, _)| number)),
            depth => Ok(head.checked_sub(depth)),
        }
    }

    async fn consume(&mut self, log: &DepositLog, head: u64) -> Result<Consumed, L1Error> {
        let deposit = match read_deposit(&self.l1.genesis, log, head) {
            Ok(deposit) => deposit,
            Err(error) => return Ok(self.refuse(log, error)),
        };
        if (self.engine.deposit_consumed)(deposit.message_nonce) {
            return Ok(Consumed::Done);
        }
        // The block is asked for again: what is journaled must be what the chain says now.
        let block = self.l1.block(BlockNumberOrTag::Number(log.block)).await?;
        if block.is_none_or(|(_, hash)| hash != log.block_hash) {
            self.next = log.block;
            self.line.clear();
            return Err(L1Error::Contradiction(format!("block {} was replaced while it was read", log.block)));
        }
        match self.l1.message(deposit.message_hash).await? {
            (true, false) => self.hand_over(deposit).await,
            (true, true) => Ok(self.refuse(log, DepositError::CancellationStarted)),
            (false, _) => Ok(self.refuse(log, DepositError::Gone)),
        }
    }

    fn refuse(&self, log: &DepositLog, error: DepositError) -> Consumed {
        tracing::warn!(nonce = %log.nonce, tx = %log.tx, %error, "a message of the bridge is not consumed");
        if let Ok(nonce) = u64::try_from(log.nonce) {
            self.view.refuse(nonce, error.to_string());
        }
        Consumed::Done
    }

    async fn hand_over(&self, deposit: Deposit) -> Result<Consumed, L1Error> {
        let nonce = deposit.message_nonce;
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.inbox.submit(Command::Deposit(deposit), Some(reply)) {
            tracing::warn!(nonce, %error, "the deposit was not queued");
            return Ok(Consumed::Later);
        }
        let Ok(Ok(Answer::Done { events, .. })) = tokio::time::timeout(ANSWER_TIMEOUT, answer).await else {
            return Ok(Consumed::Later);
        };
        let decided = events.iter().any(|event| {
            matches!(
                event,
                Event::Deposited { .. }
                    | Event::DepositRefused { .. }
                    | Event::SystemRejected { reject: Reject::DepositAlreadyConsumed }
            )
        });
        tracing::info!(nonce, ?events, "deposit handed over");
        Ok(if decided { Consumed::Done } else { Consumed::Later })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::tests::genesis;
    use alloy::primitives::U256;

    fn log(genesis: &Genesis) -> DepositLog {
        DepositLog {
            from: crate::l1::eth(genesis.settlement.bridge),
            to: word(genesis.exchange.0),
            selector: HANDLE_DEPOSIT_SELECTOR,
            payload: vec![word(genesis.assets[0].token.0), U256::from(77), U256::from(5_000_000)],
            nonce: U256::from(9),
            block: 40,
            block_hash: B256::repeat_byte(4),
            tx: B256::repeat_byte(5),
        }
    }

    #[test]
    fn a_deposit_of_the_bridge_is_read_to_the_unit() {
        let genesis = genesis();
        let deposit = read_deposit(&genesis, &log(&genesis), 43).unwrap();
        assert_eq!((deposit.message_nonce, deposit.amount, deposit.depth), (9, 5_000_000, 3));
        assert_eq!((deposit.token, deposit.recipient), (genesis.assets[0].token, Address(Felt::from(77))));
        assert_eq!(deposit.l1_block_hash, Bytes32([4; 32]));
    }

    #[test]
    fn every_other_message_stays_where_it_is() {
        let genesis = genesis();
        let cap = genesis.assets[0].deposit_max.0 as u128 / u128::from(genesis.assets[0].quantums_per_l1_unit);
        type Change = fn(&mut DepositLog, u128);
        let cases: &[(&str, Change)] = &[
            ("a stranger's", |log, _| log.from = alloy::primitives::Address::repeat_byte(9)),
            ("to another contract", |log, _| log.to += U256::from(1)),
            ("another entry point", |log, _| log.selector += U256::from(1)),
            ("a word short", |log, _| log.payload.truncate(2)),
            ("a word long", |log, _| log.payload.push(U256::from(0))),
            ("unknown token", |log, _| log.payload[0] += U256::from(1)),
            ("token above 160 bits", |log, _| log.payload[0] += U256::ONE << 200),
            ("token that wraps round the field", |log, _| log.payload[0] += keel_contracts::ethereum::FIELD_PRIME),
            ("recipient zero", |log, _| log.payload[1] = U256::ZERO),
            ("recipient 2^251 - 256", |log, _| log.payload[1] = (U256::ONE << 251) - U256::from(256)),
            ("recipient that wraps round the field", |log, _| log.payload[1] += keel_contracts::ethereum::FIELD_PRIME),
            ("nothing", |log, _| log.payload[2] = U256::ZERO),
            ("a unit over the cap", |log, cap| log.payload[2] = U256::from(cap + 1)),
            ("amount of 2^128", |log, _| log.payload[2] = U256::ONE << 128),
            ("amount of 2^127", |log, _| log.payload[2] = U256::ONE << 127),
            ("nonce of 2^64", |log, _| log.nonce = U256::ONE << 64),
        ];
        for (name, change) in cases {
            let mut log = log(&genesis);
            change(&mut log, cap);
            assert!(read_deposit(&genesis, &log, 43).is_err(), "{name}");
        }
        let mut largest = log(&genesis);
        largest.payload[1] = (U256::ONE << 251) - U256::from(257);
        largest.payload[2] = U256::from(cap);
        assert_eq!(read_deposit(&genesis, &largest, 43).unwrap().amount, cap);
    }
}
