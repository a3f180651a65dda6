//! Performs the operations on the line: the directory `NAME.lockdir.line` beside D, with one named
//! pipe a ticket, and the bell, a named pipe that the first in line listens to. Nothing is ever
//! written to the bell, so nobody is killed by SIGPIPE: opening and closing it rings. Decides
//! nothing.

use std::ffi::{CStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use lockbydir_protocol::{Answer, Ear, Here, Life, Operation, Ticket, Wake, Word};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::call::{
    fstat, list_of, mkdir, mkfifoat, open, openat, poll, read, rmdir, unlinkat, write,
};
use crate::dir::{Directory, Kept, LOOK, fault};
use crate::interrupt::Interrupt;
use crate::{clock, process};

/// What the line is called: D's name and this.
pub(crate) const SUFFIX: &str = ".line";
const BELL: &str = "bell";
/// More tickets than this are not read.
const MOST_TICKETS: usize = 10_000;
/// A ticket of another kernel that is older goes with the line, when nobody else is in it. Who still
/// waits there takes a new one.
const STALE_TICKET: Duration = Duration::from_secs(3600);
/// In so long, one is woken so often; then one hears nothing for the rest of it.
const WAKES: (Duration, u32) = (Duration::from_millis(100), 32);
/// How often the line may be removed while we come to it.
const ROUNDS: u8 = 8;
const PIPE: OFlags = OFlags::NONBLOCK.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Directory {
    fn line_path(&self) -> PathBuf {
        let mut path = OsString::from(self.path());
        path.push(SUFFIX);
        PathBuf::from(path)
    }

    /// The line, if it is one that we may trust.
    fn line(&self) -> Result<OwnedFd, Errno> {
        let line = open(&self.line_path(), LOOK)?;
        match self.stranger(&fstat(&line)?) {
            Some(_) => Err(Errno::PERM),
            None => Ok(line),
        }
    }

    /// Those in line now, in their order.
    pub(crate) fn line_now(&self) -> Vec<Ticket> {
        let mut line = self.line().and_then(|line| tickets(&line)).unwrap_or_default();
        line.sort();
        line
    }

    /// Performs what needs no place of one's own.
    pub(crate) fn perform_on_line(&self, operation: &Operation, kept: &mut Kept) -> Answer {
        let done = match operation {
            Operation::Knock => return Answer::Somebody(self.knock(kept)),
            Operation::ListLine => {
                return match self.line().and_then(|line| tickets(&line)) {
                    Ok(line) => Answer::Line(line),
                    Err(Errno::NOENT) => Answer::Line(Vec::new()),
                    Err(errno) => Answer::Failed(fault(errno)),
                };
            }
            Operation::Ring => self.ring(kept),
            Operation::Expel(ticket, word) => self.expel(ticket, word),
            Operation::CloseLine => self.close_line(),
            _ => Err(Errno::INVAL),
        };
        match done {
            Ok(()) => Answer::Done(None),
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }

    /// A pipe opens for writing only while somebody reads it, and its end is heard: so the bell
    /// is opened before the release and closed after it.
    fn knock(&self, kept: &mut Kept) -> bool {
        let Ok(line) = self.line() else {
            return false;
        };
        kept.bell = open_pipe(&line, BELL, OFlags::WRONLY).ok();
        if kept.bell.is_some() {
            return true;
        }
        // Of another kernel's waiters nobody can tell whether they live, and none of them hears:
        // a ticket that one of them left must not keep others from trying for ever.
        let here = self.here();
        let may_come = |ticket: &Ticket| {
            ticket.origin.is_same_boot(&here.origin) && is_alive(&line, ticket, &here)
        };
        tickets(&line).is_ok_and(|found| found.iter().any(may_come))
    }

    /// Whoever removed the line may have taken the bell away that we have in hand: who still waits
    /// has made another one by now, and listens to that.
    fn ring(&self, kept: &mut Kept) -> Result<(), Errno> {
        let in_hand = kept.bell.take();
        if in_hand.as_ref().is_none_or(is_removed) {
            let line = self.line()?;
            open_pipe(&line, BELL, OFlags::WRONLY).map_err(|_| Errno::BUSY)?;
        }
        Ok(())
    }

    fn expel(&self, ticket: &Ticket, word: &Word) -> Result<(), Errno> {
        let line = self.line()?;
        let name = ticket.to_string();
        if let Ok(pipe) = open_pipe(&line, &name, OFlags::RDWR) {
            say(&pipe, &spell(word));
        }
        unlinkat(&line, name.as_ref())
    }

    /// Whoever comes while the line is being removed may listen to the old bell: it is rung once
    /// more, through a handle that is neither a reader nor a writer until then.
    pub(crate) fn close_line(&self) -> Result<(), Errno> {
        let line = self.line()?;
        let here = self.here();
        let (living, gone): (Vec<_>, Vec<_>) =
            tickets(&line)?.into_iter().partition(|ticket| is_alive(&line, ticket, &here));
        for ticket in gone {
            let _ = unlinkat(&line, ticket.to_string().as_ref());
        }
        if !living.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        // What is called so and is no pipe is somebody's file.
        let bell = open_pipe(&line, BELL, OFlags::PATH);
        if bell.is_ok() {
            let _ = unlinkat(&line, BELL.as_ref());
        }
        rmdir(&self.line_path()).inspect_err(|_| {
            if let Ok(bell) = bell {
                let again = format!("/proc/self/fd/{}", bell.as_raw_fd());
                let how = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let _ = open(again.as_ref(), how);
            }
        })
    }
}

/// Is this a name that a line gives?
fn is_ours(name: &CStr) -> bool {
    name.to_str().is_ok_and(|name| name == BELL || Ticket::parse(name).is_some())
}

/// The tickets in a line, in no order.
pub(crate) fn tickets(line: &OwnedFd) -> Result<Vec<Ticket>, Errno> {
    let mut found = Vec::new();
    for entry in list_of(line)?.take(MOST_TICKETS) {
        let entry = entry?;
        if matches!(entry.file_type(), FileType::Fifo | FileType::Unknown) {
            found.extend(entry.file_name().to_str().ok().and_then(Ticket::parse));
        }
    }
    Ok(found)
}

/// Opens a named pipe, and nothing else that may be there in its place.
fn open_pipe(line: &OwnedFd, name: &str, how: OFlags) -> Result<OwnedFd, Errno> {
    let pipe = openat(line, name.as_ref(), how | PIPE)?;
    match FileType::from_raw_mode(fstat(&pipe)?.st_mode) {
        FileType::Fifo => Ok(pipe),
        _ => Err(Errno::INVAL),
    }
}

/// Has somebody the ticket's pipe open? Of another kernel's tickets only the age tells.
fn is_alive(line: &OwnedFd, ticket: &Ticket, here: &Here) -> bool {
    if !ticket.origin.is_same_boot(&here.origin) {
        let age = clock::now().wall.saturating_sub(Duration::from_micros(ticket.order));
        return age < STALE_TICKET && !(here.one_kernel && here.is_before_boot(ticket));
    }
    match open_pipe(line, &ticket.to_string(), OFlags::RDONLY) {
        Ok(pipe) => !matches!(read(&pipe, &mut [0; 1]), Ok(0)),
        Err(_) => false,
    }
}

fn say(pipe: &OwnedFd, words: &str) {
    let _ = write(pipe, format!("{words}\n").as_bytes());
}

fn spell(word: &Word) -> String {
    match word {
        Word::First => "first".into(),
        Word::Behind(ticket) => format!("behind {ticket}"),
    }
}

/// The last thing said, if it is a word of ours.
fn understand(said: &str) -> Option<Word> {
    match said.lines().last()?.split_once(' ') {
        None => (said.lines().last() == Some("first")).then_some(Word::First),
        Some(("behind", ticket)) => Ticket::parse(ticket).map(Word::Behind),
        Some(_) => None,
    }
}

/// What was said on a pipe: nothing yet, words, or the end.
enum Said {
    Nothing,
    Words(String),
    End,
}

fn hear(pipe: &OwnedFd) -> Said {
    let mut said = [0; 4096];
    match read(pipe, &mut said) {
        Ok(0) => Said::End,
        Ok(length) => Said::Words(String::from_utf8_lossy(&said[..length]).into_owned()),
        Err(_) => Said::Nothing,
    }
}

/// One waiter's own place in the line: what it keeps open.
pub(crate) struct Place<'a> {
    directory: &'a Directory,
    interrupts: Vec<&'a Interrupt>,
    /// The line as we entered it.
    line: Option<OwnedFd>,
    own: Option<OwnedFd>,
    ahead: Option<(Ticket, OwnedFd)>,
    bell: Option<OwnedFd>,
    kept: Kept,
    /// Until when wakes are counted, and how many there were.
    wakes: (Duration, u32),
}

impl<'a> Place<'a> {
    pub(crate) fn new(directory: &'a Directory, interrupts: Vec<&'a Interrupt>) -> Place<'a> {
        Place {
            directory,
            interrupts,
            line: None,
            own: None,
            ahead: None,
            bell: None,
            kept: Kept::default(),
            wakes: (Duration::ZERO, 0),
        }
    }

    pub(crate) fn perform(&mut self, operation: &Operation) -> Answer {
        let done = match operation {
            Operation::Enter(ticket) => self.enter(ticket),
            Operation::Leave(ticket, word) => self.leave(ticket, word),
            Operation::Listen => self.listen(),
            Operation::Sleep(..) => return Answer::Woken(Wake::Time),
            other => return self.directory.perform(other, &mut self.kept),
        };
        match done {
            Ok(()) => Answer::Done(None),
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }

    fn enter(&mut self, ticket: &Ticket) -> Result<(), Errno> {
        self.ahead = None;
        self.bell = None;
        let name = ticket.to_string();
        for _ in 0..ROUNDS {
            match mkdir(&self.directory.line_path(), self.directory.mode()) {
                Ok(()) => {
                    let line = self.directory.open_made(&self.directory.line_path(), is_ours)?;
                    self.directory.widen_open(&line, self.directory.mode())?;
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            let made = self.directory.line().and_then(|line| {
                let mode = self.directory.mode() & Mode::from_raw_mode(0o666);
                mkfifoat(&line, name.as_ref(), mode)?;
                let own = open_pipe(&line, &name, OFlags::RDWR)?;
                self.directory.widen_open(&own, mode)?;
                Ok((line, own))
            });
            match made {
                // Removed while we came: make it anew.
                Err(Errno::NOENT) => {}
                Ok((line, own)) => {
                    self.line = Some(line);
                    self.own = Some(own);
                    return Ok(());
                }
                Err(errno) => {
                    if let Ok(line) = self.directory.line() {
                        let _ = unlinkat(&line, name.as_ref());
                    }
                    // Nobody may be in the line that was made for us; else the kernel refuses.
                    let _ = rmdir(&self.directory.line_path());
                    return Err(errno);
                }
            }
        }
        Err(Errno::NOENT)
    }

    /// First the word, then the unlink, then the end of the pipe: who hears it end finds no
    /// ticket, and who opened it before hears it end.
    fn leave(&mut self, ticket: &Ticket, word: &Word) -> Result<(), Errno> {
        self.ahead = None;
        self.bell = None;
        let own = self.own.take();
        if let Some(own) = &own {
            say(own, &spell(word));
        }
        let line = self.line.take().map_or_else(|| self.directory.line(), Ok)?;
        unlinkat(&line, ticket.to_string().as_ref())
    }

    fn listen(&mut self) -> Result<(), Errno> {
        self.ahead = None;
        let line = self.directory.line()?;
        let mode = self.directory.mode() & Mode::from_raw_mode(0o666);
        let made = match mkfifoat(&line, BELL.as_ref(), mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        let bell = open_pipe(&line, BELL, OFlags::RDONLY)?;
        if made {
            self.directory.widen_open(&bell, mode)?;
        }
        self.bell = Some(bell);
        Ok(())
    }

    /// A bell that was rung, or removed, is heard no more. Before the next sleep it is opened
    /// anew, and D looked at once more; most often D is ours before.
    fn rung(&mut self) -> Wake {
        self.bell = None;
        Wake::Rung
    }

    /// A pipe that has come to its end tells no more: the ticket may have another one by now.
    fn told(&mut self, said: Said) -> Wake {
        match said {
            Said::Words(said) => understand(&said).map_or(Wake::Silent, Wake::Told),
            Said::Nothing => Wake::Silent,
            Said::End => {
                self.ahead = None;
                Wake::Silent
            }
        }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupts.iter().any(|interrupt| interrupt.is_raised())
    }

    /// Is our ticket gone? Then its pipe is of no use: that is told once.
    fn is_expelled(&mut self) -> bool {
        self.own.take_if(|own| is_removed(own)).is_some()
    }

    /// The rest of this moment, where somebody has woken us too often in it: whoever may write to
    /// a pipe in this line could keep us awake for ever.
    fn deaf_until(&mut self) -> Option<Duration> {
        let now = clock::boot();
        if now >= self.wakes.0 {
            self.wakes = (now + WAKES.0, 0);
        }
        self.wakes.1 += 1;
        (self.wakes.1 > WAKES.1).then_some(self.wakes.0)
    }

    /// Sleeps until something is heard, or `until`.
    pub(crate) fn sleep(&mut self, ear: &Ear, until: Duration) -> Wake {
        if self.is_interrupted() {
            return Wake::Interrupted;
        }
        if let Some(end) = self.deaf_until() {
            return self.doze(&[], end.min(until)).map_or(Wake::Interrupted, |_| Wake::Time);
        }
        if self.is_expelled() {
            return Wake::Expelled;
        }
        let mut pidfd = None;
        match ear {
            Ear::Ticket(ticket) => {
                if self.ahead.as_ref().is_none_or(|(open, _)| open != ticket) {
                    let opened = self
                        .directory
                        .line()
                        .and_then(|line| open_pipe(&line, &ticket.to_string(), OFlags::RDONLY));
                    self.ahead = opened.ok().map(|pipe| (ticket.clone(), pipe));
                }
                match self.ahead.as_ref().map(|(_, pipe)| hear(pipe)) {
                    None => return Wake::Silent,
                    Some(Said::Nothing) => {}
                    Some(said) => return self.told(said),
                }
            }
            Ear::Bell(owner) => {
                if self.bell.as_ref().is_some_and(is_removed) {
                    return self.rung();
                }
                if self.bell.is_none() && self.listen().is_ok() {
                    return Wake::Rung;
                }
                pidfd = process::first_living(*owner);
                // Where no handle can be had of one who lives, only looks tell of its end.
                if pidfd.is_none() && process::life(*owner) == Life::Gone {
                    return Wake::Ended;
                }
            }
            Ear::Nothing => {}
        }

        let heard = match ear {
            Ear::Ticket(_) => self.ahead.as_ref().map(|(_, pipe)| pipe),
            Ear::Bell(_) => self.bell.as_ref(),
            Ear::Nothing => None,
        };
        let all: Vec<_> = [heard, pidfd.as_ref()].into_iter().flatten().collect();
        let Some(first_is_heard) = self.doze(&all, until) else {
            return Wake::Interrupted;
        };
        let is_heard = heard.is_some() && first_is_heard;
        match ear {
            Ear::Ticket(_) if is_heard => {
                let said = heard.map_or(Said::End, hear);
                self.told(said)
            }
            Ear::Bell(_) if is_heard => self.rung(),
            _ if pidfd.as_ref().is_some_and(process::has_ended) => Wake::Ended,
            _ if self.is_expelled() => Wake::Expelled,
            _ => Wake::Time,
        }
    }

    /// Polls these until then, and what may interrupt it, which gives none. Is the first ready?
    fn doze(&self, open: &[&OwnedFd], until: Duration) -> Option<bool> {
        let events = self.interrupts.iter().filter_map(|interrupt| interrupt.event());
        let all: Vec<_> = open.iter().map(|open| open.as_fd()).chain(events).collect();
        let mut polled: Vec<PollFd<'_>> =
            all.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        poll(&mut polled, until);
        let is_ready = polled.first().is_some_and(|fd| !fd.revents().is_empty());
        (!self.is_interrupted()).then_some(is_ready)
    }
}

fn is_removed(pipe: &OwnedFd) -> bool {
    fstat(pipe).is_ok_and(|stat| stat.st_nlink == 0)
}
