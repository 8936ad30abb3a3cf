use crate::published::Published;
use crossbeam_channel::{Receiver, Sender};
use keel_ingress::queue::Answer;
use keel_store::{HistoryWriter, StoreError};
use keel_types::{Executed, Released};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Records that may wait between the sequencer and the releaser. Publishing is faster than an append, so this fills only when
/// a sink stalls; then the sequencer waits, and clients with it, rather than memory growing.
pub const RELEASES_WAITING_MAX: usize = 64;

/// A durable record with the answers that may be given once it is published. An index names a command of the record.
pub struct Release {
    pub released: Arc<Released>,
    pub replies: Vec<(usize, oneshot::Sender<Answer>)>,
}

/// Hands records to the releaser; the sequencer's `ReleaseSink` is a closure around [ReleaseSender::send].
#[derive(Clone)]
pub struct ReleaseSender(Sender<Release>);

impl ReleaseSender {
    /// Waits while [RELEASES_WAITING_MAX] wait. `false`: the releaser is gone, and nothing more can be released.
    pub fn send(&self, released: Arc<Released>, replies: Vec<(usize, oneshot::Sender<Answer>)>) -> bool {
        self.0.send(Release { released, replies }).is_ok()
    }
}

/// Where released records go besides the view, in the order of the journal: blocks, history. May wait; `false` when it takes no more.
pub type Sink = Box<dyn FnMut(&Arc<Released>) -> bool + Send>;

/// Starts the releaser's thread. For each record, in order: the view takes it in, every sink gets it, and only then the replies
/// are answered, so that a client which has its answer can read its own writes.
///
/// Ends when every [ReleaseSender] is dropped, or when a sink is gone: what is not answered by then has an unknown outcome for its
/// client, which is the truth.
pub fn start_releaser(published: Published, sinks: Vec<Sink>) -> (ReleaseSender, JoinHandle<()>) {
    let (sender, receiver) = crossbeam_channel::bounded(RELEASES_WAITING_MAX);
    let thread = std::thread::Builder::new().name("releaser".into());
    let handle = thread.spawn(move || release_all(&published, sinks, &receiver)).expect("start the releaser's thread");
    (ReleaseSender(sender), handle)
}

fn release_all(published: &Published, mut sinks: Vec<Sink>, receiver: &Receiver<Release>) {
    for Release { released, replies } in receiver {
        published.apply(&released);
        if !sinks.iter_mut().all(|sink| sink(&released)) {
            tracing::error!(seq = released.last_seq().0, "a receiver of released records is gone; releasing stops");
            return;
        }
        for (index, reply) in replies {
            let Executed { seq, events, .. } = &released.executed[index];
            // The client may have gone away; its command is executed all the same.
            let _ = reply.send(Answer::Done { seq: *seq, ts: released.ts, events: events.clone() });
        }
    }
}

/// Records that may wait for the history's thread; it writes one batch of rows per record, unsynced.
pub const HISTORY_WAITING_MAX: usize = 1_024;

/// Starts the thread that writes order and trade history, and gives the sink that feeds it. The thread ends when the sink is dropped,
/// or by an error of the store; the sink then takes no more.
pub fn start_history(mut writer: HistoryWriter) -> (Sink, JoinHandle<Result<(), StoreError>>) {
    let (sender, receiver) = crossbeam_channel::bounded::<Arc<Released>>(HISTORY_WAITING_MAX);
    let thread = std::thread::Builder::new().name("history".into());
    let write_all = move || {
        for released in receiver {
            writer.apply(&released).inspect_err(|error| tracing::error!(%error, "history cannot be written any more"))?;
        }
        Ok(())
    };
    let handle = thread.spawn(write_all).expect("start the history's thread");
    (Box::new(move |released| sender.send(released.clone()).is_ok()), handle)
}
