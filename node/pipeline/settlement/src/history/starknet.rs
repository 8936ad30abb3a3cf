//! [`super::History`] of a chain that settles on Starknet: events of the appchain contract, and the calls in the transactions that made them.

use super::source::{DataError, chunk_path};
use super::{Accepted, AcceptedData, DataSource, HistoryError, SettledState, Update};
use crate::error::L1Error;
use crate::quorum::{Quorum, Request};
use crate::starknet::quorum;
use keel_batches::DataAvailability;
use keel_contracts::starknet::starknet_keccak;
use keel_types::{BatchId, Bytes32, Felt, Height, L1Address};
use serde_json::{Value, json};
use std::path::Path;

/// Events in one answer.
const EVENTS_MAX: u64 = 500;

pub(super) struct Starknet {
    quorum: Quorum,
    core: Felt,
    data: DataSource,
}

impl Starknet {
    pub(super) fn connect(
        endpoints: &[String],
        quorum: usize,
        core: L1Address,
        data: DataSource,
    ) -> Result<Starknet, L1Error> {
        Ok(Starknet { quorum: quorum::connect(endpoints, quorum)?, core: core.0, data })
    }

    pub(super) async fn chain_id(&self) -> Result<Felt, L1Error> {
        felt(&self.call("starknet_chainId", json!([])).await?)
    }

    pub(super) async fn head(&self) -> Result<u64, L1Error> {
        let head = self.call("starknet_blockNumber", json!([])).await?;
        head.as_u64().ok_or_else(|| contradiction("the newest block", &head))
    }

    pub(super) async fn state_at(&self, block: u64) -> Result<SettledState, L1Error> {
        let selector = starknet_keccak("get_state");
        let request = json!({"contract_address": hex(self.core), "entry_point_selector": hex(selector), "calldata": []});
        let answer = self.call("starknet_call", json!({"request": request, "block_id": {"block_number": block}})).await?;
        let [root, number, block_hash] = felts(&answer)?[..] else { return Err(contradiction("get_state", &answer)) };
        let last_block = if number == -Felt::ONE { None } else { Some(height(number)?) };
        Ok(SettledState { last_block, root, block_hash })
    }

    pub(super) async fn updates(&self, from: u64, to: u64) -> Result<Vec<Update>, L1Error> {
        let events = self.events(&[vec![starknet_keccak("LogStateUpdate")]], from, to).await?;
        events.iter().map(update).collect()
    }

    pub(super) async fn accepted(&self, batch: BatchId, update: &Update) -> Result<Accepted, HistoryError> {
        let wrong = |why| HistoryError::Transaction { batch, tx: update.l1_tx_hash, why };
        let found = self.arguments(update.l1_tx_hash, "update_state").await?;
        // One transaction may settle several batches: the one whose output ends with this block.
        for arguments in found {
            let (output, rest) = span(&arguments).ok_or(wrong("its calldata is no state update"))?;
            let (hashes, rest) = span(rest).ok_or(wrong("its calldata is no state update"))?;
            if output.get(3) == Some(&Felt::from(update.last_block.0)) && rest.is_empty() {
                return Ok(Accepted { output: output.to_vec(), data: AcceptedData::Chunks(hashes.to_vec()) });
            }
        }
        Err(wrong("it does not call the appchain contract with this update"))
    }

    pub(super) async fn words(
        &self,
        batch: BatchId,
        update: &Update,
        data: AcceptedData,
    ) -> Result<Vec<Felt>, HistoryError> {
        let AcceptedData::Chunks(hashes) = data else {
            return Err(L1Error::Contradiction("an update on Starknet has no chunks".into()).into());
        };
        let mut words = Vec::new();
        for hash in hashes {
            let unreadable = |why| HistoryError::Data { batch, why };
            let chunk = match &self.data {
                DataSource::Archive(archive) => from_archive(archive, hash).map_err(unreadable)?,
                _ => self.registered(hash, update.l1_block).await?.ok_or(unreadable(DataError::MissingChunk(hash)))?,
            };
            if hash_of(&chunk) != hash {
                return Err(unreadable(DataError::WrongChunk(hash)));
            }
            words.extend(chunk);
        }
        Ok(words)
    }

    /// The words of a chunk that was registered in a block up to `to`; whether they have the hash is for the caller to see.
    async fn registered(&self, hash: Felt, to: u64) -> Result<Option<Vec<Felt>>, L1Error> {
        let events = self.events(&[vec![starknet_keccak("DataRegistered")], vec![hash]], 0, to).await?;
        // A chunk may have been registered by a call within another contract's, and again where it can be read.
        for event in &events {
            for arguments in self.arguments(transaction_hash(event)?, "register_data").await? {
                if let Some((chunk, [])) = span(&arguments)
                    && hash_of(chunk) == hash
                {
                    return Ok(Some(chunk.to_vec()));
                }
            }
        }
        Ok(None)
    }

    /// Arguments of every call of one of our contract's functions in a transaction: accounts take `[n, (to, selector, length, arguments)...]`.
    async fn arguments(&self, transaction: Bytes32, function: &str) -> Result<Vec<Vec<Felt>>, L1Error> {
        let hash = Felt::from_bytes_be(&transaction.0);
        let found = self.call("starknet_getTransactionByHash", json!({"transaction_hash": hex(hash)})).await?;
        let calldata = felts(&found["calldata"])?;
        let selector = starknet_keccak(function);
        let Some((count, mut rest)) = calldata.split_first() else { return Ok(vec![]) };
        let mut arguments = Vec::new();
        for _ in 0..u64::try_from(*count).unwrap_or(0) {
            let [to, called, ..] = rest else { break };
            let Some((taken, after)) = span(&rest[2..]) else { break };
            if (*to, *called) == (self.core, selector) {
                arguments.push(taken.to_vec());
            }
            rest = after;
        }
        Ok(arguments)
    }

    async fn events(&self, keys: &[Vec<Felt>], from: u64, to: u64) -> Result<Vec<Value>, L1Error> {
        let keys: Value = keys.iter().map(|any| any.iter().map(|key| json!(hex(*key))).collect::<Value>()).collect();
        let mut filter = json!({
            "from_block": {"block_number": from}, "to_block": {"block_number": to}, "address": hex(self.core), "keys": keys,
            "chunk_size": EVENTS_MAX,
        });
        let mut events = Vec::new();
        loop {
            let page = self.call("starknet_getEvents", json!({"filter": filter})).await?;
            events.extend(page["events"].as_array().ok_or_else(|| contradiction("events", &page))?.iter().cloned());
            match page.get("continuation_token").filter(|token| token.is_string()) {
                Some(token) => filter["continuation_token"] = token.clone(),
                None => return Ok(events),
            }
        }
    }

    /// `params` by name: newer versions of a method have more of them, and some nodes count those that are listed.
    async fn call(&self, method: &str, params: Value) -> Result<Value, L1Error> {
        let answer = self.quorum.ask(Request { method: method.to_owned(), params }).await?;
        answer.map_err(|fault| L1Error::Rpc { code: fault.code, message: format!("{method}: {}", fault.message) })
    }
}

fn update(event: &Value) -> Result<Update, L1Error> {
    let (keys, data) = (felts(&event["keys"])?, felts(&event["data"])?);
    let ([_, number], [root, block_hash]) = (&keys[..], &data[..]) else {
        return Err(contradiction("LogStateUpdate", event));
    };
    Ok(Update {
        last_block: height(*number)?,
        root: *root,
        block_hash: *block_hash,
        l1_block: event["block_number"].as_u64().ok_or_else(|| contradiction("the block of an event", event))?,
        l1_tx_hash: transaction_hash(event)?,
    })
}

fn transaction_hash(event: &Value) -> Result<Bytes32, L1Error> {
    Ok(Bytes32(felt(&event["transaction_hash"])?.to_bytes_be()))
}

/// A length, so many words, and what is after them.
fn span(words: &[Felt]) -> Option<(&[Felt], &[Felt])> {
    let (length, rest) = words.split_first()?;
    rest.split_at_checked(usize::try_from(u64::try_from(*length).ok()?).ok()?)
}

fn hash_of(chunk: &[Felt]) -> Felt {
    let chunk = DataAvailability::Chunks { words: chunk.to_vec() };
    match chunk.chunk_hashes()[..] {
        [hash] => hash,
        // Longer than any chunk, or empty: no chunk's hash.
        _ => Felt::ZERO,
    }
}

fn from_archive(archive: &Path, hash: Felt) -> Result<Vec<Felt>, DataError> {
    let path = chunk_path(archive, hash);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(DataError::MissingChunk(hash)),
        Err(error) => return Err(DataError::Unreachable(format!("read {}: {error}", path.display()))),
    };
    let words = bytes.chunks(32).map(|word| word.try_into().ok().map(|word| Felt::from_bytes_be(&word)));
    words.collect::<Option<_>>().ok_or(DataError::WrongChunk(hash))
}

fn height(number: Felt) -> Result<Height, L1Error> {
    u64::try_from(number).map(Height).map_err(|_| L1Error::Contradiction(format!("the last block is {number:#x}")))
}

fn felts(list: &Value) -> Result<Vec<Felt>, L1Error> {
    list.as_array().ok_or_else(|| contradiction("a list of felts", list))?.iter().map(felt).collect()
}

fn felt(value: &Value) -> Result<Felt, L1Error> {
    value.as_str().and_then(|text| Felt::from_hex(text).ok()).ok_or_else(|| contradiction("a felt", value))
}

fn hex(felt: Felt) -> String {
    format!("{felt:#x}")
}

fn contradiction(what: &str, found: &Value) -> L1Error {
    L1Error::Contradiction(format!("{what} is {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn felts(values: &[u64]) -> Vec<Felt> {
        values.iter().copied().map(Felt::from).collect()
    }

    #[test]
    fn a_span_is_a_length_and_as_many_words() {
        let words = felts(&[2, 7, 8, 9]);
        assert_eq!(span(&words), Some((&words[1..3], &words[3..])));
        assert_eq!(span(&felts(&[0])), Some((&[][..], &[][..])));
        for short in [&[][..], &felts(&[1]), &felts(&[3, 7, 8]), &[-Felt::ONE, Felt::ONE]] {
            assert_eq!(span(short), None);
        }
    }

    #[test]
    fn a_chunk_in_an_archive_is_there_missing_or_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let chunk = felts(&[5, 6, 7]);
        let hash = hash_of(&chunk);
        let path = chunk_path(folder.path(), hash);
        assert!(matches!(from_archive(folder.path(), hash), Err(DataError::MissingChunk(missing)) if missing == hash));
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let bytes: Vec<u8> = chunk.iter().flat_map(Felt::to_bytes_be).collect();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(from_archive(folder.path(), hash).unwrap(), chunk);
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert!(matches!(from_archive(folder.path(), hash), Err(DataError::WrongChunk(_))));
        assert_ne!(hash_of(&felts(&[5, 6, 8])), hash);
    }
}
