//! Where blobs are found: the network forgets them after some 18 days.

use super::beacon::Beacon;
use crate::error::L1Error;
use crate::http::{self, Client, Response};
use keel_batches::blob::{Blob, BlobError};
use keel_batches::kzg;
use keel_types::{BatchId, Bytes32, Felt};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One request: a block's blobs are some megabytes of text.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// One answer: all blobs of a block, in hex, several times over.
const ANSWER_BYTES_MAX: usize = 64 << 20;
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
    /// The source answers, and does not have it. It may be late, or have pruned it.
    #[error("blob {hash} is missing: {at}")]
    Missing { hash: Bytes32, at: String },
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
}

/// The block whose transaction carried blobs.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockOfBlobs {
    pub number: u64,
    /// Seconds.
    pub timestamp: u64,
}

/// A [`DataSource`] that is connected.
pub(super) enum BlobSource {
    None,
    Archive(PathBuf),
    Beacon(Beacon),
    Node(Node),
}

impl BlobSource {
    /// # Errors
    /// No HTTP client can be made.
    pub(super) fn connect(source: DataSource) -> Result<BlobSource, L1Error> {
        let client = http::client(REQUEST_TIMEOUT)?;
        Ok(match source {
            DataSource::None => BlobSource::None,
            DataSource::Archive(archive) => BlobSource::Archive(archive),
            DataSource::Beacon(url) => BlobSource::Beacon(Beacon::new(&url, client)),
            DataSource::Node(url) => BlobSource::Node(Node { url, client }),
        })
    }

    /// The blobs with these versioned hashes, in their order. All of them are that.
    ///
    /// # Errors
    /// See [`DataError`].
    pub(super) async fn blobs(
        &self,
        batch: BatchId,
        block: &BlockOfBlobs,
        hashes: &[Bytes32],
    ) -> Result<Vec<Blob>, DataError> {
        match self {
            BlobSource::None => Err(DataError::NoSource),
            BlobSource::Archive(archive) => hashes.iter().map(|hash| from_archive(archive, *hash)).collect(),
            BlobSource::Beacon(beacon) => beacon.blobs(block, hashes).await,
            BlobSource::Node(node) => node.blobs(batch, hashes).await,
        }
    }
}

/// Takes bytes for the blob with a hash, if they are that.
pub(super) fn check(bytes: &[u8], expected: Bytes32) -> Result<Blob, DataError> {
    let damaged = |why: String| DataError::Damaged { hash: expected, why };
    let blob = Blob::from_bytes(bytes).map_err(|error| damaged(error.to_string()))?;
    let found = kzg::commit(&blob).map_err(|error| damaged(error.to_string()))?.versioned_hash();
    if found == expected { Ok(blob) } else { Err(DataError::WrongBlob { expected, found }) }
}

fn from_archive(archive: &Path, hash: Bytes32) -> Result<Blob, DataError> {
    let path = blob_path(archive, hash);
    match std::fs::read(&path) {
        Ok(bytes) => check(&bytes, hash),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(DataError::Missing { hash, at: format!("there is no {}", path.display()) })
        }
        Err(error) => Err(DataError::Unreachable(format!("read {}: {error}", path.display()))),
    }
}

/// A node of our chain.
pub(super) struct Node {
    url: String,
    client: Client,
}

impl Node {
    /// The blobs of a batch: page i is blob i.
    async fn blobs(&self, batch: BatchId, hashes: &[Bytes32]) -> Result<Vec<Blob>, DataError> {
        let mut blobs = Vec::with_capacity(hashes.len());
        for (page, hash) in hashes.iter().enumerate() {
            let missing = |at: String| DataError::Missing { hash: *hash, at };
            let answer = self.page(batch, page).await?;
            let reason = &answer["error"]["data"]["reason"];
            if reason == "UNKNOWN_BATCH" || reason == "PAGE_OUT_OF_RANGE" {
                return Err(missing(format!("{} does not have that batch, or not so many blobs of it", self.url)));
            }
            if let Some(error) = answer["error"]["message"].as_str() {
                return Err(self.unreadable(error));
            }
            let data = answer["result"]["blob"]["data"].as_str();
            let data = data.ok_or_else(|| missing(format!("{} has no blobs of that batch", self.url)))?;
            let bytes = alloy::hex::decode(data);
            let bytes = bytes.map_err(|error| DataError::Damaged { hash: *hash, why: error.to_string() })?;
            blobs.push(check(&bytes, *hash)?);
        }
        Ok(blobs)
    }

    async fn page(&self, batch: BatchId, page: usize) -> Result<Value, DataError> {
        let params = json!({"batch": batch.to_string(), "page": page.to_string()});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "bridge_getBatchData", "params": params}).to_string();
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let answer = request.send().await.map_err(|error| self.unreadable(&http::explain(error)))?;
        let status = answer.status();
        let text = text(&self.url, answer).await?;
        serde_json::from_str(&text).map_err(|_| self.unreadable(&format!("it answers {status}, and no JSON")))
    }

    fn unreadable(&self, why: &str) -> DataError {
        DataError::Unreachable(format!("{}: {why}", self.url))
    }
}

/// The body of an answer.
pub(super) async fn text(url: &str, mut answer: Response) -> Result<String, DataError> {
    let unreadable = |why: String| DataError::Unreachable(format!("{url}: {why}"));
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreadable(http::explain(error)))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(unreadable(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|error| unreadable(error.to_string()))
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
            let source = BlobSource::Archive(self.folder.path().to_owned());
            source.blobs(BATCH, &BLOCK, &self.hashes).await
        }
    }

    #[tokio::test]
    async fn an_archive_gives_the_blobs_that_the_chain_names() {
        let archive = archive();
        assert!(archive.path(0).ends_with(format!("blobs/{}.blob", archive.hashes[0])));
        assert_eq!(archive.read().await.unwrap(), archive.blobs);
        let none = BlobSource::None.blobs(BATCH, &BLOCK, &archive.hashes).await;
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
        assert!(matches!(error, DataError::Missing { hash, .. } if hash == second), "{error}");
    }
}
