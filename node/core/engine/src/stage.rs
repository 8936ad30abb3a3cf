/// A list whose changes are staged: reads see them, [Staged::install] makes them stay, [Staged::clear] drops them.
///
/// A changed element is a copy; copies are pooled, so that a command allocates nothing once the pool has grown.
#[derive(Debug)]
pub(crate) struct Staged<T> {
    base: Vec<T>,
    copies: Vec<T>,
    /// For each index, 1 + its place in `copies`; 0: unchanged. As long as the staged list.
    copy_of: Vec<u32>,
    /// Indices changed, in the order of their first change; parallel to the used part of `copies`.
    touched: Vec<u32>,
}

/// What a list had staged at some point of a command.
pub(crate) struct Saved<T> {
    copies: Vec<T>,
    len: usize,
}

/// Copies kept for reuse; above it (a mass cancel) the memory goes back.
const COPIES_KEPT: usize = 4_096;

impl<T: Clone> Staged<T> {
    pub fn new(base: Vec<T>) -> Staged<T> {
        let copy_of = vec![0; base.len()];
        Staged { base, copies: Vec::new(), copy_of, touched: Vec::new() }
    }

    /// Length with what is staged.
    pub fn len(&self) -> usize {
        self.copy_of.len()
    }

    pub fn get(&self, index: u32) -> &T {
        match self.copy_of[index as usize] {
            0 => &self.base[index as usize],
            copy => &self.copies[copy as usize - 1],
        }
    }

    /// As it was before the command.
    pub fn installed(&self, index: u32) -> Option<&T> {
        self.base.get(index as usize)
    }

    /// The whole list as it was before the command.
    pub fn all_installed(&self) -> &[T] {
        &self.base
    }

    pub fn edit(&mut self, index: u32) -> &mut T {
        if self.copy_of[index as usize] == 0 {
            let copy = self.touched.len();
            match self.copies.get_mut(copy) {
                Some(reused) => reused.clone_from(&self.base[index as usize]),
                None => self.copies.push(self.base[index as usize].clone()),
            }
            self.touched.push(index);
            self.copy_of[index as usize] = copy as u32 + 1;
        }
        &mut self.copies[self.copy_of[index as usize] as usize - 1]
    }

    /// Appends; returns the index.
    pub fn add(&mut self, value: T) -> u32 {
        let (index, copy) = (self.copy_of.len() as u32, self.touched.len());
        self.copies.truncate(copy);
        self.copies.push(value);
        self.touched.push(index);
        self.copy_of.push(copy as u32 + 1);
        index
    }

    /// Number of changed elements.
    pub fn touched_len(&self) -> usize {
        self.touched.len()
    }

    /// The `n`-th changed element: index, before (`None`: added), after.
    pub fn touched(&self, n: usize) -> (u32, Option<&T>, &T) {
        let index = self.touched[n];
        (index, self.base.get(index as usize), &self.copies[n])
    }

    /// The changed elements, in the order of their first change.
    pub fn changes(&self) -> impl Iterator<Item = (u32, Option<&T>, &T)> + '_ {
        (0..self.touched.len()).map(|n| self.touched(n))
    }

    /// What is staged now, for [Staged::back_to].
    pub fn save(&self) -> Saved<T> {
        Saved { copies: self.copies[..self.touched.len()].to_vec(), len: self.len() }
    }

    /// Drops what was staged since.
    pub fn back_to(&mut self, saved: Saved<T>) {
        for index in self.touched.drain(saved.copies.len()..) {
            self.copy_of[index as usize] = 0;
        }
        self.copy_of.truncate(saved.len);
        for (copy, saved) in self.copies.iter_mut().zip(saved.copies) {
            *copy = saved;
        }
    }

    /// Drops what is staged.
    pub fn clear(&mut self) {
        for index in self.touched.drain(..) {
            self.copy_of[index as usize] = 0;
        }
        self.copy_of.truncate(self.base.len());
    }

    /// Empties the list at once; nothing may be staged.
    pub fn remove_all(&mut self) {
        assert!(self.touched.is_empty(), "a list is emptied under what is staged");
        self.base.clear();
        self.copy_of.clear();
    }

    /// Makes what is staged stay.
    pub fn install(&mut self) {
        for (copy, index) in self.touched.drain(..).enumerate() {
            match self.base.get_mut(index as usize) {
                Some(item) => std::mem::swap(item, &mut self.copies[copy]),
                None => self.base.push(self.copies[copy].clone()),
            }
            self.copy_of[index as usize] = 0;
        }
        self.copies.truncate(COPIES_KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_staged_since_can_be_dropped_alone() {
        let mut list = Staged::new(vec![1, 2, 3]);
        *list.edit(0) = 10;
        assert_eq!(list.add(4), 3);
        let saved = list.save();
        *list.edit(0) = 11;
        *list.edit(2) = 30;
        *list.edit(3) = 40;
        assert_eq!(list.add(5), 4);
        list.back_to(saved);
        assert_eq!((0..list.len() as u32).map(|i| *list.get(i)).collect::<Vec<_>>(), [10, 2, 3, 4]);
        assert_eq!(list.add(6), 4);
        list.install();
        assert_eq!(list.all_installed(), [10, 2, 3, 4, 6]);
    }

    #[test]
    fn staged_changes_are_seen_at_once_and_vanish_unless_installed() {
        let mut list = Staged::new(vec![1, 2, 3]);
        *list.edit(1) = 20;
        assert_eq!(list.add(4), 3);
        assert_eq!((0..4).map(|i| *list.get(i)).collect::<Vec<_>>(), [1, 20, 3, 4]);
        list.clear();
        assert_eq!((list.len(), list.all_installed()), (3, &[1, 2, 3][..]));

        *list.edit(0) = 10;
        assert_eq!(list.add(4), 3);
        *list.edit(3) += 1;
        assert_eq!(list.changes().collect::<Vec<_>>(), [(0, Some(&1), &10), (3, None, &5)]);
        list.install();
        assert_eq!(list.all_installed(), [10, 2, 3, 5]);
        assert_eq!(list.touched_len(), 0);
    }
}
