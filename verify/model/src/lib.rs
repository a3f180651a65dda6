//! An exhaustive check of the protocol: the production machines, on a lock directory in memory,
//! in every order in which their operations can interleave.
//!
//! - `disk`, `queue`: the lock directory D and the queue beside it, as the file system makes them
//! - `contender`: one process with its machines, and what it believes
//! - `world`: all of them together, and its bounds; `state`: the state of a world; `transitions`: the
//!   steps that are possible in it, as a model that stateright walks through
//! - `steps`: what one operation does to the world, and which promise it breaks; `faults`: how the
//!   world lies
//! - `passing_over`: an independent statement of the rule for a process that tries once where others wait
//! - `promises`: what must hold in every state; `event`: what must happen in some state
//! - `mutant`: rules that are broken on purpose
//! - `catalogue`: the worlds that are walked through, and the world that convicts each mutant
//! - `story`: a path through a world in words
//!
//! Nothing here touches a file, a clock or a thread, and no machine is copied: they come from
//! `lockbydir-protocol`, which is what the library runs.

mod catalogue;
mod contender;
mod disk;
mod event;
mod faults;
mod keyed;
mod mutant;
mod one_try;
mod outcomes;
mod passing_over;
mod plan;
mod promises;
mod queue;
mod state;
mod steps;
mod story;
mod transitions;
mod world;

pub use catalogue::{Conviction, Known, WORLDS, Walk};
pub use contender::Contender;
pub use event::{Event, Events};
pub use faults::Trick;
pub use mutant::Mutant;
pub use plan::{Arrival, Force, Plan};
pub use state::Moment;
pub use story::story;
pub use transitions::Act;
pub use world::{Clocks, Notes, World};
