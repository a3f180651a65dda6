//! The meeting of two hosts. Each creates a sandbox; the host that finds another's sandbox with a
//! smaller name asks to be let in. Then both work in that sandbox: its creator leads, the other
//! follows.
//!
//! Their messages are the names of empty files that they create: each must see the other's changes
//! in time, which a lock needs as well. The files have no content, so none can be incomplete.
//!
//! | file | meaning |
//! |---|---|
//! | `probe-hello.NONCE` | let me in |
//! | `probe-welcome.NONCE` | come in, and no other |
//! | `probe-order-N.ORDER`, `probe-answer-N.ANSWER` | the N-th order, and its answer |
//! | `probe-page-N.HEX` | a piece of the report |

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lockbydir_protocol::Stamp;

use super::file_system::FileSystem;
use super::orders::execute;
use super::peer::{ANSWER_TIMEOUT, Peer};
use super::probe_error::ProbeError;
use super::report::{Other, Report};
use super::report::{decode, encode};
use super::sandbox::{HELLO, Sandbox, is_meeting_name, is_recent};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::os::syscalls::about;
use crate::os::{self, Errno, FileOwner, Names, fault, open_folder};
use crate::waiting::Patience;

/// The pause between two looks for a message.
const PAUSE: Duration = Duration::from_millis(5);
/// The pause between two looks for another host.
const LONG_PAUSE: Duration = Duration::from_millis(50);
/// How often a waiting host changes its sandbox, so that it does not look abandoned.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes of the report per file name.
const PAGE: usize = 100;

/// The role of this host in the meeting.
pub(super) enum Role {
    Leads(Mail),
    Follows(Mail),
}

/// Meets another host, waiting as long as patience lasts.
pub(super) fn meet(dir: &Path, patience: Patience, interrupt: &Interrupt) -> Result<Role, Error> {
    let failed = |errno| Error::cannot_examine(dir, fault(errno));
    let own = Sandbox::make_to_meet(dir).map_err(failed)?;
    let begun = Instant::now();
    let mut meeting = Meeting { own, asked: Vec::new(), other_user: None, interrupt };
    let mut next_sign = SIGN_OF_LIFE_INTERVAL;
    loop {
        if let Some(nonce) = meeting.incoming_hello().map_err(failed)? {
            meeting.own.create(&format!("probe-welcome.{nonce}")).map_err(failed)?;
            return Ok(Role::Leads(meeting.mail()));
        }
        meeting.say_hello(dir).map_err(failed)?;
        if let Some(at) = meeting.asked.iter().position(|host| meeting.is_welcome(host)) {
            let sandbox = meeting.asked.swap_remove(at);
            return Ok(Role::Follows(Mail::of(sandbox, interrupt)));
        }
        if interrupt.is_raised() {
            return Err(Error::ended(dir));
        }
        if patience.duration().is_some_and(|all| begun.elapsed() >= all) {
            return Err(Error::no_peer(dir, begun.elapsed(), meeting.other_user));
        }
        if begun.elapsed() > next_sign {
            next_sign += SIGN_OF_LIFE_INTERVAL;
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
    /// The sandboxes where we have asked to be let in.
    asked: Vec<Sandbox>,
    /// Another user whose sandbox we cannot enter.
    other_user: Option<u32>,
    interrupt: &'a Interrupt,
}

impl Meeting<'_> {
    fn nonce(&self) -> &str {
        let name = self.own.name();
        name.split('.').nth(1).unwrap_or(name)
    }

    /// Returns the time by the file system's own clock, as far as it is known: when our own sandbox
    /// was last changed.
    fn now(&self) -> Stamp {
        about(self.own.open()).map_or(Stamp(0), |about| about.changed)
    }

    fn incoming_hello(&self) -> Result<Option<String>, Errno> {
        let names = self.own.list()?;
        Ok(names.iter().find_map(|name| name.strip_prefix(HELLO)).map(str::to_owned))
    }

    /// Asks to be let in wherever a host waits whose sandbox has a smaller name than ours: so of
    /// two hosts, only one asks.
    fn say_hello(&mut self, dir: &Path) -> Result<(), Errno> {
        // The folder is opened anew: through an old handle, NFS shows what was there before.
        for found in Names::of(open_folder(dir)?)? {
            let name = found?.name();
            let Some(name) = name.to_str().filter(|name| is_meeting_name(name)) else { continue };
            if name >= self.own.name() || self.asked.iter().any(|host| host.name() == name) {
                continue;
            }
            match Sandbox::enter(&dir.join(name)) {
                Ok(host) => {
                    let hello = format!("{HELLO}{}", self.nonce());
                    let is_recent = is_recent(host.open(), self.now()).unwrap_or(false);
                    if is_recent && host.create(&hello).is_ok() {
                        self.asked.push(host);
                    }
                }
                Err(Errno::PERM | Errno::ACCESS) => self.other_user = self.owner(name),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the owner of a sandbox, if that is another user.
    fn owner(&self, name: &str) -> Option<u32> {
        let whole = os::path_in(self.own.parent(), name.as_ref());
        match os::about_path(&whole).ok()?.owner() {
            FileOwner::Strangers(user) => Some(user),
            FileOwner::Administrators => Some(0),
            FileOwner::Ours => None,
        }
    }

    fn is_welcome(&self, host: &Sandbox) -> bool {
        let welcome = format!("probe-welcome.{}", self.nonce());
        host.list().is_ok_and(|names| names.contains(&welcome))
    }

    fn mail(self) -> Mail {
        Mail::of(self.own, self.interrupt)
    }
}

/// The messages between the two hosts, in the sandbox of the leader.
pub(super) struct Mail {
    sandbox: Sandbox,
    nth: u32,
    interrupt: Interrupt,
}

impl Mail {
    fn of(sandbox: Sandbox, interrupt: &Interrupt) -> Mail {
        Mail { sandbox, nth: 0, interrupt: interrupt.clone() }
    }

    /// Returns the same sandbox, to run probes in.
    pub(super) fn sandbox(&self) -> Result<Sandbox, ProbeError> {
        Ok(Sandbox::enter(self.sandbox.path())?)
    }

    /// Waits for a file whose name begins with `start`, and returns the rest of the name.
    fn wait_for(&self, start: &str, what: &str, silence: Duration) -> Result<String, ProbeError> {
        let begun = Instant::now();
        loop {
            let names = match self.sandbox.list() {
                Ok(names) => names,
                // The other host has left, and has removed its sandbox.
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

    /// Sends the report to the other host, and returns when that has it.
    pub(super) fn send_report(mut self, report: &Report) -> Result<(), ProbeError> {
        let text = encode(&report.findings);
        for (nth, page) in text.as_bytes().chunks(PAGE).enumerate() {
            let hex: String = page.iter().map(|byte| format!("{byte:02x}")).collect();
            self.sandbox.create(&format!("probe-page-{nth}.{hex}"))?;
        }
        self.send(&format!("read,{}", text.len().div_ceil(PAGE)))?;
        self.receive().map(drop)
    }

    /// Executes orders until the report arrives.
    pub(super) fn follow(mut self) -> Result<Report, ProbeError> {
        loop {
            self.nth += 1;
            let nth = self.nth;
            let order =
                self.wait_for(&format!("probe-order-{nth}."), "go on", ANSWER_TIMEOUT * 3)?;
            let answer = format!("probe-answer-{nth}");
            let Some(pages) = order.strip_prefix("read,").and_then(|pages| pages.parse().ok())
            else {
                self.sandbox.create(&format!("{answer}.{}", execute(&self.sandbox, &order)))?;
                continue;
            };
            let findings = self.read_report(pages)?;
            self.sandbox.create(&format!("{answer}.read"))?;
            let (dir, file_system, other) =
                (Default::default(), FileSystem::default(), Other::Host);
            return Ok(Report { dir, file_system, other, findings });
        }
    }

    fn read_report(&self, pages: usize) -> Result<Vec<super::finding::Finding>, ProbeError> {
        let mut bytes = Vec::new();
        for nth in 0..pages {
            let hex = self.wait_for(&format!("probe-page-{nth}."), "report", ANSWER_TIMEOUT)?;
            let page = hex.as_bytes().chunks(2).map(|digits| {
                u8::from_str_radix(std::str::from_utf8(digits).unwrap_or_default(), 16)
            });
            bytes.extend(page.filter_map(Result::ok));
        }
        // The report comes from a process of our own user; its content may still be anything.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        decode(&text).ok_or_else(|| ProbeError::Silent("report".into()))
    }
}

impl Peer for Mail {
    fn other(&self) -> Other {
        Other::Host
    }

    fn send(&mut self, order: &str) -> Result<(), ProbeError> {
        self.nth += 1;
        self.sandbox.create(&format!("probe-order-{}.{order}", self.nth))?;
        Ok(())
    }

    fn receive(&mut self) -> Result<String, ProbeError> {
        self.wait_for(&format!("probe-answer-{}.", self.nth), "answer", ANSWER_TIMEOUT)
    }
}
