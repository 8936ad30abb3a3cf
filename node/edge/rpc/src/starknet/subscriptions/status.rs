use super::super::dto;
use super::{Ended, Line, Source};
use crate::limits::L1_STATUS_LOOKED_AT_EVERY;
use keel_types::{Felt, Height};
use serde_json::json;
use std::convert::Infallible;
use std::future::pending;

/// What a transaction goes through, in this order.
const STATUSES: [&str; 3] = ["PRE_CONFIRMED", "ACCEPTED_ON_L2", "ACCEPTED_ON_L1"];

/// How far a transaction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reached {
    Nothing,
    OpenBlock,
    Block(Height),
    L1,
}

impl Reached {
    /// How many of [STATUSES] it has had.
    fn statuses(self) -> usize {
        match self {
            Reached::Nothing => 0,
            Reached::OpenBlock => 1,
            Reached::Block(_) => 2,
            Reached::L1 => 3,
        }
    }
}

/// The statuses of one transaction.
pub struct Status {
    hash: Felt,
    reached: Reached,
    /// Transactions of the open block of that height that are not it.
    looked_at: (Height, usize),
    /// The tip when the store was last asked for it: what is committed below does not change. `None` before the first look.
    asked_at: Option<Option<Height>>,
}

impl Status {
    pub fn of(hash: Felt) -> Status {
        Status { hash, reached: Reached::Nothing, looked_at: (Height(0), 0), asked_at: None }
    }

    pub async fn run(mut self, source: &Source, line: &mut Line) -> Result<Infallible, Ended> {
        let (mut open, mut sealed) = (source.chain.changes(true), source.chain.changes(false));
        // The first look finds where it is now; what it had been before that is not told.
        let mut told = None;
        loop {
            open.borrow_and_update();
            sealed.borrow_and_update();
            self.look(source, line).await?;
            let reached = self.reached.statuses();
            let first = told.unwrap_or_else(|| reached.saturating_sub(1));
            for status in &STATUSES[first..reached] {
                line.send(json!({
                    "transaction_hash": dto::felt(&self.hash),
                    "status": {"finality_status": status, "execution_status": "SUCCEEDED"},
                }))
                .await?;
            }
            told = Some(reached);
            match self.reached {
                Reached::Nothing => drop(line.wait(open.changed()).await?),
                Reached::OpenBlock => drop(line.wait(sealed.changed()).await?),
                // The settlement layer moves on its own.
                Reached::Block(_) => line.wait(tokio::time::sleep(L1_STATUS_LOOKED_AT_EVERY)).await?,
                Reached::L1 => line.wait(pending()).await?,
            }
        }
    }

    /// Looks how far it is now.
    async fn look(&mut self, source: &Source, line: &mut Line) -> Result<(), Ended> {
        let shared = &source.shared;
        // Before the open block: of what is committed after this, the wake that comes with it asks the store.
        let tip = shared.store.height();
        if matches!(self.reached, Reached::Nothing) && self.is_in_open_block(source) {
            self.reached = Reached::OpenBlock;
        }
        if matches!(self.reached, Reached::Nothing | Reached::OpenBlock) && self.asked_at != Some(tip) {
            let hash = self.hash;
            let place =
                line.read(|| source.chain.read(shared, move |shared| Ok(shared.store.place_of_transaction(&hash)?)));
            // One above the published height is being committed: it is found when the tip is there.
            if let Some((height, _)) = place.await?.filter(|(height, _)| shared.store.height() >= Some(*height)) {
                self.reached = Reached::Block(height);
            }
            self.asked_at = Some(tip);
        }
        if let Reached::Block(height) = self.reached {
            let on_l1 = line.read(|| source.chain.height_on_l1(shared)).await?;
            if on_l1.is_some_and(|on_l1| on_l1 >= height) {
                self.reached = Reached::L1;
            }
        }
        Ok(())
    }

    /// Looks at what is new in the open block.
    fn is_in_open_block(&mut self, source: &Source) -> bool {
        source.shared.store.open_block(|block| {
            if self.looked_at.0 != block.height {
                self.looked_at = (block.height, 0);
            }
            let mut new = block.transactions.get(self.looked_at.1..).unwrap_or_default().iter();
            self.looked_at.1 = block.transactions.len();
            new.any(|open| open.receipt.transaction_hash == self.hash)
        })
    }
}
