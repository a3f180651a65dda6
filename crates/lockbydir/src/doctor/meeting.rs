//! Two hosts meet: each makes a room, and who finds another's room of a smaller name asks to be let
//! in. Then they work in that one: who made it leads, the other follows.
//!
//! All they say is the names of empty files that come into being: they must see each other's changes
//! in time, which is what a lock needs as well. No file has a content, so none is half there.
//!
//! | file | says |
//! |---|---|
//! | `probe-hello.NONCE` | let me in |
//! | `probe-welcome.NONCE` | come in, and no other |
//! | `probe-order-N.ORDER`, `probe-answer-N.ANSWER` | the N-th order, and its answer |
//! | `probe-page-N.HEX` | a piece of the report |

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lockbydir_protocol::Stamp;

use super::orders::execute;
use super::peer::{Peer, SILENCE};
use super::report::{read, written};
use super::sandbox::{HELLO, Sandbox, is_meeting_name, is_recent};
use super::{FileSystem, Other, ProbeError, Report};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::os::syscalls::about;
use crate::os::{self, Errno, FileOwner, Names, fault, open_folder};
use crate::waiter::Patience;

/// Between two looks for a word of the other one.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two looks for the other one.
const LONG_PAUSE: Duration = Duration::from_millis(50);
/// A room is kept from looking left behind.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// Bytes of the report in one name.
const PAGE: usize = 100;

/// Which of the two one is.
pub(super) enum Role {
    Leads(Mail),
    Follows(Mail),
}

/// Comes together with another host, so long at most.
pub(super) fn meet(dir: &Path, patience: Patience, interrupt: &Interrupt) -> Result<Role, Error> {
    let failed = |errno| Error::cannot_examine(dir, fault(errno));
    let own = Sandbox::make_to_meet(dir).map_err(failed)?;
    let begun = Instant::now();
    let mut meeting = Meeting { own, doors: Vec::new(), stranger: None, interrupt };
    let mut next_sign = SIGN_OF_LIFE;
    loop {
        if let Some(nonce) = meeting.who_knocks().map_err(failed)? {
            meeting.own.create(&format!("probe-welcome.{nonce}")).map_err(failed)?;
            return Ok(Role::Leads(meeting.mail()));
        }
        meeting.knock(dir).map_err(failed)?;
        if let Some(at) = meeting.doors.iter().position(|door| meeting.is_welcome(door)) {
            let room = meeting.doors.swap_remove(at);
            return Ok(Role::Follows(Mail::of(room, interrupt)));
        }
        if interrupt.is_raised() {
            return Err(Error::ended(dir));
        }
        if patience.duration().is_some_and(|all| begun.elapsed() >= all) {
            return Err(Error::nobody_came(dir, begun.elapsed(), meeting.stranger));
        }
        if begun.elapsed() > next_sign {
            next_sign += SIGN_OF_LIFE;
            let _ =
                meeting.own.create("probe-sign").and_then(|()| meeting.own.remove("probe-sign"));
        }
        pause(interrupt, LONG_PAUSE);
    }
}

fn pause(interrupt: &Interrupt, time: Duration) {
    let _listening = interrupt.unpark_me();
    if !interrupt.is_raised() {
        thread::park_timeout(time);
    }
}

struct Meeting<'a> {
    own: Sandbox,
    /// Where we have asked to be let in.
    doors: Vec<Sandbox>,
    /// Somebody waits there whom we cannot meet.
    stranger: Option<u32>,
    interrupt: &'a Interrupt,
}

impl Meeting<'_> {
    fn nonce(&self) -> &str {
        let name = self.own.name();
        name.split('.').nth(1).unwrap_or(name)
    }

    /// By the file system's own clock, as far as is known: when our own room was changed last.
    fn now(&self) -> Stamp {
        about(self.own.open()).map_or(Stamp(0), |about| about.changed)
    }

    fn who_knocks(&self) -> Result<Option<String>, Errno> {
        let names = self.own.list()?;
        Ok(names.iter().find_map(|name| name.strip_prefix(HELLO)).map(str::to_owned))
    }

    /// Asks to be let in wherever another one waits whose name is smaller than ours: so of two, one
    /// asks.
    fn knock(&mut self, dir: &Path) -> Result<(), Errno> {
        // Opened anew: of a handle that is kept, NFS shows what was there before.
        for found in Names::of(open_folder(dir)?)? {
            let name = found?.name();
            let Some(name) = name.to_str().filter(|name| is_meeting_name(name)) else { continue };
            if name >= self.own.name() || self.doors.iter().any(|door| door.name() == name) {
                continue;
            }
            match Sandbox::enter(&dir.join(name)) {
                Ok(door) => {
                    let hello = format!("{HELLO}{}", self.nonce());
                    let is_recent = is_recent(door.open(), self.now()).unwrap_or(false);
                    if is_recent && door.create(&hello).is_ok() {
                        self.doors.push(door);
                    }
                }
                Err(Errno::PERM | Errno::ACCESS) => self.stranger = self.owner(name),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whose it is, if it is a stranger's.
    fn owner(&self, name: &str) -> Option<u32> {
        let whole = os::path_in(self.own.parent(), name.as_ref());
        match os::about_path(&whole).ok()?.owner {
            FileOwner::Strangers(user) => Some(user),
            FileOwner::Administrators => Some(0),
            FileOwner::Ours => None,
        }
    }

    fn is_welcome(&self, door: &Sandbox) -> bool {
        let welcome = format!("probe-welcome.{}", self.nonce());
        door.list().is_ok_and(|names| names.contains(&welcome))
    }

    fn mail(self) -> Mail {
        Mail::of(self.own, self.interrupt)
    }
}

/// Words between the two, in the room of the one who leads.
pub(super) struct Mail {
    room: Sandbox,
    nth: u32,
    interrupt: Interrupt,
}

impl Mail {
    fn of(room: Sandbox, interrupt: &Interrupt) -> Mail {
        Mail { room, nth: 0, interrupt: interrupt.clone() }
    }

    /// The same room, to try things in.
    pub(super) fn room(&self) -> Result<Sandbox, ProbeError> {
        Ok(Sandbox::enter(self.room.path())?)
    }

    /// What follows this in the name that comes.
    fn wait_for(&self, start: &str, what: &str, silence: Duration) -> Result<String, ProbeError> {
        let begun = Instant::now();
        loop {
            let names = match self.room.list() {
                Ok(names) => names,
                // The other one has gone, and has taken its room away.
                Err(Errno::NOENT) => return Err(ProbeError::Silent(what.to_owned())),
                Err(_) => Default::default(),
            };
            if let Some(rest) = names.iter().find_map(|name| name.strip_prefix(start)) {
                return Ok(rest.to_owned());
            }
            if self.interrupt.is_raised() {
                return Err(ProbeError::Ended);
            }
            if begun.elapsed() > silence {
                return Err(ProbeError::Silent(what.to_owned()));
            }
            pause(&self.interrupt, PAUSE);
        }
    }

    /// Gives the other one what was found, and leaves when it has it.
    pub(super) fn hand_out(mut self, report: &Report) -> Result<(), ProbeError> {
        let text = written(&report.findings);
        for (nth, page) in text.as_bytes().chunks(PAGE).enumerate() {
            let hex: String = page.iter().map(|byte| format!("{byte:02x}")).collect();
            self.room.create(&format!("probe-page-{nth}.{hex}"))?;
        }
        self.tell(&format!("read,{}", text.len().div_ceil(PAGE)))?;
        self.hear().map(drop)
    }

    /// Does what it is told, until it is given what was found.
    pub(super) fn follow(mut self) -> Result<Report, ProbeError> {
        loop {
            self.nth += 1;
            let nth = self.nth;
            let order = self.wait_for(&format!("probe-order-{nth}."), "go on", SILENCE * 3)?;
            let answer = format!("probe-answer-{nth}");
            let Some(pages) = order.strip_prefix("read,").and_then(|pages| pages.parse().ok())
            else {
                self.room.create(&format!("{answer}.{}", execute(&self.room, &order)))?;
                continue;
            };
            let findings = self.read(pages)?;
            self.room.create(&format!("{answer}.read"))?;
            let (dir, file_system, other) =
                (Default::default(), FileSystem::default(), Other::Host);
            return Ok(Report { dir, file_system, other, findings });
        }
    }

    fn read(&self, pages: usize) -> Result<Vec<super::Finding>, ProbeError> {
        let mut bytes = Vec::new();
        for nth in 0..pages {
            let hex = self.wait_for(&format!("probe-page-{nth}."), "report", SILENCE)?;
            let page = hex.as_bytes().chunks(2).map(|digits| {
                u8::from_str_radix(std::str::from_utf8(digits).unwrap_or_default(), 16)
            });
            bytes.extend(page.filter_map(Result::ok));
        }
        // It came from a process of our own user; what is in it may still be anything.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        read(&text).ok_or_else(|| ProbeError::Silent("report".into()))
    }
}

impl Peer for Mail {
    fn other(&self) -> Other {
        Other::Host
    }

    fn tell(&mut self, order: &str) -> Result<(), ProbeError> {
        self.nth += 1;
        self.room.create(&format!("probe-order-{}.{order}", self.nth))?;
        Ok(())
    }

    fn hear(&mut self) -> Result<String, ProbeError> {
        self.wait_for(&format!("probe-answer-{}.", self.nth), "answer", SILENCE)
    }
}
