use crate::layer::L1;
use crate::view::View;
use std::time::{Duration, Instant};

/// Watches the head for the guard, for ever. An error is no head: what the guard sees is the time since the last advance.
pub(crate) async fn watch(l1: L1, view: View, poll: Duration) {
    let mut failing = false;
    loop {
        match l1.head().await {
            Ok(head) => {
                view.head(head, Instant::now());
                if std::mem::take(&mut failing) {
                    tracing::info!(head, "the settlement layer answers again");
                }
            }
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "the head of the settlement layer cannot be read");
            }
            Err(_) => {}
        }
        tokio::time::sleep(poll).await;
    }
}
