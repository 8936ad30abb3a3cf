//! Deposits: final messages of our bridge become `Deposit` commands, each exactly once. [spec settlement, Messages and money]

use crate::backoff::Backoff;
use crate::error::L1Error;
use crate::layer::{BlockTag, DepositLog, L1, MessageState};
use crate::start::{EngineFacts, OnLoss};
use crate::view::View;
use keel_batches::MessageToL2;
use keel_contracts::starknet::HANDLE_DEPOSIT;
use keel_ingress::Inbox;
use keel_ingress::queue::Answer;
use keel_types::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest wait for the engine's word on one deposit; then the deposit is looked at again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Blocks that are read in one step.
pub(crate) const SCAN_BLOCKS: u64 = 50_000;

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
    Nonce(Bytes32),
    #[error("payload of {0} words is not (token, recipient, amount)")]
    Payload(usize),
    #[error("token {0} is not listed")]
    Token(Bytes32),
    #[error("recipient {0} is no address of this chain")]
    Recipient(Bytes32),
    #[error("amount {0} is zero or over the limit of one deposit")]
    Amount(Bytes32),
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
    let from = log.from;
    if from != genesis.settlement.bridge {
        return Err(DepositError::Sender(from));
    }
    if felt(&log.to) != Some(genesis.exchange.0) || felt(&log.selector) != Some(HANDLE_DEPOSIT) {
        return Err(DepositError::Receiver);
    }
    let message_nonce = nonce(log).ok_or(DepositError::Nonce(log.nonce))?;
    let [token_word, recipient_word, amount_word] = &log.payload[..] else {
        return Err(DepositError::Payload(log.payload.len()));
    };
    let token = felt(token_word).map(L1Address);
    let listed = token.and_then(|token| genesis.asset_of_token(token)).and_then(|id| genesis.asset(id));
    let asset = listed.ok_or(DepositError::Token(*token_word))?;
    let recipient = felt(recipient_word)
        .filter(|recipient| *recipient != Felt::ZERO && *recipient < address_bound())
        .ok_or(DepositError::Recipient(*recipient_word))?;
    let amount = small(amount_word)
        .filter(|amount| *amount > 0)
        .filter(|amount| {
            let quantums = amount.checked_mul(asset.quantums_per_l1_unit.into()).and_then(|q| i128::try_from(q).ok());
            quantums.is_some_and(|quantums| quantums <= asset.deposit_max.0)
        })
        .ok_or(DepositError::Amount(*amount_word))?;
    let message = MessageToL2 {
        from,
        to: genesis.exchange.0,
        nonce: message_nonce,
        selector: HANDLE_DEPOSIT,
        payload: vec![asset.token.0, recipient, Felt::from(amount)],
    };
    Ok(Deposit {
        message_nonce,
        token: asset.token,
        recipient: Address(recipient),
        amount,
        message_hash: message.hash(genesis.settlement.layer),
        l1_block: log.block,
        l1_block_hash: log.block_hash,
        depth: head.saturating_sub(log.block),
        l1_tx_hash: log.tx,
    })
}

/// The nonce of a message; `None` from 2^64 up.
pub(crate) fn nonce(log: &DepositLog) -> Option<u64> {
    small(&log.nonce).and_then(|nonce| u64::try_from(nonce).ok())
}

/// A word as a field element; `None` from the prime up.
fn felt(word: &Bytes32) -> Option<Felt> {
    let felt = Felt::from_bytes_be(&word.0);
    (felt.to_bytes_be() == word.0).then_some(felt)
}

/// A word as an integer; `None` from 2^128 up.
fn small(word: &Bytes32) -> Option<u128> {
    let (high, low) = word.0.split_at(16);
    high.iter().all(|b| *b == 0).then(|| u128::from_be_bytes(low.try_into().expect("split at 16 of 32 leaves 16")))
}

/// What became of one try.
enum Consumed {
    /// Decided: credited, refused, or never to be consumed.
    Done,
    /// Not now: the node is stopping, or in safe mode.
    Later,
}

/// The loop.
#[derive(Clone)]
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
    pub(crate) anchor: Option<(u64, Bytes32)>,
    /// When the first in line may be offered again.
    pub(crate) not_before: Option<Instant>,
    /// Refused for what a reorganisation of the newest blocks may undo, each with the newest block at that moment.
    pub(crate) withheld: Vec<(DepositLog, u64)>,
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
        if self.view.refused_settlement().is_some() {
            return Ok(false);
        }
        let (head, head_hash) = self.l1.newest().await?;
        if !self.anchor_holds(head).await? {
            return Ok(false);
        }
        while let Some(last) = self.last_final(head).await?.filter(|last| *last >= self.next) {
            // In steps, each of which counts: a long way from the first block need not be gone again after an error.
            let last = last.min(self.next.saturating_add(SCAN_BLOCKS - 1));
            let Some((_, hash)) = self.l1.block(BlockTag::Number(last)).await? else { return Ok(true) };
            let logs = self.l1.deposits(self.next, last).await?;
            self.line.extend(logs);
            self.next = last + 1;
            self.anchor = Some((last, hash));
        }
        self.look_again(head, head_hash).await?;
        while self.not_before.is_none_or(|moment| Instant::now() >= moment) {
            let Some(log) = self.line.front().cloned() else { break };
            match self.consume(&log, head, head_hash).await? {
                Consumed::Done => drop(self.line.pop_front()),
                Consumed::Later => self.not_before = Some(Instant::now() + OFFER_PAUSE),
            }
        }
        let young = if head >= self.next { self.l1.deposits(self.next, head).await? } else { vec![] };
        let usable = |log: &&DepositLog| read_deposit(self.l1.genesis(), log, head).is_ok();
        let depth = self.l1.genesis().settlement.deposit_depth;
        self.view.pending(head, depth, self.line.iter().chain(&young).filter(usable));
        Ok(true)
    }

    /// A node that lags has no such block: no answer. Another block in its place is an answer.
    async fn anchor_holds(&self, head: u64) -> Result<bool, L1Error> {
        let Some((number, hash)) = self.anchor.filter(|(number, _)| *number <= head) else { return Ok(true) };
        match self.l1.block(BlockTag::Number(number)).await? {
            Some((_, found)) if found != hash => {
                let why = format!("block {number} of the settlement layer, final as {hash}, is now {found}");
                (self.on_loss)(LossReason::SettlementReorg, &why);
                self.view.refuse_settlement(why);
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    async fn last_final(&self, head: u64) -> Result<Option<u64>, L1Error> {
        match self.l1.genesis().settlement.deposit_depth {
            0 => Ok(self.l1.block(BlockTag::Final).await?.map(|(number, _)| number)),
            depth => Ok(head.checked_sub(depth)),
        }
    }

    /// What was withheld comes back into the line when its cancellation is undone, and is given up when that cannot happen any more.
    async fn look_again(&mut self, head: u64, head_hash: Bytes32) -> Result<(), L1Error> {
        let depths = &self.l1.genesis().settlement;
        let depth = depths.deposit_depth.max(depths.confirm_depth);
        for (log, since) in std::mem::take(&mut self.withheld) {
            let Ok(deposit) = read_deposit(self.l1.genesis(), &log, head) else { continue };
            match self.l1.message(deposit.message_hash, head_hash).await {
                Ok(MessageState { waits: true, cancellation: None }) => self.line.push_back(log),
                Ok(_) if head.saturating_sub(since) > depth => {}
                _ => self.withheld.push((log, since)),
            }
        }
        Ok(())
    }

    async fn consume(&mut self, log: &DepositLog, head: u64, head_hash: Bytes32) -> Result<Consumed, L1Error> {
        let deposit = match read_deposit(self.l1.genesis(), log, head) {
            Ok(deposit) => deposit,
            Err(error) => return Ok(self.refuse(log, error)),
        };
        if (self.engine.deposit_consumed)(deposit.message_nonce) {
            return Ok(Consumed::Done);
        }
        // The block is asked for again: what is journaled must be what the chain says now.
        let block = self.l1.block(BlockTag::Number(log.block)).await?;
        if block.is_none_or(|(_, hash)| hash != log.block_hash) {
            self.next = log.block;
            self.line.clear();
            return Err(L1Error::Contradiction(format!("block {} was replaced while it was read", log.block)));
        }
        let error = match self.l1.message(deposit.message_hash, head_hash).await? {
            MessageState { waits: true, cancellation: None } => return self.hand_over(deposit).await,
            MessageState { waits: true, .. } => DepositError::CancellationStarted,
            MessageState { waits: false, .. } => DepositError::Gone,
        };
        self.withheld.push((log.clone(), head));
        Ok(self.refuse(log, error))
    }

    fn refuse(&self, log: &DepositLog, error: DepositError) -> Consumed {
        tracing::warn!(nonce = %log.nonce, tx = %log.tx, %error, "a message of the bridge is not consumed");
        if let Some(nonce) = nonce(log) {
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
    use crate::ethereum::dev::tests::genesis;
    use alloy::primitives::U256;
    use keel_contracts::ethereum::FIELD_PRIME;

    fn word(value: U256) -> Bytes32 {
        Bytes32(value.to_be_bytes())
    }

    /// The word plus something.
    fn add(word: &mut Bytes32, value: U256) {
        *word = Bytes32(U256::from_be_bytes(word.0).wrapping_add(value).to_be_bytes());
    }

    fn log(genesis: &Genesis) -> DepositLog {
        DepositLog {
            from: genesis.settlement.bridge,
            to: Bytes32(genesis.exchange.0.to_bytes_be()),
            selector: Bytes32(HANDLE_DEPOSIT.to_bytes_be()),
            payload: vec![
                Bytes32(genesis.assets[0].token.0.to_bytes_be()),
                word(U256::from(77)),
                word(U256::from(5_000_000)),
            ],
            nonce: word(U256::from(9)),
            block: 40,
            block_hash: Bytes32([4; 32]),
            tx: Bytes32([5; 32]),
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
            ("a stranger's", |log, _| log.from = L1Address::ethereum([9; 20])),
            ("to another contract", |log, _| add(&mut log.to, U256::from(1))),
            ("another entry point", |log, _| add(&mut log.selector, U256::from(1))),
            ("a word short", |log, _| log.payload.truncate(2)),
            ("a word long", |log, _| log.payload.push(word(U256::ZERO))),
            ("unknown token", |log, _| add(&mut log.payload[0], U256::from(1))),
            ("token above 160 bits", |log, _| add(&mut log.payload[0], U256::ONE << 200)),
            ("token that wraps round the field", |log, _| add(&mut log.payload[0], FIELD_PRIME)),
            ("recipient zero", |log, _| log.payload[1] = word(U256::ZERO)),
            ("recipient 2^251 - 256", |log, _| log.payload[1] = word((U256::ONE << 251) - U256::from(256))),
            ("recipient that wraps round the field", |log, _| add(&mut log.payload[1], FIELD_PRIME)),
            ("nothing", |log, _| log.payload[2] = word(U256::ZERO)),
            ("a unit over the cap", |log, cap| log.payload[2] = word(U256::from(cap + 1))),
            ("amount of 2^128", |log, _| log.payload[2] = word(U256::ONE << 128)),
            ("amount of 2^127", |log, _| log.payload[2] = word(U256::ONE << 127)),
            ("nonce of 2^64", |log, _| log.nonce = word(U256::ONE << 64)),
        ];
        for (name, change) in cases {
            let mut log = log(&genesis);
            change(&mut log, cap);
            assert!(read_deposit(&genesis, &log, 43).is_err(), "{name}");
        }
        let mut largest = log(&genesis);
        largest.payload[1] = word((U256::ONE << 251) - U256::from(257));
        largest.payload[2] = word(U256::from(cap));
        assert_eq!(read_deposit(&genesis, &largest, 43).unwrap().amount, cap);
    }
}
