//! The program output of a batch, taken apart: the words that the settlement contract was given, whoever gave them. [spec starknet (d)]

use crate::batch::StatePoint;
use crate::message::{MessageToL1, MessageToL2};
use keel_commitment::Felt;
use keel_types::{Height, L1Address};

/// Words of the header.
const HEADER_WORDS: usize = 10;

/// A program output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramOutput {
    pub before: StatePoint,
    pub after: StatePoint,
    pub config_hash: Felt,
    /// Where the data is in blobs.
    pub blobs: Option<BlobWords>,
    pub to_l1: Vec<MessageToL1>,
    pub to_l2: Vec<MessageToL2>,
}

/// What the output says about blobs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobWords {
    /// Where the blobs' polynomials are opened.
    pub z: Felt,
    /// Of each blob, its commitment as [low 24 bytes, high 24 bytes].
    pub commitments: Vec<[Felt; 2]>,
    /// Of each blob, its value at `z` as [low 128 bits, high 128 bits].
    pub evaluations: Vec<[Felt; 2]>,
}

/// Why words are no program output.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OutputError {
    #[error("the program output ends at word {0}")]
    TooShort(usize),
    #[error("{0} words are left over after the program output")]
    TooLong(usize),
    /// A count, a length, a block number, a flag or an address that cannot be one.
    #[error("word {0} of the program output cannot stand there")]
    BadWord(usize),
}

impl ProgramOutput {
    /// From exactly the words of one output.
    ///
    /// # Errors
    /// See [`OutputError`].
    pub fn decode(words: &[Felt]) -> Result<ProgramOutput, OutputError> {
        let mut reader = Reader { words, at: 0 };
        let header: [Felt; HEADER_WORDS] =
            reader.take(HEADER_WORDS)?.try_into().map_err(|_| OutputError::TooShort(words.len()))?;
        let number = |at: usize| match header[at] {
            number if number == -Felt::ONE => Ok(None),
            number => u64::try_from(number).map(|number| Some(Height(number))).map_err(|_| OutputError::BadWord(at)),
        };
        let before = StatePoint { height: number(2)?, root: header[0], hash: header[4] };
        let after = StatePoint { height: number(3)?, root: header[1], hash: header[5] };
        let blobs = match header[8] {
            flag if flag == Felt::ZERO => None,
            flag if flag == Felt::ONE => Some(reader.blobs()?),
            _ => return Err(OutputError::BadWord(8)),
        };
        let to_l1 = reader.segment(|reader| {
            let [from, to] = reader.words()?;
            Ok(MessageToL1 { from, to: L1Address(to), payload: reader.list()? })
        })?;
        let to_l2 = reader.segment(|reader| {
            let [from, to] = reader.words()?;
            let nonce = reader.number()?;
            let [selector] = reader.words()?;
            Ok(MessageToL2 { from: L1Address(from), to, nonce, selector, payload: reader.list()? })
        })?;
        match words.len() - reader.at {
            0 => Ok(ProgramOutput { before, after, config_hash: header[7], blobs, to_l1, to_l2 }),
            left => Err(OutputError::TooLong(left)),
        }
    }
}

struct Reader<'a> {
    words: &'a [Felt],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [Felt], OutputError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.words.len());
        let end = end.ok_or(OutputError::TooShort(self.words.len()))?;
        let taken = &self.words[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn words<const N: usize>(&mut self) -> Result<[Felt; N], OutputError> {
        let taken = self.take(N)?;
        Ok(std::array::from_fn(|index| taken[index]))
    }

    fn number(&mut self) -> Result<u64, OutputError> {
        let at = self.at;
        let [word] = self.words()?;
        u64::try_from(word).map_err(|_| OutputError::BadWord(at))
    }

    /// A length, then so many words.
    fn list(&mut self) -> Result<Vec<Felt>, OutputError> {
        let at = self.at;
        let length = usize::try_from(self.number()?).map_err(|_| OutputError::BadWord(at))?;
        Ok(self.take(length)?.to_vec())
    }

    fn blobs(&mut self) -> Result<BlobWords, OutputError> {
        let [z] = self.words()?;
        let at = self.at;
        let count = usize::try_from(self.number()?).map_err(|_| OutputError::BadWord(at))?;
        let count = count.checked_mul(2).ok_or(OutputError::BadWord(at))?;
        let pairs = |words: &[Felt]| words.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
        Ok(BlobWords { z, commitments: pairs(self.take(count)?), evaluations: pairs(self.take(count)?) })
    }

    /// A number of words, then messages that fill them exactly.
    fn segment<T>(&mut self, message: impl Fn(&mut Reader<'a>) -> Result<T, OutputError>) -> Result<Vec<T>, OutputError> {
        let at = self.at;
        let length = usize::try_from(self.number()?).map_err(|_| OutputError::BadWord(at))?;
        let mut segment = Reader { words: self.take(length)?, at: 0 };
        let mut messages = Vec::new();
        while segment.at < length {
            // A message that does not end with its segment is the fault of the segment's length.
            messages.push(message(&mut segment).map_err(|_| OutputError::BadWord(at))?);
        }
        Ok(messages)
    }
}
