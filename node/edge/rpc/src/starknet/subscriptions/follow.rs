use super::super::dto::{self, EventPlace, Finality};
use super::{Ended, Line, Source};
use crate::limits::TRANSACTIONS_AT_ONCE_MAX;
use keel_store::{EventFilter, EventPosition, OpenTransaction, Transaction};
use keel_types::{Felt, Height};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

/// Headers, one for each block.
pub struct Heads {
    pub next: Height,
}

impl Heads {
    pub async fn run(mut self, source: &Source, line: &mut Line) -> Result<Infallible, Ended> {
        let mut changes = source.chain.changes(false);
        loop {
            // Before the tip is read, so that no change between goes unseen.
            changes.borrow_and_update();
            while source.shared.store.height().is_some_and(|tip| tip >= self.next) {
                let header = line.read(|| source.chain.header(&source.shared, self.next)).await?;
                line.send(Value::Object((source.dialect.header)(&header))).await?;
                self.next.0 += 1;
            }
            // The sender lives in `source`.
            let _ = line.wait(changes.changed()).await?;
        }
    }
}

/// What is told of the transactions of a block.
pub enum Wanted {
    Events(EventFilter),
    Transactions { senders: Senders, proof_facts: bool },
    Receipts { senders: Senders },
}

/// Who must have sent a transaction, sorted; nobody stands for anybody.
pub struct Senders(Box<[Felt]>);

impl Senders {
    pub fn new(mut senders: Vec<Felt>) -> Senders {
        senders.sort_unstable();
        senders.dedup();
        Senders(senders.into())
    }

    /// An L1_HANDLER has no sender here.
    fn sent(&self, transaction: &Transaction) -> bool {
        self.0.is_empty()
            || match transaction {
                Transaction::Invoke(invoke) => self.0.binary_search(&invoke.sender).is_ok(),
                Transaction::L1Handler(_) => false,
            }
    }
}

/// Transactions, or what they left, block by block.
pub struct Blocks {
    pub wanted: Wanted,
    /// Told when they are in the open block.
    pub pre_confirmed: bool,
    /// Told when their block is sealed.
    pub accepted: bool,
    pub next: Height,
    /// The first block that was not sealed at the call: none of those before it is told as PRE_CONFIRMED.
    pub live_from: Height,
}

/// Where a transaction stands.
struct Place {
    height: Height,
    /// `None` while its block is open.
    block_hash: Option<Felt>,
    index: usize,
    finality: Finality,
}

impl Blocks {
    pub async fn run(mut self, source: &Source, line: &mut Line) -> Result<Infallible, Ended> {
        if !self.pre_confirmed && !self.accepted {
            // Only statuses that no transaction has here.
            return line.wait(pending()).await;
        }
        let mut changes = source.chain.changes(self.pre_confirmed);
        // Transactions of the block `next` that were told as PRE_CONFIRMED.
        let mut told = 0;
        loop {
            changes.borrow_and_update();
            if self.next < self.live_from {
                self.pass_over(source, line).await?;
            }
            if source.shared.store.height().is_some_and(|tip| tip >= self.next) {
                self.sealed(source, line, told).await?;
                (self.next.0, told) = (self.next.0 + 1, 0);
            } else if self.pre_confirmed && self.open(source, line, &mut told).await? {
                // There may be more of it; others first.
                tokio::task::yield_now().await;
            } else {
                let _ = line.wait(changes.changed()).await?;
            }
        }
    }

    /// Moves `next` to the first block that has an event that is wanted, or to the first that is not old: the store has an index.
    async fn pass_over(&mut self, source: &Source, line: &mut Line) -> Result<(), Ended> {
        let Wanted::Events(filter) = &self.wanted else { return Ok(()) };
        if filter.addresses.is_empty() && filter.keys.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let filter = EventFilter { from: self.next, to: Height(self.live_from.0 - 1), ..filter.clone() };
        let mut at = EventPosition { height: self.next, index: 0 };
        self.next = loop {
            let page = line.read(|| {
                let filter = filter.clone();
                source.chain.read(&source.shared, move |shared| Ok(shared.store.events(&filter, Some(at), 1)?))
            });
            let page = page.await?;
            match (page.events.first(), page.next) {
                (Some(found), _) => break found.height,
                // The store looks at so many at once and no more.
                (None, Some(next)) => at = next,
                (None, None) => break self.live_from,
            }
        };
        Ok(())
    }

    /// Tells of the sealed block `next`.
    async fn sealed(&self, source: &Source, line: &mut Line, told: usize) -> Result<(), Ended> {
        let live = self.next >= self.live_from;
        let finality = if live { Finality::AcceptedOnL2 } else { self.finality_of_old(source, line).await? };
        let mut index = 0;
        loop {
            let part = line.read(|| source.chain.part(&source.shared, self.next, index)).await?;
            for transaction in &part.transactions {
                let place = Place { height: self.next, block_hash: None, index, finality: Finality::PreConfirmed };
                if self.pre_confirmed && live && index >= told {
                    self.tell(source, line, &place, transaction).await?;
                }
                if self.accepted {
                    let block_hash = Some(part.header.hash);
                    self.tell(source, line, &Place { block_hash, finality, ..place }, transaction).await?;
                }
                index += 1;
            }
            if index >= part.count {
                return Ok(());
            }
            // A part of which nothing is wanted, of a block that is in memory, waits for nothing.
            tokio::task::yield_now().await;
        }
    }

    async fn finality_of_old(&self, source: &Source, line: &mut Line) -> Result<Finality, Ended> {
        let on_l1 = line.read(|| source.chain.height_on_l1(&source.shared)).await?;
        Ok(match on_l1 {
            Some(on_l1) if self.next <= on_l1 => Finality::AcceptedOnL1,
            _ => Finality::AcceptedOnL2,
        })
    }

    /// Tells what is new in the open block, if that is the block `next`; whether there was anything.
    async fn open(&self, source: &Source, line: &mut Line, told: &mut usize) -> Result<bool, Ended> {
        let new: Vec<Arc<OpenTransaction>> = source.shared.store.open_block(|block| match block.height == self.next {
            true => block.transactions.iter().skip(*told).take(TRANSACTIONS_AT_ONCE_MAX).cloned().collect(),
            false => Vec::new(),
        });
        for transaction in &new {
            let place = Place { height: self.next, block_hash: None, index: *told, finality: Finality::PreConfirmed };
            self.tell(source, line, &place, transaction).await?;
            *told += 1;
        }
        Ok(!new.is_empty())
    }

    async fn tell(&self, source: &Source, line: &mut Line, place: &Place, of: &OpenTransaction) -> Result<(), Ended> {
        match &self.wanted {
            Wanted::Events(filter) => {
                let events = of.receipt.events.iter().enumerate().filter(|(_, event)| filter.matches(event));
                for (index, event) in events {
                    let at = EventPlace {
                        height: place.height.0,
                        block_hash: place.block_hash,
                        transaction_hash: of.receipt.transaction_hash,
                        transaction_index: place.index as u32,
                        index_in_transaction: index as u64,
                    };
                    let mut shown = (source.dialect.emitted_event)(event, &at);
                    shown["finality_status"] = json!(place.finality.as_str());
                    line.send(shown).await?;
                }
                Ok(())
            }
            Wanted::Transactions { senders, proof_facts } if senders.sent(&of.transaction) => {
                let mut shown = dto::transaction_with_hash(&of.transaction);
                if *proof_facts {
                    dto::add_proof_facts(&mut shown);
                }
                shown["finality_status"] = json!(place.finality.as_str());
                line.send(shown).await
            }
            Wanted::Receipts { senders } if senders.sent(&of.transaction) => {
                let mut shown = dto::receipt(&of.transaction, &of.receipt, place.finality);
                shown.insert("block_number".into(), json!(place.height.0));
                if let Some(hash) = &place.block_hash {
                    shown.insert("block_hash".into(), dto::felt(hash));
                }
                line.send(Value::Object(shown)).await
            }
            _ => Ok(()),
        }
    }
}
