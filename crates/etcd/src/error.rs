//! Failures between us and the servers, and the errors that callers get.

use std::error::Error as _;
use std::path::Path;

use lockbydir::{Error, ErrorKind, printable};
use tonic::{Code, Status};

/// Why a request was not carried out, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EngineError {
    /// No member answered in time. The request may have been carried out.
    Unreachable(String),
    /// Trying again cannot help: the host does not exist, no authority has signed the certificate, or a
    /// file is missing.
    Setup(String),
    /// The server refused the user, the password or the access.
    Denied(String),
    /// There is no such lease, or not any more.
    NoLease,
    /// There is such a lease already; `is_ours` if an earlier try of ours may have made it, whose answer
    /// was lost.
    LeaseExists { is_ours: bool },
    /// Any other definite answer.
    Refused(String),
}

impl EngineError {
    /// Classifies the error of a call.
    pub(crate) fn of_status(status: &Status) -> EngineError {
        let said = status.message();
        let words = said.strip_prefix("etcdserver: ").unwrap_or(said).to_owned();
        match status.code() {
            Code::NotFound if said.contains("lease not found") => EngineError::NoLease,
            Code::FailedPrecondition if said.contains("lease already exists") => {
                EngineError::LeaseExists { is_ours: false }
            }
            Code::Unauthenticated | Code::PermissionDenied => EngineError::Denied(words),
            // Failed logins have other codes.
            Code::InvalidArgument | Code::FailedPrecondition
                if said.contains("auth") || said.contains("user name is empty") =>
            {
                EngineError::Denied(words)
            }
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::Aborted => match status.source() {
                Some(_) => EngineError::Unreachable(deepest(status)),
                None => EngineError::Unreachable(words),
            },
            Code::ResourceExhausted if said.contains("space exceeded") => EngineError::Refused(
                format!("{words}; compact and defragment it, then disarm its alarm"),
            ),
            _ => EngineError::Refused(words),
        }
    }

    /// Classifies a failed connection.
    pub(crate) fn of_transport(error: &tonic::transport::Error) -> EngineError {
        let why = deepest(error);
        let is_setup = ["certificate", "tls", "TLS", "lookup address", "handshake"]
            .iter()
            .any(|word| why.contains(word));
        if is_setup { EngineError::Setup(why) } else { EngineError::Unreachable(why) }
    }

    /// Returns true if another try may succeed, with this member or another.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, EngineError::Unreachable(_))
    }

    /// Returns the cause, for people.
    pub(crate) fn cause(&self) -> String {
        match self {
            EngineError::Unreachable(why)
            | EngineError::Setup(why)
            | EngineError::Denied(why)
            | EngineError::Refused(why) => printable(why),
            EngineError::NoLease => "its lease has run out".into(),
            EngineError::LeaseExists { .. } => "its lease exists already".into(),
        }
    }

    /// Converts it into the error of this verb on this lock.
    pub(crate) fn error(&self, verb: &str, path: &Path) -> Error {
        let (kind, advice) = match self {
            EngineError::Unreachable(_) => {
                (ErrorKind::Unavailable, "; is the server running, and is this its address?")
            }
            EngineError::Setup(_) => {
                (ErrorKind::Unavailable, "; check host, ca, cert and key in its address")
            }
            EngineError::Denied(_) => {
                (ErrorKind::PermissionDenied, "; check user and password, and the user's roles")
            }
            _ => (ErrorKind::Io, ""),
        };
        let out = match self {
            EngineError::Unreachable(_) | EngineError::Setup(_) => "etcd servers are unreachable: ",
            EngineError::Denied(_) => "etcd denies it: ",
            _ => "",
        };
        let message = format!("cannot {verb} {}: {out}{}{advice}", printable(path), self.cause());
        Error::new(kind, message).at(path)
    }
}

/// Returns the innermost cause, which is the specific one.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
