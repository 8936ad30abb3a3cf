//! The escrow on the settlement layer, for the integrity gate. [spec safe-mode, The integrity report]
//!
//! Per token, everything in quantums, at one block of the settlement layer:
//!
//! ```text
//! escrow counter = liabilities + withdrawals not yet claimed + deposits not yet credited
//!                  liabilities = deposited - withdrawn, by our state
//!                  withdrawals not yet claimed = withdrawn by our state - paid by the bridge
//!                  deposits not yet credited = sent to the bridge and not refunded, whose message our state has not consumed
//! ```
//!
//! All three signs are plus: the counter rises when a deposit is sent, before it is credited, and falls when a
//! withdrawal is paid, after it was debited. It holds at every moment, so deposits and claims may be in flight.
//! The token balance is at least the counter: strangers may add to it.

use crate::error::L1Error;
use crate::layer::{BlockTag, BridgeEvent, L1};
use keel_types::{AssetId, AssetSpec, Bytes32, Genesis, L1Address};
use std::collections::BTreeMap;

/// The escrow of every asset at one block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EscrowFigures {
    pub l1_block: u64,
    pub l1_block_hash: Bytes32,
    /// In genesis order.
    pub tokens: Vec<TokenFigures>,
}

/// The escrow of one token. Amounts in its units on the settlement layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenFigures {
    pub asset: AssetId,
    pub token: L1Address,
    /// [`keel_types::AssetSpec::quantums_per_l1_unit`].
    pub quantums_per_unit: u64,
    /// The bridge's own counter.
    pub counter: u128,
    /// What the bridge holds.
    pub balance: u128,
    /// Every deposit ever sent, by message nonce.
    pub deposits: BTreeMap<u64, EscrowDeposit>,
    /// Every withdrawal paid, by withdrawal id.
    pub claims: BTreeMap<u64, EscrowClaim>,
}

/// See [`TokenFigures::deposits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EscrowDeposit {
    pub amount: u128,
    /// Cancelled and paid back.
    pub refunded: bool,
}

/// See [`TokenFigures::claims`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EscrowClaim {
    pub amount: u128,
}

/// What our state says of one asset, all of one moment at or after the figures' finality. Quantums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EscrowOwed {
    /// Deposited less withdrawn.
    pub liabilities: i128,
    /// Everything ever withdrawn.
    pub withdrawn: i128,
}

/// The equation, evaluated. Quantums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EscrowSum {
    pub counter: i128,
    pub balance: i128,
    pub liabilities: i128,
    pub unclaimed: i128,
    pub uncredited: i128,
}

impl EscrowSum {
    /// Whether the escrow is exactly what it must be, and is there.
    pub fn holds(&self) -> bool {
        let owed = self.liabilities.checked_add(self.unclaimed).and_then(|sum| sum.checked_add(self.uncredited));
        owed == Some(self.counter) && self.balance >= self.counter && self.unclaimed >= 0
    }
}

impl TokenFigures {
    /// Evaluates the equation; `consumed` says whether our state has consumed the message with a nonce, at the same
    /// moment as `owed`. `None`: a figure does not fit, which no escrow of ours can reach.
    pub fn sum(&self, owed: EscrowOwed, consumed: impl Fn(u64) -> bool) -> Option<EscrowSum> {
        let quantums = |units: u128| i128::try_from(units).ok()?.checked_mul(i128::from(self.quantums_per_unit));
        let paid = self.claims.values().try_fold(0u128, |sum, claim| sum.checked_add(claim.amount))?;
        let waiting = self.deposits.iter().filter(|(nonce, deposit)| !deposit.refunded && !consumed(**nonce));
        let waiting = waiting.map(|(_, deposit)| deposit.amount).try_fold(0u128, u128::checked_add)?;
        Some(EscrowSum {
            counter: quantums(self.counter)?,
            balance: quantums(self.balance)?,
            liabilities: owed.liabilities,
            unclaimed: owed.withdrawn.checked_sub(quantums(paid)?)?,
            uncredited: quantums(waiting)?,
        })
    }
}

/// Reads the escrow, again and again: what the bridge did in blocks that are deep is read once.
#[derive(Debug)]
pub(crate) struct EscrowScan {
    /// First block that was not read for good.
    next: u64,
    /// The last that was; if it is ever another one, everything is read again from `first`.
    anchor: Option<(u64, Bytes32)>,
    first: u64,
    tokens: Vec<TokenFigures>,
}

/// Blocks that are read in one step.
const SCAN_BLOCKS: u64 = 50_000;

impl EscrowScan {
    /// Events are read from block `first` on, which must not be after the bridge's first.
    pub(crate) fn new(genesis: &Genesis, first: u64) -> EscrowScan {
        let of = |(index, asset): (usize, &AssetSpec)| TokenFigures {
            asset: AssetId(index as u16),
            token: asset.token,
            quantums_per_unit: asset.quantums_per_l1_unit,
            counter: 0,
            balance: 0,
            deposits: BTreeMap::new(),
            claims: BTreeMap::new(),
        };
        EscrowScan { next: first, anchor: None, first, tokens: genesis.assets.iter().enumerate().map(of).collect() }
    }

    /// The escrow at the newest block. An error loses no step.
    ///
    /// # Errors
    /// See [`L1Error`]; nothing partial is returned.
    pub(crate) async fn figures(&mut self, l1: &L1) -> Result<EscrowFigures, L1Error> {
        let head = l1.head().await?;
        if let Some((number, hash)) = self.anchor
            && l1.block(BlockTag::Number(number)).await?.is_none_or(|(_, found)| found != hash)
        {
            *self = EscrowScan::new(l1.genesis(), self.first);
        }
        while let Some(last) = head.checked_sub(l1.genesis().settlement.confirm_depth).filter(|last| *last >= self.next) {
            let last = last.min(self.next.saturating_add(SCAN_BLOCKS - 1));
            let Some(block) = l1.block(BlockTag::Number(last)).await? else { break };
            for event in l1.bridge_events(self.next, last).await? {
                put(&mut self.tokens, event);
            }
            (self.next, self.anchor) = (last + 1, Some(block));
        }
        l1.escrow(self.tokens.clone(), self.next).await
    }
}

impl L1 {
    /// The escrow at the newest block, with what the bridge did from block `from` on added to `tokens`.
    async fn escrow(&self, mut tokens: Vec<TokenFigures>, from: u64) -> Result<EscrowFigures, L1Error> {
        let (l1_block, hash) = self.newest().await?;
        for token in &mut tokens {
            let (counter, balance) = self.escrow_at(token.token, hash).await?;
            token.counter = counter;
            // Anybody may send a token of a broken issuer here: more than fits is still enough.
            token.balance = balance.min(i128::MAX as u128 / u128::from(token.quantums_per_unit));
        }
        for event in self.bridge_events(from, l1_block).await? {
            put(&mut tokens, event);
        }
        // The events were read after the counters: if the block is still there, all are of one chain.
        match self.block(BlockTag::Number(l1_block)).await? {
            Some((_, again)) if again == hash => Ok(EscrowFigures { l1_block, l1_block_hash: hash, tokens }),
            _ => Err(L1Error::Contradiction("the block at which the escrow was read was replaced".into())),
        }
    }
}

fn of(tokens: &mut [TokenFigures], token: L1Address) -> Option<&mut TokenFigures> {
    tokens.iter_mut().find(|figures| figures.token == token)
}

fn put(tokens: &mut [TokenFigures], event: BridgeEvent) {
    // Only listed tokens can be in these events, and the listing is compared with genesis at start.
    match event {
        BridgeEvent::Sent { nonce, token, amount } => {
            if let Some(figures) = of(tokens, token) {
                figures.deposits.insert(nonce, EscrowDeposit { amount, refunded: false });
            }
        }
        BridgeEvent::Refunded { nonce, token } => {
            if let Some(deposit) = of(tokens, token).and_then(|figures| figures.deposits.get_mut(&nonce)) {
                deposit.refunded = true;
            }
        }
        BridgeEvent::Paid { withdrawal, token, amount } => {
            if let Some(figures) = of(tokens, token) {
                figures.claims.insert(withdrawal, EscrowClaim { amount });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(counter: u128, deposits: &[(u64, u128, bool)], claims: &[(u64, u128)]) -> TokenFigures {
        TokenFigures {
            asset: AssetId(0),
            token: L1Address::ethereum([1; 20]),
            quantums_per_unit: 100,
            counter,
            balance: counter + 1,
            deposits: deposits
                .iter()
                .map(|(n, amount, refunded)| (*n, EscrowDeposit { amount: *amount, refunded: *refunded }))
                .collect(),
            claims: claims.iter().map(|(id, amount)| (*id, EscrowClaim { amount: *amount })).collect(),
        }
    }

    #[test]
    fn the_equation_holds_at_every_stage_and_only_then() {
        // (counter, liabilities, withdrawn, credited nonces, claims): 50 sent as message 3, then 20 withdrawn.
        let sent = [(3, 50, false)];
        for (name, counter, liabilities, withdrawn, credited, claims) in [
            ("sent", 50, 0, 0, false, &[][..]),
            ("credited", 50, 5_000, 0, true, &[]),
            ("withdrawn", 50, 3_000, 2_000, true, &[]),
            ("claimed", 30, 3_000, 2_000, true, &[(1, 20)]),
        ] {
            let figures = figures(counter, &sent, claims);
            let owed = EscrowOwed { liabilities, withdrawn };
            assert!(figures.sum(owed, |_| credited).unwrap().holds(), "{name}");
            assert!(!figures.sum(owed, |_| !credited).unwrap().holds(), "{name}: credit and message disagree");
            let more = EscrowOwed { liabilities: liabilities + 1, withdrawn };
            assert!(!figures.sum(more, |_| credited).unwrap().holds(), "{name}: one quantum too many");
        }
        let refunded = figures(0, &[(3, 50, true)], &[]);
        assert!(refunded.sum(EscrowOwed { liabilities: 0, withdrawn: 0 }, |_| false).unwrap().holds());
        // Paid out more than was ever withdrawn.
        let stolen = figures(30, &sent, &[(1, 20)]);
        assert!(!stolen.sum(EscrowOwed { liabilities: 5_000, withdrawn: 0 }, |_| true).unwrap().holds());
        // What strangers send to the bridge besides is owed to nobody, however much it is; a unit too few in it is.
        let dust = TokenFigures { balance: 50 + 1_000_000, ..figures(50, &sent, &[]) };
        assert!(dust.sum(EscrowOwed { liabilities: 0, withdrawn: 0 }, |_| false).unwrap().holds());
        let empty = TokenFigures { balance: 49, ..figures(50, &sent, &[]) };
        assert!(!empty.sum(EscrowOwed { liabilities: 0, withdrawn: 0 }, |_| false).unwrap().holds());
    }
}
