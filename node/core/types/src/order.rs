use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
        )]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in encoding order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The name on the wire, in signed messages and in documents.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
            /// From the wire name.
            pub fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use text_enum;

text_enum! {
    /// Side of an order.
    Side { Buy = "BUY", Sell = "SELL" }
}

impl Side {
    /// The other side.
    pub fn opposite(self) -> Side {
        match self {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }
    /// +1 for a buy, -1 for a sell.
    pub fn sign(self) -> i128 {
        match self {
            Side::Buy => 1,
            Side::Sell => -1,
        }
    }
}

text_enum! {
    /// Type of an order. The last four wait for the mark to reach their trigger price.
    OrderType {
        Limit = "LIMIT",
        /// With a worst price; price 0 means the band edge.
        Market = "MARKET",
        StopLimit = "STOP_LIMIT",
        StopMarket = "STOP_MARKET",
        TakeProfitLimit = "TAKE_PROFIT_LIMIT",
        TakeProfitMarket = "TAKE_PROFIT_MARKET",
    }
}

text_enum! {
    /// Time in force. GTT ends by itself at `goodTil`; FOK trades its whole size at once or nothing.
    TimeInForce { Gtc = "GTC", Gtt = "GTT", Ioc = "IOC", Fok = "FOK", PostOnly = "POST_ONLY" }
}

text_enum! {
    /// What happens when a taker meets an order of its own account. [spec exchange, Orders]
    SelfTradeMode { CancelTaker = "CANCEL_TAKER", CancelMaker = "CANCEL_MAKER", CancelBoth = "CANCEL_BOTH" }
}

text_enum! {
    /// State of an order. FILLED, CANCELLED, EXPIRED and REJECTED are terminal and never change.
    OrderState {
        Received = "RECEIVED",
        Untriggered = "UNTRIGGERED",
        Triggered = "TRIGGERED",
        Open = "OPEN",
        PartiallyFilled = "PARTIALLY_FILLED",
        Filled = "FILLED",
        Cancelled = "CANCELLED",
        Expired = "EXPIRED",
        Rejected = "REJECTED",
    }
}

impl OrderState {
    /// Whether the state can never change again.
    pub fn is_terminal(self) -> bool {
        matches!(self, OrderState::Filled | OrderState::Cancelled | OrderState::Expired | OrderState::Rejected)
    }
}

text_enum! {
    /// Why an order changed state. Closed: a client can branch on it.
    Reason {
        /// Accepted and resting, or accepted and matched: nothing special.
        None = "NONE",
        Trade = "TRADE",
        UserCancel = "USER_CANCEL",
        UserCancelAll = "USER_CANCEL_ALL",
        /// The unfilled rest of an IOC or MARKET order.
        IocRemainder = "IOC_REMAINDER",
        SelfTrade = "SELF_TRADE",
        PriceBand = "PRICE_BAND",
        /// A maker that would add risk while below initial margin.
        Margin = "MARGIN",
        /// The most fills one command may make was reached; the rest does not rest, it would cross.
        FillLimit = "FILL_LIMIT",
        GoodTil = "GOOD_TIL",
        ReduceOnly = "REDUCE_ONLY",
        ScheduledCancel = "SCHEDULED_CANCEL",
        Liquidation = "LIQUIDATION",
        /// Cancelled by a safe-mode incident. [spec safe-mode]
        SafeMode = "SAFE_MODE",
        /// New price or size by its owner.
        Modified = "MODIFIED",
        /// The mark reached the trigger price.
        Triggered = "TRIGGERED",
        /// Triggered, but refused when placed; the event before says why.
        TriggerRefused = "TRIGGER_REFUSED",
        /// A FOK that could not trade its whole size.
        FillOrKill = "FILL_OR_KILL",
        /// The WebSocket session that asked for it was lost.
        Disconnected = "DISCONNECTED",
        /// The position it would close was closed against a bankrupt account.
        AutoDeleveraging = "AUTO_DELEVERAGING",
    }
}

text_enum! {
    /// Who caused a transition. [spec exchange, Orders]
    Initiator {
        User = "USER",
        Engine = "ENGINE",
        Risk = "RISK",
        Liquidation = "LIQUIDATION",
        SafeMode = "SAFE_MODE",
        Admin = "ADMIN",
    }
}
