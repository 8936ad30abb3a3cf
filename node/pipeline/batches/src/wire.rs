//! Borsh for field elements and state diffs: a felt is 32 bytes, big-endian and canonical; maps and lists as borsh has them.

use borsh::io::{Read, Result, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::{Felt, StateDiff};
use keel_types::FeltBytes;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn put_felt<W: Write>(felt: &Felt, to: &mut W) -> Result<()> {
    FeltBytes(*felt).serialize(to)
}
pub(crate) fn get_felt<R: Read>(from: &mut R) -> Result<Felt> {
    Ok(FeltBytes::deserialize_reader(from)?.0)
}

pub(crate) fn put_felts<W: Write>(felts: &[Felt], to: &mut W) -> Result<()> {
    felts.iter().copied().map(FeltBytes).collect::<Vec<_>>().serialize(to)
}
pub(crate) fn get_felts<R: Read>(from: &mut R) -> Result<Vec<Felt>> {
    Ok(Vec::<FeltBytes>::deserialize_reader(from)?.into_iter().map(|felt| felt.0).collect())
}

type Map = BTreeMap<FeltBytes, FeltBytes>;

fn map(felts: &BTreeMap<Felt, Felt>) -> Map {
    felts.iter().map(|(key, value)| (FeltBytes(*key), FeltBytes(*value))).collect()
}
fn unmap(map: Map) -> BTreeMap<Felt, Felt> {
    map.into_iter().map(|(key, value)| (key.0, value.0)).collect()
}

pub(crate) fn put_diff<W: Write>(diff: &StateDiff, to: &mut W) -> Result<()> {
    let storage: BTreeMap<_, _> =
        diff.storage.iter().map(|(address, entries)| (FeltBytes(*address), map(entries))).collect();
    storage.serialize(to)?;
    for part in [&diff.deployed_contracts, &diff.replaced_classes, &diff.nonces, &diff.declared_classes] {
        map(part).serialize(to)?;
    }
    diff.deprecated_declared_classes.iter().copied().map(FeltBytes).collect::<BTreeSet<_>>().serialize(to)?;
    map(&diff.migrated_compiled_classes).serialize(to)
}

pub(crate) fn get_diff<R: Read>(from: &mut R) -> Result<StateDiff> {
    let storage = BTreeMap::<FeltBytes, Map>::deserialize_reader(from)?;
    let mut part = || Map::deserialize_reader(from).map(unmap);
    let (deployed_contracts, replaced_classes, nonces, declared_classes) = (part()?, part()?, part()?, part()?);
    let deprecated = BTreeSet::<FeltBytes>::deserialize_reader(from)?;
    let migrated_compiled_classes = unmap(Map::deserialize_reader(from)?);
    Ok(StateDiff {
        storage: storage.into_iter().map(|(address, entries)| (address.0, unmap(entries))).collect(),
        deployed_contracts,
        replaced_classes,
        nonces,
        declared_classes,
        deprecated_declared_classes: deprecated.into_iter().map(|felt| felt.0).collect(),
        migrated_compiled_classes,
    })
}
