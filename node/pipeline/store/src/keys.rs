//! Tables and their keys. All integers are big-endian, so that byte order is number order.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | markers: format, genesis, blocks height, history seq and time, first retained heights |
//! | `headers` | height | [`crate::Header`] |
//! | `block_hashes` | block hash | height |
//! | `seals` | seq of the SealBlock | height |
//! | `transactions` | height, index | [`crate::Transaction`] |
//! | `transaction_hashes` | hash | height, index |
//! | `receipts` | height, index | receipt without its events, and where they are |
//! | `events` | height, index in the block | event and its transaction |
//! | `event_keys` | position of the key in the event (1), key, height, index in the block | nothing |
//! | `diffs` | height | state diff |
//! | `storage` | contract, slot, height | value from that block on |
//! | `nonces`, `class_hashes` | contract, height | the same |
//! | `classes` | class hash, height | compiled class hash |
//! | `nodes` | kind, contract (storage tries), path | trie node, latest state only |
//! | `node_undo` | kind, contract (storage tries), path, height | the node as it was before that block; empty: there was none |
//! | `node_undo_lists` | height | names of its rows in `node_undo` |
//! | `storage_roots` | contract, height | root of its storage from that block on |
//! | `orders`, `order_fills`, `account_orders`, `account_fills`, `trades` | see `history` | |
//! | `withdrawals`, `account_withdrawals`, `deposits`, `l1_messages` | see `history` | |
//! | `cancelled`, `cancelled_places`, `account_cancelled`, `restored` | see `cancelled` | |
//! | `incidents`, `incident_steps`, `incident_accounts`, `incident_fills` | see `incidents` | |
//! | `candles`, `funding`, `transfers`, `liquidations`, `account_liquidations` | see `history` | |
//! | `expiry` | see `retention` | |
//! | `batches`, `batch_headers`, `batch_ends` | batch; batch; last block | bytes; header; batch |
//! | `aliases` | alias | the address or key it stands for; in a replica only |
//! | `batch_changes` | number of the change | batch, status and note it got |
//! | `batch_first_changes` | batch | number of the change that made it |
//! | `attestations` | batch, attestor | attestation |
//! | `divergences` | attestor | its newest report |

use keel_commitment::Felt;
use keel_types::Height;

pub(crate) const META: &str = "meta";
pub(crate) const HEADERS: &str = "headers";
pub(crate) const BLOCK_HASHES: &str = "block_hashes";
pub(crate) const SEALS: &str = "seals";
pub(crate) const TRANSACTIONS: &str = "transactions";
pub(crate) const TRANSACTION_HASHES: &str = "transaction_hashes";
pub(crate) const RECEIPTS: &str = "receipts";
pub(crate) const EVENTS: &str = "events";
pub(crate) const EVENT_KEYS: &str = "event_keys";
pub(crate) const DIFFS: &str = "diffs";
pub(crate) const STORAGE: &str = "storage";
pub(crate) const NONCES: &str = "nonces";
pub(crate) const CLASS_HASHES: &str = "class_hashes";
pub(crate) const CLASSES: &str = "classes";
pub(crate) const NODES: &str = "nodes";
pub(crate) const NODE_UNDO: &str = "node_undo";
pub(crate) const NODE_UNDO_LISTS: &str = "node_undo_lists";
pub(crate) const STORAGE_ROOTS: &str = "storage_roots";
pub(crate) const ORDERS: &str = "orders";
pub(crate) const ORDER_FILLS: &str = "order_fills";
pub(crate) const ACCOUNT_ORDERS: &str = "account_orders";
pub(crate) const ACCOUNT_FILLS: &str = "account_fills";
pub(crate) const TRADES: &str = "trades";
pub(crate) const WITHDRAWALS: &str = "withdrawals";
pub(crate) const ACCOUNT_WITHDRAWALS: &str = "account_withdrawals";
pub(crate) const DEPOSITS: &str = "deposits";
pub(crate) const L1_MESSAGES: &str = "l1_messages";
pub(crate) const CANDLES: &str = "candles";
pub(crate) const FUNDING: &str = "funding";
pub(crate) const TRANSFERS: &str = "transfers";
pub(crate) const LIQUIDATIONS: &str = "liquidations";
pub(crate) const ACCOUNT_LIQUIDATIONS: &str = "account_liquidations";
pub(crate) const CANCELLED: &str = "cancelled";
pub(crate) const CANCELLED_PLACES: &str = "cancelled_places";
pub(crate) const ACCOUNT_CANCELLED: &str = "account_cancelled";
pub(crate) const RESTORED: &str = "restored";
pub(crate) const INCIDENTS: &str = "incidents";
pub(crate) const INCIDENT_STEPS: &str = "incident_steps";
pub(crate) const INCIDENT_ACCOUNTS: &str = "incident_accounts";
pub(crate) const INCIDENT_FILLS: &str = "incident_fills";
pub(crate) const EXPIRY: &str = "expiry";
pub(crate) const BATCHES: &str = "batches";
pub(crate) const BATCH_HEADERS: &str = "batch_headers";
pub(crate) const BATCH_ENDS: &str = "batch_ends";
pub(crate) const ALIASES: &str = "aliases";
pub(crate) const BATCH_CHANGES: &str = "batch_changes";
pub(crate) const BATCH_FIRST_CHANGES: &str = "batch_first_changes";
pub(crate) const ATTESTATIONS: &str = "attestations";
pub(crate) const DIVERGENCES: &str = "divergences";

/// Every table.
pub(crate) const TABLES: &[&str] = &[
    META,
    HEADERS,
    BLOCK_HASHES,
    SEALS,
    TRANSACTIONS,
    TRANSACTION_HASHES,
    RECEIPTS,
    EVENTS,
    EVENT_KEYS,
    DIFFS,
    STORAGE,
    NONCES,
    CLASS_HASHES,
    CLASSES,
    NODES,
    NODE_UNDO,
    NODE_UNDO_LISTS,
    STORAGE_ROOTS,
    ORDERS,
    ORDER_FILLS,
    ACCOUNT_ORDERS,
    ACCOUNT_FILLS,
    TRADES,
    WITHDRAWALS,
    ACCOUNT_WITHDRAWALS,
    DEPOSITS,
    L1_MESSAGES,
    CANDLES,
    FUNDING,
    TRANSFERS,
    LIQUIDATIONS,
    ACCOUNT_LIQUIDATIONS,
    CANCELLED,
    CANCELLED_PLACES,
    ACCOUNT_CANCELLED,
    RESTORED,
    INCIDENTS,
    INCIDENT_STEPS,
    INCIDENT_ACCOUNTS,
    INCIDENT_FILLS,
    EXPIRY,
    BATCHES,
    BATCH_HEADERS,
    BATCH_ENDS,
    BATCH_CHANGES,
    BATCH_FIRST_CHANGES,
    ALIASES,
    ATTESTATIONS,
    DIVERGENCES,
];

/// A key put together from parts.
#[derive(Default)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn new() -> Key {
        Key::default()
    }
    pub(crate) fn felt(mut self, felt: &Felt) -> Key {
        self.0.extend(felt.to_bytes_be());
        self
    }
    pub(crate) fn height(self, height: Height) -> Key {
        self.u64(height.0)
    }
    pub(crate) fn u64(mut self, value: u64) -> Key {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub(crate) fn u32(mut self, value: u32) -> Key {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub(crate) fn u16(mut self, value: u16) -> Key {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub(crate) fn u8(mut self, value: u8) -> Key {
        self.0.push(value);
        self
    }
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Key {
        self.0.extend(bytes);
        self
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The first key above every key that starts with `prefix`; `None` if there is none (all `ff`).
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}
