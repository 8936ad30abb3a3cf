use crate::Engine;
use keel_types::*;

impl Engine {
    /// Closes a block. Panics when the journaled digest is not this engine's: the states have diverged, and nothing after this could
    /// be trusted. [spec safe-mode, STATE_DIVERGED]
    pub(crate) fn seal_block(&mut self, c: &SealBlock) {
        if c.height != Height(self.globals.height.0 + 1) {
            return self.refuse_system(Reject::WrongHeight);
        }
        let digest = self.digest();
        assert_eq!(c.engine_digest, digest, "state diverged before block {}", c.height);
        self.now.height = c.height;
        self.plan.events.push(Event::BlockSealed { height: c.height });
    }

    /// The settlement contract shows our root for the next batch.
    pub(crate) fn batch_confirmed(&mut self, c: &BatchConfirmed) {
        // The first batch begins with block 0 and may end there.
        let advances = self.globals.batches == 0 || c.last_block > self.globals.batched_height;
        if c.batch != BatchId(self.globals.batches) || !advances || c.last_block > self.globals.height {
            return self.refuse_system(Reject::WrongBatch);
        }
        self.now.batches += 1;
        self.now.batched_height = c.last_block;
        self.plan.events.push(Event::BatchConfirmed { batch: c.batch });
    }
}
