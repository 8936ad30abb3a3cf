use crate::Engine;
use crate::accounts::NonceEntry;
use keel_types::*;

/// What is known of a signed message before its body is looked at.
pub(super) enum Admission {
    /// Goes on.
    Fresh,
    /// The identical message came before.
    Replayed(Outcome),
    /// Its nonce is not used up.
    Refused(Reject),
}

/// Which share of an account's nonces a message counts in, and how far ahead its time may lie.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub cancel: bool,
    pub ahead_ms_max: u64,
    /// Whether a session key may sign it.
    pub session_key: bool,
}

/// What a message reaches, as far as a session key's scope goes.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    /// An order of this notional, quote quantums.
    Order(MarketId, i128),
    Market(MarketId),
    /// Orders in any market.
    AllMarkets,
}

impl Terms {
    pub const ORDER: Terms = Terms { cancel: false, ahead_ms_max: VALID_UNTIL_AHEAD_ORDER_MS_MAX, session_key: true };
    pub const CANCEL: Terms = Terms { cancel: true, ahead_ms_max: VALID_UNTIL_AHEAD_ORDER_MS_MAX, session_key: true };
    /// What it places are orders, so a session key may; it may be signed long before the phase allows it. [spec exchange, Two times]
    pub const RESTORE: Terms = Terms { cancel: false, ahead_ms_max: VALID_UNTIL_AHEAD_OTHER_MS_MAX, session_key: true };
    pub const OTHER: Terms = Terms { cancel: false, ahead_ms_max: VALID_UNTIL_AHEAD_OTHER_MS_MAX, session_key: false };
}

impl Engine {
    /// Runs the body of a registered account's message, under the nonce rules. [spec exchange, Signing: Replay]
    ///
    /// A message that gets here uses up its nonce whatever becomes of it, except when it is refused for its account
    /// (UNKNOWN_ACCOUNT), the key that signed it (UNKNOWN_SESSION_KEY, SESSION_KEY_EXPIRED, SESSION_KEY_FORBIDDEN: else anybody with
    /// a key of their own could use up another's nonces), its time (EXPIRED, VALID_UNTIL_TOO_FAR) or its nonce itself (NONCE_USED,
    /// NONCE_WINDOW_FULL).
    pub(super) fn signed(
        &mut self,
        signed: &Signed,
        terms: Terms,
        body: impl FnOnce(&mut Engine, u32) -> Result<OutcomeResult, Reject>,
    ) {
        let Some(account) = self.accounts.registered(&signed.account) else {
            return self.refuse(signed, Reject::UnknownAccount);
        };
        match self.admission(Some(account), signed, terms) {
            Admission::Fresh => self.conclude(account, signed, terms, body),
            Admission::Replayed(outcome) => self.replayed(signed, outcome),
            Admission::Refused(reject) => self.refuse(signed, reject),
        }
    }

    /// Runs a body and records its outcome with the nonce; what a refused body staged is dropped.
    pub(super) fn conclude(
        &mut self,
        account: u32,
        signed: &Signed,
        terms: Terms,
        body: impl FnOnce(&mut Engine, u32) -> Result<OutcomeResult, Reject>,
    ) {
        self.checkpoint();
        let (seq, ts) = (self.now.seq, self.now.ts);
        let result = body(self, account).unwrap_or_else(|reject| {
            self.begin(seq, ts);
            self.plan.events.push(Event::Rejected {
                account: signed.account,
                hash: signed.hash,
                reject,
                nonce_consumed: true,
            });
            OutcomeResult::Rejected(reject)
        });
        let entry = NonceEntry {
            hash: signed.hash,
            valid_until: signed.valid_until,
            cancel: terms.cancel,
            outcome: Outcome { seq, ts, result },
        };
        self.plan.nonce = Some((account, signed.nonce, entry));
    }

    /// The nonce and time rules. The nonce comes first: an identical message gets its outcome even when its time has passed.
    pub(super) fn admission(&self, account: Option<u32>, signed: &Signed, terms: Terms) -> Admission {
        let nonces = account.map(|account| &self.accounts.get(account).nonces);
        if let Some(entry) = nonces.and_then(|nonces| nonces.get(signed.nonce)) {
            return match entry.hash == signed.hash {
                true => Admission::Replayed(entry.outcome),
                false => Admission::Refused(Reject::NonceUsed),
            };
        }
        if let Err(reject) = self.check_session_key(account, signed, terms) {
            return Admission::Refused(reject);
        }
        if signed.valid_until < self.now.ts {
            return Admission::Refused(Reject::Expired);
        }
        if signed.valid_until > self.now.ts.plus_ms(terms.ahead_ms_max) {
            return Admission::Refused(Reject::ValidUntilTooFar);
        }
        let limit = self.rules.genesis.limits.nonces_per_account;
        if nonces.is_some_and(|nonces| nonces.live(terms.cancel) >= limit) {
            return Admission::Refused(Reject::NonceWindowFull);
        }
        Admission::Fresh
    }

    pub(super) fn refuse(&mut self, signed: &Signed, reject: Reject) {
        let event = Event::Rejected { account: signed.account, hash: signed.hash, reject, nonce_consumed: false };
        self.plan.events.push(event);
    }

    pub(super) fn replayed(&mut self, signed: &Signed, outcome: Outcome) {
        self.plan.events.push(Event::Replayed { account: signed.account, hash: signed.hash, outcome });
    }

    /// A command of the node itself is refused.
    pub(super) fn refuse_system(&mut self, reject: Reject) {
        self.plan.events.push(Event::SystemRejected { reject });
    }

    /// Whether the key that signed may sign this kind of message now: the main key any, a session key some.
    fn check_session_key(&self, account: Option<u32>, signed: &Signed, terms: Terms) -> Result<(), Reject> {
        if signed.session_key == StarkKey::default() {
            return Ok(());
        }
        let session = account.and_then(|account| self.accounts.get(account).session_key(&signed.session_key));
        let session = session.filter(|session| session.revoked == Seq(0)).ok_or(Reject::UnknownSessionKey)?;
        if !session.is_live(self.now.ts) {
            return Err(Reject::SessionKeyExpired);
        }
        if !terms.session_key {
            return Err(Reject::SessionKeyForbidden);
        }
        Ok(())
    }

    /// Whether the key that signed may reach that far. A key bound to markets does nothing that reaches into others: no cancel of all
    /// orders, no dead man's switch, no log-in, whose cancels are unsigned.
    pub(super) fn session_allows(&self, signed: &Signed, account: u32, scope: Scope) -> Result<(), Reject> {
        if signed.session_key == StarkKey::default() {
            return Ok(());
        }
        let session = self.accounts.get(account).session_key(&signed.session_key);
        let terms = &session.expect("checked on admission").terms;
        let market_allowed = |market| terms.markets.is_empty() || terms.markets.contains(&market);
        let allowed = match scope {
            Scope::AllMarkets => terms.markets.is_empty(),
            Scope::Market(market) => market_allowed(market),
            Scope::Order(market, notional) => {
                let bound = terms.max_order_notional.0;
                market_allowed(market) && (bound == 0 || notional <= bound)
            }
        };
        if allowed { Ok(()) } else { Err(Reject::SessionKeyScope) }
    }
}
