//! Connections: how they come in, and how long one may stand still.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

use super::strangers::{Admission, Pass};

/// A stranger has this long in all: for its request, and to read why it is refused.
const STRANGER: Duration = Duration::from_secs(10);
/// A stranger sends at most this many bytes. Browsers send the cookies of all ports of a host.
const STRANGER_SENDS: usize = 1 << 16;
/// Where nothing was read or could be written for so long, nobody is there.
const QUIET: Duration = Duration::from_secs(20);
/// When no connection can be accepted, as without a free file descriptor, it is tried again after this.
const RETRY: Duration = Duration::from_millis(100);

/// Accepts.
pub(super) struct Connections {
    listener: TcpListener,
    admission: Arc<Admission>,
}

impl Connections {
    /// Of a process that may have so many file descriptors.
    pub(super) fn of(
        listener: std::net::TcpListener,
        descriptors: usize,
    ) -> io::Result<Connections> {
        let listener = TcpListener::from_std(listener)?;
        Ok(Connections { listener, admission: Arc::new(Admission::within(descriptors)) })
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = loop {
            match self.listener.accept().await {
                Ok(accepted) => break accepted,
                // This one was closed before it was accepted; the next may be good.
                Err(error) if is_of_the_other_end(&error) => {}
                Err(_) => {
                    // A stranger may have what is missing. Its connection is closed by its own task.
                    self.admission.close_one();
                    sleep(RETRY).await;
                }
            }
        };
        let _ = stream.set_nodelay(true);
        let (pass, closed) = self.admission.stranger();
        let stranger = Some(Stranger { closed, unsent: STRANGER_SENDS });
        let deadline = Box::pin(sleep(STRANGER));
        (Connection { stream, deadline, stranger, pass }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn is_of_the_other_end(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One of them.
pub(super) struct Connection {
    stream: TcpStream,
    /// Of a stranger, its end; of a viewer, until when something must move.
    deadline: Pin<Box<Sleep>>,
    /// None when it has become a viewer.
    stranger: Option<Stranger>,
    pass: Pass,
}

struct Stranger {
    /// Done when it must be closed.
    closed: oneshot::Receiver<()>,
    /// It may still send so many bytes.
    unsent: usize,
}

impl Connected<IncomingStream<'_, Connections>> for Pass {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Pass {
        stream.io().pass.clone()
    }
}

impl Connection {
    /// What came of it, unless its time is over. `read` is how much was read.
    fn moves<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
        read: usize,
    ) -> Poll<io::Result<T>> {
        if self.stranger.is_some() && self.pass.is_viewer() {
            self.stranger = None;
            self.deadline.as_mut().reset(Instant::now() + QUIET);
        }
        match &mut self.stranger {
            None if done.is_ready() => {
                self.deadline.as_mut().reset(Instant::now() + QUIET);
                return done;
            }
            None => {}
            Some(stranger) => {
                let is_too_much = read > stranger.unsent;
                stranger.unsent = stranger.unsent.saturating_sub(read);
                let closed = &mut stranger.closed;
                let is_closed = closed.is_terminated() || Pin::new(closed).poll(context).is_ready();
                // It may have been admitted just now: then its sender is gone, too.
                if is_too_much || is_closed && !self.pass.is_viewer() {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
            }
        }
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => done,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let done = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.moves(context, done, buffer.filled().len() - before)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.moves(context, done, 0)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.moves(context, done, 0)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
