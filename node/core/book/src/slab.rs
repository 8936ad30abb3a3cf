/// "No slot": the end of a list.
pub(crate) const NIL: u32 = u32::MAX;

/// A vector with a free list. Slots are reused last-freed first; the owner of a slot is the caller's business.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub fn new() -> Slab<T> {
        Slab { items: Vec::new(), free: Vec::new() }
    }

    /// Puts `make(old)` into a slot, where `old` is what the slot held before it was freed.
    pub fn allocate(&mut self, make: impl FnOnce(Option<&T>) -> T) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                let item = make(Some(&self.items[slot as usize]));
                self.items[slot as usize] = item;
                slot
            }
            None => {
                let slot = self.items.len() as u32;
                assert!(slot != NIL, "slab is full");
                self.items.push(make(None));
                slot
            }
        }
    }

    /// Gives the slot back; its content stays until it is reused.
    pub fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Gives every slot back; the first is reused first. What it held is still there.
    pub fn release_all(&mut self) {
        self.free.clear();
        self.free.extend((0..self.items.len() as u32).rev());
    }

    /// What every slot holds, those that were given back too.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut()
    }

    pub fn get(&self, slot: u32) -> Option<&T> {
        self.items.get(slot as usize)
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        &self.items[slot as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.items[slot as usize]
    }
}
