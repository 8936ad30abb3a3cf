use super::signed::Terms;
use crate::Engine;
use keel_types::*;

impl Engine {
    /// Moves an amount to another account here, under the limits of a withdrawal. An address seen for the first time gets an account, as
    /// with a deposit. [spec exchange, Accounts and keys]
    pub(crate) fn transfer(&mut self, c: &Transfer) {
        self.signed(&c.signed, Terms::OTHER, |engine, account| engine.transfer_from(c, account));
    }

    fn transfer_from(&mut self, c: &Transfer, account: u32) -> Result<OutcomeResult, Reject> {
        if self.now.phase.phase < Phase::Spot {
            return Err(Reject::PhaseForbids);
        }
        if account == self.fee_account || account == self.insurance_account {
            return Err(Reject::AccountReserved);
        }
        let recipient = c.recipient.0;
        if recipient == Felt::ZERO || recipient >= address_bound() || c.recipient == c.signed.account {
            return Err(Reject::BadRecipient);
        }
        if self.rules.genesis.asset(c.asset).is_none() {
            return Err(Reject::UnknownAsset);
        }
        if c.amount.0 <= 0 {
            return Err(Reject::AmountNotPositive);
        }
        self.may_take_out(account, c.asset, c.amount.0)?;

        let recipient = match self.accounts.find(&c.recipient) {
            Some(recipient) => recipient,
            None => self.stage_account(c.recipient),
        };
        self.holdings.edit(account).credit(c.asset, -c.amount.0);
        self.checkpoint();
        self.holdings.edit(recipient).credit(c.asset, c.amount.0);
        self.plan.events.push(Event::Transferred {
            account: c.signed.account,
            recipient: c.recipient,
            asset: c.asset,
            amount: c.amount,
            hash: c.signed.hash,
        });
        Ok(OutcomeResult::Transferred)
    }
}
