use crate::error::RpcError;
use crate::limits::BATCH_ENTRIES_MAX;
use crate::method::{self, Call};
use crate::server::Client;
use crate::starknet::subscriptions;
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

/// Whether a method opens a subscription. In a batch its notifications could come before its answer.
fn opens_subscription(name: &str) -> bool {
    subscriptions::opens(name) || name == crate::streams::SUBSCRIBE || name == crate::bridge::stream::SUBSCRIBE
}

/// Whether a method opens or ends a subscription: both need a connection that stays.
fn is_stream(name: &str) -> bool {
    let own = || method::all().any(|method| method.name == name && matches!(method.call, Call::Stream));
    subscriptions::opens(name) || subscriptions::ends(name) || own()
}

/// Bounds a batch to [BATCH_ENTRIES_MAX] entries, and answers every write and every new subscription inside a JSON-RPC batch with an error of
/// its own; reads of the same batch go on. Answers subscriptions over plain HTTP with an error of their own, too.
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
        let id = request.id.clone();
        let client = request.extensions().get::<Client>();
        let refused = client.is_some_and(|client| !client.websocket) && is_stream(request.method_name());
        let answered = (!refused).then(|| self.0.call(request));
        async move {
            let Some(answered) = answered else {
                return MethodResponse::error(id, ErrorObjectOwned::from(RpcError::WebSocketOnly));
            };
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
            let Ok(BatchEntry::Call(call)) = entry else { continue };
            let client = call.extensions().get::<Client>();
            let refusal = if is_write(call.method_name()) {
                RpcError::WriteInBatch
            } else if is_stream(call.method_name()) && client.is_some_and(|client| !client.websocket) {
                RpcError::WebSocketOnly
            } else if opens_subscription(call.method_name()) {
                RpcError::SubscriptionInBatch
            } else {
                continue;
            };
            *entry = Err(BatchEntryErr::new(call.id().into_owned(), ErrorObjectOwned::from(refusal)));
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
