//! An exhaustive check of the protocol: the production machines, on a lock directory in memory,
//! in every order in which their operations can interleave.
//!
//! - `disk`, `queue`: the lock directory D and the queue beside it, as the file system makes them
//! - `contender`: one process with its machines, and what it believes
//! - `world`: all of them together, and its bounds; `moment`: how it stands; `act`: what may happen
//!   next, as a model that stateright walks through
//! - `steps`: what one operation does to the world, and who is to blame; `trick`: how it lies
//! - `one_try`: the rule for one who tries once where others wait, said anew
//! - `promises`: what must hold in every moment; `event`: what must happen in some
//! - `mutant`: rules that are broken on purpose
//! - `catalogue`: the worlds that are walked through, and where each mutant is convicted
//! - `story`: a way through the world in words
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
mod promises;
mod queue;
mod state;
mod steps;
mod story;
mod transitions;
mod world;

pub use catalogue::{Conviction, Known, WORLDS, Walk};
pub use contender::{Arrival, Contender, Force, Plan};
pub use event::{Event, Events};
pub use faults::Trick;
pub use mutant::Mutant;
pub use state::Moment;
pub use story::story;
pub use transitions::Act;
pub use world::{Clocks, Notes, World};
