use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// A set of numbers that mostly come in runs: message nonces of the settlement contract, kept for good.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub(crate) struct Ranges {
    /// First to last of each run; runs neither overlap nor touch.
    runs: BTreeMap<u64, u64>,
}

impl Ranges {
    pub fn contains(&self, number: u64) -> bool {
        self.runs.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// Adds a number that is not in the set.
    pub fn insert(&mut self, number: u64) {
        let below = self.runs.range(..number).next_back().map(|(first, last)| (*first, *last));
        let first = match below {
            Some((first, last)) if last.checked_add(1) == Some(number) => first,
            _ => number,
        };
        let last = number.checked_add(1).and_then(|next| self.runs.remove(&next)).unwrap_or(number);
        self.runs.insert(first, last);
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs.iter().flat_map(|(first, last)| *first..=*last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_join_into_runs() {
        let mut set = Ranges::default();
        for number in [5, 3, 4, 0, 1, u64::MAX, 9] {
            assert!(!set.contains(number));
            set.insert(number);
            assert!(set.contains(number));
        }
        assert_eq!(set.runs, BTreeMap::from([(0, 1), (3, 5), (9, 9), (u64::MAX, u64::MAX)]));
        assert_eq!(set.iter().count(), 7);
    }
}
