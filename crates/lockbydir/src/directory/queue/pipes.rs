//! The queue on Unix: a ticket is a named pipe that its waiter keeps open, and the first in the queue listens
//! to the bell, another one. Nothing is ever written to the bell, so nobody is killed by SIGPIPE:
//! opening and closing it rings.

use std::os::fd::AsFd;
use std::time::Duration;

use lockbydir_protocol::{Handoff, Liveness, Ticket, Wake, WakeSource};

use super::{Place, is_alive as waits, tickets};
use crate::directory::executor::{Directory, OpenHandles};
use crate::os::process;
use crate::os::syscalls::{
    about, mkfifoat, open_pipe_at, read, reopen_to_write, rmdir, unlinkat, write,
};
use crate::os::{Errno, FileKind, Found, Handle, PipeEnd};

const BELL: &str = "bell";

/// What a waiter keeps open.
#[derive(Default)]
pub(super) struct Open {
    own: Option<Handle>,
    ahead: Option<(Ticket, Handle)>,
    bell: Option<Handle>,
}

impl Directory {
    /// A pipe opens for writing only while somebody reads it, and its end is heard: so the bell
    /// is opened before the release and closed after it.
    pub(super) fn knock(&self, kept: &mut OpenHandles) -> bool {
        let Ok(queue) = self.queue() else {
            return false;
        };
        kept.bell = open_pipe(&queue, BELL, PipeEnd::Write).ok();
        if kept.bell.is_some() {
            return true;
        }
        // Of another kernel's waiters nobody can tell whether they live, and none of them hears:
        // a ticket that one of them left must not keep others from trying for ever.
        let here = self.here();
        let may_come = |ticket: &Ticket| {
            ticket.origin.is_same_boot(&here.origin) && waits(&queue, ticket, &here)
        };
        tickets(&queue).is_ok_and(|found| found.iter().any(may_come))
    }

    /// Whoever removed the queue may have taken the bell away that we have in hand: who still waits
    /// has made another one by now, and listens to that.
    pub(super) fn ring(&self, kept: &mut OpenHandles) -> Result<(), Errno> {
        let in_hand = kept.bell.take();
        if in_hand.as_ref().is_none_or(is_removed) {
            let queue = self.queue()?;
            open_pipe(&queue, BELL, PipeEnd::Write).map_err(|_| Errno::BUSY)?;
        }
        Ok(())
    }

    pub(super) fn expel(&self, ticket: &Ticket, word: &Handoff) -> Result<(), Errno> {
        let queue = self.queue()?;
        let name = ticket.to_string();
        if let Ok(pipe) = open_pipe(&queue, &name, PipeEnd::Both) {
            say(&pipe, &spell(word));
        }
        unlinkat(&queue, name.as_ref())
    }

    /// Whoever comes while the queue is being removed may listen to the old bell: it is rung once
    /// more, through a handle that is neither a reader nor a writer until then.
    pub(crate) fn close_queue(&self) -> Result<(), Errno> {
        let queue = self.queue()?;
        self.clear(&queue)?;
        // What is called so and is no pipe is somebody's file.
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

/// Is this a name that a queue gives?
pub(super) fn is_ours(found: &Found) -> bool {
    found.text().is_some_and(|name| name == BELL || Ticket::parse(name).is_some())
}

/// Can it be a ticket?
pub(super) fn is_ticket(kind: FileKind) -> bool {
    matches!(kind, FileKind::Pipe | FileKind::Unknown)
}

/// Opens a named pipe, and nothing else that may be there in its place.
fn open_pipe(queue: &Handle, name: &str, end: PipeEnd) -> Result<Handle, Errno> {
    let pipe = open_pipe_at(queue, name.as_ref(), end)?;
    match about(&pipe)?.kind {
        FileKind::Pipe => Ok(pipe),
        _ => Err(Errno::INVAL),
    }
}

/// Has somebody the ticket's pipe open?
pub(super) fn is_alive(queue: &Handle, ticket: &Ticket) -> bool {
    match open_pipe(queue, &ticket.to_string(), PipeEnd::Read) {
        Ok(pipe) => !matches!(read(&pipe, &mut [0; 1]), Ok(0)),
        Err(_) => false,
    }
}

fn say(pipe: &Handle, words: &str) {
    let _ = write(pipe, format!("{words}\n").as_bytes());
}

fn spell(word: &Handoff) -> String {
    match word {
        Handoff::First => "first".into(),
        Handoff::Behind(ticket) => format!("behind {ticket}"),
    }
}

/// The last thing said, if it is a word of ours.
fn understand(said: &str) -> Option<Handoff> {
    match said.lines().last()?.split_once(' ') {
        None => (said.lines().last() == Some("first")).then_some(Handoff::First),
        Some(("behind", ticket)) => Ticket::parse(ticket).map(Handoff::Behind),
        Some(_) => None,
    }
}

/// What was said on a pipe: nothing yet, words, or the end.
enum Said {
    Nothing,
    Words(String),
    End,
}

fn heard_on(pipe: &Handle) -> Said {
    let mut said = [0; 4096];
    match read(pipe, &mut said) {
        Ok(0) => Said::End,
        Ok(length) => Said::Words(String::from_utf8_lossy(&said[..length]).into_owned()),
        Err(_) => Said::Nothing,
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

    /// First the word, then the unlink, then the end of the pipe: who hears it end finds no
    /// ticket, and who opened it before hears it end.
    pub(super) fn leave(&mut self, ticket: &Ticket, word: &Handoff) -> Result<(), Errno> {
        self.open.ahead = None;
        self.open.bell = None;
        let own = self.open.own.take();
        if let Some(own) = &own {
            say(own, &spell(word));
        }
        let queue = self.queue.take().map_or_else(|| self.directory.queue(), Ok)?;
        unlinkat(&queue, ticket.to_string().as_ref())
    }

    pub(super) fn listen(&mut self) -> Result<(), Errno> {
        self.open.ahead = None;
        let queue = self.directory.queue()?;
        let mode = self.directory.mode() & 0o666;
        let made = match mkfifoat(&queue, BELL.as_ref(), mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        let bell = open_pipe(&queue, BELL, PipeEnd::Read)?;
        if made {
            self.directory.widen_open(&bell, mode)?;
        }
        self.open.bell = Some(bell);
        Ok(())
    }

    /// A bell that was rung, or removed, is heard no more. Before the next sleep it is opened
    /// anew, and D looked at once more; most often D is ours before.
    fn rung(&mut self) -> Wake {
        self.open.bell = None;
        Wake::Notified
    }

    /// A pipe that has come to its end tells no more: the ticket may have another one by now.
    fn told(&mut self, said: Said) -> Wake {
        match said {
            Said::Words(said) => understand(&said).map_or(Wake::PeerGone, Wake::HandoffReceived),
            Said::Nothing => Wake::PeerGone,
            Said::End => {
                self.open.ahead = None;
                Wake::PeerGone
            }
        }
    }

    /// Is our ticket gone? Then its pipe is of no use: that is told once.
    pub(super) fn is_expelled(&mut self) -> bool {
        self.open.own.take_if(|own| is_removed(own)).is_some()
    }

    /// Sleeps until something is heard, or `until`.
    pub(super) fn hear(&mut self, ear: &WakeSource, until: Duration) -> Wake {
        let mut life = None;
        match ear {
            WakeSource::Ticket(ticket) => {
                if self.open.ahead.as_ref().is_none_or(|(open, _)| open != ticket) {
                    let opened = self
                        .directory
                        .queue()
                        .and_then(|queue| open_pipe(&queue, &ticket.to_string(), PipeEnd::Read));
                    self.open.ahead = opened.ok().map(|pipe| (ticket.clone(), pipe));
                }
                match self.open.ahead.as_ref().map(|(_, pipe)| heard_on(pipe)) {
                    None => return Wake::PeerGone,
                    Some(Said::Nothing) => {}
                    Some(said) => return self.told(said),
                }
            }
            WakeSource::Bell(owner) => {
                if self.open.bell.as_ref().is_some_and(is_removed) {
                    return self.rung();
                }
                if self.open.bell.is_none() && self.listen().is_ok() {
                    return Wake::Notified;
                }
                life = process::first_living(*owner);
                // Where no handle can be had of one who lives, only looks tell of its end.
                if life.is_none() && process::life(*owner) == Liveness::Gone {
                    return Wake::Ended;
                }
            }
            WakeSource::Nothing => {}
        }

        let heard = match ear {
            WakeSource::Ticket(_) => self.open.ahead.as_ref().map(|(_, pipe)| pipe),
            WakeSource::Bell(_) => self.open.bell.as_ref(),
            WakeSource::Nothing => None,
        };
        let pipe = heard.map(AsFd::as_fd);
        let all: Vec<_> =
            [pipe, life.as_ref().map(|life| life.source())].into_iter().flatten().collect();
        let Some(first_is_heard) = self.poll(&all, until) else {
            return Wake::Interrupted;
        };
        let is_heard = heard.is_some() && first_is_heard;
        match ear {
            WakeSource::Ticket(_) if is_heard => {
                let said = heard.map_or(Said::End, heard_on);
                self.told(said)
            }
            WakeSource::Bell(_) if is_heard => self.rung(),
            _ if life.as_ref().is_some_and(|life| life.has_ended()) => Wake::Ended,
            _ if self.is_expelled() => Wake::Expelled,
            _ => Wake::Time,
        }
    }
}

fn is_removed(pipe: &Handle) -> bool {
    about(pipe).is_ok_and(|about| about.is_removed)
}
