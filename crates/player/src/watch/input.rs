//! Waits for keys, and notices when the terminal is gone.

#[cfg(target_os = "linux")]
pub(super) use self::linux::Input;

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::{self, IsTerminal, stdin};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::time::Duration;

    use ratatui::crossterm::event;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;

    pub(in super::super) struct Input {
        /// The terminal, if standard input is another file.
        terminal: Option<File>,
    }

    impl Input {
        pub(in super::super) fn open() -> io::Result<Input> {
            let terminal = if stdin().is_terminal() { None } else { Some(File::open("/dev/tty")?) };
            Ok(Input { terminal })
        }

        /// Waits for input, for `up_to` at most; returns whether there is any.
        ///
        /// # Errors
        /// When the terminal is gone: a program that still reads from it reads for ever.
        pub(in super::super) fn wait(&self, up_to: Duration) -> io::Result<bool> {
            let stdin = stdin();
            let terminal: BorrowedFd<'_> = match &self.terminal {
                Some(terminal) => terminal.as_fd(),
                None => stdin.as_fd(),
            };
            let mut sources = [PollFd::from_borrowed_fd(terminal, PollFlags::IN)];
            let timeout = Timespec::try_from(up_to).map_err(io::Error::other)?;
            match poll(&mut sources, Some(&timeout)) {
                Ok(0) => Ok(false),
                Ok(_) if sources[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => {
                    Err(io::Error::new(io::ErrorKind::BrokenPipe, "it is gone"))
                }
                // The signal may be a change of the size.
                Ok(_) | Err(Errno::INTR) => event::poll(Duration::ZERO),
                Err(errno) => Err(errno.into()),
            }
        }
    }
}

/// For systems where terminals cannot be polled (macOS), or do not disappear before their programs
/// (Windows).
#[cfg(not(target_os = "linux"))]
pub(super) struct Input;

#[cfg(not(target_os = "linux"))]
impl Input {
    pub(super) fn open() -> std::io::Result<Input> {
        Ok(Input)
    }

    pub(super) fn wait(&self, up_to: std::time::Duration) -> std::io::Result<bool> {
        ratatui::crossterm::event::poll(up_to)
    }
}
