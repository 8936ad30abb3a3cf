use crate::order::text_enum;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

text_enum! {
    /// Why the engine refused a command. Closed. Each has a JSON-RPC code of its own ([Reject::code]) and names a field.
    Reject {
        // Identity and replay.
        UnknownAccount = "UNKNOWN_ACCOUNT",
        AlreadyRegistered = "ALREADY_REGISTERED",
        Expired = "EXPIRED",
        ValidUntilTooFar = "VALID_UNTIL_TOO_FAR",
        NonceUsed = "NONCE_USED",
        NonceWindowFull = "NONCE_WINDOW_FULL",
        // Shape against the market.
        UnknownMarket = "UNKNOWN_MARKET",
        OffTick = "OFF_TICK",
        OffLot = "OFF_LOT",
        PriceRequired = "PRICE_REQUIRED",
        PriceOutOfRange = "PRICE_OUT_OF_RANGE",
        SizeZero = "SIZE_ZERO",
        SizeTooLarge = "SIZE_TOO_LARGE",
        NotionalTooSmall = "NOTIONAL_TOO_SMALL",
        NotionalTooLarge = "NOTIONAL_TOO_LARGE",
        UnsupportedType = "UNSUPPORTED_TYPE",
        UnsupportedTimeInForce = "UNSUPPORTED_TIME_IN_FORCE",
        UnsupportedFlag = "UNSUPPORTED_FLAG",
        InconsistentFields = "INCONSISTENT_FIELDS",
        DuplicateClientId = "DUPLICATE_CLIENT_ID",
        // Matching.
        PostOnlyWouldCross = "POST_ONLY_WOULD_CROSS",
        // Money.
        InsufficientBalance = "INSUFFICIENT_BALANCE",
        InsufficientMargin = "INSUFFICIENT_MARGIN",
        PositionLimit = "POSITION_LIMIT",
        OpenInterestCap = "OPEN_INTEREST_CAP",
        TooManyOrders = "TOO_MANY_ORDERS",
        MarketHeld = "MARKET_HELD",
        // Cancels.
        UnknownOrder = "UNKNOWN_ORDER",
        OrderNotOpen = "ORDER_NOT_OPEN",
        // Withdrawals.
        UnknownAsset = "UNKNOWN_ASSET",
        AmountNotPositive = "AMOUNT_NOT_POSITIVE",
        AmountNotWithdrawable = "AMOUNT_NOT_WITHDRAWABLE",
        BadRecipient = "BAD_RECIPIENT",
        // Phase. [spec safe-mode, What a client sees]
        PhaseForbids = "PHASE_FORBIDS",
        // Commands of the node itself; a sign that two parts disagree.
        WrongIncident = "WRONG_INCIDENT",
        WrongPhase = "WRONG_PHASE",
        WrongHeight = "WRONG_HEIGHT",
        WrongBatch = "WRONG_BATCH",
        DepositAlreadyConsumed = "DEPOSIT_ALREADY_CONSUMED",
        DepositRefused = "DEPOSIT_REFUSED",
        /// Later than the others, so last: would break a reduce-only rule.
        ReduceOnlyWouldIncrease = "REDUCE_ONLY_WOULD_INCREASE",
        // Session keys.
        UnknownSessionKey = "UNKNOWN_SESSION_KEY",
        SessionKeyExpired = "SESSION_KEY_EXPIRED",
        /// Outside its markets, or above its largest order.
        SessionKeyScope = "SESSION_KEY_SCOPE",
        /// Only the main key withdraws, transfers and manages keys.
        SessionKeyForbidden = "SESSION_KEY_FORBIDDEN",
        BadExpiry = "BAD_EXPIRY",
        TooManySessionKeys = "TOO_MANY_SESSION_KEYS",
        // Times and triggers of orders.
        BadGoodTil = "BAD_GOOD_TIL",
        TriggerPriceRequired = "TRIGGER_PRICE_REQUIRED",
        ScheduleTooSoon = "SCHEDULE_TOO_SOON",
        // Modify.
        SizeBelowFilled = "SIZE_BELOW_FILLED",
        NothingToModify = "NOTHING_TO_MODIFY",
        /// Funds and fees of the exchange itself are not moved by message.
        AccountReserved = "ACCOUNT_RESERVED",
        // Restoring orders.
        /// There was no such incident.
        UnknownIncident = "UNKNOWN_INCIDENT",
        /// Not among what the incident cancelled of the account, restored already, or no longer kept.
        NotRestorable = "NOT_RESTORABLE",
        /// It would trade with another order of the same message, in a second market, or need more fills than the message has left: restore
        /// it in another.
        RestoreSeparately = "RESTORE_SEPARATELY",
    }
}

impl Reject {
    /// JSON-RPC error code. Ingress uses -32001..-32019 and -32040..-32049, the phase error is -32050, the engine's others -32100 and down.
    pub fn code(self) -> i32 {
        match self {
            Reject::PhaseForbids => -32050,
            other => -32100 - other as i32,
        }
    }

    /// The request field at fault, empty when it is none in particular.
    pub fn field(self) -> &'static str {
        match self {
            Reject::UnknownAccount | Reject::AlreadyRegistered => "account",
            Reject::Expired | Reject::ValidUntilTooFar => "validUntil",
            Reject::NonceUsed | Reject::NonceWindowFull => "nonce",
            Reject::UnknownMarket | Reject::MarketHeld | Reject::OpenInterestCap => "market",
            Reject::OffTick | Reject::PriceRequired | Reject::PriceOutOfRange | Reject::PostOnlyWouldCross => "price",
            Reject::OffLot
            | Reject::SizeZero
            | Reject::SizeTooLarge
            | Reject::NotionalTooSmall
            | Reject::NotionalTooLarge
            | Reject::InsufficientBalance
            | Reject::InsufficientMargin
            | Reject::PositionLimit => "size",
            Reject::UnsupportedType => "type",
            Reject::UnsupportedTimeInForce => "timeInForce",
            Reject::UnsupportedFlag | Reject::ReduceOnlyWouldIncrease => "reduceOnly",
            Reject::InconsistentFields => "goodTil",
            Reject::DuplicateClientId => "clientId",
            Reject::UnknownOrder | Reject::OrderNotOpen => "order",
            Reject::UnknownAsset => "asset",
            Reject::AmountNotPositive | Reject::AmountNotWithdrawable => "amount",
            Reject::BadRecipient => "recipient",
            Reject::UnknownSessionKey
            | Reject::SessionKeyExpired
            | Reject::SessionKeyForbidden
            | Reject::TooManySessionKeys => "key",
            Reject::SessionKeyScope => "market",
            Reject::BadExpiry => "expiry",
            Reject::BadGoodTil => "goodTil",
            Reject::TriggerPriceRequired => "triggerPrice",
            Reject::ScheduleTooSoon => "at",
            Reject::SizeBelowFilled | Reject::NothingToModify => "size",
            Reject::AccountReserved => "account",
            Reject::UnknownIncident => "incident",
            Reject::NotRestorable | Reject::RestoreSeparately => "orders",
            Reject::TooManyOrders
            | Reject::PhaseForbids
            | Reject::WrongIncident
            | Reject::WrongPhase
            | Reject::WrongHeight
            | Reject::WrongBatch
            | Reject::DepositAlreadyConsumed
            | Reject::DepositRefused => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reject_has_a_code_of_its_own() {
        let codes: std::collections::BTreeSet<i32> = Reject::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reject::ALL.len());
    }
}
