//! The signals that this process gets: before there is a command they end a wait, afterwards they are
//! passed on to the command.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lockbydir::Interrupt;

use super::System;

/// The signals that this process gets, and their way to the command.
pub(crate) struct Signals {
    /// Raised by a signal that arrives before there is a command.
    early: Interrupt,
    recipient: Mutex<Recipient>,
    system: System,
}

/// The process that a signal is for.
enum Recipient {
    /// There is no command yet. These signals have arrived; the command gets them once it has begun.
    Nobody(Vec<u8>),
    /// The command, by its PID, or that of its supervisor.
    Command(u32),
    /// The command has ended.
    Gone,
}

impl Signals {
    /// Creates the state; the interrupt ends waits, and `pass` raises it.
    pub(super) fn new(early: Interrupt, system: System) -> Signals {
        Signals { early, recipient: Mutex::new(Recipient::Nobody(Vec::new())), system }
    }

    pub(crate) fn early(&self) -> &Interrupt {
        &self.early
    }

    /// Returns the number of the last signal that arrived before there was a command; 0 if none did.
    pub(crate) fn last(&self) -> u8 {
        match &*self.recipient() {
            Recipient::Nobody(early) => early.last().copied().unwrap_or(0),
            Recipient::Command(_) | Recipient::Gone => 0,
        }
    }

    /// Handles a signal that has arrived. `reached_all`: the command got it as well. While the command is
    /// being started, this waits until its process can take signals.
    pub(super) fn pass(&self, number: u8, reached_all: bool) {
        // The mutex is held to the end: so no signal is lost between two recipients, and none reaches
        // another process.
        let mut recipient = self.recipient();
        match &mut *recipient {
            Recipient::Nobody(_) if System::is_for_commands_only(number) => {}
            Recipient::Nobody(early) => {
                early.push(number);
                self.early.raise();
            }
            Recipient::Command(_) if reached_all => {}
            Recipient::Command(pid) => self.system.send(*pid, number),
            Recipient::Gone => {}
        }
        System::act_on(number);
    }

    /// Holds signals back while the command is being started: one sent to its process before that takes
    /// signals as the command does would be lost.
    pub(super) fn starting(&self) -> Starting<'_> {
        Starting { signals: self, recipient: self.recipient() }
    }

    /// Records that the command has ended.
    pub(super) fn end(&self) {
        *self.recipient() = Recipient::Gone;
    }

    /// Returns the command's PID while the command runs.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn command(&self) -> Option<u32> {
        match *self.recipient() {
            Recipient::Command(pid) => Some(pid),
            Recipient::Nobody(_) | Recipient::Gone => None,
        }
    }

    pub(super) fn system(&self) -> &System {
        &self.system
    }

    fn recipient(&self) -> MutexGuard<'_, Recipient> {
        self.recipient.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds signals back as long as it lives.
pub(super) struct Starting<'a> {
    signals: &'a Signals,
    recipient: MutexGuard<'a, Recipient>,
}

impl Starting<'_> {
    /// Passes signals on to the command from now on, first all those that arrived before: its process has
    /// got none of them, whatever their source. Returns whether there were none.
    pub(super) fn begun(mut self, pid: u32) -> bool {
        let system = &self.signals.system;
        let (stops, others): (Vec<_>, Vec<_>) = system
            .take()
            .into_iter()
            .partition(|&(number, _)| System::is_for_commands_only(number));
        let mut early: Vec<u8> = match &*self.recipient {
            Recipient::Nobody(early) => early.clone(),
            Recipient::Command(_) | Recipient::Gone => Vec::new(),
        };
        for number in others.into_iter().map(|(number, _)| number).chain(system.arrived()) {
            if !early.contains(&number) {
                early.push(number);
            }
        }
        for &number in &early {
            system.send(pid, number);
        }
        *self.recipient = Recipient::Command(pid);
        self.signals.early.lower();
        let Starting { signals, recipient } = self;
        drop(recipient);
        for (number, reached_all) in stops {
            signals.pass(number, reached_all);
        }
        early.is_empty()
    }
}
