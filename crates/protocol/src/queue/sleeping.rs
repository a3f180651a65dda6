//! Sleeping: what wakes a waiter, how long it sleeps at most, and what it does when it wakes.

use core::time::Duration;

use super::limits::{
    FIRST_INTERVAL, INTERVAL_PER_TICKET, MAX_EXPULSIONS, OTHERS_INTERVAL, PASS_OVER_AFTER,
    SHORTEST_INTERVAL,
};
use super::{Next, Phase, Queue, Waited};
use crate::acquisition::Blocker;
use crate::entry::{Entry, Origin, Owner};
use crate::operation::{Answer, Fault, Handoff, Operation, Wake, WakeSource};
use crate::ticket::Ticket;
use crate::time::Now;

impl Queue {
    pub(super) fn slept(&mut self, now: Now, answer: Answer) -> Next {
        match answer {
            Answer::Woken(wake) => self.woken(now, wake),
            _ => self.try_now(now),
        }
    }

    pub(super) fn sleep(&mut self, now: Now) -> Next {
        let (source, pause) = match (&self.ahead, &self.blocker) {
            (Some(ahead), _) => self.behind_waiter(ahead),
            (None, Some(Blocker::Held { entry, until })) => self.behind_holder(now, entry, *until),
            (None, _) => (self.bell(Owner::Nobody), self.pause),
        };
        self.removed = 0;
        self.pause = (self.pause * 3 / 2).min(self.poll_interval);
        self.sleep_for(Phase::Sleeping, now, source, pause)
    }

    /// Returns what wakes us behind this waiter, and how long we sleep at most.
    fn behind_waiter(&self, ahead: &Ticket) -> (WakeSource, Duration) {
        if self.vacant.is_some() {
            (self.wake_source(ahead), PASS_OVER_AFTER)
        } else if self.place == 2 && !self.reaches(&ahead.origin) {
            // A waiter on another host cannot notify the next waiter here that it is first now.
            (WakeSource::Nothing, self.poll_interval.min(OTHERS_INTERVAL.0))
        } else {
            let share = INTERVAL_PER_TICKET * self.count;
            (self.wake_source(ahead), share.clamp(OTHERS_INTERVAL.0, OTHERS_INTERVAL.1))
        }
    }

    /// Returns what wakes us where only this holder is ahead, and how long we sleep at most.
    fn behind_holder(&self, now: Now, entry: &Entry, until: Duration) -> (WakeSource, Duration) {
        let pause = match (self.has_no_queue(), self.reaches(&entry.origin)) {
            (true, _) => self.pause,
            (false, true) => FIRST_INTERVAL,
            (false, false) => self.poll_interval,
        };
        let (origin, here) = (&entry.origin, &self.here.origin);
        // As in the verdict: start times count from the boot of a time namespace.
        let owner = match (origin.is_same_pids(here), origin.is_same_clock(here)) {
            (true, true) => entry.owner,
            (true, false) => entry.owner.any_start(),
            (false, _) => Owner::Nobody,
        };
        let expiry = until.saturating_sub(now.boot).max(SHORTEST_INTERVAL);
        (self.bell(owner), pause.min(expiry))
    }

    fn bell(&self, owner: Owner) -> WakeSource {
        if self.has_no_queue() { WakeSource::Nothing } else { WakeSource::Bell(owner) }
    }

    /// Sleeps for this pause, but no longer than patience lasts.
    pub(super) fn sleep_for(
        &mut self,
        phase: impl Into<Phase>,
        now: Now,
        source: WakeSource,
        pause: Duration,
    ) -> Next {
        let wake = now.boot.saturating_add(pause);
        let wake = self.until.map_or(wake, |until| until.min(wake));
        self.perform(phase, Operation::Sleep(source, wake))
    }

    fn wake_source(&self, ahead: &Ticket) -> WakeSource {
        match self.reaches(&ahead.origin) {
            true => WakeSource::Ticket(ahead.clone()),
            false => WakeSource::Nothing,
        }
    }

    pub(super) fn woken(&mut self, now: Now, wake: Wake) -> Next {
        match (wake, &self.ahead) {
            (Wake::Interrupted, _) => self.end(Waited::Interrupted),
            (_, _) if self.is_over(now) => {
                let blocker = self.blocker.clone().unwrap_or(Blocker::Busy(Fault::Taken));
                self.end(Waited::Over(blocker))
            }
            (Wake::Expelled, _) => {
                self.in_queue = false;
                self.ahead = None;
                self.expulsions = self.expulsions.saturating_add(1);
                if self.expulsions >= MAX_EXPULSIONS {
                    return self.wait_without_queue(now);
                }
                self.enter_again()
            }
            (Wake::HandoffReceived(Handoff::First), Some(_)) => {
                self.ahead = None;
                self.place = 1;
                self.listen()
            }
            (Wake::HandoffReceived(Handoff::Behind(ticket)), Some(ahead)) if ticket < *ahead => {
                self.ahead = Some(ticket);
                self.sleep(now)
            }
            (Wake::PeerGone | Wake::HandoffReceived(_), Some(ahead)) => {
                self.silent = Some(ahead.clone());
                self.find_place()
            }
            (_, Some(ahead)) if !self.reaches(&ahead.origin) => self.check_place(),
            // Checks whether the lock is free and the first waiter does not take it.
            (_, Some(_)) => self.look_for_vacancy(),
            (_, None) => self.try_now(now),
        }
    }

    /// Returns true if our pipes reach processes of this origin. Pipes work within one kernel: what
    /// other kernels do is only seen.
    pub(super) fn reaches(&self, origin: &Origin) -> bool {
        origin.is_same_boot(&self.here.origin)
    }
}
