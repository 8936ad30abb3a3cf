//! Where blobs are found: the network forgets them after some 18 days.

use alloy::transports::http::reqwest::{Client, StatusCode};
use keel_batches::blob::{Blob, BlobError};
use keel_batches::kzg::{self, KzgError};
use keel_types::{BatchId, Bytes32, Felt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One request: a block's blobs are some megabytes of text.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Folder of blobs in an archive.
pub const BLOB_FOLDER: &str = "blobs";
/// Folder of chunks in an archive.
pub const CHUNK_FOLDER: &str = "chunks";

/// Where a blob stands in an archive: `DIR/blobs/<versioned hash>.blob`, 131,072 bytes as they are. The hash is 0x and 64 hex digits.
pub fn blob_path(archive: &Path, versioned_hash: Bytes32) -> PathBuf {
    archive.join(BLOB_FOLDER).join(format!("{versioned_hash}.blob"))
}

/// Where a chunk stands in an archive: `DIR/chunks/<chunk hash>.words`, its words of 32 bytes each, big-endian. The hash is 0x and hex digits
/// without leading zeros.
pub fn chunk_path(archive: &Path, chunk_hash: Felt) -> PathBuf {
    archive.join(CHUNK_FOLDER).join(format!("{chunk_hash:#x}.words"))
}

/// Who is asked for blobs. What they give is compared with the versioned hash that the settlement layer has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DataSource {
    /// Nobody: enough where data is in calldata.
    None,
    /// The beacon API of an Ethereum node, by its base address.
    Beacon(String),
    /// A folder, see [`blob_path`].
    Archive(PathBuf),
    /// JSON-RPC of a node of our chain: `bridge_getBatchData`.
    Node(String),
}

/// Why the data of a batch is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Blobs are needed, and no source was named.
    #[error("its data is in blobs, and nobody was named to ask for them")]
    NoSource,
    /// No answer, or none that can be read. Try again later.
    #[error("its blobs are not to be had now: {0}")]
    Unreachable(String),
    /// The source answers, and does not have it.
    #[error("blob {0} is missing")]
    Missing(Bytes32),
    /// The source gave something else under that name.
    #[error("what is there as blob {expected} is another blob: its hash is {found}")]
    WrongBlob { expected: Bytes32, found: Bytes32 },
    /// The source answers, and does not have it.
    #[error("chunk {0:#x} is missing")]
    MissingChunk(Felt),
    /// The source gave something else under that name.
    #[error("what is there as chunk {0:#x} has another hash")]
    WrongChunk(Felt),
    /// Of another size than a blob's, or with words that no blob has.
    #[error("blob {hash} is damaged: {why}")]
    Damaged { hash: Bytes32, why: String },
    /// All of it is what was accepted, and it is no data of ours.
    #[error("its blobs are not words: {0}")]
    NotWords(#[from] BlobError),
    #[error("{0}")]
    Kzg(#[from] KzgError),
}

/// The block whose transaction carried blobs.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockOfBlobs {
    pub number: u64,
    /// Seconds.
    pub timestamp: u64,
}

impl DataSource {
    /// The blobs with these versioned hashes, in their order.
    pub(super) async fn blobs(
        &self,
        batch: BatchId,
        block: &BlockOfBlobs,
        hashes: &[Bytes32],
    ) -> Result<Vec<Blob>, DataError> {
        match self {
            DataSource::None => Err(DataError::NoSource),
            DataSource::Archive(archive) => hashes.iter().map(|hash| from_archive(archive, *hash)).collect(),
            DataSource::Beacon(url) => in_order(from_beacon(url, block).await?, hashes),
            DataSource::Node(url) => {
                let blobs = from_node(url, batch).await?;
                let Some(missing) = hashes.get(blobs.len()) else { return check_all(blobs, hashes) };
                Err(DataError::Missing(*missing))
            }
        }
    }
}

/// Compares blobs, which come in order, with their hashes.
fn check_all(blobs: Vec<Vec<u8>>, hashes: &[Bytes32]) -> Result<Vec<Blob>, DataError> {
    blobs.into_iter().zip(hashes).map(|(bytes, hash)| check(&bytes, *hash)).collect()
}

fn check(bytes: &[u8], expected: Bytes32) -> Result<Blob, DataError> {
    let damaged = |why: String| DataError::Damaged { hash: expected, why };
    let blob = Blob::from_bytes(bytes).map_err(|error| damaged(error.to_string()))?;
    let found = kzg::commit(&blob).map_err(|error| damaged(error.to_string()))?.versioned_hash();
    if found == expected { Ok(blob) } else { Err(DataError::WrongBlob { expected, found }) }
}

/// Picks blobs by their hash out of all that a block has.
fn in_order(blobs: Vec<Vec<u8>>, hashes: &[Bytes32]) -> Result<Vec<Blob>, DataError> {
    let mut by_hash = BTreeMap::new();
    for bytes in blobs {
        // Others' blobs of the same block are of no interest, whatever they are.
        let Ok(blob) = Blob::from_bytes(&bytes) else { continue };
        by_hash.insert(kzg::commit(&blob)?.versioned_hash(), blob);
    }
    hashes.iter().map(|hash| by_hash.get(hash).cloned().ok_or(DataError::Missing(*hash))).collect()
}

fn from_archive(archive: &Path, hash: Bytes32) -> Result<Blob, DataError> {
    let path = blob_path(archive, hash);
    match std::fs::read(&path) {
        Ok(bytes) => check(&bytes, hash),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(DataError::Missing(hash)),
        Err(error) => Err(DataError::Unreachable(format!("read {}: {error}", path.display()))),
    }
}

/// All blobs of a block. The newer method first, then the one it replaced.
async fn from_beacon(url: &str, block: &BlockOfBlobs) -> Result<Vec<Vec<u8>>, DataError> {
    let url = url.trim_end_matches('/');
    let client = client()?;
    let id = slot(&client, url, block).await?.unwrap_or(block.number);
    let mut answer = get(&client, &format!("{url}/eth/v1/beacon/blobs/{id}")).await?;
    if answer.is_none() {
        answer = get(&client, &format!("{url}/eth/v1/beacon/blob_sidecars/{id}")).await?;
    }
    let answer = answer.ok_or_else(|| DataError::Unreachable(format!("{url} has no blobs of slot {id}")))?;
    let list = answer["data"].as_array().ok_or_else(|| unreadable(url, "no list of blobs"))?;
    list.iter().map(|blob| bytes(url, if blob.is_string() { blob } else { &blob["blob"] })).collect()
}

/// The slot of a block, from its time. `None`: an endpoint that does not know slots, as a development chain's; it goes by block numbers.
async fn slot(client: &Client, url: &str, block: &BlockOfBlobs) -> Result<Option<u64>, DataError> {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
    let Some(spec) = get(client, &format!("{url}/eth/v1/config/spec")).await? else { return Ok(None) };
    let Some(genesis) = get(client, &format!("{url}/eth/v1/beacon/genesis")).await? else { return Ok(None) };
    let (seconds, start) = (number(&spec["data"]["SECONDS_PER_SLOT"]), number(&genesis["data"]["genesis_time"]));
    let (Some(seconds), Some(start)) = (seconds.filter(|seconds| *seconds > 0), start) else {
        return Err(unreadable(url, "no SECONDS_PER_SLOT or genesis_time"));
    };
    let since =
        block.timestamp.checked_sub(start).ok_or_else(|| unreadable(url, "it is of another chain: it began later"))?;
    Ok(Some(since / seconds))
}

/// `None`: the endpoint has no such thing.
async fn get(client: &Client, url: &str) -> Result<Option<Value>, DataError> {
    let answer = client.get(url).header("accept", "application/json").send().await;
    let answer = answer.map_err(|error| DataError::Unreachable(error.to_string()))?;
    if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::METHOD_NOT_ALLOWED) {
        return Ok(None);
    }
    if !answer.status().is_success() {
        return Err(unreadable(url, &answer.status().to_string()));
    }
    let text = answer.text().await.map_err(|error| unreadable(url, &error.to_string()))?;
    serde_json::from_str(&text).map(Some).map_err(|error| unreadable(url, &error.to_string()))
}

async fn from_node(url: &str, batch: BatchId) -> Result<Vec<Vec<u8>>, DataError> {
    let (client, mut blobs) = (client()?, Vec::new());
    let mut pages = 1;
    while blobs.len() < pages {
        let params = json!({"batch": batch.to_string(), "page": blobs.len().to_string()});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "bridge_getBatchData", "params": params}).to_string();
        let request = client.post(url).header("content-type", "application/json").body(body);
        let answer = request.send().await.map_err(|error| DataError::Unreachable(error.to_string()))?;
        let text = answer.text().await.map_err(|error| unreadable(url, &error.to_string()))?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| unreadable(url, &error.to_string()))?;
        let page = &answer["result"];
        if page["kind"] != "BLOBS" {
            return Err(unreadable(url, "it has no blobs of this batch"));
        }
        pages = page["pages"].as_str().and_then(|pages| pages.parse().ok()).ok_or_else(|| unreadable(url, "no pages"))?;
        blobs.push(bytes(url, &page["blob"]["data"])?);
    }
    Ok(blobs)
}

fn client() -> Result<Client, DataError> {
    let client = Client::builder().timeout(REQUEST_TIMEOUT).build();
    client.map_err(|error| DataError::Unreachable(error.to_string()))
}

fn bytes(url: &str, value: &Value) -> Result<Vec<u8>, DataError> {
    let text = value.as_str().ok_or_else(|| unreadable(url, "a blob that is no text"))?;
    alloy::hex::decode(text).map_err(|error| unreadable(url, &error.to_string()))
}

fn unreadable(url: &str, why: &str) -> DataError {
    DataError::Unreachable(format!("{url}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keel_batches::blob::{BLOB_BYTES, BLOB_WORDS, to_blobs};

    const BATCH: BatchId = BatchId(7);
    const BLOCK: BlockOfBlobs = BlockOfBlobs { number: 1, timestamp: 1 };

    struct Archive {
        folder: tempfile::TempDir,
        blobs: Vec<Blob>,
        hashes: Vec<Bytes32>,
    }

    /// An archive with the two blobs of a batch.
    fn archive() -> Archive {
        let words: Vec<Felt> = (0..BLOB_WORDS as u64 + 9).map(Felt::from).collect();
        let blobs = to_blobs(&words);
        let hashes: Vec<Bytes32> = blobs.iter().map(|blob| kzg::commit(blob).unwrap().versioned_hash()).collect();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BLOB_FOLDER)).unwrap();
        for (blob, hash) in blobs.iter().zip(&hashes) {
            std::fs::write(blob_path(folder.path(), *hash), blob.as_bytes()).unwrap();
        }
        Archive { folder, blobs, hashes }
    }

    impl Archive {
        fn path(&self, blob: usize) -> PathBuf {
            blob_path(self.folder.path(), self.hashes[blob])
        }

        async fn read(&self) -> Result<Vec<Blob>, DataError> {
            let source = DataSource::Archive(self.folder.path().to_owned());
            source.blobs(BATCH, &BLOCK, &self.hashes).await
        }
    }

    #[tokio::test]
    async fn an_archive_gives_the_blobs_that_the_chain_names() {
        let archive = archive();
        assert!(archive.path(0).ends_with(format!("blobs/{}.blob", archive.hashes[0])));
        assert_eq!(archive.read().await.unwrap(), archive.blobs);
        let none = DataSource::None.blobs(BATCH, &BLOCK, &archive.hashes).await;
        assert!(matches!(none, Err(DataError::NoSource)));
    }

    #[tokio::test]
    async fn a_missing_swapped_or_damaged_blob_is_named() {
        let archive = archive();
        let (first, second) = (archive.hashes[0], archive.hashes[1]);
        std::fs::copy(archive.path(0), archive.path(1)).unwrap();
        let error = archive.read().await.unwrap_err();
        assert!(
            matches!(error, DataError::WrongBlob { expected, found } if (expected, found) == (second, first)),
            "{error}"
        );

        let mut bytes = archive.blobs[1].as_bytes().to_vec();
        bytes[BLOB_BYTES - 1] ^= 1;
        std::fs::write(archive.path(1), &bytes).unwrap();
        let error = archive.read().await.unwrap_err();
        assert!(matches!(error, DataError::WrongBlob { expected, .. } if expected == second), "{error}");

        for damaged in [&bytes[..BLOB_BYTES - 1], &[0xff; BLOB_BYTES], &[]] {
            std::fs::write(archive.path(1), damaged).unwrap();
            let error = archive.read().await.unwrap_err();
            assert!(matches!(error, DataError::Damaged { hash, .. } if hash == second), "{error}");
        }
        std::fs::remove_file(archive.path(1)).unwrap();
        let error = archive.read().await.unwrap_err();
        assert!(matches!(error, DataError::Missing(hash) if hash == second), "{error}");
    }

    #[test]
    fn blobs_of_a_block_are_found_by_their_hash_whatever_stands_beside_them() {
        let archive = archive();
        let bytes = |blob: usize| archive.blobs[blob].as_bytes().to_vec();
        let all = vec![vec![0; BLOB_BYTES], bytes(1), vec![1, 2, 3], bytes(0)];
        assert_eq!(in_order(all.clone(), &archive.hashes).unwrap(), archive.blobs);
        let error = in_order(all[..2].to_vec(), &archive.hashes).unwrap_err();
        assert!(matches!(error, DataError::Missing(hash) if hash == archive.hashes[0]), "{error}");
        let error = check_all(vec![bytes(1), bytes(0)], &archive.hashes).unwrap_err();
        assert!(matches!(error, DataError::WrongBlob { .. }), "in order, as a node gives them");
    }
}
