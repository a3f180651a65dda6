//! The signals that this process gets: until there is a command they end a wait, then they are for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lockbydir::Interrupt;

use super::System;

/// Passes on the signals that this process gets.
pub(crate) struct Signals {
    /// Raised by those that come before there is a command.
    early: Interrupt,
    recipient: Mutex<Recipient>,
    system: System,
}

/// Whom a signal is for.
enum Recipient {
    /// There is no command yet: when it has begun, it is told those that came, by their numbers.
    Nobody(Vec<u8>),
    /// The command, by its PID, or that of its supervisor.
    Command(u32),
    /// The command has ended.
    Gone,
}

impl Signals {
    pub(super) fn new(system: System) -> Signals {
        let recipient = Mutex::new(Recipient::Nobody(Vec::new()));
        Signals { early: Interrupt::new(), recipient, system }
    }

    pub(crate) fn early(&self) -> &Interrupt {
        &self.early
    }

    /// The last one that came before there was a command.
    pub(crate) fn last(&self) -> u8 {
        match &*self.recipient() {
            Recipient::Nobody(came) => came.last().copied().unwrap_or(0),
            Recipient::Command(_) | Recipient::Gone => 0,
        }
    }

    /// One has come; `reached_all` if the command got it as well. While the command is being started,
    /// this waits until it can hear.
    pub(super) fn pass(&self, number: u8, reached_all: bool) {
        // Held until all is done: so none is lost between two recipients, and none meets another
        // process.
        let mut recipient = self.recipient();
        match &mut *recipient {
            Recipient::Nobody(_) if System::is_for_commands_only(number) => {}
            Recipient::Nobody(came) => {
                came.push(number);
                self.early.raise();
            }
            Recipient::Command(_) if reached_all => {}
            Recipient::Command(pid) => self.system.tell(*pid, number),
            Recipient::Gone => {}
        }
        System::follow(number);
    }

    /// The command is being started: what is told to its process before it hears as the command does
    /// would be lost, so nothing is.
    pub(super) fn starting(&self) -> Starting<'_> {
        Starting { signals: self, recipient: self.recipient() }
    }

    /// The command has ended.
    pub(super) fn end(&self) {
        *self.recipient() = Recipient::Gone;
    }

    /// The command's PID, while there is one.
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

/// Signals wait as long as this lives.
pub(super) struct Starting<'a> {
    signals: &'a Signals,
    recipient: MutexGuard<'a, Recipient>,
}

impl Starting<'_> {
    /// The command hears from now on. It has not heard what came before, wherever that came from.
    pub(super) fn begun(mut self, pid: u32) {
        let system = &self.signals.system;
        if let Recipient::Nobody(came) = &*self.recipient {
            let others = system.have_come().filter(|number| !came.contains(number));
            came.iter().copied().chain(others).for_each(|number| system.tell(pid, number));
        }
        *self.recipient = Recipient::Command(pid);
        self.signals.early.lower();
    }
}
