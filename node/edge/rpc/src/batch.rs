use crate::error::RpcError;
use crate::limits::BATCH_ENTRIES_MAX;
use crate::method;
use jsonrpsee::MethodResponse;
use jsonrpsee::core::middleware::{Batch, BatchEntry, BatchEntryErr, Notification, RpcServiceT};
use jsonrpsee::types::error::{
    OVERSIZED_RESPONSE_CODE, OVERSIZED_RESPONSE_MSG, TOO_MANY_SUBSCRIPTIONS_CODE, TOO_MANY_SUBSCRIPTIONS_MSG,
};
use jsonrpsee::types::{ErrorObjectOwned, Id, Request};
use tower::Layer;

/// Whether a method changes something. One at a time: a batch would wait for each durable answer in turn, and a client that cannot
/// tell which entry was reached cannot tell what it owns.
fn is_write(name: &str) -> bool {
    name.starts_with("admin_") || method::all().any(|method| method.name == name && method.call.is_write())
}

/// Bounds a batch to [BATCH_ENTRIES_MAX] entries, and answers every write inside a JSON-RPC batch with an error of its own; reads of the same batch go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoWritesInBatch;

impl<S> Layer<S> for NoWritesInBatch {
    type Service = BatchPolicy<S>;
    fn layer(&self, inner: S) -> BatchPolicy<S> {
        BatchPolicy(inner)
    }
}

/// See [NoWritesInBatch].
#[derive(Clone, Debug)]
pub(crate) struct BatchPolicy<S>(S);

impl<S> RpcServiceT for BatchPolicy<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse, NotificationResponse = MethodResponse, BatchResponse = MethodResponse>,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let (id, answered) = (request.id.clone(), self.0.call(request));
        async move {
            let answer = answered.await;
            // The library's own codes for these are some of ingress's.
            if answer.as_error_code() == Some(TOO_MANY_SUBSCRIPTIONS_CODE)
                && answer.as_json().get().contains(TOO_MANY_SUBSCRIPTIONS_MSG)
            {
                return MethodResponse::error(id, ErrorObjectOwned::from(RpcError::TooManySubscriptions));
            }
            match answer.as_error_code() == Some(OVERSIZED_RESPONSE_CODE)
                && answer.as_json().get().contains(OVERSIZED_RESPONSE_MSG)
            {
                true => MethodResponse::error(id, ErrorObjectOwned::from(RpcError::ResponseTooBig)),
                false => answer,
            }
        }
    }

    fn batch<'a>(&self, mut batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let too_long = batch.len() > BATCH_ENTRIES_MAX as usize;
        for entry in batch.iter_mut() {
            let refused = match entry {
                Ok(BatchEntry::Call(call)) if is_write(call.method_name()) => Some(call.id().into_owned()),
                _ => None,
            };
            if let Some(id) = refused {
                *entry = Err(BatchEntryErr::new(id, ErrorObjectOwned::from(RpcError::WriteInBatch)));
            }
        }
        let answered = (!too_long).then(|| self.0.batch(batch));
        async move {
            match answered {
                Some(answered) => answered.await,
                None => MethodResponse::error(Id::Null, ErrorObjectOwned::from(RpcError::BatchTooLong)),
            }
        }
    }

    fn notification<'a>(&self, notification: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.0.notification(notification)
    }
}
