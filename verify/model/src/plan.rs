//! What a contender means to do, within the bounds of its world.

/// The intentions of a contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// How many times it acquires.
    pub acquisitions: u8,
    /// How many times it renews each holding at most.
    pub renewals: u8,
    /// Its timeout, in ticks.
    pub timeout: u16,
    /// The number of ticks after which it may give up; `None`: it may wait for ever.
    pub patience: Option<u16>,
    /// It does not acquire but breaks a lock once, perhaps by force.
    pub breaks: Option<Force>,
    /// It does not acquire but sets its own timeout on any holder's lock once, by the key.
    pub by_key: bool,
    /// When it joins the queue.
    pub arrival: Arrival,
    /// Whether it has a command, which it names in its lock and then starts.
    pub has_command: bool,
}

/// When a waiter joins the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrival {
    /// At any time after the world begins.
    Later,
    /// Before the world begins.
    Before,
    /// Before the world begins, and it is stopped for ever.
    Stopped,
}

/// Whether a break checks the state of the holder first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Force {
    /// Breaks only a lock that is expired or dead.
    Judged,
    /// Breaks the lock of any holder.
    Forced,
}

/// One acquisition and nothing else.
impl Default for Plan {
    fn default() -> Plan {
        Plan {
            acquisitions: 1,
            renewals: 0,
            timeout: 2,
            patience: None,
            breaks: None,
            by_key: false,
            arrival: Arrival::Later,
            has_command: false,
        }
    }
}
