use keel_types::Ts;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A start-up clock this far ahead of the journal's last record needs the operator: a year-off clock would expire everything.
const AHEAD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Journal time: a monotonic clock anchored to wall time once, at start. Wall-clock steps never enter it. [DESIGN, Determinism]
pub struct Clock {
    anchor_wall: u64,
    anchor: Instant,
    /// The last time given out.
    last: AtomicU64,
}

/// The start-up clock cannot be trusted against the journal.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    #[error(
        "start the journal clock: wall time is {behind_ms} ms behind the last record; set the clock, or start with --accept-clock"
    )]
    Behind { behind_ms: u64 },
    #[error(
        "start the journal clock: wall time is {ahead_s} s ahead of the last record; check the clock, then start with --accept-clock"
    )]
    Ahead { ahead_s: u64 },
}

impl Clock {
    /// Anchors to the wall clock, which must not be behind `last` nor implausibly ahead of it, unless the operator accepts it.
    pub fn start(last: Option<Ts>, accept: bool) -> Result<Clock, ClockError> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let last_ts = last.unwrap_or(Ts(0)).0;
        if !accept && last.is_some() {
            if wall < last_ts {
                return Err(ClockError::Behind { behind_ms: (last_ts - wall) / 1_000_000 });
            }
            if wall - last_ts > AHEAD_MAX.as_nanos() as u64 {
                return Err(ClockError::Ahead { ahead_s: (wall - last_ts) / 1_000_000_000 });
            }
        }
        Ok(Clock { anchor_wall: wall, anchor: Instant::now(), last: AtomicU64::new(last_ts) })
    }

    /// The present, without advancing anything.
    pub fn now(&self) -> Ts {
        let elapsed = self.anchor.elapsed().as_nanos() as u64;
        Ts((self.anchor_wall + elapsed).max(self.last.load(Ordering::Acquire)))
    }

    /// The time of the next record: later than every record before. Only the sequencer calls this.
    pub(crate) fn next(&self) -> Ts {
        let last = self.last.load(Ordering::Acquire);
        let ts = self.now().0.max(last + 1);
        self.last.store(ts, Ordering::Release);
        Ts(ts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_only_moves_forward() {
        let clock = Clock::start(None, false).unwrap();
        let times: Vec<Ts> = (0..1000).map(|_| clock.next()).collect();
        assert!(times.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn a_clock_behind_the_journal_needs_the_operator() {
        let future = Ts(Clock::start(None, false).unwrap().now().0 + 3_600_000_000_000);
        assert!(matches!(Clock::start(Some(future), false), Err(ClockError::Behind { .. })));
        let accepted = Clock::start(Some(future), true).unwrap();
        assert!(accepted.next() > future);
    }

    #[test]
    fn a_clock_implausibly_ahead_needs_the_operator() {
        assert!(matches!(Clock::start(Some(Ts(1)), false), Err(ClockError::Ahead { .. })));
    }
}
