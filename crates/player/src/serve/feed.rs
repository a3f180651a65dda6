//! What viewers are sent: one thread asks the source, and what follows is put into words once for
//! all of them.

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

/// Changes are sent so often at most.
const PACE: Duration = Duration::from_millis(80);
/// The source is asked for so long at a time.
const ASK: Duration = Duration::from_millis(250);
/// Also when nothing happens viewers are told what time it is, which shows that we live.
const CLOCK: Duration = Duration::from_secs(1);
/// Viewers look back so far, in seconds.
const HISTORY: f64 = 900.0;
/// Who is behind by more messages is sent all anew.
const BEHIND: usize = 32;

/// Where messages come from.
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
    /// All there is in words, until it changes.
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
    /// Asks the source from now on. The other end is told when there is no more to be served.
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
            sender: broadcast::channel(BEHIND).0,
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

    /// Asks the source no more; what it has to end is ended then.
    pub(super) fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.settle();
        }
    }

    /// All there is now, and every change of it that follows.
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

    /// Until it is stopped (none), or is to be served no longer.
    fn run(
        &self,
        mut source: Box<dyn Source>,
        linger: Option<Duration>,
    ) -> Result<Option<()>, Error> {
        let mut sent = Instant::now();
        while !self.0.stopped.load(Ordering::Relaxed) {
            let mut events = source.next(ASK)?;
            // What follows at once goes along.
            let soon = PACE.saturating_sub(sent.elapsed());
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
                // To nobody nothing is said; who comes is told all.
                state.board.forget_changes();
            } else {
                let changes = state.board.changes();
                let words = match changes.is_empty() {
                    false => Some(message("changes", &changes)),
                    true if sent.elapsed() >= CLOCK => Some(message("clock", &changes.now)),
                    true => None,
                };
                if let Some(words) = words {
                    self.send(words);
                    sent = Instant::now();
                }
            }
            if source.is_over() {
                state.is_over = true;
                self.send(message("over", &state.board.now()));
                break;
            }
        }
        // The clock stands, but viewers hear that we live.
        let over = Instant::now();
        while !self.0.stopped.load(Ordering::Relaxed) {
            if linger.is_some_and(|linger| over.elapsed() >= linger) {
                return Ok(Some(()));
            }
            if sent.elapsed() >= CLOCK {
                self.send(Bytes::from_static(b":\n\n"));
                sent = Instant::now();
            }
            std::thread::sleep(PACE);
        }
        Ok(None)
    }

    /// To all who look on, if any.
    fn send(&self, words: Bytes) {
        let _ = self.0.sender.send(words);
    }
}

/// A server-sent event.
fn message(kind: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("numbers and text");
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}
