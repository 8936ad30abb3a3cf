use crate::Engine;
use keel_types::*;

impl Engine {
    /// Credits a final message of the bridge, once. [spec settlement, Messages and money]
    ///
    /// HALTED credits nothing: the node offers the message again from READ_ONLY on. What can never be credited is refused, stays on the
    /// settlement contract and is refundable there.
    pub(crate) fn deposit(&mut self, c: &Deposit) {
        if self.now.phase.phase == Phase::Halted {
            return self.refuse_system(Reject::PhaseForbids);
        }
        if self.messages.contains(c.message_nonce) {
            return self.refuse_system(Reject::DepositAlreadyConsumed);
        }
        match self.deposit_amount(c) {
            Ok((asset, amount)) => self.credit_deposit(c, asset, amount),
            Err(reject) => self.plan.events.push(Event::DepositRefused { message_nonce: c.message_nonce, reject }),
        }
    }

    /// Asset and quantums of a message; the reason when it cannot be credited.
    fn deposit_amount(&self, c: &Deposit) -> Result<(AssetId, i128), Reject> {
        let asset = self.rules.genesis.asset_of_token(c.token).ok_or(Reject::UnknownAsset)?;
        let spec = self.rules.genesis.asset(asset).ok_or(Reject::UnknownAsset)?;
        if c.recipient.0 == Felt::ZERO || c.recipient.0 >= address_bound() {
            return Err(Reject::BadRecipient);
        }
        if c.amount == 0 {
            return Err(Reject::AmountNotPositive);
        }
        let quantums =
            i128::try_from(c.amount).ok().and_then(|amount| amount.checked_mul(i128::from(spec.quantums_per_l1_unit)));
        let amount = quantums.filter(|amount| *amount <= spec.deposit_max.0).ok_or(Reject::DepositRefused)?;
        Ok((asset, amount))
    }

    fn credit_deposit(&mut self, c: &Deposit, asset: AssetId, amount: i128) {
        let account = match self.accounts.find(&c.recipient) {
            Some(account) => account,
            None => self.stage_account(c.recipient),
        };
        self.holdings.edit(account).credit(asset, amount);
        self.checkpoint();
        self.totals.edit(u32::from(asset.0)).deposited += amount;
        self.plan.message_consumed = Some(c.message_nonce);
        self.plan.events.push(Event::Deposited {
            account: c.recipient,
            asset,
            amount: Amount(amount),
            message_nonce: c.message_nonce,
        });
    }
}
