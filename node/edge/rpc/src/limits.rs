//! Every limit of the public and the admin server, each with its reason. None can be switched off by a client.
use std::time::Duration;

/// Largest request body. A signed order is under 2 KiB; 256 KiB leaves room for a batch of 20 price publications and bounds
/// what one connection can make the JSON parser hold. Beyond it: error [crate::error::REQUEST_TOO_BIG].
pub const REQUEST_BYTES_MAX: u32 = 256 * 1024;
/// Largest response. `bridge_getBatchData` and `starknet_getEvents` are paged well below it; a block with 4,000 diff entries is
/// under 4 MiB, and the exchange's class, the largest of `starknet_getClass`, under 1 MiB.
pub const RESPONSE_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// Largest body on the admin port; operators send two short fields.
pub const ADMIN_REQUEST_BYTES_MAX: u32 = 16 * 1024;
/// Open connections in all: each holds a task, a socket and buffers.
pub const CONNECTIONS_MAX: u32 = 1_024;
/// Open connections from one address, so that one host cannot take all of [CONNECTIONS_MAX]. Loopback is exempt: tools of the
/// operator, a reverse proxy in front of the node and the tests all come from there.
pub const CONNECTIONS_PER_IP_MAX: usize = 32;
/// Open connections on the admin port: followers with a stream and a call each, and room for operators beside them.
pub const ADMIN_CONNECTIONS_MAX: u32 = 64;
/// Followers that read the journal at once: more attestors and replicas than a chain of one sequencer has. Each costs a page of memory and,
/// while it is far behind, reads of the disk.
pub const FOLLOWERS_MAX: usize = 16;
/// Messages waiting for a slow follower: pages of the journal, so few.
pub const ADMIN_MESSAGES_BUFFERED_MAX: u32 = 2;
/// Bytes of records in one message to a follower, unless one record alone has more; in hex it is twice that.
pub const JOURNAL_PAGE_BYTES_MAX: usize = 128 * 1024;
/// How often a stream of the journal that is at its end looks for more: one load of a number, so that the sequencer tells nobody.
pub const JOURNAL_LOOKED_AT_EVERY: Duration = Duration::from_millis(10);
/// Batches in one answer of `admin_getBatches`: each is read whole from the store.
pub const ANNOUNCED_BATCHES_MAX: usize = 16;
/// Longest signature that is looked at; the longest there is has 65 bytes.
pub const SIGNATURE_BYTES_MAX: usize = 96;
/// Entries of a JSON-RPC batch; they run one after the other.
pub const BATCH_ENTRIES_MAX: u32 = 20;
/// Requests of one `trade_batch`. [spec exchange, Orders: batches]
pub const TRADE_BATCH_MAX: usize = 20;
/// Subscriptions of one WebSocket connection.
pub const SUBSCRIPTIONS_PER_CONNECTION_MAX: u32 = 64;
/// How often a WebSocket is pinged, and how long it may be silent: a dead peer is noticed, and its session lost, within
/// [WS_SILENT_MAX] and one [WS_PING_INTERVAL], 15 s. Shorter would cut off phones that change their network.
pub const WS_PING_INTERVAL: Duration = Duration::from_secs(5);
/// See [WS_PING_INTERVAL].
pub const WS_SILENT_MAX: Duration = Duration::from_secs(10);
/// How long a connection may take nothing of what is written to it before it is closed: else one that stopped reading would stay until
/// TCP gives up, a quarter of an hour later, and its session with it.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(10);
/// How long the last message of a subscription, which says why it ends, waits for room.
pub const SLOW_NOTICE_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages waiting for one slow WebSocket reader; more wait with whoever sends them: a subscription does not go on, and answers out of the
/// store are bounded by [UNREAD_ANSWERS_MAX].
pub const WS_MESSAGES_BUFFERED_MAX: u32 = 64;
/// How long a write waits for its durable answer. After it the outcome is unknown, not failed: the client re-sends the
/// identical message and receives the recorded outcome. Well above the journal's 3 s stall threshold [spec safe-mode].
pub const WRITE_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Reads of the store that may run at once on blocking threads; the machine has few cores and a trie read is several disk reads.
pub const STORE_READS_AT_ONCE_MAX: usize = 16;
/// Answers out of the store that one WebSocket may have asked for and not taken: further ones wait [STORE_READ_QUEUE_TIMEOUT] for their turn, then
/// are OVERLOADED.
pub const UNREAD_ANSWERS_MAX: usize = 32;
/// How long a read waits for its turn before it is shed.
pub const STORE_READ_QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
/// History is written by a thread of its own right behind publishing, usually within a millisecond. A read of it waits this long
/// for what was published when it came, then answers with what there is.
pub const HISTORY_LAG_MAX: Duration = Duration::from_millis(250);

/// Levels per side that `market_book` returns at most, and when `depth` is absent.
pub const BOOK_DEPTH_MAX: usize = 500;
/// See [BOOK_DEPTH_MAX].
pub const BOOK_DEPTH_DEFAULT: usize = 20;
/// Trades that `market_trades` returns at most, and when `limit` is absent.
pub const TRADES_MAX: usize = 500;
/// See [TRADES_MAX].
pub const TRADES_DEFAULT: usize = 50;
/// Rows in a page of history at most, and when `limit` is absent. A liquidation's receipt is the largest row, some 10 KiB.
pub const HISTORY_LIMIT_MAX: usize = 500;
/// See [HISTORY_LIMIT_MAX].
pub const HISTORY_LIMIT_DEFAULT: usize = 50;
/// Bytes of a `cursor`: the longest is an order's place, 40.
pub const HISTORY_CURSOR_BYTES_MAX: usize = 48;
/// Detected losses that one answer about an incident shows, the oldest: each has up to some KiB of samples.
pub const INCIDENT_DETECTIONS_MAX: usize = 64;
/// Reports in one `market_publishPrices`: every market for each of a few publishers.
pub const PRICE_REPORTS_MAX: usize = 64;
/// 32-byte words in one page of `bridge_getBatchData`: one blob's worth.
pub const BATCH_DATA_WORDS_PER_PAGE: usize = 4_096;
/// Changes of batches that a stream reads at once and holds while it waits for its socket.
pub const BATCH_CHANGES_AT_ONCE_MAX: usize = 64;

/// `chunk_size` of `starknet_getEvents`; more is PAGE_SIZE_TOO_BIG (31).
pub const EVENTS_CHUNK_MAX: u64 = 1_024;
/// Key positions plus keys in an event filter; more is TOO_MANY_KEYS_IN_FILTER (34).
pub const EVENT_FILTER_KEYS_MAX: usize = 256;
/// Addresses in an event filter (0.10); more is TOO_MANY_KEYS_IN_FILTER (34).
pub const EVENT_FILTER_ADDRESSES_MAX: usize = 256;
/// Class hashes, addresses, storage keys and contracts they are asked of, together, in one `starknet_getStorageProof`; more is -32602. Each is
/// up to 30 nodes of 200 bytes of JSON and as many reads: this stays below [RESPONSE_BYTES_MAX] in tries of ten million keys.
pub const PROOF_KEYS_MAX: usize = 1_024;
/// Blocks that a subscription may begin before the latest; more is TOO_MANY_BLOCKS_BACK (68). [OpenRPC, starknet_ws_api]
pub const SUBSCRIPTION_BLOCKS_BACK_MAX: u64 = 1_024;
/// Addresses in a `sender_address` filter; more is TOO_MANY_ADDRESSES_IN_FILTER (67). Each transaction is compared with all of them.
pub const SENDER_FILTER_MAX: usize = 1_024;
/// Newest blocks kept in memory for the subscriptions that follow the chain; whoever lags more reads the store.
pub const BLOCKS_CACHED_MAX: usize = 4;
/// Transactions that a subscription holds while it waits for its socket.
pub const TRANSACTIONS_AT_ONCE_MAX: usize = 64;
/// The open block grows with every record of the journal; subscriptions are woken this often at most.
pub const OPEN_BLOCK_TOLD_EVERY: Duration = Duration::from_millis(20);
/// How often a subscription looks whether its transaction is settled, which takes minutes.
pub const L1_STATUS_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// Pause of a subscription whose read of the store failed or was shed.
pub const READ_RETRY: Duration = Duration::from_millis(500);
/// Longest `reason` of `admin_enterSafeMode`; it goes into logs.
pub const ADMIN_REASON_BYTES_MAX: usize = 256;
/// Operators with a secret of their own: a token is tried with each.
pub const OPERATORS_MAX: usize = 16;
/// An admin token's `iat` may be at most this far from our clock, either way.
pub const JWT_IAT_SKEW_MAX: Duration = Duration::from_secs(60);

/// The status page is drawn this often at most, whoever asks for it: what it shows changes with every tick, and nobody reads faster.
pub const STATUS_DRAWN_EVERY: Duration = Duration::from_millis(100);
/// The settlement layer's figures on it are read out of the store this often at most.
pub const STATUS_SETTLEMENT_READ_EVERY: Duration = Duration::from_millis(500);
/// And a request waits for them so long; a disk that hangs must not take the page with it.
pub const STATUS_SETTLEMENT_WAIT_MAX: Duration = Duration::from_millis(250);
/// Markets on the page, in the order of genesis; a line says how many are left out.
pub const STATUS_MARKETS_MAX: usize = 200;
/// Characters of a text on the page that a monitor or the integrity gate wrote.
pub const STATUS_TEXT_CHARS_MAX: usize = 300;

/// Longest a stopping node waits for one cancel-on-disconnect to be queued.
pub const LOSE_SESSION_TIMEOUT: Duration = Duration::from_secs(2);
