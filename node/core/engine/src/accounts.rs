use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::*;
use std::collections::{BTreeMap, BTreeSet};

/// All accounts, by dense index. The index is the order in which they first appeared.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// Big-endian address to index: bytes compare faster than field elements.
    by_address: BTreeMap<[u8; 32], u32>,
    list: Vec<Account>,
    /// Used nonces by the second at which they are forgotten.
    buckets: BTreeMap<u64, Bucket>,
}

/// Nonces that are forgotten together. Nothing ever leaves a bucket before all of it does, so its hash is kept as it grows: a digest
/// does not read millions of nonces again.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// (account, nonce), in order of use.
    entries: Vec<(u32, u64)>,
    /// Over the canonical bytes of the bucket, see `image.rs`.
    hasher: blake3::Hasher,
    length: u64,
}

/// Nonces are forgotten at multiples of this: few buckets, each kept a little longer than it must be.
const BUCKET_SECS: u64 = 10;

/// What an account has beside its holdings.
#[derive(Debug)]
pub(crate) struct Account {
    pub address: Address,
    /// Key and template, once registered.
    pub key: Option<(StarkKey, u8)>,
    pub nonces: Nonces,
    /// By the key's big-endian bytes. Kept when revoked or expired: the chain keeps them too.
    pub session_keys: BTreeMap<[u8; 32], SessionKey>,
    /// Dead man's switch: when all orders are cancelled; 0: never.
    pub cancel_at: Ts,
    /// Open orders: (part of the hash, slot). Its order is never seen outside.
    orders: BTreeSet<(u64, u32)>,
    client_ids: BTreeMap<u128, u32>,
}

/// A session key as the chain stores it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct SessionKey {
    pub terms: SessionTerms,
    /// Command that ended it; 0 while it may be used.
    pub revoked: Seq,
}

impl SessionKey {
    /// Neither revoked nor expired.
    pub fn is_live(&self, now: Ts) -> bool {
        self.revoked == Seq(0) && self.terms.expiry > now
    }
}

/// The messages an account has used. [spec exchange, Replay]
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    entries: BTreeMap<u64, NonceEntry>,
    /// Live entries of the two lanes: all others, cancels.
    live: [u32; 2],
    /// Accepted orders: (part of the hash, nonce), so that a cancel can tell "ended" from "never seen".
    orders: BTreeSet<(u64, u64)>,
}

/// A used nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct NonceEntry {
    pub hash: MessageHash,
    pub valid_until: Ts,
    /// Counted in the lane of cancels.
    pub cancel: bool,
    pub outcome: Outcome,
}

impl NonceEntry {
    /// Second at which the entry is forgotten: `valid_until` + 60 s, up to the next multiple of [BUCKET_SECS].
    pub fn forgotten_secs(&self) -> u64 {
        self.valid_until.plus_ms(NONCE_KEEP_AFTER_MS).0.div_ceil(BUCKET_SECS * 1_000_000_000) * BUCKET_SECS
    }
}

/// A few bits of a hash to search by; the full hash is compared after.
fn part(hash: &MessageHash) -> u64 {
    hash.0.to_raw()[0]
}

impl Nonces {
    pub fn get(&self, nonce: u64) -> Option<&NonceEntry> {
        self.entries.get(&nonce)
    }

    /// Live nonces of the lane.
    pub fn live(&self, cancel: bool) -> u32 {
        self.live[usize::from(cancel)]
    }

    /// Whether an order of this hash was accepted and is still remembered.
    pub fn knows_order(&self, hash: &MessageHash) -> bool {
        let key = part(hash);
        self.orders.range((key, 0)..=(key, u64::MAX)).any(|(_, nonce)| self.entries[nonce].hash == *hash)
    }

    fn insert(&mut self, nonce: u64, entry: NonceEntry) {
        if matches!(entry.outcome.result, OutcomeResult::Order { .. }) {
            self.orders.insert((part(&entry.hash), nonce));
        }
        self.live[usize::from(entry.cancel)] += 1;
        self.entries.insert(nonce, entry);
    }

    fn forget(&mut self, nonce: u64) {
        if let Some(entry) = self.entries.remove(&nonce) {
            self.live[usize::from(entry.cancel)] -= 1;
            self.orders.remove(&(part(&entry.hash), nonce));
        }
    }
}

impl Account {
    pub fn session_key(&self, key: &StarkKey) -> Option<&SessionKey> {
        self.session_keys.get(&key.0.to_bytes_be())
    }

    /// Slots of the open orders, untriggered ones too, in no order that may be shown.
    pub fn orders(&self) -> impl Iterator<Item = u32> + '_ {
        self.orders.iter().map(|(_, slot)| *slot)
    }

    /// Slots of open orders that may have this hash; the caller compares.
    pub fn orders_like(&self, hash: &MessageHash) -> impl Iterator<Item = u32> + '_ {
        let key = part(hash);
        self.orders.range((key, 0)..=(key, u32::MAX)).map(|(_, slot)| *slot)
    }

    /// The open order with this client id.
    pub fn order_of_client(&self, client_id: u128) -> Option<u32> {
        self.client_ids.get(&client_id).copied()
    }

    pub fn add_order(&mut self, hash: &MessageHash, client_id: u128, slot: u32) {
        self.orders.insert((part(hash), slot));
        if client_id != 0 {
            self.client_ids.insert(client_id, slot);
        }
    }

    /// It has no open order any more.
    pub fn clear_orders(&mut self) {
        self.orders.clear();
        self.client_ids.clear();
    }

    pub fn remove_order(&mut self, hash: &MessageHash, client_id: u128, slot: u32) {
        self.orders.remove(&(part(hash), slot));
        if client_id != 0 {
            self.client_ids.remove(&client_id);
        }
    }
}

impl Accounts {
    pub fn find(&self, address: &Address) -> Option<u32> {
        self.by_address.get(&address.0.to_bytes_be()).copied()
    }

    /// An account that has bound a key.
    pub fn registered(&self, address: &Address) -> Option<u32> {
        self.find(address).filter(|index| self.get(*index).key.is_some())
    }

    pub fn len(&self) -> u32 {
        self.list.len() as u32
    }

    pub fn all(&self) -> &[Account] {
        &self.list
    }

    pub fn get(&self, index: u32) -> &Account {
        &self.list[index as usize]
    }

    pub fn get_mut(&mut self, index: u32) -> &mut Account {
        &mut self.list[index as usize]
    }

    pub fn add(&mut self, address: Address) -> u32 {
        let index = self.len();
        self.by_address.insert(address.0.to_bytes_be(), index);
        self.list.push(Account {
            address,
            key: None,
            nonces: Nonces::default(),
            session_keys: BTreeMap::new(),
            cancel_at: Ts(0),
            orders: BTreeSet::new(),
            client_ids: BTreeMap::new(),
        });
        index
    }

    pub fn use_nonce(&mut self, account: u32, nonce: u64, entry: NonceEntry) {
        let secs = entry.forgotten_secs();
        self.buckets.entry(secs).or_insert_with(|| Bucket::new(secs)).push(account, nonce, &entry);
        self.list[account as usize].nonces.insert(nonce, entry);
    }

    /// Forgets every nonce whose second has come.
    pub fn forget_nonces(&mut self, now: Ts) {
        while let Some(entry) = self.buckets.first_entry() {
            if *entry.key() > now.secs() {
                break;
            }
            for (account, nonce) in entry.remove().entries {
                self.list[account as usize].nonces.forget(nonce);
            }
        }
    }

    /// By rising second.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (u64, &Bucket)> + '_ {
        self.buckets.iter().map(|(secs, bucket)| (*secs, bucket))
    }

    /// The canonical bytes of a bucket: its second, then (account, nonce, entry) in order of use, to the end.
    pub fn put_bucket(&self, secs: u64, bucket: &Bucket, out: &mut Vec<u8>) {
        out.extend(secs.to_le_bytes());
        for (account, nonce) in &bucket.entries {
            let entry = self.list[*account as usize].nonces.get(*nonce).expect("a nonce is kept as long as its bucket");
            put_nonce(*account, *nonce, entry, out);
        }
    }
}

fn put_nonce(account: u32, nonce: u64, entry: &NonceEntry, out: &mut Vec<u8>) {
    (account, nonce, *entry).serialize(out).expect("writing to a Vec cannot fail");
}

impl Bucket {
    fn new(secs: u64) -> Bucket {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&secs.to_le_bytes());
        Bucket { entries: Vec::new(), hasher, length: 8 }
    }

    fn push(&mut self, account: u32, nonce: u64, entry: &NonceEntry) {
        let mut bytes = Vec::with_capacity(192);
        put_nonce(account, nonce, entry, &mut bytes);
        self.hasher.update(&bytes);
        self.length += bytes.len() as u64;
        self.entries.push((account, nonce));
    }

    /// Length and BLAKE3 of the canonical bytes.
    pub fn hash(&self) -> (u64, [u8; 32]) {
        (self.length, *self.hasher.finalize().as_bytes())
    }
}
