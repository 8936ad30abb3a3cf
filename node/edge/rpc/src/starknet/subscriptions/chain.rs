use crate::context::Shared;
use crate::error::RpcError;
use crate::limits::{
    BLOCKS_CACHED_MAX, CONNECTIONS_PER_IP_MAX, L1_STATUS_LOOKED_AT_EVERY, OPEN_BLOCK_TOLD_EVERY, STORE_READS_AT_ONCE_MAX,
    SUBSCRIPTIONS_PER_CONNECTION_MAX, TRANSACTIONS_AT_ONCE_MAX,
};
use keel_store::{Header, OpenTransaction, Store, Tip};
use keel_types::Height;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch};

/// Starknet subscriptions that are open on the whole node; more is [RpcError::TooManySubscriptions]. Each is a task with its
/// filter, 32 KiB at most, and with what it holds while its socket is full ([TRANSACTIONS_AT_ONCE_MAX]).
pub const SUBSCRIPTIONS_MAX: usize = 16_384;
/// One address has at most an eighth of them, 2,048: it has that many subscriptions on all of its connections. Loopback, which may be a
/// proxy for everybody, has as many connections as there are.
const _: () = assert!(CONNECTIONS_PER_IP_MAX * SUBSCRIPTIONS_PER_CONNECTION_MAX as usize <= SUBSCRIPTIONS_MAX / 8);
/// Reads of the store for subscriptions that may run at once. They come in any number, from cursors a thousand blocks back; three quarters
/// of [STORE_READS_AT_ONCE_MAX] are left to requests, which are shed when they wait.
pub const SUBSCRIPTION_READS_AT_ONCE_MAX: usize = 4;
const _: () = assert!(SUBSCRIPTION_READS_AT_ONCE_MAX * 4 <= STORE_READS_AT_ONCE_MAX);

/// The chain as subscribers follow it: who waits is woken, and the newest blocks are read once for all of them.
pub struct Chain {
    headers: Newest<Header>,
    blocks: Newest<Sealed>,
    /// Changes when a block is committed.
    sealed: watch::Sender<Tip>,
    /// Changes when a block is committed or the open block grows.
    open: watch::Sender<Tip>,
    /// See [SUBSCRIPTION_READS_AT_ONCE_MAX].
    reads: Arc<Semaphore>,
    /// See [SUBSCRIPTIONS_MAX].
    places: Arc<Semaphore>,
    /// What [Shared::height_on_l1] last had from the store, and when.
    on_l1: tokio::sync::Mutex<Option<(Instant, Option<Height>)>>,
}

/// A block as subscribers need it.
struct Sealed {
    header: Arc<Header>,
    transactions: Vec<Arc<OpenTransaction>>,
}

/// Some transactions of a sealed block. A subscriber holds no more than this while it waits for its socket.
pub struct Part {
    pub header: Arc<Header>,
    pub transactions: Vec<Arc<OpenTransaction>>,
    /// Transactions in the whole block.
    pub count: usize,
}

impl Chain {
    /// Follows the store's tip, on the running runtime, for as long as there is one.
    pub fn follow(store: &Store) -> Arc<Chain> {
        let mut tips = store.tip_changes();
        let tip = *tips.borrow_and_update();
        let chain = Arc::new(Chain {
            headers: Newest::default(),
            blocks: Newest::default(),
            sealed: watch::Sender::new(tip),
            open: watch::Sender::new(tip),
            reads: Arc::new(Semaphore::new(SUBSCRIPTION_READS_AT_ONCE_MAX)),
            places: Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX)),
            on_l1: tokio::sync::Mutex::default(),
        });
        let told = Arc::downgrade(&chain);
        tokio::spawn(async move {
            while tips.changed().await.is_ok() {
                let tip = *tips.borrow_and_update();
                let Some(chain) = told.upgrade() else { return };
                chain.sealed.send_if_modified(|sealed| {
                    let changed = sealed.height != tip.height;
                    *sealed = tip;
                    changed
                });
                chain.open.send_replace(tip);
                drop(chain);
                // The open block grows with every record of the journal; nobody need be woken as often.
                tokio::time::sleep(OPEN_BLOCK_TOLD_EVERY).await;
            }
        });
        chain
    }

    /// Tells of every committed block; with `open` also when the open block grew.
    pub fn changes(&self, open: bool) -> watch::Receiver<Tip> {
        match open {
            true => self.open.subscribe(),
            false => self.sealed.subscribe(),
        }
    }

    /// A place among [SUBSCRIPTIONS_MAX], taken until it is dropped.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, RpcError> {
        self.places.clone().try_acquire_owned().map_err(|_| RpcError::TooManySubscriptions)
    }

    /// Reads the store in its turn, first among subscriptions and then among all who read.
    pub async fn read<T: Send + 'static>(
        &self,
        shared: &Arc<Shared>,
        read: impl FnOnce(&Shared) -> Result<T, RpcError> + Send + 'static,
    ) -> Result<T, RpcError> {
        let turn = self.reads.clone().acquire_owned().await.map_err(|_| RpcError::Internal)?;
        let read = move |shared: &Shared| {
            // Until it has run, also when its subscription ends before.
            let _turn = turn;
            read(shared)
        };
        shared.clone().read_store(read).await
    }

    /// [Shared::height_on_l1]: from the published view, which has it from the first confirmation since this process started; until then
    /// the store is asked, once in [L1_STATUS_LOOKED_AT_EVERY] for all.
    pub async fn height_on_l1(&self, shared: &Arc<Shared>) -> Result<Option<Height>, RpcError> {
        let published = shared.published.read(|view| view.last_confirmed().map(|c| c.confirmed.last_block));
        if published.is_some() {
            return Ok(published);
        }
        let mut last = self.on_l1.lock().await;
        if let Some((at, height)) = *last
            && at.elapsed() < L1_STATUS_LOOKED_AT_EVERY
        {
            return Ok(height);
        }
        let height = self.read(shared, |shared| shared.height_on_l1()).await?;
        *last = Some((Instant::now(), height));
        Ok(height)
    }

    /// The header of a committed block.
    pub async fn header(&self, shared: &Arc<Shared>, height: Height) -> Result<Arc<Header>, RpcError> {
        let read = self.read(shared, move |shared| header(shared, height));
        match is_new(&shared.store, height) {
            true => self.headers.get(height, read).await,
            false => read.await,
        }
    }

    /// Transactions of a committed block from index `first` on, at most [TRANSACTIONS_AT_ONCE_MAX].
    pub async fn part(&self, shared: &Arc<Shared>, height: Height, first: usize) -> Result<Part, RpcError> {
        if !is_new(&shared.store, height) {
            return self.read(shared, move |shared| part(shared, height, first)).await;
        }
        let block = self.blocks.get(height, self.read(shared, move |shared| sealed(shared, height))).await?;
        let transactions = block.transactions.iter().skip(first).take(TRANSACTIONS_AT_ONCE_MAX).cloned().collect();
        Ok(Part { header: block.header.clone(), transactions, count: block.transactions.len() })
    }
}

/// Whether a block is among those that are kept for all subscribers.
fn is_new(store: &Store, height: Height) -> bool {
    store.height().is_some_and(|tip| height.0 + BLOCKS_CACHED_MAX as u64 > tip.0)
}

/// A header; whoever asks knows that its block is committed.
fn header(shared: &Shared, height: Height) -> Result<Arc<Header>, RpcError> {
    Ok(Arc::new(shared.store.header(height)?.ok_or(RpcError::Internal)?))
}

fn sealed(shared: &Shared, height: Height) -> Result<Arc<Sealed>, RpcError> {
    let header = header(shared, height)?;
    let transactions = shared.store.transactions(height)?.into_iter().zip(shared.store.receipts(height)?);
    let transactions = transactions.map(|(transaction, receipt)| Arc::new(OpenTransaction { transaction, receipt }));
    Ok(Arc::new(Sealed { header, transactions: transactions.collect() }))
}

fn part(shared: &Shared, height: Height, first: usize) -> Result<Part, RpcError> {
    let header = header(shared, height)?;
    let count = header.block.content.transaction_count as usize;
    let mut transactions = Vec::new();
    for index in first..count.min(first + TRANSACTIONS_AT_ONCE_MAX) {
        let transaction = shared.store.transaction(height, index as u32)?.ok_or(RpcError::Internal)?;
        let receipt = shared.store.receipt(height, index as u32)?.ok_or(RpcError::Internal)?;
        transactions.push(Arc::new(OpenTransaction { transaction, receipt }));
    }
    Ok(Part { header, transactions, count })
}

/// Something of each of the newest blocks, read by the first who wants it.
struct Newest<T> {
    slots: Mutex<BTreeMap<Height, Arc<OnceCell<Arc<T>>>>>,
}

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Newest { slots: Mutex::default() }
    }
}

impl<T> Newest<T> {
    async fn get(&self, height: Height, read: impl Future<Output = Result<Arc<T>, RpcError>>) -> Result<Arc<T>, RpcError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let slot = slots.entry(height).or_default().clone();
            while slots.len() > BLOCKS_CACHED_MAX {
                slots.pop_first();
            }
            slot
        };
        slot.get_or_try_init(|| read).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn many_who_want_the_newest_block_read_it_once_and_old_ones_are_let_go() {
        let (newest, reads) = (Newest::default(), AtomicUsize::new(0));
        let get = |height: u64, answer: Result<u64, RpcError>| {
            newest.get(Height(height), async {
                tokio::task::yield_now().await;
                reads.fetch_add(1, Ordering::Relaxed);
                answer.map(Arc::new)
            })
        };
        let (a, b, c) = tokio::join!(get(1, Ok(7)), get(1, Ok(8)), get(1, Ok(9)));
        assert_eq!([a, b, c].map(|got| got.map(|value| *value)), [Ok(7), Ok(7), Ok(7)]);
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        assert_eq!(get(2, Err(RpcError::Internal)).await, Err(RpcError::Internal));
        assert_eq!(get(2, Ok(5)).await.as_deref(), Ok(&5), "a failure is not remembered");
        for height in 3..20 {
            assert_eq!(get(height, Ok(height)).await.as_deref(), Ok(&height));
        }
        assert_eq!(newest.slots.lock().unwrap().len(), BLOCKS_CACHED_MAX);
    }
}
