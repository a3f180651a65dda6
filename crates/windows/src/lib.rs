//! The calls of Windows that [lockbydir](https://docs.rs/lockbydir) makes, in safe words: it has no
//! `unsafe` of its own. Not for others: what is here changes with it. Empty on other systems.
#![cfg(windows)]

mod change;
mod clock;
mod control;
mod errno;
mod event;
mod facts;
mod job;
mod listing;
mod open;
mod owner;
mod process;
mod volume;

pub use change::{remove_dir, remove_file, rename_path, rename_within};
pub use clock::since_boot;
pub use control::{Control, on_control};
pub use errno::Errno;
pub use event::{Event, sleep_on};
pub use facts::{Facts, Kind, about, about_path, final_path};
pub use job::{Job, interrupt_group, resume};
pub use listing::{Name, Names};
pub use open::{Access, create_file, make_dir, open_dir, open_file};
pub use owner::Owner;
pub use process::{Process, boot_id, crash, host};
pub use volume::{is_local, keeps_times};

use std::os::windows::ffi::OsStrExt;

/// A text as Windows wants it, with its end.
fn wide(text: impl AsRef<std::ffi::OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}
