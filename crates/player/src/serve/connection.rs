//! Accepts connections, and limits how long one may stay idle.

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

/// How long an unadmitted connection may exist in all: to send its request, and to read why it is
/// refused.
const UNADMITTED_TIMEOUT: Duration = Duration::from_secs(10);
/// How many bytes an unadmitted connection may send. Browsers send the cookies of all ports of a
/// host, so this is more than one request needs.
const UNADMITTED_BYTES: usize = 1 << 16;
/// A viewer's connection on which nothing could be read or written for this long is closed: nobody
/// is there.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait before the next attempt when a connection cannot be accepted, for example
/// because no file descriptor is free.
const RETRY: Duration = Duration::from_millis(100);

/// The listener: accepts connections and registers each as unadmitted.
pub(super) struct Connections {
    listener: TcpListener,
    admission: Arc<Admission>,
}

impl Connections {
    /// Creates the listener for a process that may have `descriptors` file descriptors.
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
                // The client closed it before it was accepted; the next one may be good.
                Err(error) if is_from_client(&error) => {}
                Err(_) => {
                    // An unadmitted connection may have the missing descriptor. Its own task closes
                    // the connection.
                    self.admission.close_one();
                    sleep(RETRY).await;
                }
            }
        };
        let _ = stream.set_nodelay(true);
        let (pass, closed) = self.admission.register();
        let unadmitted = Some(Unadmitted { closed, unsent: UNADMITTED_BYTES });
        let deadline = Box::pin(sleep(UNADMITTED_TIMEOUT));
        (Connection { stream, deadline, unadmitted, pass }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn is_from_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// An accepted connection.
pub(super) struct Connection {
    stream: TcpStream,
    /// While it is unadmitted, when it is closed; for a viewer, until when something must be read
    /// or written.
    deadline: Pin<Box<Sleep>>,
    /// `None` once it is a viewer's.
    unadmitted: Option<Unadmitted>,
    pass: Pass,
}

struct Unadmitted {
    /// Completes when the connection must be closed.
    closed: oneshot::Receiver<()>,
    /// How many bytes it may still send.
    unsent: usize,
}

impl Connected<IncomingStream<'_, Connections>> for Pass {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Pass {
        stream.io().pass.clone()
    }
}

impl Connection {
    /// Returns the result of an I/O attempt, or an error if the connection is over its limits.
    /// `read` is the number of bytes that were read.
    fn check<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
        read: usize,
    ) -> Poll<io::Result<T>> {
        if self.unadmitted.is_some() && self.pass.is_viewer() {
            self.unadmitted = None;
            self.deadline.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
        }
        match &mut self.unadmitted {
            None if done.is_ready() => {
                self.deadline.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
                return done;
            }
            None => {}
            Some(unadmitted) => {
                let is_too_much = read > unadmitted.unsent;
                unadmitted.unsent = unadmitted.unsent.saturating_sub(read);
                let closed = &mut unadmitted.closed;
                let is_closed = closed.is_terminated() || Pin::new(closed).poll(context).is_ready();
                // It may have been admitted just now, which drops its sender as well.
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
        self.check(context, done, buffer.filled().len() - before)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check(context, done, 0)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.check(context, done, 0)
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
