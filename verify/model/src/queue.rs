//! The queue beside D in memory: tickets and the bell behave as named pipes do, with their ends open or
//! closed. An operation of several system calls is done in those steps that others can distinguish.

use lockbydir_protocol::{Answer, Fault, Handoff, Operation, Ticket, Wake, WakeSource};

use crate::mutant::Mutant;

/// The directory `NAME.lockdir.queue`, and its pipes that some process still has open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TicketQueue {
    pub(crate) is_there: bool,
    fifos: Vec<TicketFifo>,
    bells: Vec<Bell>,
    /// The id of the last bell that was made.
    last_bell_id: u8,
    /// The handles that each process has open.
    pub(crate) handles: Vec<Handles>,
}

/// The pipe of a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TicketFifo {
    ticket: Ticket,
    /// Whether it has a name in the queue.
    is_linked: bool,
    /// Whether its owner has the pipe open.
    is_open: bool,
    message: Option<Message>,
}

/// The content of a pipe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Message {
    Handoff(Handoff),
    /// The rest of a message of which another process has read a part.
    Noise,
}

/// The result of reading a ticket's pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PipeRead {
    Nothing,
    Message(Message),
    End,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bell {
    id: u8,
    is_linked: bool,
    /// The processes that have it open for writing, one bit each.
    writers: u8,
}

/// The handles of one process in the queue; they close when the process ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Handles {
    own: Option<Ticket>,
    ahead: Option<Ticket>,
    listens: Option<Listening>,
    /// The bell that it is going to ring.
    bell_writer: Option<u8>,
    /// A ticket that will get another name, which no ticket should.
    renamed: Option<Ticket>,
}

/// A bell that is open for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Listening {
    bell: u8,
    /// Whether the bell has had a writer since it was opened: only then a reader notices its end.
    is_due: bool,
}

/// The result of one step of an operation.
pub(crate) enum Progress {
    /// The operation takes another step.
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

    /// Returns the tickets that have a name.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.fifos.iter().filter(|fifo| fifo.is_linked).map(|fifo| &fifo.ticket)
    }

    /// Returns the ticket of `who`, while `who` has it open and it has a name.
    pub(crate) fn ticket_of(&self, who: usize) -> Option<&Ticket> {
        let own = self.handles[who].own.as_ref();
        own.filter(|own| self.tickets().any(|ticket| ticket == *own))
    }

    /// Performs the next step of an operation of `who` on the queue.
    pub(crate) fn perform(
        &mut self,
        who: usize,
        operation: &Operation,
        step: u8,
        mutant: Option<Mutant>,
    ) -> Progress {
        if !matches!(operation, Operation::Enter(_) | Operation::Leave(..)) {
            self.drop_renamed(who);
        }
        match operation {
            Operation::ListQueue => {
                Progress::Done(Answer::Queue(self.tickets().cloned().collect()))
            }
            Operation::HasWaiters => self.ask_for_waiters(who, mutant),
            Operation::WakeFirst => self.wake_first(who, mutant),
            Operation::Enter(ticket) if step == 0 => self.make_ticket(who, ticket),
            Operation::Enter(ticket) => self.open_ticket(who, ticket),
            Operation::Leave(ticket, _) if step == 0 && mutant == Some(Mutant::TicketRenamed) => {
                self.handles[who].renamed = Some(ticket.clone());
                done(true, Fault::Missing)
            }
            Operation::Leave(ticket, handoff) if step == 0 => {
                let handles = &mut self.handles[who];
                (handles.ahead, handles.listens) = (None, None);
                self.send(ticket, handoff);
                Progress::More
            }
            Operation::Leave(ticket, _) => {
                let is_linked = self.unlink(ticket);
                self.close_own(who);
                done(is_linked, Fault::Missing)
            }
            Operation::Expel(ticket, handoff) => {
                self.send(ticket, handoff);
                done(self.unlink(ticket), Fault::Missing)
            }
            Operation::Listen => {
                self.handles[who].ahead = None;
                done(self.listen(who), Fault::Missing)
            }
            Operation::CloseQueue if !self.is_there => done(false, Fault::Missing),
            Operation::CloseQueue if step == 0 && self.clear() => Progress::More,
            Operation::CloseQueue if step == 0 => done(false, Fault::Taken),
            Operation::CloseQueue => done(self.remove(), Fault::Taken),
            _ => done(false, Fault::Missing),
        }
    }

    /// Opens the bell, which shows whether somebody listens; a ticket shows it, too.
    fn ask_for_waiters(&mut self, who: usize, mutant: Option<Mutant>) -> Progress {
        let has_listener = self.open_bell(who);
        if mutant == Some(Mutant::RingsBeforeTheRelease) {
            self.close_bell(who);
        }
        Progress::Done(Answer::Somebody(has_listener || self.has_living()))
    }

    /// Closes the bell, which wakes its listener. If another bell has replaced it, that one is rung.
    fn wake_first(&mut self, who: usize, mutant: Option<Mutant>) -> Progress {
        if mutant == Some(Mutant::RingsBeforeTheRelease) {
            return done(true, Fault::Taken);
        }
        let is_current = self.has_current_bell_open(who, mutant);
        self.close_bell(who);
        if is_current {
            return done(true, Fault::Taken);
        }
        if !self.is_there {
            return done(false, Fault::Missing);
        }
        let has_listener = self.open_bell(who);
        self.close_bell(who);
        done(has_listener, Fault::Taken)
    }

    /// Makes the ticket's pipe, or gives a renamed one this name.
    fn make_ticket(&mut self, who: usize, ticket: &Ticket) -> Progress {
        let handles = &mut self.handles[who];
        (handles.ahead, handles.listens) = (None, None);
        self.is_there = true;
        let Some(old) = self.handles[who].renamed.take() else {
            self.fifos.retain(|fifo| fifo.ticket != *ticket);
            let ticket = ticket.clone();
            self.fifos.push(TicketFifo { ticket, is_linked: true, is_open: false, message: None });
            return Progress::More;
        };
        if let Some(fifo) = self.fifo(&old) {
            fifo.ticket = ticket.clone();
        }
        // A process that has the pipe open keeps it.
        for handles in &mut self.handles {
            if handles.ahead.as_ref() == Some(&old) {
                handles.ahead = Some(ticket.clone());
            }
        }
        self.handles[who].own = Some(ticket.clone());
        done(true, Fault::Taken)
    }

    /// Opens the pipe that was made. If it was removed meanwhile, it is made again.
    fn open_ticket(&mut self, who: usize, ticket: &Ticket) -> Progress {
        let Some(fifo) = self.fifo(ticket).filter(|fifo| fifo.is_linked) else {
            return self.make_ticket(who, ticket);
        };
        fifo.is_open = true;
        self.handles[who].own = Some(ticket.clone());
        done(true, Fault::Taken)
    }

    /// Returns what ends a sleep before it begins, if anything does.
    pub(crate) fn begin_sleep(
        &mut self,
        who: usize,
        source: &WakeSource,
        is_ended: bool,
    ) -> Option<Wake> {
        if self.is_expelled(who) {
            self.close_own(who);
            return Some(Wake::Expelled);
        }
        match source {
            WakeSource::Ticket(ticket) => {
                if self.handles[who].ahead.as_ref() != Some(ticket) {
                    let is_linked = self.tickets().any(|other| other == ticket);
                    self.handles[who].ahead = is_linked.then(|| ticket.clone());
                }
                match self.handles[who].ahead {
                    None => Some(Wake::PeerGone),
                    Some(_) => self.read_ahead(who),
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

    /// Whether a sleeper has something to read.
    pub(crate) fn has_wakeup(&self, who: usize, source: &WakeSource) -> bool {
        let handles = &self.handles[who];
        match (source, &handles.ahead, handles.listens) {
            (WakeSource::Ticket(_), Some(ahead), _) => self.peek(ahead) != PipeRead::Nothing,
            (WakeSource::Bell(_), _, Some(listening)) => self.is_rung(listening),
            _ => false,
        }
    }

    /// Returns what ended a sleep: a message, the bell, the holder's end, or the time.
    pub(crate) fn end_sleep(&mut self, who: usize, source: &WakeSource, is_ended: bool) -> Wake {
        if self.has_wakeup(who, source) {
            if let WakeSource::Ticket(_) = source {
                return self.read_ahead(who).unwrap_or(Wake::PeerGone);
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

    /// Removes the ticket of a process that meant to rename it but does not enter again.
    fn drop_renamed(&mut self, who: usize) {
        if let Some(ticket) = self.handles[who].renamed.take() {
            self.unlink(&ticket);
            self.close_own(who);
        }
    }

    fn is_expelled(&self, who: usize) -> bool {
        self.handles[who].own.is_some() && self.ticket_of(who).is_none()
    }

    fn fifo(&mut self, ticket: &Ticket) -> Option<&mut TicketFifo> {
        self.fifos.iter_mut().find(|fifo| fifo.ticket == *ticket)
    }

    fn send(&mut self, ticket: &Ticket, handoff: &Handoff) {
        if let Some(fifo) = self.fifo(ticket) {
            fifo.message = Some(Message::Handoff(handoff.clone()));
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

    fn peek(&self, ticket: &Ticket) -> PipeRead {
        match self.fifos.iter().find(|fifo| fifo.ticket == *ticket) {
            Some(TicketFifo { message: Some(message), .. }) => PipeRead::Message(message.clone()),
            Some(fifo) if fifo.is_open => PipeRead::Nothing,
            _ => PipeRead::End,
        }
    }

    /// Reads the pipe of the ticket ahead, which removes the message from it.
    fn read_ahead(&mut self, who: usize) -> Option<Wake> {
        let ahead = self.handles[who].ahead.clone()?;
        let read = self.peek(&ahead);
        if let Some(fifo) = self.fifo(&ahead) {
            fifo.message = None;
        }
        match read {
            PipeRead::Nothing => None,
            PipeRead::Message(Message::Handoff(handoff)) => Some(Wake::HandoffReceived(handoff)),
            PipeRead::Message(Message::Noise) => Some(Wake::PeerGone),
            PipeRead::End => {
                self.handles[who].ahead = None;
                Some(Wake::PeerGone)
            }
        }
    }

    /// Whether a process has the pipe open. The test consumes a part of the message.
    fn is_alive(fifo: &mut TicketFifo) -> bool {
        let has_message = fifo.message.is_some();
        if has_message {
            fifo.message = Some(Message::Noise);
        }
        has_message || fifo.is_open
    }

    fn has_living(&mut self) -> bool {
        self.fifos.iter_mut().filter(|fifo| fifo.is_linked).any(TicketQueue::is_alive)
    }

    /// The first step of closing the queue: removes the tickets of the dead. Returns true if no ticket is
    /// left.
    fn clear(&mut self) -> bool {
        let mut is_empty = true;
        for fifo in self.fifos.iter_mut().filter(|fifo| fifo.is_linked) {
            fifo.is_linked = TicketQueue::is_alive(fifo);
            is_empty &= !fifo.is_linked;
        }
        is_empty
    }

    /// The second step: removes the bell and the queue. Returns false, and rings the old bell, if somebody
    /// has entered.
    fn remove(&mut self) -> bool {
        let bell = self.bells.iter_mut().find(|bell| bell.is_linked);
        let old = bell.map(|bell| {
            bell.is_linked = false;
            bell.id
        });
        self.is_there = self.fifos.iter().any(|fifo| fifo.is_linked);
        if self.is_there {
            self.mark_due(old);
        }
        !self.is_there
    }

    /// Opens the bell for reading, after making it if there is none.
    fn listen(&mut self, who: usize) -> bool {
        if !self.is_there {
            return false;
        }
        let bell = match self.bells.iter().find(|bell| bell.is_linked) {
            Some(bell) => bell.clone(),
            None => {
                self.last_bell_id += 1;
                let bell = Bell { id: self.last_bell_id, is_linked: true, writers: 0 };
                self.bells.push(bell.clone());
                bell
            }
        };
        let is_due = bell.writers != 0;
        self.handles[who].listens = Some(Listening { bell: bell.id, is_due });
        true
    }

    /// Makes the end of this bell visible to all who listen to it. Returns false if nobody does.
    fn mark_due(&mut self, bell: Option<u8>) -> bool {
        let mut has_listener = false;
        for handles in &mut self.handles {
            if let Some(listening) = &mut handles.listens
                && Some(listening.bell) == bell
            {
                listening.is_due = true;
                has_listener = true;
            }
        }
        has_listener
    }

    /// Opens the bell for writing. Returns false if nobody reads it.
    fn open_bell(&mut self, who: usize) -> bool {
        let bell = self.bells.iter().find(|bell| bell.is_linked).map(|bell| bell.id);
        let has_listener = self.mark_due(bell);
        if let (true, Some(bell)) = (has_listener, bell) {
            self.handles[who].bell_writer = Some(bell);
            self.set_writer(who, bell, true);
        }
        has_listener
    }

    /// Whether `who` has the bell open that is still the bell of the queue.
    fn has_current_bell_open(&self, who: usize, mutant: Option<Mutant>) -> bool {
        let any = mutant == Some(Mutant::RingsAnOldBell);
        self.handles[who].bell_writer.is_some_and(|bell_writer| {
            any || self.bells.iter().any(|bell| bell.is_linked && bell.id == bell_writer)
        })
    }

    /// Closes the bell that `who` has open for writing.
    pub(crate) fn close_bell(&mut self, who: usize) {
        if let Some(bell) = self.handles[who].bell_writer.take() {
            self.set_writer(who, bell, false);
        }
    }

    fn set_writer(&mut self, who: usize, bell: u8, is_held: bool) {
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

    /// Closes all handles of a process that has ended or crashed.
    pub(crate) fn close_all(&mut self, who: usize) {
        self.drop_renamed(who);
        self.close_own(who);
        self.close_bell(who);
        self.handles[who] = Handles::default();
    }

    /// Forgets pipes that nobody can find any more, and messages that nobody can read.
    pub(crate) fn tidy(&mut self) {
        let all = &self.handles;
        self.fifos.retain_mut(|fifo| {
            let is_read =
                fifo.is_open || all.iter().any(|one| one.ahead.as_ref() == Some(&fifo.ticket));
            if !is_read {
                fifo.message = None;
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
            self.last_bell_id = 0;
        }
        self.fifos.sort_by(|one, other| one.ticket.cmp(&other.ticket));
    }
}
