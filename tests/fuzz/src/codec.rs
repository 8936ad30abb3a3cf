//! What is read back from disk: commands, journal records, snapshots of the engine.

use crate::engine::snapshot_of;
use crate::rules::genesis;
use crate::{Reached, variant};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_engine::Engine;
use keel_types::{Command, Executed, Genesis, Record, Released};
use std::sync::LazyLock;

/// Rules under which the snapshots of the corpus were taken.
static GENESIS: LazyLock<Genesis> = LazyLock::new(genesis);

/// Bytes of magic, version, the first section's head and the hash of the rules.
const FRAME_LEN: usize = 57;

/// The first byte says what the rest is read as.
pub const KINDS: [&str; 5] = ["command", "record", "executed", "released", "snapshot"];

/// Any bytes are refused with an error or are the one encoding of a value.
pub fn command_codec(data: &[u8], reached: &mut Reached) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match usize::from(*kind) % KINDS.len() {
        0 => {
            if let Some(command) = canonical::<Command>(bytes) {
                assert!(command.signed().is_none_or(|signed| command.account() == Some(signed.account)));
                assert!(!command.is_cancel() || command.account().is_some(), "a cancel of nobody");
                reached.note(|| format!("command {}", variant(&command)));
            }
        }
        1 => match Record::decode(bytes) {
            Ok(record) => {
                assert_eq!(record.encode(), bytes, "a record with two encodings");
                // What start-up asks of the last record before it has looked at any other.
                assert!(record.last_seq() >= record.first_seq);
                assert!(!record.commands.is_empty());
                reached.note(|| "record".into());
            }
            Err(_) => reached.note(|| "record refused".into()),
        },
        2 => canonical::<Executed>(bytes).iter().for_each(|executed| {
            reached.note(|| format!("executed {}", executed.events.first().map(variant).unwrap_or_default()));
        }),
        3 => canonical::<Released>(bytes).iter().for_each(|_| reached.note(|| "released".into())),
        _ => snapshot(bytes, reached),
    }
}

fn canonical<T: BorshDeserialize + BorshSerialize>(bytes: &[u8]) -> Option<T> {
    let value = borsh::from_slice::<T>(bytes).ok()?;
    assert_eq!(borsh::to_vec(&value).expect("writing to a Vec cannot fail"), bytes, "a value with two encodings");
    Some(value)
}

/// A script's snapshot, whole, cut, lengthened or with a bit of its frame changed: three bytes say how, the rest is the script. What stands in
/// the sections is the engine's own: `store` compares a hash of the file before anything of it is restored.
fn snapshot(bytes: &[u8], reached: &mut Reached) {
    let Some(([how, low, high], script)) = bytes.split_first_chunk() else { return };
    let whole = snapshot_of(script);
    let at = usize::from(u16::from_le_bytes([*low, *high]));
    let mut damaged = whole.clone();
    match how % 4 {
        0 => {}
        1 => damaged.truncate(at % whole.len()),
        2 => damaged.insert(whole.len(), *low),
        _ => damaged[at / 8 % FRAME_LEN] ^= 1 << (at % 8),
    }
    match Engine::restore(&GENESIS, &damaged) {
        Ok(engine) => {
            assert!(engine.snapshot() == damaged && damaged == whole, "a state with two snapshots");
            assert_eq!(engine.check(), []);
            reached.note(|| "snapshot".into());
        }
        Err(error) => {
            assert!(damaged != whole, "{error}");
            reached.note(|| format!("snapshot refused: {}", variant(&error)));
        }
    }
}
