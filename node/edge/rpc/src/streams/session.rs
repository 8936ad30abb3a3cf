//! Sessions: a WebSocket that logged in cancels without signing, and its loss can cancel everything.
//!
//! | call | what |
//! |---|---|
//! | `trade_login {message, signature, key?}` | a signed `Session`; a Session logs in once, the identical message again is refused |
//! | `trade_sessionCancel {order \| clientId}` | cancels one order |
//! | `trade_sessionCancelAll {market?}` | cancels all, of one market or of every |
//! | `trade_setCancelOnDisconnect {enabled}` | whether the loss of this connection cancels all |
//!
//! A connection belongs to one account. It is lost when either side closes it, when it is reset, when it does not answer pings, when it does
//! not read what it is sent ([crate::limits::WRITE_STALL_MAX]), or when the node stops. If cancel-on-disconnect is on **for that connection**,
//! the node then sends SessionCancelAll for the account, which is journaled like any command. Other connections of the account do not matter:
//! none of them hinders it, and none is affected. Whoever wants a quiet reconnect turns it off first.

use crate::answers::{self, Executed, merge};
use crate::context::Shared;
use crate::error::RpcError;
use crate::fields::{Fields, OrderName, value};
use crate::method::{Call, Method, Param};
use crate::server::Client;
use crate::trade::{budget_of, in_time, now, tell_of_order};
use jsonrpsee::types::Params;
use keel_ingress::queue::Answer;
use keel_ingress::{ConnectionId, Ingress, IngressError, MessageKind, SessionCancel};
use keel_types::{Address, Event, MessageHash};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::task::JoinHandle;

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "trade_login",
        summary: "Logs this WebSocket in for the account of a signed `Session`: from then on it may cancel without signing.",
        params: &[
            Param::required("message", "SessionMessage", "The message that is signed."),
            Param::required("signature", "Signature", "[r, s] over the message's SNIP-12 hash."),
            Param::optional(
                "key",
                "felt",
                "The key that signed, for an error of its own when it is not the one that must have.",
            ),
            Param::optional("sessionKey", "felt", "The session key that signed; without it the account's main key did."),
        ],
        result: "LoggedIn",
        errors: SESSION_ERRORS,
        call: Call::Write(|shared, params, client| Box::pin(login(shared, params, client))),
    },
    Method {
        name: "trade_sessionCancel",
        summary: "Cancels one order of the account this WebSocket is logged in for; not signed.",
        params: &[
            Param::optional("order", "felt", "Its hash. Exactly one of `order` and `clientId`."),
            Param::optional("clientId", "uint", "The client's own id of a live order."),
        ],
        result: "Cancelled",
        errors: SESSION_ERRORS,
        call: Call::Write(|shared, params, client| Box::pin(cancel(shared, params, client))),
    },
    Method {
        name: "trade_sessionCancelAll",
        summary: "Cancels all orders of the account this WebSocket is logged in for; not signed.",
        params: &[Param::optional("market", "text", "Only those of this market.")],
        result: "Cancelled",
        errors: SESSION_ERRORS,
        call: Call::Write(|shared, params, client| Box::pin(cancel_all(shared, params, client))),
    },
    Method {
        name: "trade_setCancelOnDisconnect",
        summary: "Whether the loss of this WebSocket cancels all orders of the account it is logged in for.",
        params: &[Param::required("enabled", "bool", "On or off.")],
        result: "CancelOnDisconnect",
        errors: SESSION_ERRORS,
        call: Call::Write(|shared, params, client| Box::pin(set_cancel_on_disconnect(shared, params, client))),
    },
];

const SESSION_ERRORS: &[&str] = &["NOT_LOGGED_IN", "WEB_SOCKET_ONLY", "OTHER_SESSION", "SESSION_USED"];

/// The WebSockets that are open, by [Client::connection], and who logged in on them. Shared by the server, which knows when one opens and
/// when it is lost, and the methods.
pub(crate) struct Sessions {
    lost: Lost,
    open: Mutex<HashMap<u64, Option<Session>>>,
}

/// Cancels all orders of an account whose connection, of this peer, is lost. The task ends when the cancel is queued.
pub(crate) type Lost = Box<dyn Fn(Address, ConnectionId) -> Option<JoinHandle<()>> + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Session {
    account: Address,
    peer: ConnectionId,
    cancel_on_disconnect: bool,
}

/// Times a cancel-on-disconnect is tried while the queue is full, and the pause between: 30 s, in which even a stalled journal is noticed.
const LOST_TRIES: usize = 300;
const LOST_RETRY: Duration = Duration::from_millis(100);

/// [Lost] by way of ingress: behind what the connection sent before, and again until it is queued.
pub(crate) fn lost_through(ingress: Ingress) -> Lost {
    Box::new(move |account, peer| {
        let ingress = ingress.clone();
        Some(tokio::spawn(async move {
            for _ in 0..LOST_TRIES {
                match ingress.submit_disconnected(account, peer).await {
                    Ok(_) => return,
                    Err(error) => tracing::warn!(%account, %error, "cancel-on-disconnect waits"),
                }
                tokio::time::sleep(LOST_RETRY).await;
            }
            tracing::error!(%account, "cancel-on-disconnect was not queued");
        }))
    })
}

impl Sessions {
    pub(crate) fn new(lost: Lost) -> Arc<Sessions> {
        Arc::new(Sessions { lost, open: Mutex::default() })
    }

    /// Plain values, which no panic leaves half-changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Option<Session>>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A WebSocket is there. Before any of its calls.
    pub(crate) fn opened(&self, connection: u64) {
        self.lock().insert(connection, None);
    }

    /// A WebSocket is lost: what was asked for in that case happens now.
    pub(crate) fn closed(&self, connection: u64) {
        let session = self.lock().remove(&connection).flatten();
        // It goes on by itself.
        drop(session.and_then(|session| self.lost(session)));
    }

    /// Every connection is about to be lost: the node stops. What must be waited for.
    pub(crate) fn all_closed(&self) -> Vec<JoinHandle<()>> {
        let sessions: Vec<Session> = self.lock().drain().filter_map(|(_, session)| session).collect();
        sessions.into_iter().filter_map(|session| self.lost(session)).collect()
    }

    fn lost(&self, session: Session) -> Option<JoinHandle<()>> {
        let Session { account, peer, cancel_on_disconnect } = session;
        if !cancel_on_disconnect {
            return None;
        }
        tracing::info!(%account, "a session is lost: cancelling its account's orders");
        (self.lost)(account, peer)
    }

    fn log_in(&self, connection: u64, account: Address, peer: ConnectionId) -> Result<(), RpcError> {
        match self.lock().get_mut(&connection) {
            // Lost while the engine was asked.
            None => Err(RpcError::WebSocketOnly),
            Some(Some(session)) if session.account != account => Err(RpcError::OtherSession),
            Some(Some(_)) => Ok(()),
            Some(session) => {
                *session = Some(Session { account, peer, cancel_on_disconnect: false });
                Ok(())
            }
        }
    }

    /// The account that a connection logged in for.
    fn account(&self, client: Option<Client>) -> Result<Address, RpcError> {
        let connection = websocket(client)?;
        self.lock().get(&connection).copied().flatten().map(|session| session.account).ok_or(RpcError::NotLoggedIn)
    }

    fn set_cancel_on_disconnect(&self, connection: u64, enabled: bool) -> Result<Address, RpcError> {
        let mut open = self.lock();
        let session = open.get_mut(&connection).and_then(Option::as_mut).ok_or(RpcError::NotLoggedIn)?;
        session.cancel_on_disconnect = enabled;
        Ok(session.account)
    }
}

fn websocket(client: Option<Client>) -> Result<u64, RpcError> {
    client.filter(|client| client.websocket).map(|client| client.connection).ok_or(RpcError::WebSocketOnly)
}

async fn login(shared: Arc<Shared>, params: Params<'static>, client: Option<Client>) -> Result<Value, RpcError> {
    let connection = websocket(client)?;
    let params = value(&params)?;
    let (account, answer) = in_time(async {
        let admitted = shared.ingress.submit(MessageKind::Session, params, budget_of(client), now()).await?;
        Ok((admitted.account, admitted.outcome().await?))
    })
    .await?;
    let executed = Executed::read(&shared, answer)?;
    if executed.replayed.is_some() {
        return Err(RpcError::SessionUsed);
    }
    let opened = executed.events.iter().any(|event| matches!(event, Event::SessionOpened { .. }));
    if !opened {
        return Err(RpcError::Internal);
    }
    shared.sessions.log_in(connection, account, budget_of(client))?;
    Ok(merge(executed.head(), json!({"account": account.to_string()})))
}

/// Sends an unsigned cancel of a session and waits for its outcome.
async fn submit(
    shared: &Shared,
    account: Address,
    cancel: SessionCancel,
    client: Option<Client>,
) -> Result<Answer, IngressError> {
    in_time(async {
        let outcome = shared.ingress.submit_session_cancel(account, cancel, budget_of(client), now()).await?;
        outcome.await.map_err(|_| IngressError::OutcomeUnknown)
    })
    .await
}

async fn cancel(shared: Arc<Shared>, params: Params<'static>, client: Option<Client>) -> Result<Value, RpcError> {
    let account = shared.sessions.account(client)?;
    let mut fields = Fields::read(&params)?;
    let name = fields.order()?;
    fields.finish()?;
    let (order, client_id) = match name {
        OrderName::Hash(hash) => (hash, 0),
        OrderName::ClientId(id) => (MessageHash::default(), id),
    };
    let answer = submit(&shared, account, SessionCancel::Order { order, client_id }, client).await?;
    let result = Executed::read(&shared, answer).and_then(|executed| answers::cancelled(&executed));
    tell_of_order(&shared, result, account, Some(name))
}

async fn cancel_all(shared: Arc<Shared>, params: Params<'static>, client: Option<Client>) -> Result<Value, RpcError> {
    let account = shared.sessions.account(client)?;
    let mut fields = Fields::read(&params)?;
    let market = fields.optional_market(&shared.genesis)?;
    fields.finish()?;
    let answer = submit(&shared, account, SessionCancel::All { market }, client).await?;
    answers::cancelled(&Executed::read(&shared, answer)?)
}

async fn set_cancel_on_disconnect(
    shared: Arc<Shared>,
    params: Params<'static>,
    client: Option<Client>,
) -> Result<Value, RpcError> {
    let connection = websocket(client)?;
    let mut fields = Fields::read(&params)?;
    let enabled = fields.flag("enabled")?;
    fields.finish()?;
    let account = shared.sessions.set_cancel_on_disconnect(connection, enabled)?;
    Ok(json!({"account": account.to_string(), "enabled": enabled}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keel_types::Felt;

    const PEER: ConnectionId = ConnectionId(3);

    /// Sessions, and whose orders they had cancelled.
    fn sessions() -> (Arc<Sessions>, std::sync::mpsc::Receiver<(Address, ConnectionId)>) {
        let (sender, receiver) = std::sync::mpsc::channel();
        let sender = Mutex::new(sender);
        let lost: Lost = Box::new(move |account, peer| {
            sender.lock().unwrap().send((account, peer)).unwrap();
            None
        });
        (Sessions::new(lost), receiver)
    }

    fn account(n: u64) -> Address {
        Address(Felt::from(n))
    }

    #[test]
    fn only_the_lost_connection_with_the_switch_on_cancels_and_once() {
        let (sessions, receiver) = sessions();
        let queued = || receiver.try_iter().collect::<Vec<_>>();
        (1..=4).for_each(|connection| sessions.opened(connection));
        // 1 and 2 are of one account; 3 of another; 4 never logs in.
        for (connection, owner) in [(1, 7), (2, 7), (3, 8)] {
            sessions.log_in(connection, account(owner), PEER).unwrap();
        }
        sessions.set_cancel_on_disconnect(1, true).unwrap();
        sessions.set_cancel_on_disconnect(3, true).unwrap();
        assert_eq!(sessions.set_cancel_on_disconnect(4, true), Err(RpcError::NotLoggedIn));
        sessions.closed(2);
        sessions.closed(4);
        assert_eq!(queued(), []);
        sessions.closed(1);
        sessions.closed(1);
        assert_eq!(queued(), [(account(7), PEER)]);
        sessions.set_cancel_on_disconnect(3, false).unwrap();
        sessions.closed(3);
        assert_eq!(queued(), []);
    }

    #[test]
    fn a_connection_belongs_to_one_account_and_a_lost_one_to_none() {
        let (sessions, receiver) = sessions();
        sessions.opened(1);
        sessions.log_in(1, account(7), PEER).unwrap();
        sessions.set_cancel_on_disconnect(1, true).unwrap();
        assert_eq!(sessions.log_in(1, account(8), PEER), Err(RpcError::OtherSession));
        assert_eq!(sessions.log_in(1, account(7), PEER), Ok(()), "again, and the switch stays");
        let client = |connection, websocket| Some(Client { ip: [127, 0, 0, 1].into(), connection, websocket });
        assert_eq!(sessions.account(client(1, true)), Ok(account(7)));
        assert_eq!(sessions.account(client(1, false)), Err(RpcError::WebSocketOnly));
        assert_eq!(sessions.account(client(2, true)), Err(RpcError::NotLoggedIn));
        assert!(sessions.all_closed().is_empty());
        assert_eq!(receiver.try_iter().count(), 1);
        assert_eq!(sessions.log_in(1, account(7), PEER), Err(RpcError::WebSocketOnly), "lost while the engine was asked");
        assert_eq!(sessions.account(client(1, true)), Err(RpcError::NotLoggedIn));
    }
}
