use crate::*;
use borsh::{BorshDeserialize, BorshSerialize};

/// One batch of commands, made durable by one synced append. Records form a hash chain.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Record {
    /// [Record::hash] of the record before; zero for the first.
    pub prev: Bytes32,
    /// Sequence number of the first command; the others follow without a gap.
    pub first_seq: Seq,
    /// The time of every command in the record.
    pub ts: Ts,
    /// Never empty.
    pub commands: Vec<Command>,
}

impl Record {
    /// BLAKE3 over the borsh encoding: the link of the chain.
    pub fn hash(&self) -> Bytes32 {
        Bytes32(*blake3::hash(&self.encode()).as_bytes())
    }
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to a Vec cannot fail")
    }
    /// From canonical bytes; the whole slice must be used.
    pub fn decode(bytes: &[u8]) -> std::io::Result<Record> {
        borsh::from_slice(bytes)
    }
    /// Sequence number of the last command.
    pub fn last_seq(&self) -> Seq {
        Seq(self.first_seq.0 + self.commands.len() as u64 - 1)
    }
}

/// A command with everything that came of it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Executed {
    pub seq: Seq,
    pub command: Command,
    pub events: Vec<Event>,
    /// Chain-state writes, in the order they were made.
    pub writes: Vec<StateWrite>,
}

/// A record that is durable, with its results: what may leave the process.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Released {
    pub record_hash: Bytes32,
    pub ts: Ts,
    pub executed: Vec<Executed>,
}

impl Released {
    /// Sequence number of the last command.
    pub fn last_seq(&self) -> Seq {
        self.executed.last().map_or(Seq(0), |e| e.seq)
    }
}
