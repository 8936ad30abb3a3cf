//! Borsh for field elements and for the types of `keel-commitment`, which know nothing of storage.

use borsh::io::{Error, ErrorKind, Read, Result, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::block_hash::{BlockContent, BlockHeader, GasPrice, GasPrices, L1DaMode};
use keel_commitment::commitments::{Event, MessageToL1};
use keel_commitment::{Felt, StateDiff};
use std::collections::{BTreeMap, BTreeSet};

/// Encoding of a type that is not ours. Lists and maps as borsh has them, a felt as 32 bytes, big-endian.
pub(crate) trait Wire: Sized {
    fn put<W: Write>(&self, to: &mut W) -> Result<()>;
    fn get<R: Read>(from: &mut R) -> Result<Self>;
}

/// For `#[borsh(serialize_with)]`.
pub(crate) fn put<T: Wire, W: Write>(value: &T, to: &mut W) -> Result<()> {
    value.put(to)
}
/// For `#[borsh(deserialize_with)]`.
pub(crate) fn get<T: Wire, R: Read>(from: &mut R) -> Result<T> {
    T::get(from)
}

/// Canonical bytes of any [`Wire`] type.
pub(crate) fn to_vec<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out).expect("writing to a Vec cannot fail");
    out
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

impl Wire for Felt {
    fn put<W: Write>(&self, to: &mut W) -> Result<()> {
        to.write_all(&self.to_bytes_be())
    }
    fn get<R: Read>(from: &mut R) -> Result<Self> {
        let mut bytes = [0; 32];
        from.read_exact(&mut bytes)?;
        let felt = Felt::from_bytes_be(&bytes);
        // One value, one encoding.
        if felt.to_bytes_be() == bytes { Ok(felt) } else { Err(bad("felt is not below the field prime")) }
    }
}

macro_rules! wire_by_borsh {
    ($($type:ty),+) => {$(
        impl Wire for $type {
            fn put<W: Write>(&self, to: &mut W) -> Result<()> {
                self.serialize(to)
            }
            fn get<R: Read>(from: &mut R) -> Result<Self> {
                <$type>::deserialize_reader(from)
            }
        }
    )+};
}
wire_by_borsh!(u64, u128, String);

impl<T: Wire> Wire for Vec<T> {
    fn put<W: Write>(&self, to: &mut W) -> Result<()> {
        put_len(self.len(), to)?;
        self.iter().try_for_each(|item| item.put(to))
    }
    fn get<R: Read>(from: &mut R) -> Result<Self> {
        (0..u32::deserialize_reader(from)?).map(|_| T::get(from)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put<W: Write>(&self, to: &mut W) -> Result<()> {
        self.is_some().serialize(to)?;
        self.iter().try_for_each(|item| item.put(to))
    }
    fn get<R: Read>(from: &mut R) -> Result<Self> {
        bool::deserialize_reader(from)?.then(|| T::get(from)).transpose()
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put<W: Write>(&self, to: &mut W) -> Result<()> {
        put_len(self.len(), to)?;
        self.iter().try_for_each(|(key, value)| key.put(to).and_then(|()| value.put(to)))
    }
    fn get<R: Read>(from: &mut R) -> Result<Self> {
        (0..u32::deserialize_reader(from)?).map(|_| Ok((K::get(from)?, V::get(from)?))).collect()
    }
}

impl<K: Wire + Ord> Wire for BTreeSet<K> {
    fn put<W: Write>(&self, to: &mut W) -> Result<()> {
        put_len(self.len(), to)?;
        self.iter().try_for_each(|key| key.put(to))
    }
    fn get<R: Read>(from: &mut R) -> Result<Self> {
        (0..u32::deserialize_reader(from)?).map(|_| K::get(from)).collect()
    }
}

fn put_len<W: Write>(len: usize, to: &mut W) -> Result<()> {
    u32::try_from(len).map_err(|_| bad("more than 2^32 elements"))?.serialize(to)
}

macro_rules! wire_struct {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl Wire for $type {
            fn put<W: Write>(&self, to: &mut W) -> Result<()> {
                $(self.$field.put(to)?;)+
                Ok(())
            }
            fn get<R: Read>(from: &mut R) -> Result<Self> {
                Ok(Self { $($field: Wire::get(from)?),+ })
            }
        }
    };
}

wire_struct!(Event { from_address, keys, data });
wire_struct!(MessageToL1 { from_address, to_address, payload });
wire_struct!(StateDiff {
    storage,
    deployed_contracts,
    replaced_classes,
    nonces,
    declared_classes,
    deprecated_declared_classes,
    migrated_compiled_classes,
});
wire_struct!(GasPrice { wei, fri });
wire_struct!(GasPrices { l1_gas, l1_data_gas, l2_gas });
wire_struct!(BlockContent {
    transaction_count,
    event_count,
    state_diff_length,
    transaction_commitment,
    event_commitment,
    receipt_commitment,
    state_diff_commitment,
});
wire_struct!(BlockHeader {
    number,
    parent_hash,
    state_root,
    sequencer_address,
    timestamp,
    l1_da_mode,
    gas_prices,
    starknet_version,
    content,
});

impl Wire for L1DaMode {
    fn put<W: Write>(&self, to: &mut W) -> Result<()> {
        u8::from(*self == L1DaMode::Blob).serialize(to)
    }
    fn get<R: Read>(from: &mut R) -> Result<Self> {
        match u8::deserialize_reader(from)? {
            0 => Ok(L1DaMode::Calldata),
            1 => Ok(L1DaMode::Blob),
            _ => Err(bad("unknown data-availability mode")),
        }
    }
}
