use crate::*;
use borsh::{BorshDeserialize, BorshSerialize};
use std::io::{Error, ErrorKind};

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
    /// From canonical bytes; the whole slice must be used. Refuses a record without commands, and one whose numbers pass the last
    /// there is: its [Record::last_seq] would not exist.
    pub fn decode(bytes: &[u8]) -> std::io::Result<Record> {
        let record: Record = borsh::from_slice(bytes)?;
        let after_first = (record.commands.len() as u64).checked_sub(1);
        if after_first.and_then(|more| record.first_seq.0.checked_add(more)).is_none() {
            return Err(Error::new(ErrorKind::InvalidData, "a record without a last command"));
        }
        Ok(record)
    }
    /// Sequence number of the last command.
    pub fn last_seq(&self) -> Seq {
        Seq(self.first_seq.0 + (self.commands.len() as u64 - 1))
    }
    /// The [Void] among its commands, wherever it stands.
    pub fn void(&self) -> Option<&Void> {
        self.commands.iter().find_map(|command| match command {
            Command::Void(void) => Some(void),
            _ => None,
        })
    }
    /// Whether `next`, the record right behind this one, takes it back. A Void is not taken back.
    pub fn is_voided_by(&self, next: &Record) -> bool {
        let alone = next.commands.len() == 1 && next.first_seq == self.last_seq().next();
        let is_its = |void: &Void| void.seq == self.first_seq && Void::is_reason(&void.reason);
        alone && self.void().is_none() && next.void().is_some_and(is_its)
    }
    /// Whether this is what must stand behind a Void: a safe-mode record for it, alone.
    pub fn is_safe_mode_of_void(&self) -> bool {
        matches!(&self.commands[..], [Command::EnterSafeMode(safe)] if safe.reasons.contains(LossReason::InvariantBroken))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_commands_or_past_the_last_number_is_refused() {
        let record = |first_seq, ticks| Record {
            prev: Bytes32::default(),
            first_seq: Seq(first_seq),
            ts: Ts(1),
            commands: vec![Command::Tick; ticks],
        };
        for (first_seq, ticks, last_seq) in [
            (1, 1, Some(1)),
            (5, 3, Some(7)),
            (u64::MAX, 1, Some(u64::MAX)),
            (1, 0, None),
            (0, 0, None),
            (u64::MAX, 2, None),
        ] {
            let decoded = Record::decode(&record(first_seq, ticks).encode()).ok();
            assert_eq!(decoded.map(|record| record.last_seq().0), last_seq, "{ticks} commands from {first_seq}");
        }
    }
}
