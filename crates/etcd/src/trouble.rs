//! What can go wrong between us and the servers, and what it is to the caller.

use std::error::Error as _;
use std::path::Path;

use etcd_client::Error as EtcdError;
use lockbydir::{Error, ErrorKind, printable};
use tonic::Code;

/// Why something was not done, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody answered in time. It may have been done.
    Unreachable(String),
    /// It cannot work however often it is tried: no such host, a certificate that nobody vouches
    /// for, a file that is not there.
    Setup(String),
    /// User, password or permissions do not do.
    Denied(String),
    /// There is no such lease, or no more.
    NoLease,
    /// There is such a lease already; is it from an earlier try of ours, not answered?
    LeaseExists { is_ours: bool },
    /// Any other definite answer.
    Refused(String),
}

impl Trouble {
    /// What this answer of `etcd-client` is.
    pub(crate) fn of(error: EtcdError) -> Trouble {
        match error {
            EtcdError::GRpcStatus(status) => Trouble::of_status(&status),
            EtcdError::TransportError(error) => Trouble::of_transport(&error),
            EtcdError::IoError(error) => Trouble::Unreachable(error.to_string()),
            EtcdError::LeaseKeepAliveError(why) if why.contains("not found") => Trouble::NoLease,
            EtcdError::LeaseKeepAliveError(why) | EtcdError::WatchError(why) => {
                Trouble::Unreachable(why)
            }
            other => Trouble::Refused(other.to_string()),
        }
    }

    fn of_status(status: &tonic::Status) -> Trouble {
        let said = status.message();
        let words = said.strip_prefix("etcdserver: ").unwrap_or(said).to_owned();
        match status.code() {
            Code::NotFound if said.contains("lease not found") => Trouble::NoLease,
            Code::FailedPrecondition if said.contains("lease already exists") => {
                Trouble::LeaseExists { is_ours: false }
            }
            Code::Unauthenticated | Code::PermissionDenied => Trouble::Denied(words),
            // What is wrong with a login comes under other codes.
            Code::InvalidArgument | Code::FailedPrecondition
                if said.contains("auth") || said.contains("user name is empty") =>
            {
                Trouble::Denied(words)
            }
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::Aborted => match status.source() {
                Some(_) => Trouble::Unreachable(deepest(status)),
                None => Trouble::Unreachable(words),
            },
            Code::ResourceExhausted if said.contains("space exceeded") => Trouble::Refused(
                format!("{words}; compact and defragment it, then disarm its alarm"),
            ),
            _ => Trouble::Refused(words),
        }
    }

    /// What a failed connection is.
    pub(crate) fn of_transport(error: &tonic::transport::Error) -> Trouble {
        let why = deepest(error);
        let is_setup = ["certificate", "tls", "TLS", "lookup address", "handshake"]
            .iter()
            .any(|word| why.contains(word));
        if is_setup { Trouble::Setup(why) } else { Trouble::Unreachable(why) }
    }

    /// May another try succeed, here or elsewhere?
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Trouble::Unreachable(_))
    }

    /// The cause, for people.
    pub(crate) fn cause(&self) -> String {
        match self {
            Trouble::Unreachable(why)
            | Trouble::Setup(why)
            | Trouble::Denied(why)
            | Trouble::Refused(why) => printable(why),
            Trouble::NoLease => "its lease has run out".into(),
            Trouble::LeaseExists { .. } => "its lease exists already".into(),
        }
    }

    /// As an error of this verb on this lock.
    pub(crate) fn error(&self, verb: &str, path: &Path) -> Error {
        let (kind, advice) = match self {
            Trouble::Unreachable(_) => {
                (ErrorKind::Unavailable, "; is the server running, and is this its address?")
            }
            Trouble::Setup(_) => {
                (ErrorKind::Unavailable, "; check host, ca, cert and key in its address")
            }
            Trouble::Denied(_) => {
                (ErrorKind::PermissionDenied, "; check user and password, and the user's roles")
            }
            _ => (ErrorKind::Io, ""),
        };
        let out = match self {
            Trouble::Unreachable(_) | Trouble::Setup(_) => "etcd is out of reach: ",
            Trouble::Denied(_) => "etcd denies it: ",
            _ => "",
        };
        let message = format!("cannot {verb} {}: {out}{}{advice}", printable(path), self.cause());
        Error::new(kind, message).at(path)
    }
}

/// The innermost cause, which is the one that says something.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
