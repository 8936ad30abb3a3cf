//! The twelve messages that accounts sign. Names, fields, their order and types are final: they are inside the signatures.

use crate::error::IngressError;
use crate::field::{FieldValue, Millis, Nonce, Quantums, ShortText};
use crate::snip12;
use keel_types::{
    Address, Amount, Command, EthAddress, Felt, Genesis, IncidentId, MessageHash, OrderType, Price, Qty, Reject,
    SelfTradeMode, Side, Signed, StarkKey, TimeInForce,
};
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// `market` of a CancelAll that means every market.
pub const ALL_MARKETS: &str = "ALL";

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
        recipient: EthAddress = "recipient",
        nonce: Nonce = "nonce",
        valid_until: Millis = "validUntil",
    }
}

impl MessageKind {
    /// From the SNIP-12 primary type.
    pub fn parse(text: &str) -> Option<MessageKind> {
        MessageKind::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }

    /// Whether the engine has a command for it yet.
    pub fn is_supported(self) -> bool {
        match self {
            MessageKind::Register
            | MessageKind::Order
            | MessageKind::CancelOrder
            | MessageKind::CancelAll
            | MessageKind::Withdraw => true,
            MessageKind::SessionKey
            | MessageKind::RevokeSessionKey
            | MessageKind::Session
            | MessageKind::ModifyOrder
            | MessageKind::ScheduleCancel
            | MessageKind::RestoreOrders
            | MessageKind::Transfer => false,
        }
    }

    /// Whether it takes the lane that is shed last.
    pub fn is_cancel(self) -> bool {
        matches!(self, MessageKind::CancelOrder | MessageKind::CancelAll | MessageKind::ScheduleCancel)
    }

    /// SNIP-12 type hash, computed once.
    pub fn type_hash(self) -> Felt {
        static HASHES: LazyLock<Vec<Felt>> =
            LazyLock::new(|| MessageKind::ALL.iter().map(|kind| snip12::type_hash_of(*kind)).collect());
        HASHES[self as usize]
    }
}

impl Message {
    /// The engine's command, with `hash` as the message's identity. Fails on names that the chain does not have and on messages
    /// that are [not yet supported](MessageKind::is_supported).
    pub fn to_command(&self, genesis: &Genesis, hash: MessageHash) -> Result<Command, IngressError> {
        let signed = Signed {
            account: self.account(),
            nonce: self.nonce(),
            valid_until: Millis(self.valid_until_ms()).ts(),
            hash,
            session_key: StarkKey::default(),
        };
        let market =
            |name: &ShortText| genesis.market_id(name.as_str()).ok_or(IngressError::Rejected(Reject::UnknownMarket));
        Ok(match self {
            Message::Register(m) => Command::Register(keel_types::Register {
                signed,
                key: m.key,
                template: template_index(genesis, m.template.as_str()).ok_or(IngressError::UnknownTemplate)?,
            }),
            Message::Order(m) => Command::Place(keel_types::PlaceOrder {
                signed,
                market: market(&m.market)?,
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
            Message::CancelOrder(m) => {
                if (m.order == MessageHash::default()) == (m.client_id == 0) {
                    return Err(IngressError::OrderOrClientId);
                }
                Command::Cancel(keel_types::CancelOrder { signed, order: m.order, client_id: m.client_id })
            }
            Message::CancelAll(m) => {
                let market = if m.market.as_str() == ALL_MARKETS { None } else { Some(market(&m.market)?) };
                Command::CancelAll(keel_types::CancelAll { signed, market })
            }
            Message::Withdraw(m) => Command::Withdraw(keel_types::Withdraw {
                signed,
                asset: genesis.asset_id(m.asset.as_str()).ok_or(IngressError::Rejected(Reject::UnknownAsset))?,
                amount: Amount(i128::try_from(m.amount.0).map_err(|_| IngressError::OutOfRange("amount".into()))?),
                recipient: m.recipient,
            }),
            Message::SessionKey(_)
            | Message::RevokeSessionKey(_)
            | Message::Session(_)
            | Message::ModifyOrder(_)
            | Message::ScheduleCancel(_)
            | Message::RestoreOrders(_)
            | Message::Transfer(_) => return Err(IngressError::NotYetSupported),
        })
    }
}

/// Index of an account template by its name.
pub fn template_index(genesis: &Genesis, name: &str) -> Option<u8> {
    genesis.account_templates.iter().position(|template| template.name == name).and_then(|index| u8::try_from(index).ok())
}
