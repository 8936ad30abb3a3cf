//! Blobs out of the beacon API of an Ethereum node. [beacon-APIs: getBlobs; before it getBlobSidecars]

use super::source::{BlockOfBlobs, DataError, check, text};
use crate::http::{self, Client, StatusCode};
use keel_batches::blob::Blob;
use keel_batches::kzg;
use keel_types::Bytes32;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::sync::OnceCell;

/// A beacon API by its base address.
pub(super) struct Beacon {
    url: String,
    client: Client,
    /// `None`: the endpoint has no slots.
    slots: OnceCell<Option<Slots>>,
}

/// When slots begin.
#[derive(Clone, Copy, Debug)]
struct Slots {
    /// Of slot 0; seconds since 1970.
    genesis_s: u64,
    slot_ms: u64,
}

/// What an endpoint says.
enum Answer {
    Found(Value),
    /// It has no such thing, or does not know the method; its words.
    Absent(String),
}

impl Beacon {
    pub(super) fn new(url: &str, client: Client) -> Beacon {
        Beacon { url: url.trim_end_matches('/').to_owned(), client, slots: OnceCell::new() }
    }

    /// The blobs with these versioned hashes, in their order, out of all that the block has.
    pub(super) async fn blobs(&self, block: &BlockOfBlobs, hashes: &[Bytes32]) -> Result<Vec<Blob>, DataError> {
        let id = self.block_id(block).await?;
        let mut found = BTreeMap::new();
        for hash in hashes {
            // An endpoint that does not filter has given all of them at once.
            if !found.contains_key(hash) {
                found.extend(self.of_block(id, *hash).await?);
            }
        }
        Ok(hashes.iter().filter_map(|hash| found.get(hash).cloned()).collect())
    }

    /// Blobs of a block by their hashes, that with `wanted` among them. One hash in a request: how endpoints want a list of them written differs.
    async fn of_block(&self, id: u64, wanted: Bytes32) -> Result<BTreeMap<Bytes32, Blob>, DataError> {
        let missing = |at: String| DataError::Missing { hash: wanted, at };
        let newer = self.get(&format!("/eth/v1/beacon/blobs/{id}?versioned_hashes={wanted}")).await?;
        let answer = match newer {
            Answer::Found(answer) => answer,
            // An endpoint from before that method.
            Answer::Absent(why) => match self.get(&format!("/eth/v1/beacon/blob_sidecars/{id}")).await? {
                Answer::Found(answer) => answer,
                Answer::Absent(_) => return Err(missing(format!("of slot {id} {why}"))),
            },
        };
        let list = answer["data"].as_array().ok_or_else(|| self.unreadable("no list of blobs"))?;
        let mut blobs = BTreeMap::new();
        for blob in list {
            let blob = if blob.is_string() { blob } else { &blob["blob"] };
            // Others' blobs of the same block are of no interest, whatever they are.
            let bytes = blob.as_str().and_then(|text| alloy::hex::decode(text).ok());
            let Some(blob) = bytes.and_then(|bytes| Blob::from_bytes(&bytes).ok()) else { continue };
            let Ok(commitment) = kzg::commit(&blob) else { continue };
            blobs.insert(commitment.versioned_hash(), blob);
        }
        match blobs.get(&wanted) {
            Some(blob) => check(blob.as_bytes(), wanted).map(|_| blobs),
            None => Err(missing(format!("{} has {} blobs of slot {id}, none of them this one", self.url, list.len()))),
        }
    }

    /// The slot of a block, from its time; or its number, where there are no slots.
    async fn block_id(&self, block: &BlockOfBlobs) -> Result<u64, DataError> {
        let Some(slots) = self.slots.get_or_try_init(|| self.slots()).await? else { return Ok(block.number) };
        let since_ms = block.timestamp.checked_sub(slots.genesis_s).and_then(|since| since.checked_mul(1_000));
        match since_ms {
            Some(since_ms) if since_ms % slots.slot_ms == 0 => Ok(since_ms / slots.slot_ms),
            _ => {
                Err(self.unreadable(&format!("no slot begins when block {} was made: it is of another chain", block.number)))
            }
        }
    }

    /// `None`: an endpoint that does not say how long a slot is, as a development chain's; it goes by block numbers.
    async fn slots(&self) -> Result<Option<Slots>, DataError> {
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
        let Answer::Found(spec) = self.get("/eth/v1/config/spec").await? else { return Ok(None) };
        let Answer::Found(genesis) = self.get("/eth/v1/beacon/genesis").await? else {
            return Err(self.unreadable("its chain has not begun"));
        };
        let spec = &spec["data"];
        // The older name is on its way out.
        let slot_ms = number(&spec["SLOT_DURATION_MS"])
            .or_else(|| number(&spec["SECONDS_PER_SLOT"]).and_then(|seconds| seconds.checked_mul(1_000)))
            .filter(|slot_ms| *slot_ms > 0);
        let genesis_s = number(&genesis["data"]["genesis_time"]);
        let (Some(slot_ms), Some(genesis_s)) = (slot_ms, genesis_s) else {
            return Err(self.unreadable("neither SLOT_DURATION_MS nor SECONDS_PER_SLOT, or no genesis_time"));
        };
        Ok(Some(Slots { genesis_s, slot_ms }))
    }

    async fn get(&self, path: &str) -> Result<Answer, DataError> {
        let request = self.client.get(format!("{}{path}", self.url)).header("accept", "application/json");
        let answer = request.send().await.map_err(|error| self.unreadable(&http::explain(error)))?;
        let status = answer.status();
        let text = text(&self.url, answer).await?;
        if status.is_success() {
            return serde_json::from_str(&text).map(Answer::Found).map_err(|error| self.unreadable(&error.to_string()));
        }
        // {"code", "message"}, if it says more than its status.
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        let said = format!("{} answers {status}: {}", self.url, said["message"].as_str().unwrap_or("no reason given"));
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::METHOD_NOT_ALLOWED => Ok(Answer::Absent(said)),
            _ => Err(DataError::Unreachable(said)),
        }
    }

    fn unreadable(&self, why: &str) -> DataError {
        DataError::Unreachable(format!("{}: {why}", self.url))
    }
}
