//! The host's side of the connection: a process in a guest, used like a child process.

use std::{
    io,
    net::{Shutdown, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::Signal;

use crate::{Outcome, wire::Frame};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It ended with this exit code, or by the signal that is this less 128.
    Code(u32),
    /// Unknown: the connection broke, and the process was killed or its guest is gone.
    Lost,
}

/// The known state of a process.
#[derive(Debug, Default)]
struct Known {
    pid: Option<u32>,
    felt: u64,
    ended: Option<Ended>,
}

type Shared = Arc<(Mutex<Known>, Condvar)>;

/// The receiver of its output: the bytes, and whether they are from its standard error.
pub type Sink = Box<dyn FnMut(&[u8], bool) + Send>;

/// A process in a guest. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    stream: Arc<Mutex<TcpStream>>,
    known: Shared,
    listener: Option<JoinHandle<()>>,
}

/// Writes to the standard input of a [`Process`].
#[derive(Clone, Debug)]
pub struct Mouth(Arc<Mutex<TcpStream>>);

impl Process {
    /// Starts a program by the agent behind this port.
    pub(crate) fn start(port: u16, command: &[&str], sink: Sink) -> Outcome<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Frame::Start(serde_json::to_vec(command)?).write(&mut stream)?;
        let known = Shared::default();
        let listener = thread::spawn({
            let (stream, known) = (stream.try_clone()?, Arc::clone(&known));
            move || listen(stream, &known, sink)
        });
        let stream = Arc::new(Mutex::new(stream));
        Ok(Self { stream, known, listener: Some(listener) })
    }

    /// Returns its PID in the guest, once it runs; `None` if it never ran.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.await_known(Duration::MAX, |known| known.pid.is_some() || known.ended.is_some());
        self.with(|known| known.pid)
    }

    /// Returns a writer to its standard input.
    #[must_use]
    pub fn stdin(&self) -> Mouth {
        Mouth(Arc::clone(&self.stream))
    }

    /// Sends a signal to it and its children, and waits at most this long until it has taken effect. Then all
    /// earlier output has been received. Returns false if that took longer, or the process is gone.
    pub fn signal(&self, signal: Signal, patience: Duration) -> bool {
        let before = self.with(|known| known.felt);
        let number = u8::try_from(signal.as_raw()).unwrap_or(0);
        if send(&self.stream, &Frame::Signal(number)).is_err() {
            return false;
        }
        self.await_known(patience, |known| known.felt > before || known.ended.is_some());
        self.with(|known| known.felt > before)
    }

    /// Returns how it ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.with(|known| known.ended)
    }

    /// Waits at most this long for its end, and until all its output is received.
    pub fn wait(&mut self, patience: Duration) -> Option<Ended> {
        self.await_known(patience, |known| known.ended.is_some());
        let ended = self.ended()?;
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        Some(ended)
    }

    fn with<T>(&self, ask: impl FnOnce(&Known) -> T) -> T {
        ask(&self.known.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn await_known(&self, patience: Duration, is_so: impl Fn(&Known) -> bool) {
        let (known, changed) = &*self.known;
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_timeout_while(known, patience, |known| !is_so(known)));
    }
}

impl Mouth {
    /// Writes these bytes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn say(&self, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(1 << 16).try_for_each(|part| send(&self.0, &Frame::Input(part.to_vec())))
    }

    /// Ends its standard input.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn close(&self) -> io::Result<()> {
        send(&self.0, &Frame::Input(Vec::new()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails only if the connection is already broken.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn send(stream: &Mutex<TcpStream>, frame: &Frame) -> io::Result<()> {
    frame.write(&mut *stream.lock().unwrap_or_else(PoisonError::into_inner))
}

fn listen(mut stream: TcpStream, shared: &Shared, mut sink: Sink) {
    let (known, changed) = &**shared;
    let note = |act: &dyn Fn(&mut Known)| {
        act(&mut known.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    };
    loop {
        match Frame::read(&mut stream) {
            Ok(Frame::Born(pid)) => note(&|known| known.pid = Some(pid)),
            Ok(Frame::Output(bytes)) => sink(&bytes, false),
            Ok(Frame::Trouble(bytes)) => sink(&bytes, true),
            Ok(Frame::Felt) => note(&|known| known.felt += 1),
            Ok(Frame::Ended(code)) => return note(&|known| known.ended = Some(Ended::Code(code))),
            _ => return note(&|known| known.ended = Some(Ended::Lost)),
        }
    }
}
