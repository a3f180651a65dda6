//! The kinds of faults.

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Fault {
    /// SIGKILL; another takes the dead one's place
    Kill,
    /// SIGSTOP, and SIGCONT after 0.1 to 5 timeouts
    Stop,
    /// Wall clocks up to an hour off either way (with `namespace`: less than a minute ahead)
    Clock,
    /// Other boot clocks, in time namespaces (root)
    Namespace,
    /// PID namespaces of their own, half of them with the /proc of another (root)
    Pids,
    /// A full disk for a moment (DIR must be on a small file system)
    Full,
    /// The lock directory, or the queue, removed by `rm -r`
    Remove,
    /// The lock directory or its folder closed by chmod (as root: the workers are another user)
    Permission,
    /// A member of etcd killed, and started again after 1 to 3 s
    Member,
    /// The leader of etcd stopped, for 1 to 3 s
    Leader,
    /// A member of etcd cut off from all others, for 1 to 3 s
    Cut,
    /// A whole host stopped for 1.25 to 3 timeouts, while somebody there holds
    Freeze,
    /// A host's plug pulled, while somebody there holds; then booted again
    Power,
    /// The NFS server's plug pulled, half of the time after its last answers were lost; then booted
    Server,
    /// 5 % of what the NFS server sends lost, for 5 to 10 s
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
