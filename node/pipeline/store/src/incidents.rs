//! What the journal knows of incidents: their steps, what they cancelled, and who lost what. Never forgotten.
//!
//! | table | key | value |
//! |---|---|---|
//! | `incidents` | incident | [`IncidentRow`] |
//! | `incident_steps` | incident, seq, index | [`IncidentStep`] |
//! | `incident_accounts` | incident, account | [`AccountLoss`] |
//! | `incident_fills` | account, incident, seq, market, trade | [`TradeRow`], one row for each party |
//!
//! The last fills before an incident are kept here beside history, which forgets them.

use crate::cancelled::is_cancelled_by_safe_mode;
use crate::error::StoreError;
use crate::history::{FillRow, HistoryPage, TradeRow};
use crate::keys::{INCIDENT_ACCOUNTS, INCIDENT_FILLS, INCIDENT_STEPS, INCIDENTS, Key, TRADES};
use crate::store::{Batch, Store, borsh_vec, corrupt, decode};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::*;
use std::collections::BTreeMap;

/// A fill may be unknown to its owners when its record is at most this much older than the last record before `EnterSafeMode`: a client
/// waits that long for an answer, and what it has not received by then it must ask for.
pub const UNHEARD_FILLS_MS: u64 = 10_000;
/// Such fills of one market that are kept for one `EnterSafeMode`, the newest. A market that trades more in ten seconds has them in history.
pub const UNHEARD_FILLS_PER_MARKET_MAX: usize = 10_000;
/// Steps of an incident that one read gives, the newest: an incident that is entered again and again has more.
pub const INCIDENT_STEPS_MAX: usize = 500;

/// An incident, as the journal tells it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct IncidentRow {
    pub incident: IncidentId,
    /// Of every safe-mode record of it.
    pub reasons: LossReasons,
    /// When the first loss was observed, in journal time.
    pub observed_ts: Ts,
    /// Of the first safe-mode record.
    pub seq: Seq,
    pub ts: Ts,
    /// Of the last one: a loss during reopening enters it again.
    pub entered_seq: Seq,
    pub entered_ts: Ts,
    /// Where it is now; OPEN when it is over.
    pub phase: Phase,
    /// When it was over.
    pub ended: Option<(Seq, Ts)>,
    /// Hash of the integrity report that opened SPOT last; zero until then.
    pub integrity_report: Bytes32,
    /// Orders that were cancelled, by market; only markets with any.
    pub cancelled: BTreeMap<MarketId, u32>,
    /// Accounts that have an [`AccountLoss`].
    pub accounts: u32,
    /// Fills that their owners may not have heard of.
    pub fills: u32,
    /// Whether there were more than are kept.
    pub fills_cut: bool,
    /// Rows in `incident_steps`.
    pub steps: u32,
    /// Nanoseconds in which no market took an order (HALTED and READ_ONLY), up to `closed_since`.
    pub closed_ns: u64,
    /// Since when none does now; `None` when some do.
    pub closed_since: Option<Ts>,
}

impl IncidentRow {
    /// Orders that were cancelled, in all markets.
    pub fn cancelled_count(&self) -> u64 {
        self.cancelled.values().map(|count| u64::from(*count)).sum()
    }

    /// Milliseconds in which no market took an order, up to `now`.
    pub fn closed_ms(&self, now: Ts) -> u64 {
        let running = self.closed_since.map_or(0, |since| now.0.saturating_sub(since.0));
        (self.closed_ns + running) / 1_000_000
    }
}

/// A step of an incident.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct IncidentStep {
    pub incident: IncidentId,
    pub seq: Seq,
    /// Journal time.
    pub ts: Ts,
    pub what: StepKind,
}

/// What happened in a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum StepKind {
    /// `EnterSafeMode` was executed: `reasons` of this record alone, and how many orders it cancelled.
    Entered { reasons: LossReasons, observed_ts: Ts, cancelled: u32 },
    /// `integrity_report`: hash of the one that opened the phase, else zero.
    Phase { from: Phase, to: Phase, integrity_report: Bytes32 },
    /// An operator's word that it may go on.
    Resumed { operator: u8 },
}

impl IncidentStep {
    /// The steps that a command was.
    pub fn of(executed: &Executed, ts: Ts) -> impl Iterator<Item = IncidentStep> + '_ {
        let seq = executed.seq;
        executed.events.iter().filter_map(move |event| {
            let (incident, what) = match (event, &executed.command) {
                (Event::SafeModeEntered { incident, cancelled, .. }, Command::EnterSafeMode(entered)) => {
                    let EnterSafeMode { reasons, observed_ts, .. } = *entered;
                    (*incident, StepKind::Entered { reasons, observed_ts, cancelled: *cancelled })
                }
                (Event::PhaseChanged { incident, from, to }, command) => {
                    let integrity_report = match command {
                        Command::SetPhase(set) => set.integrity_report,
                        _ => Bytes32::default(),
                    };
                    (*incident, StepKind::Phase { from: *from, to: *to, integrity_report })
                }
                (Event::Resumed { incident, operator }, _) => (*incident, StepKind::Resumed { operator: *operator }),
                _ => return None,
            };
            Some(IncidentStep { incident, seq, ts, what })
        })
    }
}

/// What an incident took from an account.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct AccountLoss {
    /// Orders that were cancelled, by market; only markets with any.
    pub cancelled: BTreeMap<MarketId, u32>,
    /// Fills that it may not have heard of, see [`UNHEARD_FILLS_MS`].
    pub fills: u32,
}

/// See [`AccountLoss`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountLossRow {
    pub account: Address,
    pub loss: AccountLoss,
}

/// What one record changes of incidents; held back, for a later command of the record may change it again.
#[derive(Default)]
pub(crate) struct Pending {
    rows: BTreeMap<IncidentId, IncidentRow>,
    losses: BTreeMap<(IncidentId, Address), AccountLoss>,
}

impl Pending {
    /// Takes a command. `before`: time of the last record before this one.
    pub(crate) fn add(
        &mut self,
        store: &Store,
        batch: &mut Batch<'_>,
        executed: &Executed,
        ts: Ts,
        before: Ts,
    ) -> Result<(), StoreError> {
        for (index, step) in (0..).zip(IncidentStep::of(executed, ts)) {
            let known = match self.rows.remove(&step.incident) {
                Some(row) => Some(row),
                None => store.incident(step.incident)?,
            };
            let mut row = match (known, step.what) {
                (Some(row), _) => row,
                (None, StepKind::Entered { observed_ts, .. }) => IncidentRow::first(&step, observed_ts),
                // A phase without an incident: genesis.
                (None, _) => continue,
            };
            if let StepKind::Entered { .. } = step.what {
                self.cancelled(store, &mut row, executed)?;
                self.unheard(store, batch, &mut row, before)?;
            }
            row.take(&step);
            batch.put(INCIDENT_STEPS, Key::new().u32(step.incident.0).u64(step.seq.0).u32(index), borsh_vec(&step));
            self.rows.insert(step.incident, row);
        }
        Ok(())
    }

    fn cancelled(&mut self, store: &Store, row: &mut IncidentRow, executed: &Executed) -> Result<(), StoreError> {
        let updates = executed.events.iter().filter_map(|event| match event {
            Event::Order(update) if is_cancelled_by_safe_mode(update) => Some(update),
            _ => None,
        });
        for update in updates {
            *row.cancelled.entry(update.market).or_default() += 1;
            *self.loss(store, row, update.account)?.cancelled.entry(update.market).or_default() += 1;
        }
        Ok(())
    }

    /// The last fills before the record. What an earlier record of the incident has already is not kept again.
    fn unheard(
        &mut self,
        store: &Store,
        batch: &mut Batch<'_>,
        row: &mut IncidentRow,
        before: Ts,
    ) -> Result<(), StoreError> {
        let from = Ts(before.0.saturating_sub(UNHEARD_FILLS_MS * 1_000_000));
        // A first record has nothing before it in the incident.
        let after = if row.steps == 0 { Seq(0) } else { row.entered_seq };
        let mut market = store.last_market_traded(None)?;
        while let Some(at) = market {
            let prefix = Key::new().u16(at.0);
            let newest = store.scan_down(TRADES, prefix.as_ref(), Key::new().u16(at.0).u64(u64::MAX).as_ref());
            for (kept, found) in newest.enumerate() {
                let (key, value) = found?;
                let trade: TradeRow = decode(TRADES, &key, &value)?;
                if trade.ts < from || trade.seq <= after {
                    break;
                }
                if kept == UNHEARD_FILLS_PER_MARKET_MAX {
                    row.fills_cut = true;
                    break;
                }
                row.fills += 1;
                for party in [&trade.fill.maker, &trade.fill.taker] {
                    let place = Key::new().felt(&party.account.0).u32(row.incident.0);
                    batch.put(INCIDENT_FILLS, place.u64(trade.seq.0).u16(at.0).u64(trade.fill.trade.0), &value);
                    self.loss(store, row, party.account)?.fills += 1;
                }
            }
            market = store.last_market_traded(Some(at))?;
        }
        Ok(())
    }

    fn loss(&mut self, store: &Store, row: &mut IncidentRow, account: Address) -> Result<&mut AccountLoss, StoreError> {
        use std::collections::btree_map::Entry;
        match self.losses.entry((row.incident, account)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let known = store.incident_account(row.incident, account)?;
                row.accounts += u32::from(known.is_none());
                Ok(place.insert(known.unwrap_or_default()))
            }
        }
    }

    pub(crate) fn finish(self, batch: &mut Batch<'_>) {
        for (incident, row) in &self.rows {
            batch.put(INCIDENTS, Key::new().u32(incident.0), borsh_vec(row));
        }
        for ((incident, account), loss) in &self.losses {
            batch.put(INCIDENT_ACCOUNTS, Key::new().u32(incident.0).felt(&account.0), borsh_vec(loss));
        }
    }
}

impl IncidentRow {
    fn first(step: &IncidentStep, observed_ts: Ts) -> IncidentRow {
        IncidentRow {
            incident: step.incident,
            reasons: LossReasons::default(),
            observed_ts,
            seq: step.seq,
            ts: step.ts,
            entered_seq: step.seq,
            entered_ts: step.ts,
            phase: Phase::Halted,
            ended: None,
            integrity_report: Bytes32::default(),
            cancelled: BTreeMap::new(),
            accounts: 0,
            fills: 0,
            fills_cut: false,
            steps: 0,
            closed_ns: 0,
            closed_since: None,
        }
    }

    fn take(&mut self, step: &IncidentStep) {
        self.steps += 1;
        match step.what {
            StepKind::Entered { reasons, .. } => {
                self.reasons = self.reasons.with(reasons);
                (self.entered_seq, self.entered_ts) = (step.seq, step.ts);
                self.phase = Phase::Halted;
                self.closed_since = self.closed_since.or(Some(step.ts));
            }
            StepKind::Phase { to, integrity_report, .. } => {
                self.phase = to;
                if integrity_report != Bytes32::default() {
                    self.integrity_report = integrity_report;
                }
                if !matches!(to, Phase::Halted | Phase::ReadOnly)
                    && let Some(since) = self.closed_since.take()
                {
                    self.closed_ns += step.ts.0.saturating_sub(since.0);
                }
                if to == Phase::Open {
                    self.ended = Some((step.seq, step.ts));
                }
            }
            StepKind::Resumed { .. } => {}
        }
    }
}

impl Store {
    /// An incident by its number.
    ///
    /// # Errors
    /// The database.
    pub fn incident(&self, incident: IncidentId) -> Result<Option<IncidentRow>, StoreError> {
        self.get(INCIDENTS, Key::new().u32(incident.0))
    }

    /// Incidents, newest first.
    ///
    /// # Errors
    /// The database.
    pub fn incidents(&self, next: Option<&[u8]>, limit: usize) -> Result<HistoryPage<IncidentRow>, StoreError> {
        self.page(INCIDENTS, Key::new(), next, limit, |key, value| decode(INCIDENTS, key, value).map(Some))
    }

    /// The last [`INCIDENT_STEPS_MAX`] steps of an incident, oldest first.
    ///
    /// # Errors
    /// The database.
    pub fn incident_steps(&self, incident: IncidentId) -> Result<Vec<IncidentStep>, StoreError> {
        let prefix = Key::new().u32(incident.0);
        let to = Key::new().u32(incident.0).u64(u64::MAX).u32(u32::MAX);
        let rows = self.scan_down(INCIDENT_STEPS, prefix.as_ref(), to.as_ref()).take(INCIDENT_STEPS_MAX);
        let steps = rows.map(|row| row.and_then(|(key, value)| decode(INCIDENT_STEPS, &key, &value)));
        let mut steps: Vec<IncidentStep> = steps.collect::<Result<_, _>>()?;
        steps.reverse();
        Ok(steps)
    }

    /// What an incident took from an account; `None` if it lost neither an order nor a word of a fill.
    ///
    /// # Errors
    /// The database.
    pub fn incident_account(&self, incident: IncidentId, account: Address) -> Result<Option<AccountLoss>, StoreError> {
        self.get(INCIDENT_ACCOUNTS, Key::new().u32(incident.0).felt(&account.0))
    }

    /// What an incident took from each account, by address, the highest first.
    ///
    /// # Errors
    /// The database.
    pub fn incident_accounts(
        &self,
        incident: IncidentId,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<AccountLossRow>, StoreError> {
        self.page(INCIDENT_ACCOUNTS, Key::new().u32(incident.0), next, limit, |key, value| {
            let account = Address(crate::state::felt(INCIDENT_ACCOUNTS, key.get(4..).unwrap_or_default())?);
            Ok(Some(AccountLossRow { account, loss: decode(INCIDENT_ACCOUNTS, key, value)? }))
        })
    }

    /// Fills of an account before an incident that it may not have heard of, newest first.
    ///
    /// # Errors
    /// The database.
    pub fn incident_fills(
        &self,
        account: Address,
        incident: IncidentId,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<FillRow>, StoreError> {
        self.page(INCIDENT_FILLS, Key::new().felt(&account.0).u32(incident.0), next, limit, |key, value| {
            let row: TradeRow = decode(INCIDENT_FILLS, key, value)?;
            row.side_of_account(account).map(Some).ok_or_else(|| corrupt(INCIDENT_FILLS, key, "a trade of others"))
        })
    }

    /// The highest market with a trade, below `below` if it is given.
    fn last_market_traded(&self, below: Option<MarketId>) -> Result<Option<MarketId>, StoreError> {
        // The key of a market alone stands before all of its trades.
        let to = below.map_or(Key::new().u64(u64::MAX).u64(u64::MAX), |market| Key::new().u16(market.0));
        let Some((key, _)) = self.last_at(TRADES, &[], to.as_ref())? else { return Ok(None) };
        let market = key.first_chunk().ok_or_else(|| corrupt(TRADES, &key, "too short"))?;
        Ok(Some(MarketId(u16::from_be_bytes(*market))))
    }
}
