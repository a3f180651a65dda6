//! The live player: shows locks, queues and handoffs as they happen, or as they were recorded.
//!
//! Data flows one way: a [`Source`] returns [`Event`]s, live or from a recording; a [`Board`] turns
//! them into cards (locks) and lanes (contenders over time); the terminal and the page only draw
//! these. The player never takes a lock, and breaks one only when the user asks for it.
//!
//! `event.rs` is the form in which events are recorded and sent, `source.rs` where they come from,
//! `recording.rs` a file of them, `play.rs` an example that runs to be watched, and `board/` the
//! state that follows from them; `watch/` is the terminal, `serve/` the page.

#![deny(unsafe_code)]

mod background;
mod board;
mod error;
mod event;
mod play;
mod recording;
pub mod serve;
mod source;
pub mod watch;

pub use board::{Board, Card, Changes, End, Kind, Lane, Place, Span, State};
pub use error::Error;
pub use event::{Contender, Event, How, What, Why};
pub use play::{Ending, Listener, Play, Verdict};
pub use recording::{Recorder, Replay};
pub use source::{Live, Locks, Source};
