//! A play: processes that lock in a folder of their own, shown live. What they print becomes
//! events, and all of them end when the play does. The caller decides which processes they are.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::background::spawn;
use crate::error::Error;
use crate::event::{Event, What};
use crate::source::{Live, Source};

/// How long no event must be seen, after all processes have ended, until the observer is taken to
/// have reported everything.
const SILENCE: Duration = Duration::from_millis(250);
/// How long the main process may take to end all others before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Running processes that use locks, as a [`Source`].
#[derive(Debug)]
pub struct Play {
    messages: Receiver<Message>,
    /// How many of standard output and standard error are still open.
    open_streams: usize,
    has_ended: Arc<AtomicBool>,
    is_over: bool,
    ending: Ending,
}

/// The main process, which starts and ends all others, and its folder.
#[derive(Debug)]
struct MainProcess {
    child: Child,
    code: Option<i32>,
    folder: Option<TempDir>,
}

#[derive(Debug)]
enum Message {
    Events(Vec<Event>),
    Failed(Error),
    Closed,
    Done,
}

/// A handle that ends a play.
#[derive(Clone, Debug)]
pub struct Ending(Arc<Mutex<MainProcess>>);

impl Ending {
    /// Ends the play now, if it has not ended: afterwards none of its processes runs, and its
    /// folder is removed. Dropping the [`Play`], in whichever thread, does the same. Returns the
    /// exit code with which it had ended by itself, 1 if a signal ended it; `None` if it had not.
    #[must_use]
    pub fn now(&self) -> Option<i32> {
        let mut process = self.process();
        process.end();
        process.code
    }

    fn process(&self) -> MutexGuard<'_, MainProcess> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MainProcess {
    /// Records the exit code after the process has ended by itself.
    fn ended(&mut self) {
        let ended = self.child.wait().ok();
        self.code = Some(ended.and_then(|status| status.code()).unwrap_or(1));
    }

    fn end(&mut self) {
        // The end of its standard input asks it to end.
        drop(self.child.stdin.take());
        let until = Instant::now() + GRACE;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.folder = None;
    }
}

impl Play {
    /// Starts the play in a fresh folder. The command is the main process: it starts all others,
    /// and ends them when its standard input ends, which also happens when this process ends.
    ///
    /// # Errors
    /// When its folder cannot be created or observed, or it cannot be started.
    pub fn start(main: impl FnOnce(&Path) -> Command) -> Result<Play, Error> {
        let folder = tempfile::Builder::new().prefix("lockbydir-").tempdir();
        let folder = folder.map_err(|cause| Error::File { path: std::env::temp_dir(), cause })?;
        let live = Live::of(folder.path())?;
        let mut command = main(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|cause| Error::File { path: command.get_program().into(), cause })?;

        let (sender, messages) = channel();
        let has_ended = Arc::new(AtomicBool::new(false));
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        let process = MainProcess { child, code: None, folder: Some(folder) };
        let ending = Ending(Arc::new(Mutex::new(process)));
        // From here on, dropping `play` ends all processes.
        let ended = has_ended.clone();
        let mut play = Play { messages, open_streams: 0, has_ended, is_over: false, ending };
        for stream in streams.into_iter().flatten() {
            let sender = sender.clone();
            spawn("voice", move || read_lines(stream, &sender))?;
            play.open_streams += 1;
        }
        spawn("observer", move || observe(live, &ended, &sender))?;
        Ok(play)
    }

    /// Returns a handle that ends it.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending.clone()
    }

    fn handle(&mut self, message: Message, events: &mut Vec<Event>) -> Result<(), Error> {
        match message {
            Message::Events(seen) => events.extend(seen),
            Message::Failed(error) => return Err(error),
            Message::Closed => {
                self.open_streams -= 1;
                if self.open_streams == 0 {
                    self.ending.process().ended();
                    self.has_ended.store(true, Ordering::Release);
                }
            }
            Message::Done => self.is_over = true,
        }
        Ok(())
    }
}

/// Sends each line of a stream as an event.
fn read_lines(stream: impl Read, sender: &Sender<Message>) {
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).replace('\t', "    ");
        let _ = sender.send(Message::Events(vec![Event::said(line.trim_end_matches('\r'))]));
    }
    let _ = sender.send(Message::Closed);
}

/// Sends the events of the locks, until none has been seen for [`SILENCE`] after all processes have
/// ended.
fn observe(mut live: Live, has_ended: &AtomicBool, sender: &Sender<Message>) {
    loop {
        let is_last = has_ended.load(Ordering::Acquire);
        let message = match live.next(SILENCE) {
            Ok(events) if events.is_empty() && is_last => Message::Done,
            Ok(events) if events.is_empty() => continue,
            Ok(events) => Message::Events(events),
            Err(error) => Message::Failed(error),
        };
        let is_end = !matches!(message, Message::Events(_));
        if sender.send(message).is_err() || is_end {
            return;
        }
    }
}

impl Source for Play {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        let until = Instant::now() + up_to;
        while events.is_empty() && !self.is_over {
            match self.messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(message) => self.handle(message, &mut events)?,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => self.is_over = true,
            }
        }
        while let Ok(message) = self.messages.try_recv() {
            self.handle(message, &mut events)?;
        }
        // Output and locks are read by different threads.
        events.sort_by(|one, two| one.at.total_cmp(&two.at));
        Ok(events)
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Release);
        self.ending.process().end();
    }
}

/// Passes on the events of a source, and remembers the last paragraph of its messages: the verdict
/// of an example.
pub struct Listener<S> {
    source: S,
    verdict: Verdict,
}

/// The messages since the last empty one.
#[derive(Clone, Debug, Default)]
pub struct Verdict(Arc<Mutex<Vec<String>>>);

impl Verdict {
    /// Returns its lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S: Source> Listener<S> {
    /// Wraps a source.
    #[must_use]
    pub fn new(source: S) -> Listener<S> {
        Listener { source, verdict: Verdict::default() }
    }

    /// Returns the verdict, which follows the messages of the source.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }
}

impl<S: Source> Source for Listener<S> {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let events = self.source.next(up_to)?;
        let mut lines = self.verdict.0.lock().unwrap_or_else(PoisonError::into_inner);
        for event in &events {
            match &event.what {
                What::Said { text } if text.is_empty() => lines.clear(),
                What::Said { text } => lines.push(text.clone()),
                _ => {}
            }
        }
        drop(lines);
        Ok(events)
    }

    fn now(&self) -> f64 {
        self.source.now()
    }

    fn is_over(&self) -> bool {
        self.source.is_over()
    }
}
