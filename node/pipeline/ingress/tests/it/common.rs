//! A small chain, a registered account and a request that would be admitted.

use keel_ingress::pool::PoolConfig;
use keel_ingress::register::account_address;
use keel_ingress::verify::public_key;
use keel_ingress::{
    Admitted, ConnectionId, Domain, Inbox, InboxCapacity, InboxReceiver, Ingress, IngressConfig, IngressError, KeyDirectory,
    Message, MessageKind, Opening, Submission, client,
};
use keel_types::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The clock of every test, milliseconds.
pub const NOW_MS: u64 = 1_700_000_000_000;
pub const PEER: ConnectionId = ConnectionId(1);

pub fn genesis() -> Genesis {
    let asset = |symbol: &str, id: u8| AssetSpec {
        symbol: symbol.into(),
        token: L1Address::ethereum([id; 20]),
        quantums_per_l1_unit: 100,
        deposit_max: Amount(MONEY_MAX),
    };
    let market = |name: &str| MarketSpec {
        name: name.into(),
        kind: MarketKind::Spot { base: AssetId(1) },
        tick_size: Price(1_000_000),
        lot_size: Qty(10_000),
        fee_maker_ppm: 0,
        fee_taker_ppm: 500,
        band_ppm: 50_000,
        notional_min: Amount(100_000_000),
        notional_max: Amount(100_000_000_000_000),
        price_max: Price(100_000_000_000_000),
        size_max: Qty(1_000_000_000_000),
        oracle_move_max_ppm: 100_000,
        initial_price: Price(200_000_000_000),
    };
    let template = |name: &str, class: u64| AccountTemplate {
        name: name.into(),
        class_hash: FeltBytes(Felt::from(class)),
        salt: TemplateWord::Key,
        constructor_calldata: vec![TemplateWord::Key],
    };
    let zero = Address::default();
    let genesis = Genesis {
        chain_id: FeltBytes(Felt::from_bytes_be_slice(b"KEEL_TEST")),
        rules_version: 1,
        ts: Ts::from_ms(NOW_MS),
        exchange: Address(Felt::from(0xe)),
        operator: zero,
        fee_token: zero,
        sequencer: zero,
        block_key: StarkKey::default(),
        settlement: SettlementSpec {
            layer: SettlementLayer::Ethereum { chain_id: 31_337, data: DataForm::Blobs },
            core: L1Address::default(),
            bridge: L1Address::default(),
            registry: L1Address::default(),
            deposit_depth: 1,
            confirm_depth: 1,
        },
        account_templates: vec![template("keel", 7), template("other", 8)],
        fee_account: zero,
        insurance_account: zero,
        assets: vec![asset("USDC", 1), asset("ETH", 2)],
        markets: vec![market("ETH-USDC"), market("BTC-USDC")],
        oracle: OracleSpec {
            publishers: (0..3u64).map(|i| public_key(&publisher_secret(i)).expect("in range")).collect(),
            quorum: 2,
            report_age_max_ms: 10_000,
            stale_ms: 10_000,
        },
        limits: EngineLimits { orders_per_account_market: 200, nonces_per_account: 65_536, fills_per_command: 500 },
    };
    genesis.check().expect("the rules of the test chain hold together");
    genesis
}

pub fn publisher_secret(index: u64) -> Felt {
    Felt::from(9_000 + index)
}

/// Somebody with a key and the account that follows from it.
#[derive(Clone, Copy)]
pub struct Trader {
    pub secret: Felt,
    pub key: StarkKey,
    pub account: Address,
}

impl Trader {
    pub fn new(secret: u64) -> Trader {
        let key = public_key(&Felt::from(secret)).expect("in range");
        Trader { secret: Felt::from(secret), key, account: account_address(&genesis().account_templates[0], &key) }
    }
    pub fn hex(&self) -> String {
        self.account.to_string()
    }
}

/// Registered.
pub fn alice() -> Trader {
    Trader::new(101)
}
/// Registered.
pub fn bob() -> Trader {
    Trader::new(102)
}
/// Not registered.
pub fn carol() -> Trader {
    Trader::new(103)
}

struct Keys {
    main: HashMap<Address, StarkKey>,
    opening: Opening,
}

/// Session key of alice, live for an hour after [NOW_MS].
pub fn session() -> Trader {
    Trader { account: alice().account, ..Trader::new(201) }
}
/// Session key of alice that expired so long ago that nothing it signed can be answered.
pub fn old_session() -> Trader {
    Trader { account: alice().account, ..Trader::new(202) }
}
/// Session key of alice that expired a moment ago.
pub fn late_session() -> Trader {
    Trader { account: alice().account, ..Trader::new(203) }
}

impl KeyDirectory for Keys {
    fn key(&self, account: Address) -> Option<StarkKey> {
        self.main.get(&account).copied()
    }
    fn session_key_expiry(&self, account: Address, key: StarkKey) -> Option<Ts> {
        let expiry = |ms| Some(Ts::from_ms(ms));
        match key {
            _ if account != alice().account => None,
            key if key == session().key => expiry(NOW_MS + 3_600_000),
            key if key == late_session().key => expiry(NOW_MS - 1),
            key if key == old_session().key => expiry(NOW_MS - 180_001),
            _ => None,
        }
    }
    fn opening(&self) -> Opening {
        self.opening
    }
}

/// A way in with a queue that the test reads.
pub struct Door {
    pub ingress: Ingress,
    pub queue: InboxReceiver,
    pub domain: Domain,
}

impl Door {
    pub fn new() -> Door {
        let pool = PoolConfig { workers: 2, lane_capacity: 64 };
        Door::with(IngressConfig { pool, ..IngressConfig::default() }, InboxCapacity::default())
    }
    pub fn with(config: IngressConfig, capacity: InboxCapacity) -> Door {
        Door::opening(config, capacity, Opening { phase: Phase::Open, since: Ts(0) })
    }
    pub fn opening(config: IngressConfig, capacity: InboxCapacity, opening: Opening) -> Door {
        let (inbox, queue) = Inbox::new(capacity);
        let main = [alice(), bob()].into_iter().map(|trader| (trader.account, trader.key)).collect();
        let genesis = Arc::new(genesis());
        let domain = Domain::new(genesis.chain_id.0);
        Door { ingress: Ingress::new(config, genesis, Arc::new(Keys { main, opening }), inbox), queue, domain }
    }
    pub async fn submit(&self, kind: MessageKind, params: Value) -> Result<Admitted, IngressError> {
        self.ingress.submit(kind, params, PEER, Ts::from_ms(NOW_MS)).await
    }
    pub fn queued(&self) -> Vec<Submission> {
        self.queue.drain(1_000, Duration::ZERO)
    }
    /// Wire-form fields, signed by `trader`.
    pub fn signed(&self, kind: MessageKind, fields: Value, trader: &Trader) -> Value {
        let message = decoded(kind, fields);
        client::signed_request(&self.domain, &message, &trader.secret).expect("the secret is in range")
    }
}

pub fn decoded(kind: MessageKind, fields: Value) -> Message {
    keel_ingress::decode::message(kind, &fields, Some("keel")).expect("the test's message is well-formed")
}

/// Fields of every kind that any account may send, as alice would.
pub fn fields_of(kind: MessageKind, nonce: u64) -> Value {
    let mut fields = match kind {
        MessageKind::Register => json!({ "key": alice().key.to_string() }),
        MessageKind::SessionKey => json!({
            "key": session().key.to_string(), "expiry": (NOW_MS + 3_600_000).to_string(), "scope": "TRADE",
            "markets": ["BTC-USDC", "ETH-USDC", "BTC-USDC"], "maxOrderNotional": "250.5",
        }),
        MessageKind::RevokeSessionKey => json!({ "key": session().key.to_string() }),
        MessageKind::Session => json!({}),
        MessageKind::Order => order_fields(&alice(), nonce),
        MessageKind::ModifyOrder => json!({ "order": "0xabc", "price": "2000.25", "size": "1.5" }),
        MessageKind::CancelOrder => json!({ "order": "0xabc" }),
        MessageKind::CancelAll => json!({ "market": "ALL" }),
        MessageKind::ScheduleCancel => json!({ "at": (NOW_MS + 5_000).to_string() }),
        MessageKind::RestoreOrders => json!({ "incident": "1", "orders": ["0xabc"] }),
        MessageKind::Transfer => json!({ "recipient": bob().hex(), "asset": "USDC", "amount": "12.34" }),
        MessageKind::Withdraw => {
            json!({ "asset": "USDC", "amount": "12.34", "recipient": format!("0x{}", "f".repeat(40)) })
        }
    };
    fields["account"] = json!(alice().hex());
    fields["nonce"] = json!(nonce.to_string());
    fields["validUntil"] = json!(valid_until());
    fields
}

pub fn valid_until() -> String {
    (NOW_MS + 60_000).to_string()
}

pub fn order_fields(trader: &Trader, nonce: u64) -> Value {
    json!({
        "account": trader.hex(), "market": "ETH-USDC", "side": "BUY", "type": "LIMIT", "size": "1.5", "price": "2000.25",
        "timeInForce": "POST_ONLY", "clientId": "77", "nonce": nonce.to_string(), "validUntil": valid_until(),
    })
}
pub fn register_fields(trader: &Trader) -> Value {
    json!({ "account": trader.hex(), "key": trader.key.to_string(), "nonce": "1", "validUntil": valid_until() })
}
pub fn cancel_all_fields(trader: &Trader, nonce: u64) -> Value {
    json!({ "account": trader.hex(), "market": "ALL", "nonce": nonce.to_string(), "validUntil": valid_until() })
}
pub fn withdraw_fields(trader: &Trader) -> Value {
    json!({
        "account": trader.hex(), "asset": "USDC", "amount": "12.34",
        "recipient": "0x00000000000000000000000000000000000000ff", "nonce": "9", "validUntil": valid_until(),
    })
}
