use crate::view::Submission;
use borsh::{BorshDeserialize, BorshSerialize};
use keel_store::BatchHeader;
use keel_types::Bytes32;

/// What the store keeps beside a batch's status. A convenience: everything in it can be found on the chain again.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Note {
    /// The last transaction that was to bring the batch, written before it was sent.
    pub submit_tx: Option<Bytes32>,
    /// The transaction that brought it, with its block, as last seen.
    pub included: Option<NoteInclusion>,
}

/// See [`Note::included`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct NoteInclusion {
    pub l1_tx_hash: Bytes32,
    pub l1_block: u64,
    pub l1_block_hash: Bytes32,
}

impl Note {
    /// Of a batch; empty if there is none that can be read.
    pub fn of(header: &BatchHeader) -> Note {
        borsh::from_slice(&header.note).unwrap_or_default()
    }

    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to a Vec cannot fail")
    }
}

impl Submission {
    /// Where the batch of a header is, as its note says; `None` while it was not submitted.
    pub fn of(header: &BatchHeader) -> Option<Submission> {
        let note = Note::of(header);
        match (note.included, note.submit_tx) {
            (Some(included), _) => Some(Submission { l1_tx_hash: included.l1_tx_hash, l1_block: Some(included.l1_block) }),
            (None, Some(tx)) => Some(Submission { l1_tx_hash: tx, l1_block: None }),
            (None, None) => None,
        }
    }
}
