//! What a contender believes after each of its verbs has ended.

use lockbydir_protocol::{
    Acquire, AcquiredFrom, Acquisition, Entry, Now, Released, Renew, Renewal, Waited, margin,
};

use crate::contender::{Command, Contender, Ground, Hold, News, Verb};
use crate::event::Event;
use crate::mutant::Mutant;

impl Contender {
    pub(crate) fn tried(
        &mut self,
        machine: Acquire,
        outcome: Acquisition,
        now: Now,
        on: &Ground<'_>,
    ) -> News {
        match outcome {
            Acquisition::Blocked(_) => {
                // It looks again at some later time.
                let news = self.go(Verb::Acquire(machine), None, now, on);
                self.is_between_tries = self.plan.patience.is_some();
                news
            }
            outcome => self.acquired(outcome, now, on),
        }
    }

    pub(crate) fn waited(&mut self, outcome: Waited, now: Now, ground: &Ground<'_>) -> News {
        self.last_look = None;
        let paused = std::mem::take(&mut self.one_try).pauses > 0;
        if paused {
            let got = matches!(outcome, Waited::Ended(Acquisition::Got(..)));
            ground.events.note(if got { Event::GotAfterAPause } else { Event::PausedInVain });
        }
        match outcome {
            Waited::Ended(outcome) => self.acquired(outcome, now, ground),
            Waited::Over(_) | Waited::Interrupted => {
                ground.events.note(Event::PatienceOver);
                News::GaveUp(self.nonce(ground))
            }
        }
    }

    fn acquired(&mut self, outcome: Acquisition, now: Now, ground: &Ground<'_>) -> News {
        let Acquisition::Got(entry, from) = outcome else {
            return News::GaveUp(self.nonce(ground));
        };
        ground.events.note(match from {
            AcquiredFrom::Free => Event::Free,
            AcquiredFrom::HandedOver(_) => Event::HandedOver,
            AcquiredFrom::AfterExpiry(..) => Event::AfterExpiry,
            AcquiredFrom::AfterDeath(..) => Event::AfterDeath,
            AcquiredFrom::AfterBare(_) => Event::AfterBare,
        });
        self.renewals = self.plan.renewals;
        self.believe(entry.clone(), now, ground);
        News::Got(entry)
    }

    fn believe(&mut self, entry: Entry, now: Now, ground: &Ground<'_>) {
        let deadline = match ground.mutant {
            Some(Mutant::CountsFromAfterTheCall) => {
                now.boot + entry.timeout - margin(entry.timeout)
            }
            Some(Mutant::HasNoMargin) => entry.expires_at(),
            _ => entry.deadline(),
        };
        self.hold = Some(Hold { entry, deadline });
    }

    pub(crate) fn renewed(
        &mut self,
        machine: Renew,
        outcome: Renewal,
        now: Now,
        ground: &Ground<'_>,
    ) -> News {
        if self.hold.is_none() {
            // A renewal by key: the contender holds nothing itself.
            match outcome {
                Renewal::Renewed(_) => ground.events.note(Event::RenewedByKey),
                Renewal::Shorter(_) => ground.events.note(Event::RefusedToShorten),
                Renewal::Lost(_) | Renewal::Failed(_) => {}
            }
            return News::Else;
        }
        match outcome {
            Renewal::Renewed(entry) => {
                let is_late = self.hold.as_ref().is_some_and(|hold| now.boot >= hold.deadline);
                ground.events.note(if is_late { Event::RenewedLate } else { Event::Renewed });
                self.believe(entry, now, ground);
                if self.plan.has_command
                    && matches!(self.command, Command::Unnamed | Command::Asking)
                {
                    self.begin_command(now, ground);
                }
            }
            Renewal::Lost(_) => {
                self.hold = None;
                self.command = Command::Unnamed;
                self.renewals = 0;
                ground.events.note(Event::LostAtRenewal);
            }
            Renewal::Shorter(_) => {}
            Renewal::Failed(_) if self.command == Command::Begun || !self.plan.has_command => {
                self.renewer = Some(machine);
            }
            Renewal::Failed(_) => self.command = Command::NotStarted,
        }
        News::Else
    }

    pub(crate) fn released(&mut self, outcome: Released, ground: &Ground<'_>) -> News {
        self.has_emptied = false;
        match outcome {
            Released::Opened(open) if self.plan.acquisitions > 0 && !open.fenced => {
                self.shortcut = Some(open);
            }
            Released::Lost(_) => ground.events.note(Event::LostAtRelease),
            Released::Remains(..) => ground.events.note(Event::Remains),
            _ => {}
        }
        News::Else
    }
}
