use super::signed::{Scope, Terms};
use crate::Engine;
use crate::accounts::SessionKey;
use keel_types::*;

/// Session keys of one account that may sign at a time: a desk's bots, each with its own.
const SESSION_KEYS_LIVE_MAX: usize = 32;

impl Engine {
    /// Lets a key trade for the account, or replaces its terms; a revoked key may come back. From SPOT on, as registration.
    /// [spec exchange, Accounts and keys]
    pub(crate) fn grant_session_key(&mut self, c: &GrantSessionKey) {
        self.signed(&c.signed, Terms::OTHER, |engine, account| {
            if engine.now.phase.phase < Phase::Spot {
                return Err(Reject::PhaseForbids);
            }
            engine.check_grant(c, account)?;
            let session = SessionKey { terms: c.terms.clone(), revoked: Seq(0) };
            engine.plan.session = Some((account, c.key, session));
            engine.plan.events.push(Event::SessionKeySet { account: c.signed.account, key: c.key, terms: c.terms.clone() });
            Ok(OutcomeResult::SessionKeySet)
        });
    }

    /// The key zero means "the main key", and the main key itself is bound by no terms: neither can be a session key.
    fn check_grant(&self, c: &GrantSessionKey, account: u32) -> Result<(), Reject> {
        let owner = self.accounts.get(account);
        if c.key == StarkKey::default() || owner.key.is_some_and(|(main, _)| main == c.key) {
            return Err(Reject::SessionKeyForbidden);
        }
        if c.terms.expiry <= self.now.ts {
            return Err(Reject::BadExpiry);
        }
        if c.terms.markets.iter().any(|market| self.rules.genesis.market(*market).is_none()) {
            return Err(Reject::UnknownMarket);
        }
        // The chain stores the bound in 64 bits.
        let bound = c.terms.max_order_notional.0;
        let rising = c.terms.markets.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || bound < 0 || bound > i128::from(u64::MAX) {
            return Err(Reject::InconsistentFields);
        }
        let key = c.key.0.to_bytes_be();
        let others = owner.session_keys.iter().filter(|(other, session)| **other != key && session.is_live(self.now.ts));
        if others.count() >= SESSION_KEYS_LIVE_MAX {
            return Err(Reject::TooManySessionKeys);
        }
        Ok(())
    }

    /// Ends a session key, from this sequence number on. From READ_ONLY on: whoever lost a key must not wait for trading.
    /// [spec safe-mode, Reopening]
    pub(crate) fn revoke_session_key(&mut self, c: &RevokeSessionKey) {
        self.signed(&c.signed, Terms::OTHER, |engine, account| {
            if engine.now.phase.phase < Phase::ReadOnly {
                return Err(Reject::PhaseForbids);
            }
            let session = engine.accounts.get(account).session_key(&c.key);
            let session = session.filter(|session| session.revoked == Seq(0)).ok_or(Reject::UnknownSessionKey)?;
            let seq = engine.now.seq;
            engine.plan.session = Some((account, c.key, SessionKey { terms: session.terms.clone(), revoked: seq }));
            engine.plan.events.push(Event::SessionKeyRevoked { account: c.signed.account, key: c.key, seq });
            Ok(OutcomeResult::SessionKeyRevoked)
        });
    }

    /// Logs a WebSocket in: uses up the message's nonce, and changes nothing else. In every phase.
    pub(crate) fn open_session(&mut self, c: &OpenSession) {
        self.signed(&c.signed, Terms::ORDER, |engine, account| {
            engine.session_allows(&c.signed, account, Scope::AllMarkets)?;
            engine.plan.events.push(Event::SessionOpened { account: c.signed.account, hash: c.signed.hash });
            Ok(OutcomeResult::SessionOpened)
        });
    }
}
