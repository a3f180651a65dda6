//! The terminal: shows a board and handles keys until the user quits.
//!
//! `view.rs` is the state of the view, and how keys change it; `frame.rs` draws it, with `list.rs`
//! for all locks and `lanes.rs` and `chart.rs` for one; `paint.rs`, `style.rs` and `words.rs` are
//! used for drawing; `text.rs` turns a frame into text. `screen.rs`, `input.rs` and `signals.rs`
//! handle the terminal, `feed.rs` the source, and `break_lock.rs` breaks locks.

mod break_lock;
mod chart;
mod facts;
mod feed;
mod frame;
mod input;
mod lanes;
mod list;
mod paint;
mod rows;
mod screen;
mod signals;
mod style;
mod text;
mod view;
mod window;
mod words;

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::crossterm::event;
use ratatui::layout::Rect;

use self::feed::Feed;
use self::input::Input;
use self::screen::Screen;
use self::signals::Signals;
use self::style::Look;
use self::view::{Action, View};
use self::window::HISTORY;
use crate::board::{Board, State};
use crate::error::Error;
use crate::source::{Locks, Source};

/// The minimum time between two frames.
const FRAME: Duration = Duration::from_millis(100);
/// The time between two frames where only the clock changes.
const CLOCK: Duration = Duration::from_secs(1);

/// How long a still frame waits until the source has reported its whole state: where something
/// changes all the time, that may never happen.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Options of the view.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// The title, shown at the top.
    pub title: String,
    /// The locks, so that they can be broken; `None` for a recording.
    pub locks: Option<Locks>,
    /// The lock to open first.
    pub opened: Option<String>,
    /// How long after the end of the source the view ends by itself; the last frame is then
    /// printed. While the user has paused, it waits until the user resumes.
    pub ends: Option<Duration>,
}

impl Options {
    /// Creates options with this title and nothing else.
    #[must_use]
    pub fn titled(title: impl Into<String>) -> Options {
        Options { title: title.into(), ..Options::default() }
    }
}

/// Shows a source on the terminal at standard output until the user quits.
///
/// # Errors
/// When the source cannot go on, or the terminal cannot be drawn on; [`Error::Interrupted`] when a
/// signal ended it. The terminal is restored in any case.
pub fn show(source: Box<dyn Source>, options: Options) -> Result<(), Error> {
    let signals = Signals::listen(screen::give_back).map_err(Error::Terminal)?;
    let mut watching = Watching::of(options, Feed::start(source)?);
    let mut screen = Screen::open().map_err(Error::Terminal)?;
    let ended = watching.run(&mut screen, &signals);
    let size = screen.size();
    drop(screen);
    // When the terminal disappears, both an I/O error and a signal report it; the signal is
    // returned.
    let ended = signals.ended().map_or(ended, |signal| Err(Error::Interrupted(signal)));
    if let (Ok(Ended::Over), Ok((width, height))) = (&ended, size) {
        let look = watching.look.clone();
        let frame = watching.text(&look, width, height);
        let _ = std::io::stdout().write_all(frame.as_bytes());
    }
    ended.map(drop)
}

/// Returns one frame of this size, without colours.
///
/// # Errors
/// When the source fails.
pub fn once(source: Box<dyn Source>, width: u16, height: u16) -> Result<String, Error> {
    still(source, Options::default(), (width, height), false)
}

/// Returns one frame of this size with the present state.
///
/// # Errors
/// When the source fails.
pub fn still(
    mut source: Box<dyn Source>,
    options: Options,
    (width, height): (u16, u16),
    has_colours: bool,
) -> Result<String, Error> {
    let mut board = Board::new(HISTORY);
    let begun = Instant::now();
    let mut up_to = Duration::ZERO;
    loop {
        for event in source.next(up_to)? {
            board.apply(&event);
        }
        if source.is_whole() || begun.elapsed() >= WHOLE_TIMEOUT {
            break;
        }
        up_to = FRAME;
    }
    board.tick(source.now());
    let mut view = View::of(options.title, options.opened);
    view.is_still = true;
    let look = Look { has_colours, ..Look::of_environment() };
    Ok(drawn(&mut view, &board, &look, width, height))
}

fn drawn(view: &mut View, board: &Board, look: &Look, width: u16, height: u16) -> String {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    let area = buffer.area;
    frame::draw(&mut buffer, area, view, board, look);
    text::lines(&buffer, look.has_colours)
}

/// How the view ended.
enum Ended {
    /// The user quit.
    Quit,
    /// The source is over.
    Over,
}

struct Watching {
    feed: Feed,
    board: Board,
    view: View,
    look: Look,
    locks: Option<Locks>,
    ends: Option<Duration>,
    over_since: Option<Instant>,
    /// The outcomes of breaking locks.
    answers: (Sender<String>, Receiver<String>),
}

impl Watching {
    fn of(options: Options, feed: Feed) -> Watching {
        let Options { title, locks, opened, ends } = options;
        let mut view = View::of(title, opened);
        view.can_break = locks.is_some();
        let (board, look) = (Board::new(HISTORY), Look::of_environment());
        let answers = channel();
        Watching { feed, board, view, look, locks, ends, over_since: None, answers }
    }

    fn run(&mut self, screen: &mut Screen, signals: &Signals) -> Result<Ended, Error> {
        let terminal = Error::Terminal;
        let input = Input::open().map_err(terminal)?;
        let mut drawn = None::<Instant>;
        loop {
            if let Some(signal) = signals.ended() {
                return Err(Error::Interrupted(signal));
            }
            if signals.has_continued() {
                screen.again().map_err(terminal)?;
                drawn = None;
            }
            let pause = if self.receive()? || self.is_moving() { FRAME } else { CLOCK };
            if drawn.is_none_or(|drawn| drawn.elapsed() + FRAME / 2 >= pause) {
                screen
                    .draw(|buffer, area| {
                        frame::draw(buffer, area, &mut self.view, &self.board, &self.look);
                    })
                    .map_err(terminal)?;
                drawn = Some(Instant::now());
            }
            if self.has_ended() {
                return Ok(Ended::Over);
            }
            if !input.wait(FRAME).map_err(terminal)? {
                continue;
            }
            drawn = None;
            while event::poll(Duration::ZERO).map_err(terminal)? {
                let event::Event::Key(key) = event::read().map_err(terminal)? else { continue };
                match self.view.key(key, &self.board) {
                    Action::Nothing => {}
                    Action::Quit => return Ok(Ended::Quit),
                    Action::Redraw => screen.clear().map_err(terminal)?,
                    Action::Suspend => screen.without(|| signals.suspend()).map_err(terminal)?,
                    Action::Break(question) => {
                        if let Some(locks) = &self.locks {
                            break_lock::begin(locks, question, self.answers.0.clone());
                        }
                    }
                }
            }
        }
    }

    /// Applies new events and outcomes; returns whether there were any.
    fn receive(&mut self) -> Result<bool, Error> {
        let mut is_any = false;
        for batch in self.feed.received()? {
            is_any |= !batch.events.is_empty();
            for event in &batch.events {
                self.board.apply(event);
            }
            self.board.tick(batch.now);
            let forgotten = self.board.forget_changes();
            if let Some(locks) = &self.locks {
                locks.forget(&forgotten);
            }
            if batch.is_over && self.over_since.is_none() {
                self.over_since = Some(Instant::now());
                is_any = true;
            }
        }
        self.view.is_over = self.over_since.is_some();
        if let Ok(answer) = self.answers.1.try_recv() {
            self.view.message = Some(answer);
            is_any = true;
        }
        Ok(is_any)
    }

    /// Whether the view ends by itself now. While it is paused the user is still reading it.
    fn has_ended(&self) -> bool {
        let is_over = |(since, ends): (Instant, _)| since.elapsed() >= ends;
        !self.view.window.is_paused() && self.over_since.zip(self.ends).is_some_and(is_over)
    }

    /// Whether the passing of time alone changes the frame.
    fn is_moving(&self) -> bool {
        self.board.cards().any(|card| card.state != State::Free || card.waiting > 0)
    }

    fn text(&mut self, look: &Look, width: u16, height: u16) -> String {
        self.view.is_still = true;
        drawn(&mut self.view, &self.board, look, width, height)
    }
}
