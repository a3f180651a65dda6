//! The queue beside D in memory: tickets and the bell as named pipes are, with their ends open or
//! closed. Operations of several system calls are done in the steps that others can tell apart.

use lockbydir_protocol::{Answer, Fault, Handoff, Operation, Ticket, Wake, WakeSource};

use crate::mutant::Mutant;

/// The directory `NAME.lockdir.queue`, and the pipes in it that somebody still has open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TicketQueue {
    pub(crate) is_there: bool,
    slips: Vec<Slip>,
    bells: Vec<Bell>,
    /// Bells made so far.
    cast: u8,
    /// What each process has open.
    pub(crate) handles: Vec<Handles>,
}

/// A ticket's pipe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Slip {
    ticket: Ticket,
    /// Has it a name?
    is_linked: bool,
    /// Has its owner the pipe open?
    is_open: bool,
    said: Option<Said>,
}

/// What is in a pipe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Said {
    Handoff(Handoff),
    /// Words of which somebody else has read a part.
    Noise,
}

/// What one hears who reads a ticket's pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Said(Said),
    End,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bell {
    id: u8,
    is_linked: bool,
    /// Who has it open for writing, a bit each.
    writers: u8,
}

/// One process's handles in the queue; they close when it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Handles {
    own: Option<Ticket>,
    ahead: Option<Ticket>,
    listens: Option<Listening>,
    /// The bell that it will ring.
    bell_writer: Option<u8>,
    /// A ticket that is to get another name, as none should.
    renamed: Option<Ticket>,
}

/// A bell that is open for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Listening {
    bell: u8,
    /// Was there a writer since? Only then its end is heard.
    is_due: bool,
}

/// What comes of one step of an operation.
pub(crate) enum Progress {
    /// It takes another one.
    More,
    Done(Answer),
}

fn done(is_done: bool, otherwise: Fault) -> Progress {
    Progress::Done(if is_done { Answer::Done(None) } else { Answer::Failed(otherwise) })
}

impl TicketQueue {
    pub(crate) fn new(people: usize) -> TicketQueue {
        TicketQueue { handles: vec![Handles::default(); people], ..TicketQueue::default() }
    }

    /// The tickets that have a name.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.slips.iter().filter(|fifo| fifo.is_linked).map(|fifo| &fifo.ticket)
    }

    /// The ticket of this one, while it has it open and it has a name.
    pub(crate) fn ticket_of(&self, who: usize) -> Option<&Ticket> {
        let own = self.handles[who].own.as_ref();
        own.filter(|own| self.tickets().any(|ticket| ticket == *own))
    }

    /// Does the next step of what this one asks of the queue.
    pub(crate) fn perform(
        &mut self,
        who: usize,
        operation: &Operation,
        step: u8,
        mutant: Option<Mutant>,
    ) -> Progress {
        let is = |other| mutant == Some(other);
        if !matches!(operation, Operation::Enter(_) | Operation::Leave(..)) {
            self.drop_renamed(who);
        }
        match (operation, step) {
            (Operation::ListQueue, _) => {
                Progress::Done(Answer::Queue(self.tickets().cloned().collect()))
            }
            (Operation::HasWaiters, _) => {
                let is_heard = self.grasp(who);
                if is(Mutant::RingsBeforeTheRelease) {
                    self.let_go(who);
                }
                Progress::Done(Answer::Somebody(is_heard || self.has_living()))
            }
            (Operation::WakeFirst, _) if is(Mutant::RingsBeforeTheRelease) => {
                done(true, Fault::Taken)
            }
            (Operation::WakeFirst, _) if self.has_bell_in_hand(who, mutant) => {
                self.let_go(who);
                done(true, Fault::Taken)
            }
            (Operation::WakeFirst, _) if !self.is_there => {
                self.let_go(who);
                done(false, Fault::Missing)
            }
            (Operation::WakeFirst, _) => {
                self.let_go(who);
                let is_heard = self.grasp(who);
                self.let_go(who);
                done(is_heard, Fault::Taken)
            }
            (Operation::Enter(ticket), 0) => {
                let handles = &mut self.handles[who];
                (handles.ahead, handles.listens) = (None, None);
                self.is_there = true;
                if let Some(old) = self.handles[who].renamed.take() {
                    if let Some(fifo) = self.fifo(&old) {
                        fifo.ticket = ticket.clone();
                    }
                    // Whoever has the pipe open has it still.
                    for handles in &mut self.handles {
                        if handles.ahead.as_ref() == Some(&old) {
                            handles.ahead = Some(ticket.clone());
                        }
                    }
                    self.handles[who].own = Some(ticket.clone());
                    return done(true, Fault::Taken);
                }
                self.slips.retain(|fifo| fifo.ticket != *ticket);
                let ticket = ticket.clone();
                self.slips.push(Slip { ticket, is_linked: true, is_open: false, said: None });
                Progress::More
            }
            (Operation::Enter(ticket), _) => {
                let Some(fifo) = self.fifo(ticket).filter(|fifo| fifo.is_linked) else {
                    // Removed while we came: made anew.
                    return self.perform(who, operation, 0, mutant);
                };
                fifo.is_open = true;
                self.handles[who].own = Some(ticket.clone());
                done(true, Fault::Taken)
            }
            (Operation::Leave(ticket, _), 0) if is(Mutant::TicketRenamed) => {
                self.handles[who].renamed = Some(ticket.clone());
                done(true, Fault::Missing)
            }
            (Operation::Leave(ticket, word), 0) => {
                let handles = &mut self.handles[who];
                (handles.ahead, handles.listens) = (None, None);
                self.say(ticket, word);
                Progress::More
            }
            (Operation::Leave(ticket, _), _) => {
                let is_linked = self.unlink(ticket);
                self.close_own(who);
                done(is_linked, Fault::Missing)
            }
            (Operation::Expel(ticket, word), _) => {
                self.say(ticket, word);
                done(self.unlink(ticket), Fault::Missing)
            }
            (Operation::Listen, _) => {
                self.handles[who].ahead = None;
                done(self.listen(who), Fault::Missing)
            }
            (Operation::CloseQueue, _) if !self.is_there => done(false, Fault::Missing),
            (Operation::CloseQueue, 0) => match self.clear() {
                true => Progress::More,
                false => done(false, Fault::Taken),
            },
            (Operation::CloseQueue, _) => done(self.remove(), Fault::Taken),
            _ => done(false, Fault::Missing),
        }
    }

    /// One who would sleep: what it hears at once.
    pub(crate) fn lie_down(
        &mut self,
        who: usize,
        ear: &WakeSource,
        is_ended: bool,
    ) -> Option<Wake> {
        if self.is_expelled(who) {
            self.close_own(who);
            return Some(Wake::Expelled);
        }
        match ear {
            WakeSource::Ticket(ticket) => {
                if self.handles[who].ahead.as_ref() != Some(ticket) {
                    let is_linked = self.tickets().any(|other| other == ticket);
                    self.handles[who].ahead = is_linked.then(|| ticket.clone());
                }
                match self.handles[who].ahead {
                    None => Some(Wake::PeerGone),
                    Some(_) => self.hear(who),
                }
            }
            WakeSource::Bell(_) => match self.handles[who].listens {
                Some(listening) if self.is_removed(listening) => {
                    self.handles[who].listens = None;
                    Some(Wake::Notified)
                }
                None => match self.listen(who) {
                    true => Some(Wake::Notified),
                    false => is_ended.then_some(Wake::Ended),
                },
                Some(_) => is_ended.then_some(Wake::Ended),
            },
            WakeSource::Nothing => None,
        }
    }

    /// Is there something to hear for one who sleeps?
    pub(crate) fn is_audible(&self, who: usize, ear: &WakeSource) -> bool {
        let handles = &self.handles[who];
        match (ear, &handles.ahead, handles.listens) {
            (WakeSource::Ticket(_), Some(ahead), _) => self.on_pipe(ahead) != Heard::Nothing,
            (WakeSource::Bell(_), _, Some(listening)) => self.is_rung(listening),
            _ => false,
        }
    }

    /// One who slept until something came, or its time: what it heard.
    pub(crate) fn get_up(&mut self, who: usize, ear: &WakeSource, is_ended: bool) -> Wake {
        if self.is_audible(who, ear) {
            if let WakeSource::Ticket(_) = ear {
                return self.hear(who).unwrap_or(Wake::PeerGone);
            }
            self.handles[who].listens = None;
            return Wake::Notified;
        }
        match is_ended {
            true => Wake::Ended,
            false if self.is_expelled(who) => {
                self.close_own(who);
                Wake::Expelled
            }
            false => Wake::Time,
        }
    }

    /// Who meant to rename its ticket and does not enter anew leaves after all.
    fn drop_renamed(&mut self, who: usize) {
        if let Some(ticket) = self.handles[who].renamed.take() {
            self.unlink(&ticket);
            self.close_own(who);
        }
    }

    fn is_expelled(&self, who: usize) -> bool {
        self.handles[who].own.is_some() && self.ticket_of(who).is_none()
    }

    fn fifo(&mut self, ticket: &Ticket) -> Option<&mut Slip> {
        self.slips.iter_mut().find(|fifo| fifo.ticket == *ticket)
    }

    fn say(&mut self, ticket: &Ticket, word: &Handoff) {
        if let Some(fifo) = self.fifo(ticket) {
            fifo.said = Some(Said::Handoff(word.clone()));
        }
    }

    fn unlink(&mut self, ticket: &Ticket) -> bool {
        let fifo = self.fifo(ticket).filter(|fifo| fifo.is_linked);
        fifo.map(|fifo| fifo.is_linked = false).is_some()
    }

    fn close_own(&mut self, who: usize) {
        if let Some(own) = self.handles[who].own.take()
            && let Some(fifo) = self.fifo(&own)
        {
            fifo.is_open = false;
        }
    }

    fn on_pipe(&self, ticket: &Ticket) -> Heard {
        match self.slips.iter().find(|fifo| fifo.ticket == *ticket) {
            Some(Slip { said: Some(said), .. }) => Heard::Said(said.clone()),
            Some(fifo) if fifo.is_open => Heard::Nothing,
            _ => Heard::End,
        }
    }

    /// Reads the pipe of the one ahead: the words are gone from it then.
    fn hear(&mut self, who: usize) -> Option<Wake> {
        let ahead = self.handles[who].ahead.clone()?;
        let heard = self.on_pipe(&ahead);
        if let Some(fifo) = self.fifo(&ahead) {
            fifo.said = None;
        }
        match heard {
            Heard::Nothing => None,
            Heard::Said(Said::Handoff(word)) => Some(Wake::HandoffReceived(word)),
            Heard::Said(Said::Noise) => Some(Wake::PeerGone),
            Heard::End => {
                self.handles[who].ahead = None;
                Some(Wake::PeerGone)
            }
        }
    }

    /// Has somebody the pipe open? Asking takes away a part of what was said.
    fn is_alive(fifo: &mut Slip) -> bool {
        let has_words = fifo.said.is_some();
        if has_words {
            fifo.said = Some(Said::Noise);
        }
        has_words || fifo.is_open
    }

    fn has_living(&mut self) -> bool {
        self.slips.iter_mut().filter(|fifo| fifo.is_linked).any(TicketQueue::is_alive)
    }

    /// First step of closing the queue: tickets of the dead go; true if nobody is left.
    fn clear(&mut self) -> bool {
        let mut is_empty = true;
        for fifo in self.slips.iter_mut().filter(|fifo| fifo.is_linked) {
            fifo.is_linked = TicketQueue::is_alive(fifo);
            is_empty &= !fifo.is_linked;
        }
        is_empty
    }

    /// Second step: the bell and the queue; false if somebody has come. Then the old bell is rung.
    fn remove(&mut self) -> bool {
        let bell = self.bells.iter_mut().find(|bell| bell.is_linked);
        let old = bell.map(|bell| {
            bell.is_linked = false;
            bell.id
        });
        self.is_there = self.slips.iter().any(|fifo| fifo.is_linked);
        if self.is_there {
            self.call(old);
        }
        !self.is_there
    }

    /// The bell, made if there is none, is open for reading from now on.
    fn listen(&mut self, who: usize) -> bool {
        if !self.is_there {
            return false;
        }
        let bell = match self.bells.iter().find(|bell| bell.is_linked) {
            Some(bell) => bell.clone(),
            None => {
                self.cast += 1;
                let bell = Bell { id: self.cast, is_linked: true, writers: 0 };
                self.bells.push(bell.clone());
                bell
            }
        };
        let is_due = bell.writers != 0;
        self.handles[who].listens = Some(Listening { bell: bell.id, is_due });
        true
    }

    /// Whoever listens to this bell will hear its end; false if nobody does.
    fn call(&mut self, bell: Option<u8>) -> bool {
        let mut is_heard = false;
        for handles in &mut self.handles {
            if let Some(listening) = &mut handles.listens
                && Some(listening.bell) == bell
            {
                listening.is_due = true;
                is_heard = true;
            }
        }
        is_heard
    }

    /// Opens the bell for writing; false if nobody reads it.
    fn grasp(&mut self, who: usize) -> bool {
        let bell = self.bells.iter().find(|bell| bell.is_linked).map(|bell| bell.id);
        let is_heard = self.call(bell);
        if let (true, Some(bell)) = (is_heard, bell) {
            self.handles[who].bell_writer = Some(bell);
            self.pull(who, bell, true);
        }
        is_heard
    }

    /// Has it the bell open that still hangs in the queue?
    fn has_bell_in_hand(&self, who: usize, mutant: Option<Mutant>) -> bool {
        let any = mutant == Some(Mutant::RingsAnOldBell);
        self.handles[who].bell_writer.is_some_and(|bell_writer| {
            any || self.bells.iter().any(|bell| bell.is_linked && bell.id == bell_writer)
        })
    }

    /// Closes it.
    pub(crate) fn let_go(&mut self, who: usize) {
        if let Some(bell) = self.handles[who].bell_writer.take() {
            self.pull(who, bell, false);
        }
    }

    fn pull(&mut self, who: usize, bell: u8, is_held: bool) {
        if let Some(bell) = self.bells.iter_mut().find(|known| known.id == bell) {
            let bit = 1 << who;
            bell.writers = if is_held { bell.writers | bit } else { bell.writers & !bit };
        }
    }

    fn is_rung(&self, listening: Listening) -> bool {
        let bell = self.bells.iter().find(|bell| bell.id == listening.bell);
        listening.is_due && bell.is_none_or(|bell| bell.writers == 0)
    }

    fn is_removed(&self, listening: Listening) -> bool {
        !self.bells.iter().any(|bell| bell.is_linked && bell.id == listening.bell)
    }

    /// Closes all that one who is gone, or has come to its end, had open.
    pub(crate) fn close_all(&mut self, who: usize) {
        self.drop_renamed(who);
        self.close_own(who);
        self.let_go(who);
        self.handles[who] = Handles::default();
    }

    /// Forgets pipes that nobody can find any more, and words that nobody can read.
    pub(crate) fn tidy(&mut self) {
        let all = &self.handles;
        self.slips.retain_mut(|fifo| {
            let is_read =
                fifo.is_open || all.iter().any(|one| one.ahead.as_ref() == Some(&fifo.ticket));
            if !is_read {
                fifo.said = None;
            }
            fifo.is_linked || is_read
        });
        self.bells.retain(|bell| {
            let is_listened =
                |one: &Handles| one.listens.is_some_and(|known| known.bell == bell.id);
            bell.is_linked
                || all.iter().any(|one| is_listened(one) || one.bell_writer == Some(bell.id))
        });
        if self.bells.is_empty() {
            self.cast = 0;
        }
        self.slips.sort_by(|one, other| one.ticket.cmp(&other.ticket));
    }
}
