use crate::view::{PhaseView, Position, View};
use keel_ingress::{KeyDirectory, Opening};
use keel_types::{Address, Released, StarkKey, Ts};
use std::sync::{Arc, RwLock};

/// The one [View] that every reader shares. Cheap to clone. Held for the time of a look-up, never across an await or I/O.
#[derive(Clone)]
pub struct Published(Arc<RwLock<View>>);

impl Published {
    /// Publishes a first view.
    pub fn new(view: View) -> Published {
        Published(Arc::new(RwLock::new(view)))
    }

    /// Reads under the lock. Keep `read` short: the releaser waits for it, and acknowledgements wait for the releaser.
    pub fn read<T>(&self, read: impl FnOnce(&View) -> T) -> T {
        // A panic while applying a record leaves a view between two commands: answering from it would be a lie.
        read(&self.0.read().expect("the published view is whole"))
    }

    /// Takes a record in. Only the releaser, and recovery before it, call this.
    pub fn apply(&self, released: &Released) {
        self.0.write().expect("the published view is whole").apply(released);
    }

    /// How far the view is.
    pub fn at(&self) -> Position {
        self.read(View::at)
    }

    /// Phase and incident.
    pub fn phase(&self) -> PhaseView {
        self.read(View::phase)
    }
}

impl KeyDirectory for Published {
    fn key(&self, account: Address) -> Option<StarkKey> {
        self.read(|view| view.account(account)?.key.map(|(key, _)| key))
    }
    fn session_key_expiry(&self, account: Address, key: StarkKey) -> Option<Ts> {
        self.read(|view| view.account(account)?.session_keys.get(&key).map(|terms| terms.expiry))
    }
    fn opening(&self) -> Opening {
        let PhaseView { phase, since, .. } = self.phase();
        Opening { phase, since }
    }
}
