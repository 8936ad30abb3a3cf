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
}

impl Terms {
    pub const ORDER: Terms = Terms { cancel: false, ahead_ms_max: VALID_UNTIL_AHEAD_ORDER_MS_MAX };
    pub const CANCEL: Terms = Terms { cancel: true, ahead_ms_max: VALID_UNTIL_AHEAD_ORDER_MS_MAX };
    pub const OTHER: Terms = Terms { cancel: false, ahead_ms_max: VALID_UNTIL_AHEAD_OTHER_MS_MAX };
}

impl Engine {
    /// Runs the body of a registered account's message, under the nonce rules. [spec exchange, Signing: Replay]
    ///
    /// A message that gets here uses up its nonce whatever becomes of it, except when it is refused for its account
    /// (UNKNOWN_ACCOUNT), its time (EXPIRED, VALID_UNTIL_TOO_FAR) or its nonce itself (NONCE_USED, NONCE_WINDOW_FULL).
    pub(super) fn signed(
        &mut self,
        signed: &Signed,
        terms: Terms,
        body: impl FnOnce(&mut Engine, u32) -> Result<OutcomeResult, Reject>,
    ) {
        let account = self.accounts.find(&signed.account).filter(|index| self.accounts.get(*index).key.is_some());
        let Some(account) = account else { return self.refuse(signed, Reject::UnknownAccount) };
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

    /// A command whose rules are not there yet.
    pub(crate) fn not_supported(&mut self, command: &Command) {
        match command.signed() {
            Some(signed) => self.signed(signed, Terms::ORDER, |_, _| Err(Reject::UnsupportedType)),
            None => self.refuse_system(Reject::UnsupportedType),
        }
    }
}
