//! The kinds of faults.

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP of 0.1 to 5 timeouts.
    Stop,
    /// Wall clocks that are up to an hour ahead or behind.
    Clock,
    /// Other boot clocks, in time namespaces.
    Namespace,
    /// PID namespaces of their own, where no process outside sees them die.
    Pids,
    /// No space on the disk.
    Full,
    /// The lock directory, or the queue, removed by hand.
    Remove,
    /// Permission taken from the lock directory, or from its folder.
    Permission,
    /// A member of a cluster killed, and started again.
    Member,
    /// The leader of a cluster stopped.
    Leader,
    /// A member of a cluster cut off from all others.
    Cut,
    /// A whole host stopped, while its clocks go on.
    Freeze,
    /// A host without power, in the middle of a hold; then booted again.
    Power,
    /// The file server without power; then booted again.
    Server,
    /// One in twenty of the packets that the file server sends is lost.
    Replies,
}

impl Fault {
    /// All faults of a folder.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Stop,
        Self::Clock,
        Self::Namespace,
        Self::Pids,
        Self::Full,
        Self::Remove,
        Self::Permission,
    ];

    /// All faults of a cluster.
    pub const OF_A_CLUSTER: [Self; 5] =
        [Self::Kill, Self::Stop, Self::Member, Self::Leader, Self::Cut];

    /// All faults of two hosts and their file server.
    pub const OF_HOSTS: [Self; 6] =
        [Self::Kill, Self::Stop, Self::Freeze, Self::Power, Self::Server, Self::Replies];

    /// Returns the word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Clock => "clock",
            Self::Namespace => "namespace",
            Self::Pids => "pids",
            Self::Full => "full",
            Self::Remove => "remove",
            Self::Permission => "permission",
            Self::Member => "member",
            Self::Leader => "leader",
            Self::Cut => "cut",
            Self::Freeze => "freeze",
            Self::Power => "power",
            Self::Server => "server",
            Self::Replies => "replies",
        }
    }

    /// Returns the average interval in milliseconds; clocks and namespaces are chosen when a worker starts.
    pub(super) const fn every_ms(self) -> u64 {
        match self {
            Self::Kill => 100,
            Self::Stop => 200,
            Self::Full => 1_500,
            Self::Remove => 1_000,
            Self::Permission => 1_500,
            _ => u64::MAX / 4_000,
        }
    }
}
