//! The follower's side of the admin port: the journal as a stream, and what attestors send back. [spec settlement, Trust]
//!
//! | call | what |
//! |---|---|
//! | `admin_subscribeJournal {fromSeq}` | WebSocket: every durable record from the one that begins with `fromSeq`, for ever, as `admin_journal` |
//! | `admin_getBatches {from, attestor}` | where batches end and what they came to, for the attestor to compare |
//! | `admin_submitAttestation {batch, fact, attestor, signature}` | a signed fact |
//! | `admin_reportDivergence {what, batch?, height, announced, computed, attestor, signature}` | a signed difference |
//!
//! A notification is `{records: [{firstSeq, hash, record}], durable}`: `record` is the record's bytes in hex exactly as the journal has
//! them, `hash` their BLAKE3, which the next record carries as its `prev`; `durable` is the last command the node has made durable, so
//! that a follower sees how far behind it is. Records are read from the journal on disk when the follower has taken what was sent before:
//! one that is slow holds back nothing but itself, at most one page of it is in memory here, and it goes on from there.

use crate::admin::Role;
use crate::error::RpcError;
use crate::fields::Fields;
use crate::jwt::JwtSecret;
use crate::limits::*;
use jsonrpsee::core::server::{PendingSubscriptionSink, SubscriptionMessage, SubscriptionSink};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{Extensions, RpcModule};
use keel_batches::BatchError;
use keel_ingress::IngressError;
use keel_journal::{JournalError, JournalReader, StoredRecord};
use keel_types::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What followers may use, and the secret of their own that lets them: it opens nothing that changes the venue.
#[derive(Clone)]
pub struct FollowerConfig {
    pub secret: JwtSecret,
    pub journal: JournalReader,
    pub desk: Arc<dyn AttestationDesk>,
}

/// Who takes what attestors send: settlement, in the binary. Called on blocking threads.
pub trait AttestationDesk: Send + Sync + 'static {
    /// What there is to attest.
    ///
    /// # Errors
    /// The store, or a batch in it.
    fn batches(&self, from: BatchId, attestor: AttestorId) -> Result<Announced, BatchError>;
    /// Takes a signed fact.
    ///
    /// # Errors
    /// See [AttestationRefusal]; nothing is kept.
    fn attest(&self, attestation: Attestation) -> Result<Gathered, AttestationRefusal>;
    /// Takes a signed difference.
    ///
    /// # Errors
    /// See [AttestationRefusal]; nothing is kept.
    fn diverged(&self, report: DivergenceReport) -> Result<(), AttestationRefusal>;
}

/// A page of batches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announced {
    /// The first batch that is not confirmed on the settlement layer: earlier ones need no attestation any more.
    pub unconfirmed_from: BatchId,
    /// Consecutive, from the one that was asked for, at most [ANNOUNCED_BATCHES_MAX]; and whether the asking attestor's signature is here.
    pub batches: Vec<(BatchClaim, bool)>,
}

struct Follow {
    config: FollowerConfig,
    places: Arc<Semaphore>,
}

/// Adds the methods.
pub(crate) fn register<C: Send + Sync + 'static>(module: &mut RpcModule<C>, config: FollowerConfig) {
    let follow = Arc::new(Follow { config, places: Arc::new(Semaphore::new(FOLLOWERS_MAX)) });
    let stream = follow.clone();
    module
        .register_subscription(
            "admin_subscribeJournal",
            "admin_journal",
            "admin_unsubscribeJournal",
            move |params, pending, _, extensions| subscribe(params, pending, stream.clone(), extensions),
        )
        .expect("a subscription is registered once");
    method(module, &follow, "admin_getBatches", batches);
    method(module, &follow, "admin_submitAttestation", attest);
    method(module, &follow, "admin_reportDivergence", diverged);
}

/// One call, carried out on a blocking thread.
fn method<C: Send + Sync + 'static>(
    module: &mut RpcModule<C>,
    follow: &Arc<Follow>,
    name: &'static str,
    call: fn(&dyn AttestationDesk, &Params<'_>) -> Result<Value, RpcError>,
) {
    let follow = follow.clone();
    let added = module.register_async_method(name, move |params, _, extensions| {
        let (follow, params) = (follow.clone(), params.into_owned());
        async move {
            Role::any(&extensions)?;
            let done = tokio::task::spawn_blocking(move || call(&*follow.config.desk, &params)).await;
            done.unwrap_or(Err(RpcError::Internal)).map_err(ErrorObjectOwned::from)
        }
    });
    added.expect("a method is registered once");
}

fn batches(desk: &dyn AttestationDesk, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let from = BatchId(fields.integer("from")?);
    let attestor = attestor(&mut fields)?;
    fields.finish()?;
    let Announced { unconfirmed_from, batches } = desk.batches(from, attestor)?;
    let batches = batches.iter().map(|(claim, attested)| {
        json!({
            "batch": claim.batch.to_string(),
            "firstBlock": claim.first_block.to_string(),
            "lastBlock": claim.last_block.to_string(),
            "root": claim.root.to_string(),
            "blockHash": claim.block_hash.to_string(),
            "fact": claim.fact.to_string(),
            "attested": attested,
        })
    });
    Ok(json!({"unconfirmedFrom": unconfirmed_from.to_string(), "batches": batches.collect::<Value>()}))
}

fn attest(desk: &dyn AttestationDesk, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let attestation = Attestation {
        batch: BatchId(fields.integer("batch")?),
        fact: bytes32(&mut fields, "fact")?,
        attestor: attestor(&mut fields)?,
        signature: signature(&mut fields)?,
    };
    fields.finish()?;
    let Gathered { have, need } = desk.attest(attestation)?;
    Ok(json!({"have": have.to_string(), "need": need.to_string()}))
}

fn diverged(desk: &dyn AttestationDesk, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let what = fields.text("what")?;
    let divergence = Divergence {
        what: Diverged::parse(&what).ok_or(IngressError::UnknownValue("what".into()))?,
        batch: fields.optional_integer("batch")?.map(BatchId),
        height: Height(fields.integer("height")?),
        announced: bytes32(&mut fields, "announced")?,
        computed: bytes32(&mut fields, "computed")?,
    };
    let report = DivergenceReport { divergence, attestor: attestor(&mut fields)?, signature: signature(&mut fields)? };
    fields.finish()?;
    desk.diverged(report)?;
    Ok(Value::Bool(true))
}

fn attestor(fields: &mut Fields) -> Result<AttestorId, RpcError> {
    let felt = fields.felt("attestor")?.ok_or(IngressError::MissingField("attestor".into()))?;
    Ok(AttestorId(felt))
}

fn bytes32(fields: &mut Fields, name: &'static str) -> Result<Bytes32, RpcError> {
    fields.text(name)?.parse().map_err(|_| IngressError::FeltMalformed(name.into()).into())
}

/// `0x` and an even number of hex digits.
fn signature(fields: &mut Fields) -> Result<Vec<u8>, RpcError> {
    let text = fields.text("signature")?;
    let bytes = text.strip_prefix("0x").and_then(|digits| hex::decode(digits).ok());
    let short = bytes.filter(|bytes| bytes.len() <= SIGNATURE_BYTES_MAX);
    short.ok_or(RpcError::Attestation(AttestationRefusal::BadSignature))
}

async fn subscribe(params: Params<'static>, pending: PendingSubscriptionSink, follow: Arc<Follow>, extensions: Extensions) {
    let (from, place) = match open(&params, &follow, &extensions).await {
        Ok(opened) => opened,
        Err(error) => return pending.reject(ErrorObjectOwned::from(error)).await,
    };
    // The follower went away before it had its answer.
    let Ok(sink) = pending.accept().await else { return };
    tracing::info!(%from, "a follower reads the journal");
    let ended = pump(&sink, &follow.config.journal, from).await;
    tracing::info!(%from, ?ended, "a follower has gone");
    drop(place);
}

async fn open(
    params: &Params<'_>,
    follow: &Arc<Follow>,
    extensions: &Extensions,
) -> Result<(Seq, tokio::sync::OwnedSemaphorePermit), RpcError> {
    Role::any(extensions)?;
    let mut fields = Fields::read(params)?;
    let from = Seq(fields.integer("fromSeq")?);
    fields.finish()?;
    let place = follow.places.clone().try_acquire_owned().map_err(|_| RpcError::TooManySubscriptions)?;
    let journal = follow.config.journal.clone();
    match blocking(move || journal.begins_at(from)).await {
        Ok(true) => Ok((from, place)),
        Ok(false) => Err(RpcError::NoRecordThere),
        Err(error) => {
            tracing::error!(%error, "read the journal for a follower");
            Err(RpcError::Internal)
        }
    }
}

/// Why a stream ended.
#[derive(Debug)]
#[allow(dead_code, reason = "the fields are for the log")]
enum Ended {
    Gone,
    Failed(JournalError),
    /// A page is no JSON: a bug.
    Unwritable,
}

async fn pump(sink: &SubscriptionSink, journal: &JournalReader, mut from: Seq) -> Ended {
    // Every record that begins at or before this one has been sent.
    let mut sent = Seq(from.0 - 1);
    loop {
        while journal.durable() <= sent {
            tokio::select! {
                () = sink.closed() => return Ended::Gone,
                () = tokio::time::sleep(JOURNAL_LOOKED_AT_EVERY) => {}
            }
        }
        let (reader, durable) = (journal.clone(), journal.durable());
        let page = match blocking(move || {
            reader.page(from, JOURNAL_PAGE_BYTES_MAX).map(|page| (next(&page), render(&page, reader.durable())))
        })
        .await
        {
            Ok(page) => page,
            Err(error) => return Ended::Failed(error),
        };
        match page {
            // `from` is the second command of the last record: nothing begins there.
            (None, _) => sent = durable,
            (Some(next), Some(message)) => {
                if sink.send(message).await.is_err() {
                    return Ended::Gone;
                }
                (from, sent) = (next, Seq(next.0 - 1));
            }
            (Some(_), None) => return Ended::Unwritable,
        }
    }
}

/// Where to look for the record after a page: keys are the first numbers of records.
fn next(page: &[StoredRecord]) -> Option<Seq> {
    page.last().map(|last| last.first_seq.next())
}

fn render(page: &[StoredRecord], durable: Seq) -> Option<SubscriptionMessage> {
    let records = page.iter().map(|record| {
        let hash = Bytes32(*blake3::hash(&record.bytes).as_bytes());
        json!({"firstSeq": record.first_seq.to_string(), "hash": hash.to_string(), "record": hex::encode(&record.bytes)})
    });
    let message = json!({"records": records.collect::<Value>(), "durable": durable.to_string()});
    RawValue::from_string(message.to_string()).ok().map(SubscriptionMessage::from)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let stopped = |_| JournalError::Corrupt { seq: Seq(0), why: "the node is stopping".into() };
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}
