//! The messages to viewers: one thread reads the source, and each message is serialized once for
//! all viewers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::{broadcast, oneshot};

use crate::background::Background;
use crate::board::{Board, Changes};
use crate::error::Error;
use crate::source::Source;

/// The minimum time between two messages with changes.
const MIN_INTERVAL: Duration = Duration::from_millis(80);
/// How long one read of the source may wait; also how soon a stop takes effect.
const READ_TIMEOUT: Duration = Duration::from_millis(250);
/// How often viewers are sent the time when nothing happens, which shows that the server is alive.
const TICK: Duration = Duration::from_secs(1);
/// How far viewers can look back, in seconds.
const HISTORY: f64 = 900.0;
/// A viewer that is behind by more messages is sent the whole board anew.
const MAX_BEHIND: usize = 32;

/// The shared source of messages.
#[derive(Clone)]
pub(super) struct Feed(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    sender: broadcast::Sender<Bytes>,
    stopped: AtomicBool,
    thread: Mutex<Option<Background>>,
    title: String,
}

struct State {
    board: Board,
    is_over: bool,
    /// The whole board as a message, until the board changes.
    all: Option<Bytes>,
}

#[derive(Serialize)]
struct All<'a> {
    title: &'a str,
    history: f64,
    is_over: bool,
    #[serde(flatten)]
    changes: Changes,
}

impl Feed {
    /// Starts to read the source. The receiver completes when there is no more to serve.
    pub(super) fn start(
        source: Box<dyn Source>,
        title: &str,
        linger: Option<Duration>,
    ) -> Result<(Feed, oneshot::Receiver<Result<(), Error>>), Error> {
        let (ended, end) = oneshot::channel();
        let mut board = Board::new(HISTORY);
        board.tick(source.now());
        let feed = Feed(Arc::new(Shared {
            state: Mutex::new(State { board, is_over: false, all: None }),
            sender: broadcast::channel(MAX_BEHIND).0,
            stopped: AtomicBool::new(false),
            thread: Mutex::new(None),
            title: title.to_owned(),
        }));
        let its_own = feed.clone();
        let run = move || {
            if let Some(result) = its_own.run(source, linger).transpose() {
                let _ = ended.send(result);
            }
        };
        let thread = Background::start(run)?;
        *feed.0.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok((feed, end))
    }

    /// Stops reading the source, and waits for its end.
    pub(super) fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.settle();
        }
    }

    /// Returns the whole board as a message, and a receiver of every later change.
    pub(super) fn subscribe(&self) -> (Bytes, broadcast::Receiver<Bytes>) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.0.sender.subscribe();
        let State { board, is_over, all } = &mut *state;
        let all = all.get_or_insert_with(|| {
            let (title, is_over) = (self.0.title.as_str(), *is_over);
            message("all", &All { title, history: HISTORY, is_over, changes: board.all() })
        });
        (all.clone(), receiver)
    }

    /// Runs until it is stopped (`None`), or the time after the end of the source is over.
    fn run(
        &self,
        mut source: Box<dyn Source>,
        linger: Option<Duration>,
    ) -> Result<Option<()>, Error> {
        let mut sent = Instant::now();
        while !self.0.stopped.load(Ordering::Relaxed) {
            let mut events = source.next(READ_TIMEOUT)?;
            // Events that follow soon are sent along.
            let soon = MIN_INTERVAL.saturating_sub(sent.elapsed());
            if !events.is_empty() && !soon.is_zero() {
                std::thread::sleep(soon);
                events.extend(source.next(Duration::ZERO)?);
            }
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            for event in &events {
                state.board.apply(event);
            }
            state.board.tick(source.now());
            state.all = None;
            if self.0.sender.receiver_count() == 0 {
                // Without viewers nothing is serialized; a new viewer is sent the whole board.
                state.board.forget_changes();
            } else {
                let changes = state.board.changes();
                let bytes = match changes.is_empty() {
                    false => Some(message("changes", &changes)),
                    true if sent.elapsed() >= TICK => Some(message("clock", &changes.now)),
                    true => None,
                };
                if let Some(bytes) = bytes {
                    self.send(bytes);
                    sent = Instant::now();
                }
            }
            if source.is_over() {
                state.is_over = true;
                self.send(message("over", &state.board.now()));
                break;
            }
        }
        // The clock stands still now; comments show viewers that the server is alive.
        let over = Instant::now();
        while !self.0.stopped.load(Ordering::Relaxed) {
            if linger.is_some_and(|linger| over.elapsed() >= linger) {
                return Ok(Some(()));
            }
            if sent.elapsed() >= TICK {
                self.send(Bytes::from_static(b":\n\n"));
                sent = Instant::now();
            }
            std::thread::sleep(MIN_INTERVAL);
        }
        Ok(None)
    }

    /// Sends to all viewers, if there are any.
    fn send(&self, message: Bytes) {
        let _ = self.0.sender.send(message);
    }
}

/// A server-sent event.
fn message(kind: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("numbers and text");
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}
