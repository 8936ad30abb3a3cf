use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Pauses that double, up to 30 s, each between half and the whole of its step, so that many nodes do not return at once.
pub(crate) struct Backoff {
    first: Duration,
    step: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration) -> Backoff {
        Backoff { first, step: first }
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.step = self.first;
    }

    /// The pause before the next try.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(PAUSE_MAX.max(self.first));
        // A fresh hasher is seeded at random; its empty hash is all the randomness a pause needs.
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        step / 2 + step.mul_f64((random % 1_024) as f64 / 2_048.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_within_half_a_step() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for step in [1, 2, 4, 8, 16, 30, 30] {
            let (pause, step) = (backoff.next(), Duration::from_secs(step));
            assert!(pause >= step / 2 && pause <= step, "{pause:?} of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_secs(1));
    }
}
