//! A socket that gives up when its peer takes nothing of what is written.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Writes that made no progress for a limit fail, and with them the connection.
pub(crate) struct Stalling<S = TcpStream> {
    socket: S,
    limit: Duration,
    /// Runs while a write waits.
    stalled: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stalling<S> {
    pub(crate) fn new(socket: S, limit: Duration) -> Stalling<S> {
        Stalling { socket, limit, stalled: Box::pin(sleep(limit)), waiting: false }
    }

    /// Passes a write's result on, or fails one that has waited too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        if !std::mem::replace(&mut self.waiting, true) {
            let until = Instant::now() + self.limit;
            self.stalled.as_mut().reset(until);
        }
        match self.stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer takes nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.watch(context, written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.watch(context, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        self.watch(context, flushed)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const LIMIT: Duration = Duration::from_millis(400);

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (socket, mut peer) = duplex(8);
        let mut socket = Stalling::new(socket, LIMIT);
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 8];
            for _ in 0..3 {
                sleep(LIMIT / 2).await;
                peer.read_exact(&mut buffer).await.expect("written");
            }
            peer
        });
        let began = Instant::now();
        socket.write_all(&[7; 32]).await.expect("each wait was shorter than the limit");
        assert!(began.elapsed() > LIMIT, "all of them together were not");
        let _peer = reader.await.expect("read");
        let began = Instant::now();
        let failed = socket.write_all(&[7; 1]).await.expect_err("full, and nobody reads");
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() >= LIMIT);
    }
}
