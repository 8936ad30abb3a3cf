use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starknet_types_core::felt::Felt;
use std::fmt;
use std::io::{Error, ErrorKind, Read, Result, Write};

macro_rules! felt_borsh {
    ($name:ident) => {
        impl BorshSerialize for $name {
            fn serialize<W: Write>(&self, writer: &mut W) -> Result<()> {
                writer.write_all(&self.0.to_bytes_be())
            }
        }
        impl BorshDeserialize for $name {
            fn deserialize_reader<R: Read>(reader: &mut R) -> Result<Self> {
                let mut bytes = [0u8; 32];
                reader.read_exact(&mut bytes)?;
                let felt = Felt::from_bytes_be(&bytes);
                // A second encoding of the same value would break "same bytes, same digest".
                if felt.to_bytes_be() != bytes {
                    return Err(Error::new(ErrorKind::InvalidData, "felt is not below the field prime"));
                }
                Ok(Self(felt))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

macro_rules! felt_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Felt);

        felt_borsh!($name);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
        impl From<Felt> for $name {
            fn from(felt: Felt) -> Self {
                Self(felt)
            }
        }
    };
}

felt_newtype! {
    /// A Starknet contract address: an account, or one of our contracts.
    Address
}
felt_newtype! {
    /// The SNIP-12 hash of a signed message. It is the identity of an order; a signature never is, `(r, n - s)` verifies too.
    MessageHash
}
felt_newtype! {
    /// A Stark-curve public key, x coordinate only.
    StarkKey
}
felt_newtype! {
    /// An attestor as the fact registry names it: an Ethereum address, or a Stark public key. The registry's order is that of the numbers.
    AttestorId
}
felt_newtype! {
    /// Any other field element that is stored: class hashes, roots, block hashes, short strings.
    FeltBytes
}

macro_rules! int_newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize, BorshSerialize,
            BorshDeserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

int_newtype! {
    /// Position of a command in the one order of all commands. The first command is 1; no number is skipped.
    Seq(u64)
}
int_newtype! {
    /// Block number of our chain. Genesis is 0.
    Height(u64)
}
int_newtype! {
    /// Journal time: nanoseconds since the Unix epoch. Only moves forward; the only clock the engine knows. [DESIGN, Determinism]
    Ts(u64)
}
int_newtype! {
    /// Index of a market in genesis order.
    MarketId(u16)
}
int_newtype! {
    /// Index of an asset in genesis order. Asset 0 is the quote and collateral asset.
    AssetId(u16)
}
int_newtype! {
    /// Number of a safe-mode incident; the first is 1, 0 means none.
    IncidentId(u32)
}
int_newtype! {
    /// Number of a settlement batch; the first is 0.
    BatchId(u64)
}
int_newtype! {
    /// Number of a fill in one market; the first is 1.
    TradeId(u64)
}

/// The quote and collateral asset.
pub const QUOTE: AssetId = AssetId(0);

impl Seq {
    /// The next sequence number.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl Ts {
    /// From milliseconds since the epoch, as messages carry it. Saturates at the end of time (year 2554).
    pub fn from_ms(ms: u64) -> Ts {
        Ts(ms.saturating_mul(1_000_000))
    }
    /// Whole milliseconds since the epoch.
    pub fn ms(self) -> u64 {
        self.0 / 1_000_000
    }
    /// Whole seconds since the epoch, as block headers carry it.
    pub fn secs(self) -> u64 {
        self.0 / 1_000_000_000
    }
    /// This instant plus some milliseconds, saturating.
    pub fn plus_ms(self, ms: u64) -> Ts {
        Ts(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }
}

/// An address on the settlement layer, "L1" for short whichever it is. Which values can be one, the layer says:
/// [`SettlementLayer::admits`](crate::SettlementLayer::admits).
///
/// Its text is `0x` and 40 hex digits below 2^160, as Ethereum writes addresses, and a felt in hex above. Addresses of contracts
/// on Starknet are hashes, below 2^160 with a chance of 2^-91.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct L1Address(pub Felt);

felt_borsh!(L1Address);

impl L1Address {
    /// From the 20 bytes of an Ethereum address.
    pub fn ethereum(bytes: [u8; 20]) -> L1Address {
        L1Address(Felt::from_bytes_be_slice(&bytes))
    }
    /// The 20 bytes of an Ethereum address; `None` from 2^160 up.
    pub fn to_ethereum(self) -> Option<[u8; 20]> {
        let bytes = self.0.to_bytes_be();
        let (high, low) = bytes.split_at(12);
        high.iter().all(|b| *b == 0).then(|| low.try_into().expect("split at 12 of 32 leaves 20"))
    }
}

impl fmt::Display for L1Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_ethereum() {
            Some(_) => write!(f, "{:#042x}", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// 32 opaque bytes: a BLAKE3 digest, a block, transaction or message hash of the settlement layer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize)]
pub struct Bytes32(pub [u8; 32]);

macro_rules! hex_text {
    ($name:ident, $len:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = String;
            /// `0x` and exactly the type's length in hex digits.
            fn from_str(text: &str) -> std::result::Result<Self, String> {
                let expected = || format!("expected 0x and {} hex digits", $len * 2);
                let digits = text.strip_prefix("0x").ok_or_else(expected)?;
                if digits.len() != $len * 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(expected());
                }
                let mut out = [0u8; $len];
                for (i, byte) in out.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|_| expected())?;
                }
                Ok(Self(out))
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                <String as Deserialize>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
hex_text!(Bytes32, 32);
