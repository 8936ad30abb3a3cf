use super::signed::Terms;
use crate::Engine;
use keel_types::*;

impl Engine {
    /// Debits here; the withdrawal is a message to the settlement layer, claimable once its batch is confirmed.
    pub(crate) fn withdraw(&mut self, c: &Withdraw) {
        self.signed(&c.signed, Terms::OTHER, |engine, account| engine.withdraw_from(c, account));
    }

    fn withdraw_from(&mut self, c: &Withdraw, account: u32) -> Result<OutcomeResult, Reject> {
        if self.now.phase.phase < Phase::Spot {
            return Err(Reject::PhaseForbids);
        }
        let spec = self.rules.genesis.asset(c.asset).ok_or(Reject::UnknownAsset)?;
        let (token, unit) = (spec.token, i128::from(spec.quantums_per_l1_unit));
        if c.amount.0 <= 0 {
            return Err(Reject::AmountNotPositive);
        }
        if c.amount.0 % unit != 0 {
            return Err(Reject::AmountNotWithdrawable);
        }
        // To what is no address there, or to itself, the bridge pays nothing: the message would stay on the core contract for good.
        let settlement = &self.rules.genesis.settlement;
        if !settlement.layer.admits(c.recipient) || c.recipient == settlement.bridge {
            return Err(Reject::BadRecipient);
        }
        self.may_take_out(account, c.asset, c.amount.0)?;

        self.holdings.edit(account).credit(c.asset, -c.amount.0);
        self.checkpoint();
        self.totals.edit(u32::from(c.asset.0)).withdrawn += c.amount.0;
        self.now.withdrawals += 1;
        let id = self.now.withdrawals;
        self.plan.events.push(Event::Withdrawn(Withdrawal {
            id,
            account: c.signed.account,
            asset: c.asset,
            amount: c.amount,
            l1_amount: u128::try_from(c.amount.0 / unit).expect("a positive amount"),
            token,
            recipient: c.recipient,
            hash: c.signed.hash,
        }));
        Ok(OutcomeResult::Withdrawn { id })
    }

    /// Whether this much of an asset may leave the account, by withdrawal or transfer. [spec exchange, Perpetuals; Oracle]
    pub(super) fn may_take_out(&self, account: u32, asset: AssetId, amount: i128) -> Result<(), Reject> {
        if self.is_held_back(account) {
            return Err(Reject::MarketHeld);
        }
        if amount > self.holdings.get(account).balance(asset).available() {
            return Err(Reject::InsufficientBalance);
        }
        if asset == QUOTE && amount > self.withdrawable(account) {
            return Err(Reject::InsufficientMargin);
        }
        // Base counts as zero in margin, but an account that owes does not carry it away.
        if asset != QUOTE && !self.may_add_risk(account) {
            return Err(Reject::InsufficientMargin);
        }
        Ok(())
    }
}
