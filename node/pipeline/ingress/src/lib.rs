//! The way in: decode, limit, verify signatures, admit.
//!
//! A request goes through, in this order: the connection's budget; strict decoding; what the chain's rules tell early (unknown
//! market, long expired); the account's key and budget and, for an order, the rate of an opening; the signature, on a bounded pool with a lane for cancels; the [Inbox].
//!
//! Invariant: nothing here reads or changes the engine. What passes is a well-formed message with a valid signature of an
//! authorised key; whether it may be executed is the engine's to say. A message refused here has consumed no nonce.
#![forbid(unsafe_code)]

pub mod budget;
pub mod client;
pub mod decimal;
pub mod decode;
pub mod error;
pub mod field;
mod ingress;
pub mod message;
pub mod pool;
pub mod queue;
mod ramp;
pub mod register;
pub mod snip12;
pub mod verify;

pub use error::IngressError;
pub use ingress::{Admitted, Begun, ConnectionId, Ingress, IngressConfig, KeyDirectory, Method};
pub use message::{Message, MessageKind, SessionCancel};
pub use queue::{Answer, Inbox, InboxCapacity, InboxReceiver, Lane, QueueFull, Shed, Submission};
pub use ramp::{Opening, RampConfig};
pub use snip12::Domain;
