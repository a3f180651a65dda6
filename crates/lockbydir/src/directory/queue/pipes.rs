//! The queue on Unix. A ticket is a named pipe that its waiter keeps open, and the first waiter in
//! the queue also listens to another pipe, the bell. Nothing is ever written to the bell, so
//! SIGPIPE cannot kill anybody: opening and closing it rings it.

use std::os::fd::AsFd;
use std::time::Duration;

use lockbydir_protocol::{Handoff, Ticket, Wake, WakeSource};

use super::pipe::{BELL, open_pipe};
use super::place::Place;
use super::tickets::{has_ticket, is_waiting, tickets};
use crate::directory::executor::{Directory, OpenHandles};
use crate::os::process::Watch;
use crate::os::syscalls::{about, mkfifoat, read, reopen_to_write, rmdir, unlinkat, write};
use crate::os::{Errno, Handle, PipeEnd};

impl Directory {
    /// Returns true if a waiter may be in the queue. A pipe opens for writing only while somebody
    /// reads it, and the reader notices when it is closed: so the bell is opened before the release
    /// and closed after it. Without a ticket that reader is no waiter: a child that was forked while
    /// we listened ourselves keeps the bell open as long as it runs no other program.
    pub(super) fn has_waiters(&self, kept: &mut OpenHandles) -> bool {
        let Ok(queue) = self.queue() else {
            return false;
        };
        kept.bell = open_pipe(&queue, BELL, PipeEnd::Write).ok().filter(|_| has_ticket(&queue));
        if kept.bell.is_some() {
            return true;
        }
        // It is unknown whether waiters of another kernel are alive, and they cannot be woken: a
        // ticket that one of them left behind must not keep others from trying forever.
        let here = self.here();
        let is_reachable = |ticket: &Ticket| {
            ticket.origin.is_same_boot(&here.origin) && is_waiting(&queue, ticket, &here)
        };
        tickets(&queue).is_ok_and(|found| found.iter().any(is_reachable))
    }

    /// Wakes the first waiter. A process that removed the queue may have removed the bell that we
    /// have open: a waiter that is still there has made another bell by now, and listens to that.
    ///
    /// # Errors
    /// [`Errno::BUSY`] if nobody waits in the queue.
    pub(super) fn wake_first(&self, kept: &mut OpenHandles) -> Result<(), Errno> {
        let open_bell = kept.bell.take();
        if open_bell.as_ref().is_none_or(is_removed) {
            let queue = self.queue()?;
            open_pipe(&queue, BELL, PipeEnd::Write).map_err(|_| Errno::BUSY)?;
            return has_ticket(&queue).then_some(()).ok_or(Errno::BUSY);
        }
        Ok(())
    }

    pub(super) fn expel(&self, ticket: &Ticket, handoff: &Handoff) -> Result<(), Errno> {
        let queue = self.queue()?;
        let name = ticket.to_string();
        if let Ok(pipe) = open_pipe(&queue, &name, PipeEnd::Both) {
            write_line(&pipe, &encode(handoff));
        }
        unlinkat(&queue, name.as_ref())
    }

    /// Removes the queue. A waiter that enters while the queue is being removed may listen to the
    /// old bell: so the bell is rung once more, through a handle that is neither a reader nor a
    /// writer until then.
    pub(crate) fn close_queue(&self) -> Result<(), Errno> {
        let queue = self.queue()?;
        self.clear(&queue)?;
        // A file of this name that is not a pipe belongs to somebody.
        let bell = open_pipe(&queue, BELL, PipeEnd::Hold);
        if bell.is_ok() {
            let _ = unlinkat(&queue, BELL.as_ref());
        }
        rmdir(&self.queue_path()).inspect_err(|_| {
            if let Ok(bell) = bell {
                let _ = reopen_to_write(&bell);
            }
        })
    }
}

fn write_line(pipe: &Handle, line: &str) {
    let _ = write(pipe, format!("{line}\n").as_bytes());
}

fn encode(handoff: &Handoff) -> String {
    match handoff {
        Handoff::First => "first".into(),
        Handoff::Behind(ticket) => format!("behind {ticket}"),
    }
}

/// Parses the last line, if it is a handoff message.
fn decode(content: &str) -> Option<Handoff> {
    match content.lines().last()?.split_once(' ') {
        None => (content.lines().last() == Some("first")).then_some(Handoff::First),
        Some(("behind", ticket)) => Ticket::parse(ticket).map(Handoff::Behind),
        Some(_) => None,
    }
}

/// The result of reading a pipe: nothing yet, text, or the end.
enum PipeRead {
    Nothing,
    Text(String),
    End,
}

fn read_pipe(pipe: &Handle) -> PipeRead {
    let mut content = [0; 4096];
    match read(pipe, &mut content) {
        Ok(0) => PipeRead::End,
        Ok(length) => PipeRead::Text(String::from_utf8_lossy(&content[..length]).into_owned()),
        Err(_) => PipeRead::Nothing,
    }
}

impl Place<'_> {
    pub(super) fn make_ticket(&mut self, queue: &Handle, ticket: &Ticket) -> Result<(), Errno> {
        let (name, mode) = (ticket.to_string(), self.directory.mode() & 0o666);
        mkfifoat(queue, name.as_ref(), mode)?;
        let own = open_pipe(queue, &name, PipeEnd::Both)?;
        self.directory.widen_open(&own, mode)?;
        self.open.own = Some(own);
        Ok(())
    }

    /// Sends the handoff, then unlinks the ticket, then closes the pipe. In this order a waiter
    /// that sees the end of the pipe finds no ticket, and a waiter that opened the pipe before sees
    /// its end.
    pub(super) fn leave(&mut self, ticket: &Ticket, handoff: &Handoff) -> Result<(), Errno> {
        self.open.ahead = None;
        self.open.bell = None;
        let own = self.open.own.take();
        if let Some(own) = &own {
            write_line(own, &encode(handoff));
        }
        let queue = self.queue.take().map_or_else(|| self.directory.queue(), Ok)?;
        unlinkat(&queue, ticket.to_string().as_ref())
    }

    pub(super) fn listen(&mut self) -> Result<(), Errno> {
        self.open.ahead = None;
        let directory = self.directory;
        let bell = self.in_queue(|queue| open_or_make_bell(directory, queue))?;
        self.open.bell = Some(bell);
        Ok(())
    }

    /// Closes a bell that was rung or removed. Before the next sleep it is opened anew, and the
    /// lock directory is examined once more; usually the lock is ours before that.
    fn bell_rang(&mut self) -> Wake {
        self.open.bell = None;
        Wake::Notified
    }

    /// Interprets what was read from the pipe of the ticket ahead. At its end the pipe is closed:
    /// the ticket may have another one by now.
    fn pipe_was_read(&mut self, content: PipeRead) -> Wake {
        match content {
            PipeRead::Text(content) => {
                decode(&content).map_or(Wake::PeerGone, Wake::HandoffReceived)
            }
            PipeRead::Nothing => Wake::PeerGone,
            PipeRead::End => {
                self.open.ahead = None;
                Wake::PeerGone
            }
        }
    }

    /// Returns true if our ticket was removed. Its pipe is then of no use and is closed, so this is
    /// reported once.
    pub(super) fn is_expelled(&mut self) -> bool {
        let is_expelled = self.open.own.take_if(|own| is_removed(own)).is_some();
        if is_expelled {
            self.queue = None;
        }
        is_expelled
    }

    /// Sleeps until an event occurs, or until `until`.
    pub(super) fn wait_for_event(&mut self, wake_source: &WakeSource, until: Duration) -> Wake {
        let mut watch = Watch::Unwatched;
        match wake_source {
            WakeSource::Ticket(ticket) => {
                if self.open.ahead.as_ref().is_none_or(|(open, _)| open != ticket) {
                    let name = ticket.to_string();
                    let opened = self.in_queue(|queue| open_pipe(queue, &name, PipeEnd::Read));
                    self.open.ahead = opened.ok().map(|pipe| (ticket.clone(), pipe));
                }
                match self.open.ahead.as_ref().map(|(_, pipe)| read_pipe(pipe)) {
                    None => return Wake::PeerGone,
                    Some(PipeRead::Nothing) => {}
                    Some(content) => return self.pipe_was_read(content),
                }
            }
            WakeSource::Bell(owner) => {
                if self.open.bell.as_ref().is_some_and(is_removed) {
                    return self.bell_rang();
                }
                if self.open.bell.is_none() && self.listen().is_ok() {
                    return Wake::Notified;
                }
                watch = self.watch(*owner);
                if let Watch::Gone = watch {
                    return Wake::Ended;
                }
            }
            WakeSource::Nothing => {}
        }

        let pipe_to_read = match wake_source {
            WakeSource::Ticket(_) => self.open.ahead.as_ref().map(|(_, pipe)| pipe),
            WakeSource::Bell(_) => self.open.bell.as_ref(),
            WakeSource::Nothing => None,
        };
        let pipe = pipe_to_read.map(AsFd::as_fd);
        let all: Vec<_> =
            [pipe, watch.handle().map(|life| life.source())].into_iter().flatten().collect();
        let Some(first_is_ready) = self.poll(&all, until) else {
            return Wake::Interrupted;
        };
        let is_ready = pipe_to_read.is_some() && first_is_ready;
        match wake_source {
            WakeSource::Ticket(_) if is_ready => {
                let content = pipe_to_read.map_or(PipeRead::End, read_pipe);
                self.pipe_was_read(content)
            }
            WakeSource::Bell(_) if is_ready => self.bell_rang(),
            _ if watch.has_ended() => Wake::Ended,
            _ if self.is_expelled() => Wake::Expelled,
            _ => Wake::Time,
        }
    }
}

fn open_or_make_bell(directory: &Directory, queue: &Handle) -> Result<Handle, Errno> {
    match open_pipe(queue, BELL, PipeEnd::Read) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    let mode = directory.mode() & 0o666;
    let made = match mkfifoat(queue, BELL.as_ref(), mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno),
    };
    let bell = open_pipe(queue, BELL, PipeEnd::Read)?;
    if made {
        directory.widen_open(&bell, mode)?;
    }
    Ok(bell)
}

fn is_removed(pipe: &Handle) -> bool {
    about(pipe).is_ok_and(|about| about.is_removed)
}
