//! The terminal: shows a board, and obeys keys, until the user has seen enough.
//!
//! `view.rs` is what is looked at and what keys do to it; `frame.rs` draws that, with `list.rs` for
//! all locks and `lanes.rs` and `chart.rs` for one; `paint.rs`, `style.rs`, `words.rs` are how;
//! `text.rs` is a frame as text. `screen.rs`, `input.rs` and `signals.rs` have to do with the terminal, `feed.rs`
//! with the source, `breaking.rs` with locks.

mod breaking;
mod chart;
mod feed;
mod frame;
mod input;
mod lanes;
mod list;
mod paint;
mod screen;
mod signals;
mod style;
mod text;
mod view;
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
use crate::board::{Board, State};
use crate::error::Error;
use crate::source::{Locks, Source};

/// What is over is shown so long, in seconds.
const HISTORY: f64 = 300.0;
/// Frames are so far apart at least.
const FRAME: Duration = Duration::from_millis(100);
/// Where nothing moves but the clock, so far.
const CLOCK: Duration = Duration::from_secs(1);

/// A picture waits so long at most until all is told that is there: where something changes all the
/// time, that never comes.
const WHOLE: Duration = Duration::from_secs(5);

/// What is shown, and how.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// What all of it is; stands at the top.
    pub title: String,
    /// The locks themselves, where they can be broken: not in a recording.
    pub locks: Option<Locks>,
    /// Opens this lock at once.
    pub opened: Option<String>,
    /// Ends by itself so long after the source is over; what was shown last is printed. Where the
    /// user has stopped the time, it waits until time goes on.
    pub ends: Option<Duration>,
}

impl Options {
    /// With this title, and nothing else.
    #[must_use]
    pub fn titled(title: impl Into<String>) -> Options {
        Options { title: title.into(), ..Options::default() }
    }
}

/// Shows what a source tells, on the terminal that standard output is, until the user quits.
///
/// # Errors
/// When the source can tell no more, or the terminal cannot be drawn on; [`Error::Interrupted`] when
/// a signal ended it. The terminal is as it was before, in any case.
pub fn show(source: Box<dyn Source>, options: Options) -> Result<(), Error> {
    let signals = Signals::listen(screen::give_back).map_err(Error::Terminal)?;
    let mut watching = Watching::of(options, Feed::start(source)?);
    let mut screen = Screen::open().map_err(Error::Terminal)?;
    let ended = watching.run(&mut screen, &signals);
    let size = screen.size();
    drop(screen);
    // A terminal that is gone is told of by both.
    let ended = signals.ended().map_or(ended, |signal| Err(Error::Interrupted(signal)));
    if let (Ok(Ended::Over), Ok((width, height))) = (&ended, size) {
        let look = watching.look.clone();
        let frame = watching.text(&look, width, height);
        let _ = std::io::stdout().write_all(frame.as_bytes());
    }
    ended.map(drop)
}

/// One frame, in characters only, so large.
///
/// # Errors
/// When the source can tell nothing.
pub fn once(source: Box<dyn Source>, width: u16, height: u16) -> Result<String, Error> {
    still(source, Options::default(), (width, height), false)
}

/// One frame, so large, of what is true now.
///
/// # Errors
/// When the source can tell nothing.
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
        if source.is_whole() || begun.elapsed() >= WHOLE {
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

/// How watching came to its end.
enum Ended {
    /// The user has seen enough.
    Quit,
    /// There is no more to see.
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
    /// What came of breaking locks.
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
            let pause = if self.listen()? || self.moves() { FRAME } else { CLOCK };
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
                            breaking::begin(locks, question, self.answers.0.clone());
                        }
                    }
                }
            }
        }
    }

    /// Hears what is new; is there anything?
    fn listen(&mut self) -> Result<bool, Error> {
        let mut is_any = false;
        for batch in self.feed.heard()? {
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

    /// Is all over, and may what is shown go? While time stands still the user is looking at it.
    fn has_ended(&self) -> bool {
        let is_over = |(since, ends): (Instant, _)| since.elapsed() >= ends;
        !self.view.window.is_paused() && self.over_since.zip(self.ends).is_some_and(is_over)
    }

    /// Is there anything that time alone moves?
    fn moves(&self) -> bool {
        self.board.cards().any(|card| card.state != State::Free || card.waiting > 0)
    }

    fn text(&mut self, look: &Look, width: u16, height: u16) -> String {
        self.view.is_still = true;
        drawn(&mut self.view, &self.board, look, width, height)
    }
}
