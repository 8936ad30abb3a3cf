use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Signs of life of the loop, which the guard reads without asking it.
pub struct Vitals {
    start: Instant,
    /// When the last turn began, in ms since `start`.
    turn: AtomicU64,
    /// When the append that is under way began, in ms since `start` and one more; 0: none is.
    append: AtomicU64,
}

impl Default for Vitals {
    fn default() -> Vitals {
        Vitals { start: Instant::now(), turn: AtomicU64::new(0), append: AtomicU64::new(0) }
    }
}

impl Vitals {
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn since(&self, then: u64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(then))
    }

    /// A turn of the loop begins.
    pub(crate) fn turn(&self) {
        self.turn.store(self.now(), Ordering::Release);
    }

    /// Does an append.
    pub(crate) fn appending<T>(&self, append: impl FnOnce() -> T) -> T {
        self.append.store(self.now() + 1, Ordering::Release);
        let appended = append();
        self.append.store(0, Ordering::Release);
        appended
    }

    /// Since the last turn began. At most a tick while all is well.
    pub fn since_turn(&self) -> Duration {
        self.since(self.turn.load(Ordering::Acquire))
    }

    /// Since the append that is under way began.
    pub fn since_append(&self) -> Option<Duration> {
        let began = self.append.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.since(began))
    }
}
