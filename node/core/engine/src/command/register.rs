use super::signed::{Admission, Terms};
use crate::Engine;
use keel_ledger::Holdings;
use keel_types::*;

impl Engine {
    /// Binds an address to a key. Ingress has derived the address from the template. [spec exchange, Accounts and keys]
    ///
    /// Allowed from SPOT on, the first phase in which an account can do anything.
    pub(crate) fn register(&mut self, c: &Register) {
        let account = self.accounts.find(&c.signed.account);
        match self.admission(account, &c.signed, Terms::OTHER) {
            Admission::Replayed(outcome) => self.replayed(&c.signed, outcome),
            Admission::Refused(reject) => self.refuse(&c.signed, reject),
            // An unknown address has no nonces yet; a registration that fails does not create the account.
            Admission::Fresh if account.is_none() && self.now.phase.phase < Phase::Spot => {
                self.refuse(&c.signed, Reject::PhaseForbids);
            }
            Admission::Fresh => {
                let account = account.unwrap_or_else(|| self.stage_account(c.signed.account));
                self.conclude(account, &c.signed, Terms::OTHER, |engine, account| engine.register_key(c, account));
            }
        }
    }

    fn register_key(&mut self, c: &Register, account: u32) -> Result<OutcomeResult, Reject> {
        if self.now.phase.phase < Phase::Spot {
            return Err(Reject::PhaseForbids);
        }
        if account < self.accounts.len() && self.accounts.get(account).key.is_some() {
            return Err(Reject::AlreadyRegistered);
        }
        self.plan.key = Some((account, c.key, c.template));
        self.plan.events.push(Event::Registered { account: c.signed.account, key: c.key, template: c.template });
        Ok(OutcomeResult::Registered)
    }

    /// A new account, not yet registered; at most one per command.
    pub(super) fn stage_account(&mut self, address: Address) -> u32 {
        assert!(self.plan.account_new.is_none(), "a command creates one account at most");
        self.plan.account_new = Some(address);
        self.holdings.add(Holdings::new(self.rules.genesis.assets.len(), self.rules.genesis.markets.len()))
    }
}
