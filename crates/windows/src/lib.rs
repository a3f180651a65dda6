//! Safe wrappers of the calls of Windows that [lockbydir](https://docs.rs/lockbydir) makes, so that it
//! has no `unsafe` of its own. Not for other users: this interface changes with `lockbydir`. Empty on
//! other systems.
#![cfg(windows)]

mod about_path;
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

pub use about_path::about_path;
pub use change::{remove_dir, remove_file, rename_path, rename_within};
pub use clock::since_boot;
pub use control::{Control, on_control};
pub use errno::Errno;
pub use event::{Event, sleep_on};
pub use facts::{Facts, Kind, about, final_path};
pub use job::{Job, interrupt_group, resume};
pub use listing::{Name, Names};
pub use open::{Access, create_file, make_dir, open_dir, open_file};
pub use owner::Owner;
pub use process::{Process, boot_id, crash, host};
pub use volume::{is_local, keeps_times};

use std::os::windows::ffi::OsStrExt;

/// Returns a text as UTF-16 with a terminating zero.
fn wide(text: impl AsRef<std::ffi::OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}
