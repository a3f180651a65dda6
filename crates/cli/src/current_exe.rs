//! Starts this program again, as another process.

use std::io;
use std::path::Path;
use std::process::Command;

/// Returns a command that starts this program again, even if a newer file has replaced its own.
pub(crate) fn this_program() -> io::Result<Command> {
    let named = std::env::current_exe();
    // Under this path, lists of processes show the name of the file.
    if let Ok(program) = &named
        && program.exists()
    {
        return Ok(Command::new(program));
    }
    let own = Path::new("/proc/self/exe");
    if own.exists() { Ok(Command::new(own)) } else { named.map(Command::new) }
}
