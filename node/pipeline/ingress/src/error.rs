//! Why a request was refused before it reached the engine. Nothing was changed, and no nonce was consumed.

use crate::queue::QueueFull;
use keel_types::{DecimalError, Reject};
use std::borrow::Cow;

/// Name of the field at fault, as it stands in the request.
pub type Field = Cow<'static, str>;

/// Longest field name that an error repeats; longer ones come from nobody's typing error.
const FIELD_NAME_LEN_MAX: usize = 64;

macro_rules! ingress_errors {
    (
        fields { $($(#[$fdoc:meta])* $fvariant:ident = $fcode:literal, $freason:literal, $ftext:literal;)+ }
        others { $($(#[$odoc:meta])* $ovariant:ident = $ocode:literal, $oreason:literal, $ofield:literal, $otext:literal;)+ }
    ) => {
        /// Closed. Each has a JSON-RPC code, a constant reason and the field at fault. The codes are final.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum IngressError {
            $($(#[$fdoc])* $fvariant(Field),)+
            $($(#[$odoc])* $ovariant,)+
            /// What the engine would answer, told early: same code, same reason.
            Rejected(Reject),
        }

        impl IngressError {
            /// Code, reason and meaning of every error of ingress itself; the source of the table in the documents.
            pub const TABLE: &'static [(i32, &'static str, &'static str)] =
                &[$(($fcode, $freason, $ftext),)+ $(($ocode, $oreason, $otext),)+];

            /// The rows of [IngressError::TABLE] that are about one field of a request.
            pub const FIELD_TABLE: &'static [(i32, &'static str, &'static str)] = &[$(($fcode, $freason, $ftext)),+];

            /// JSON-RPC error code: -32001..-32019, -32040..-32049, or that of the [Reject].
            pub fn code(&self) -> i32 {
                match self {
                    $(IngressError::$fvariant(_) => $fcode,)+
                    $(IngressError::$ovariant => $ocode,)+
                    IngressError::Rejected(reject) => reject.code(),
                }
            }
            /// `data.reason` of the answer: a constant that clients branch on.
            pub fn reason(&self) -> &'static str {
                match self {
                    $(IngressError::$fvariant(_) => $freason,)+
                    $(IngressError::$ovariant => $oreason,)+
                    IngressError::Rejected(reject) => reject.as_str(),
                }
            }
            /// `data.field` of the answer; empty when no field is at fault.
            pub fn field(&self) -> &str {
                match self {
                    $(IngressError::$fvariant(field) => field,)+
                    $(IngressError::$ovariant => $ofield,)+
                    IngressError::Rejected(reject) => reject.field(),
                }
            }
            /// The same error, of a field inside `outer`.
            pub(crate) fn within(self, outer: &str) -> IngressError {
                match self {
                    $(IngressError::$fvariant(field) => IngressError::$fvariant(Cow::Owned(format!("{outer}.{field}"))),)+
                    other => other,
                }
            }
            fn text(&self) -> &'static str {
                match self {
                    $(IngressError::$fvariant(_) => $ftext,)+
                    $(IngressError::$ovariant => $otext,)+
                    IngressError::Rejected(_) => "refused",
                }
            }
        }
    };
}

ingress_errors! {
    fields {
        MissingField = -32001, "MISSING_FIELD", "the field is required";
        UnknownField = -32002, "UNKNOWN_FIELD", "there is no such field";
        /// A JSON number, float or not, where a decimal string must stand: a parser may already have rounded it.
        NumberNotString = -32003, "NUMBER_NOT_STRING", "numbers are sent as decimal strings";
        WrongType = -32004, "WRONG_TYPE", "the value has the wrong JSON type";
        DecimalMalformed = -32005, "DECIMAL_MALFORMED", "not a decimal number";
        TooManyDecimals = -32006, "TOO_MANY_DECIMALS", "more decimals than the field has";
        OutOfRange = -32007, "OUT_OF_RANGE", "outside the range of the field";
        /// Text that is none of the values of the field.
        UnknownValue = -32008, "UNKNOWN_VALUE", "not one of the values of the field";
        FeltMalformed = -32009, "FELT_MALFORMED", "not 0x and up to 64 hex digits";
        FeltOutOfRange = -32010, "FELT_OUT_OF_RANGE", "not below the field prime";
        AddressOutOfRange = -32011, "ADDRESS_OUT_OF_RANGE", "not an address: must be at least 1 and below 2^251 - 256";
        SignatureMalformed = -32012, "SIGNATURE_MALFORMED", "a signature is an array of two felts";
        TooLong = -32013, "TOO_LONG", "longer than the field may be";
        DuplicateField = -32014, "DUPLICATE_FIELD", "the field stands twice in its object";
        /// Zero, or not on the curve.
        KeyInvalid = -32015, "KEY_INVALID", "not a public key of the Stark curve";
    }
    others {
        JsonMalformed = -32016, "JSON_MALFORMED", "", "the parameters are not one well-formed JSON object";
        UnknownTemplate = -32017, "UNKNOWN_TEMPLATE", "template", "no account template of this chain has this name";
        AccountKeyMismatch = -32018, "ACCOUNT_KEY_MISMATCH", "account", "the account's address does not follow from this key and template";
        OrderOrClientId = -32019, "ORDER_OR_CLIENT_ID", "order", "name the order by exactly one of order and clientId";
        InvalidSignature = -32040, "INVALID_SIGNATURE", "signature", "the signature does not verify for this account and message";
        KeyNotAuthorized = -32041, "KEY_NOT_AUTHORIZED", "key", "the key may not sign this for the account";
        UnknownPublisher = -32042, "UNKNOWN_PUBLISHER", "publisher", "no price publisher of this chain has this number";
        RateLimited = -32044, "RATE_LIMITED", "", "too many requests on this connection";
        AccountRateLimited = -32045, "ACCOUNT_RATE_LIMITED", "account", "too many requests of this account";
        Overloaded = -32046, "OVERLOADED", "", "the node has more work queued than it can do in time";
        ShuttingDown = -32047, "SHUTTING_DOWN", "", "the node is stopping";
        TooManyReports = -32048, "TOO_MANY_REPORTS", "reports", "no report, or more reports than one call may carry";
        /// The message was queued and the answer lost. Sending the identical message again tells what happened to it.
        OutcomeUnknown = -32049, "OUTCOME_UNKNOWN", "", "the message was taken in and its outcome is not known yet; send it again to ask";
    }
}

impl IngressError {
    /// The error of a decimal field.
    pub fn decimal(field: impl Into<Field>, error: DecimalError) -> IngressError {
        match error {
            DecimalError::Malformed => IngressError::DecimalMalformed(field.into()),
            DecimalError::TooManyDecimals => IngressError::TooManyDecimals(field.into()),
            DecimalError::OutOfRange => IngressError::OutOfRange(field.into()),
        }
    }

    /// A field that the client named; cut at [FIELD_NAME_LEN_MAX] characters before it is repeated.
    pub(crate) fn unknown_field(name: &str) -> IngressError {
        IngressError::UnknownField(Cow::Owned(name.chars().take(FIELD_NAME_LEN_MAX).collect()))
    }

    /// See [IngressError::unknown_field].
    pub(crate) fn duplicate_field(name: &str) -> IngressError {
        IngressError::DuplicateField(Cow::Owned(name.chars().take(FIELD_NAME_LEN_MAX).collect()))
    }
}

impl std::fmt::Display for IngressError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())?;
        if !self.field().is_empty() {
            write!(f, " ({})", self.field())?;
        }
        write!(f, ": {}", self.text())
    }
}

impl std::error::Error for IngressError {}

impl From<QueueFull> for IngressError {
    fn from(error: QueueFull) -> IngressError {
        match error {
            QueueFull::Full(_) | QueueFull::Paused => IngressError::Overloaded,
            QueueFull::Closed => IngressError::ShuttingDown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_error_has_a_code_and_a_reason_of_its_own_in_the_range_of_ingress() {
        let codes: BTreeSet<i32> = IngressError::TABLE.iter().map(|row| row.0).collect();
        let reasons: BTreeSet<&str> = IngressError::TABLE.iter().map(|row| row.1).collect();
        assert_eq!(codes.len(), IngressError::TABLE.len());
        assert_eq!(reasons.len(), IngressError::TABLE.len());
        for code in &codes {
            assert!((-32019..=-32001).contains(code) || (-32049..=-32040).contains(code), "{code}");
            assert!(Reject::ALL.iter().all(|reject| reject.code() != *code));
        }
        assert!(Reject::ALL.iter().all(|reject| !reasons.contains(reject.as_str())));
    }

    #[test]
    fn an_error_never_repeats_a_field_name_of_any_length() {
        assert_eq!(IngressError::unknown_field(&"x".repeat(100_000)).field().len(), FIELD_NAME_LEN_MAX);
    }
}
