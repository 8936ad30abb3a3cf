//! The twelve messages that accounts sign. Names, fields, their order and types are final: they are inside the signatures.

use crate::decode;
use crate::error::IngressError;
use crate::field::{FieldValue, Millis, Nonce, Quantums, ShortText};
use crate::snip12;
use keel_types::{
    Address, Amount, AssetId, Command, Felt, Genesis, GrantSessionKey, IncidentId, L1Address, MarketId, MessageHash,
    OpenSession, OrderType, Price, Qty, RESTORE_ORDERS_MAX, Reject, SelfTradeMode, SessionTerms, Side, Signed, StarkKey,
    TimeInForce, VALID_UNTIL_AHEAD_ORDER_MS_MAX, VALID_UNTIL_AHEAD_OTHER_MS_MAX,
};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// `market` of a CancelAll that means every market.
pub const ALL_MARKETS: &str = "ALL";
/// The one `scope` a session key can have. [spec exchange, Accounts and keys]
pub const SCOPE_TRADE: &str = "TRADE";

macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $kind:ident { $($(#[$fdoc:meta])* $field:ident : $of:ty = $wire:literal $(or $default:expr)?),+ $(,)? }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, PartialEq, Eq, Debug)]
            pub struct $kind { $($(#[$fdoc])* pub $field: $of,)+ }

            impl $kind {
                const SCHEMA: &'static [(&'static str, &'static str)] = &[$(($wire, <$of as FieldValue>::TYPE)),+];

                fn encoded(&self) -> Vec<Felt> {
                    vec![$(self.$field.encode()),+]
                }
                fn typed_json(&self) -> Value {
                    Value::Object(Map::from_iter([$(($wire.to_string(), self.$field.typed())),+]))
                }
                fn wire_json(&self) -> Value {
                    Value::Object(Map::from_iter([$(($wire.to_string(), self.$field.wire())),+]))
                }
                fn wire_schema() -> Value {
                    let fields = [$(($wire, <$of as FieldValue>::wire_schema(), messages!(@required $($default)?))),+];
                    let required: Vec<&str> = fields.iter().filter(|field| field.2).map(|field| field.0).collect();
                    let properties: Map<String, Value> =
                        fields.iter().map(|(name, schema, _)| (name.to_string(), schema.clone())).collect();
                    json!({
                        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
                    })
                }
                fn decode(fields: &Map<String, Value>) -> Result<Self, IngressError> {
                    if let Some(unknown) = fields.keys().find(|name| ![$($wire),+].contains(&name.as_str())) {
                        return Err(IngressError::unknown_field(unknown));
                    }
                    Ok($kind { $($field: match fields.get($wire) {
                        Some(value) => <$of as FieldValue>::decode($wire, value)?,
                        None => messages!(@absent $wire $(, $default)?),
                    }),+ })
                }
            }
        )+

        /// A message that an account signs.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Message { $($(#[$doc])* $kind($kind)),+ }

        /// Which of the messages; named as SNIP-12 primary types.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum MessageKind { $($(#[$doc])* $kind),+ }

        impl MessageKind {
            /// Every kind, in the order of the specification.
            pub const ALL: &'static [MessageKind] = &[$(MessageKind::$kind),+];

            /// The SNIP-12 primary type.
            pub fn as_str(self) -> &'static str {
                match self { $(MessageKind::$kind => stringify!($kind)),+ }
            }
            /// JSON schema of `message` in a request: every field with its wire form, and which may be left out.
            pub fn wire_schema(self) -> Value {
                match self { $(MessageKind::$kind => $kind::wire_schema()),+ }
            }
            /// Names and SNIP-12 types of the fields, in order.
            pub fn schema(self) -> &'static [(&'static str, &'static str)] {
                match self { $(MessageKind::$kind => $kind::SCHEMA),+ }
            }
        }

        impl Message {
            /// Which message it is.
            pub fn kind(&self) -> MessageKind {
                match self { $(Message::$kind(_) => MessageKind::$kind),+ }
            }
            /// Whose message it is.
            pub fn account(&self) -> Address {
                match self { $(Message::$kind(message) => message.account),+ }
            }
            /// Used once per account.
            pub fn nonce(&self) -> u64 {
                match self { $(Message::$kind(message) => message.nonce.0),+ }
            }
            /// Until when it may be admitted, in milliseconds since the epoch.
            pub fn valid_until_ms(&self) -> u64 {
                match self { $(Message::$kind(message) => message.valid_until.0),+ }
            }
            /// The fields as SNIP-12 encodes them, in order.
            pub(crate) fn encoded(&self) -> Vec<Felt> {
                match self { $(Message::$kind(message) => message.encoded()),+ }
            }
            /// `message` of the typed data: integers are quantums.
            pub fn typed_json(&self) -> Value {
                match self { $(Message::$kind(message) => message.typed_json()),+ }
            }
            /// `message` of a `trade_*` request: numbers are decimal strings. For clients.
            pub fn wire_json(&self) -> Value {
                match self { $(Message::$kind(message) => message.wire_json()),+ }
            }
            /// From the `message` object of a request, strictly: every field known, present or defaulted, of its type and range.
            pub fn decode(kind: MessageKind, fields: &Map<String, Value>) -> Result<Message, IngressError> {
                match kind { $(MessageKind::$kind => $kind::decode(fields).map(Message::$kind)),+ }
            }
        }
    };
    (@required) => { true };
    (@required $default:expr) => { false };
    (@absent $wire:literal) => { return Err(IngressError::MissingField($wire.into())) };
    (@absent $wire:literal, $default:expr) => { $default };
}

messages! {
    /// Binds the account to a key.
    Register {
        account: Address = "account",
        key: StarkKey = "key",
        template: ShortText = "template",
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// Lets a key trade for the account. Never withdraws, transfers or manages keys.
    SessionKey {
        account: Address = "account",
        key: StarkKey = "key",
        expiry: Millis = "expiry",
        scope: ShortText = "scope",
        markets: Vec<ShortText> = "markets" or Vec::new(),
        max_order_notional: Quantums = "maxOrderNotional",
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// Ends a session key.
    RevokeSessionKey {
        account: Address = "account",
        key: StarkKey = "key",
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// Logs a WebSocket in.
    Session {
        account: Address = "account",
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// A new order.
    Order {
        account: Address = "account",
        market: ShortText = "market",
        side: Side = "side",
        order_type: OrderType = "type",
        size: Qty = "size",
        price: Price = "price",
        trigger_price: Price = "triggerPrice" or Price(0),
        time_in_force: TimeInForce = "timeInForce" or TimeInForce::Gtc,
        good_til: Millis = "goodTil" or Millis(0),
        reduce_only: bool = "reduceOnly" or false,
        self_trade: SelfTradeMode = "selfTrade" or SelfTradeMode::CancelTaker,
        client_id: u128 = "clientId" or 0,
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// New price and total size of an order.
    ModifyOrder {
        account: Address = "account",
        order: MessageHash = "order",
        price: Price = "price",
        size: Qty = "size",
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// Cancels one order, by its hash or by the client's id.
    CancelOrder {
        account: Address = "account",
        order: MessageHash = "order" or MessageHash::default(),
        client_id: u128 = "clientId" or 0,
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// Cancels all orders of the account in one market, or in [ALL_MARKETS].
    CancelAll {
        account: Address = "account",
        market: ShortText = "market",
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// Dead man's switch: cancels all at a time.
    ScheduleCancel {
        account: Address = "account",
        at: Millis = "at",
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// Places again what an incident cancelled.
    RestoreOrders {
        account: Address = "account",
        incident: IncidentId = "incident",
        orders: Vec<MessageHash> = "orders",
        good_til: Millis = "goodTil" or Millis(0),
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// Moves an amount to another account.
    Transfer {
        account: Address = "account",
        recipient: Address = "recipient",
        asset: ShortText = "asset",
        amount: Quantums = "amount",
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
    /// Takes an amount out to the settlement layer.
    Withdraw {
        account: Address = "account",
        asset: ShortText = "asset",
        amount: Quantums = "amount",
        recipient: L1Address = "recipient",
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
}

impl MessageKind {
    /// From the SNIP-12 primary type.
    pub fn parse(text: &str) -> Option<MessageKind> {
        MessageKind::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }

    /// Whether a session key may sign it: what trades, and nothing that moves money out or manages keys.
    /// [spec exchange, Accounts and keys]
    pub fn session_key_may_sign(self) -> bool {
        match self {
            MessageKind::Session
            | MessageKind::Order
            | MessageKind::ModifyOrder
            | MessageKind::CancelOrder
            | MessageKind::CancelAll
            | MessageKind::ScheduleCancel
            | MessageKind::RestoreOrders => true,
            MessageKind::Register
            | MessageKind::SessionKey
            | MessageKind::RevokeSessionKey
            | MessageKind::Transfer
            | MessageKind::Withdraw => false,
        }
    }

    /// How far ahead `validUntil` may lie, milliseconds. [spec exchange, Two times]
    pub fn valid_until_ahead_ms_max(self) -> u64 {
        match self {
            MessageKind::Session
            | MessageKind::Order
            | MessageKind::ModifyOrder
            | MessageKind::CancelOrder
            | MessageKind::CancelAll
            | MessageKind::ScheduleCancel => VALID_UNTIL_AHEAD_ORDER_MS_MAX,
            MessageKind::Register
            | MessageKind::SessionKey
            | MessageKind::RevokeSessionKey
            | MessageKind::RestoreOrders
            | MessageKind::Transfer
            | MessageKind::Withdraw => VALID_UNTIL_AHEAD_OTHER_MS_MAX,
        }
    }

    /// Whether it takes the lane that is shed last.
    pub fn is_cancel(self) -> bool {
        matches!(self, MessageKind::CancelOrder | MessageKind::CancelAll | MessageKind::ScheduleCancel)
    }

    /// Whether it brings orders: what an opening lets in slowly. [spec safe-mode, Reopening]
    pub fn is_order(self) -> bool {
        matches!(self, MessageKind::Order | MessageKind::ModifyOrder | MessageKind::RestoreOrders)
    }

    /// SNIP-12 type hash, computed once.
    pub fn type_hash(self) -> Felt {
        static HASHES: LazyLock<Vec<Felt>> =
            LazyLock::new(|| MessageKind::ALL.iter().map(|kind| snip12::type_hash_of(*kind)).collect());
        HASHES[self as usize]
    }
}

impl Message {
    /// How many orders it brings.
    pub(crate) fn orders(&self) -> usize {
        match self {
            Message::RestoreOrders(m) => m.orders.len(),
            message => usize::from(message.kind().is_order()),
        }
    }

    /// The engine's command, with `hash` as the message's identity; `session_key` is the session key that signed, zero when the
    /// main key did. Fails on names that the chain does not have and on more than a command may carry.
    pub fn to_command(&self, genesis: &Genesis, hash: MessageHash, session_key: StarkKey) -> Result<Command, IngressError> {
        let signed = Signed {
            account: self.account(),
            nonce: self.nonce(),
            valid_until: Millis(self.valid_until_ms()).ts(),
            hash,
            session_key,
        };
        Ok(match self {
            Message::Register(m) => Command::Register(keel_types::Register {
                signed,
                key: m.key,
                template: template_index(genesis, m.template.as_str()).ok_or(IngressError::UnknownTemplate)?,
            }),
            Message::SessionKey(m) => {
                Command::SessionKey(GrantSessionKey { signed, key: m.key, terms: session_terms(m, genesis)? })
            }
            Message::RevokeSessionKey(m) => Command::RevokeSessionKey(keel_types::RevokeSessionKey { signed, key: m.key }),
            Message::Session(_) => Command::Session(OpenSession { signed }),
            Message::Order(m) => Command::Place(keel_types::PlaceOrder {
                signed,
                market: market(genesis, &m.market)?,
                side: m.side,
                order_type: m.order_type,
                size: m.size,
                price: m.price,
                trigger_price: m.trigger_price,
                time_in_force: m.time_in_force,
                good_til: m.good_til.ts(),
                reduce_only: m.reduce_only,
                self_trade: m.self_trade,
                client_id: m.client_id,
            }),
            Message::ModifyOrder(m) => {
                Command::Modify(keel_types::ModifyOrder { signed, order: m.order, price: m.price, size: m.size })
            }
            Message::CancelOrder(m) => {
                let (order, client_id) = one_order(m.order, m.client_id)?;
                Command::Cancel(keel_types::CancelOrder { signed, order, client_id })
            }
            Message::CancelAll(m) => {
                Command::CancelAll(keel_types::CancelAll { signed, market: market_or_all(genesis, &m.market)? })
            }
            Message::ScheduleCancel(m) => Command::ScheduleCancel(keel_types::ScheduleCancel { signed, at: m.at.ts() }),
            Message::Transfer(m) => Command::Transfer(keel_types::Transfer {
                signed,
                recipient: m.recipient,
                asset: asset(genesis, &m.asset)?,
                amount: amount("amount", m.amount)?,
            }),
            Message::Withdraw(m) => {
                self.check_recipient(genesis)?;
                Command::Withdraw(keel_types::Withdraw {
                    signed,
                    asset: asset(genesis, &m.asset)?,
                    amount: amount("amount", m.amount)?,
                    recipient: m.recipient,
                })
            }
            Message::RestoreOrders(m) => Command::RestoreOrders(keel_types::RestoreOrders {
                signed,
                incident: m.incident,
                orders: orders_to_restore(&m.orders)?,
                good_til: m.good_til.ts(),
            }),
        })
    }

    /// Refuses a withdrawal to what is no address of the chain's settlement layer: the money would be stuck.
    pub(crate) fn check_recipient(&self, genesis: &Genesis) -> Result<(), IngressError> {
        match self {
            Message::Withdraw(m) if !genesis.settlement.layer.admits(m.recipient) => {
                Err(IngressError::Rejected(Reject::BadRecipient))
            }
            _ => Ok(()),
        }
    }
}

/// What a session key is to be allowed. Its markets become a set: their order and repetitions mean nothing.
fn session_terms(message: &SessionKey, genesis: &Genesis) -> Result<SessionTerms, IngressError> {
    if message.scope.as_str() != SCOPE_TRADE {
        return Err(IngressError::UnknownValue("scope".into()));
    }
    let known = |name: &ShortText| genesis.market_id(name.as_str()).ok_or(IngressError::UnknownValue("markets".into()));
    let mut markets = message.markets.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    markets.sort();
    markets.dedup();
    let max_order_notional = amount("maxOrderNotional", message.max_order_notional)?;
    Ok(SessionTerms { expiry: message.expiry.ts(), markets, max_order_notional })
}

fn market(genesis: &Genesis, name: &ShortText) -> Result<MarketId, IngressError> {
    genesis.market_id(name.as_str()).ok_or(IngressError::Rejected(Reject::UnknownMarket))
}

fn market_or_all(genesis: &Genesis, name: &ShortText) -> Result<Option<MarketId>, IngressError> {
    if name.as_str() == ALL_MARKETS { Ok(None) } else { market(genesis, name).map(Some) }
}

fn asset(genesis: &Genesis, symbol: &ShortText) -> Result<AssetId, IngressError> {
    genesis.asset_id(symbol.as_str()).ok_or(IngressError::Rejected(Reject::UnknownAsset))
}

fn amount(field: &'static str, value: Quantums) -> Result<Amount, IngressError> {
    i128::try_from(value.0).map(Amount).map_err(|_| IngressError::OutOfRange(field.into()))
}

/// Some, and no more than the engine takes at once; whether each is named once is the engine's question.
fn orders_to_restore(orders: &[MessageHash]) -> Result<Vec<MessageHash>, IngressError> {
    match orders.len() {
        0 => Err(IngressError::OutOfRange("orders".into())),
        1..=RESTORE_ORDERS_MAX => Ok(orders.to_vec()),
        _ => Err(IngressError::TooLong("orders".into())),
    }
}

/// An order is named by exactly one of its hash and the client's id; zero means absent.
fn one_order(order: MessageHash, client_id: u128) -> Result<(MessageHash, u128), IngressError> {
    if (order == MessageHash::default()) == (client_id == 0) {
        return Err(IngressError::OrderOrClientId);
    }
    Ok((order, client_id))
}

/// An unsigned cancel, as a logged-in WebSocket sends it. [spec exchange, Signing]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionCancel {
    /// One order; exactly one of the two is not zero.
    Order { order: MessageHash, client_id: u128 },
    /// Every order, in one market or in all.
    All { market: Option<MarketId> },
}

impl SessionCancel {
    /// From `{order}` or `{clientId}`: what a signed CancelOrder has, without its envelope.
    pub fn decode_order(fields: &Map<String, Value>) -> Result<SessionCancel, IngressError> {
        decode::only(fields, &["order", "clientId"])?;
        let order = fields.get("order").map_or(Ok(MessageHash::default()), |v| FieldValue::decode("order", v))?;
        let client_id = fields.get("clientId").map_or(Ok(0), |v| FieldValue::decode("clientId", v))?;
        let (order, client_id) = one_order(order, client_id)?;
        Ok(SessionCancel::Order { order, client_id })
    }

    /// From `{market}`, a name or [ALL_MARKETS]: what a signed CancelAll has.
    pub fn decode_all(fields: &Map<String, Value>, genesis: &Genesis) -> Result<SessionCancel, IngressError> {
        decode::only(fields, &["market"])?;
        let name = FieldValue::decode("market", decode::required(fields, "market")?)?;
        Ok(SessionCancel::All { market: market_or_all(genesis, &name)? })
    }

    /// The engine's command.
    pub fn to_command(self, account: Address) -> Command {
        match self {
            SessionCancel::Order { order, client_id } => {
                Command::SessionCancel(keel_types::SessionCancel { account, order, client_id })
            }
            SessionCancel::All { market } => {
                Command::SessionCancelAll(keel_types::SessionCancelAll { account, market, disconnected: false })
            }
        }
    }
}

/// Index of an account template by its name.
pub fn template_index(genesis: &Genesis, name: &str) -> Option<u8> {
    genesis.account_templates.iter().position(|template| template.name == name).and_then(|index| u8::try_from(index).ok())
}
