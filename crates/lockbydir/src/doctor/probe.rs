//! A probe: what is tried, and what it notes. The probes themselves are in `alone.rs`, `stamps.rs`,
//! `race.rs`, `together.rs` and `remote_host.rs`.

use std::cell::RefCell;

use lockbydir_protocol::Fault;

use super::finding::{Finding, Grade};
use super::peer::Peer;
use super::probe_error::{ProbeError, describe};
use super::sandbox::Sandbox;
use crate::os::fault;

/// A probe, with a name for programs and one for people.
pub(super) struct Probe {
    pub(super) name: &'static str,
    pub(super) tried: &'static str,
    pub(super) run: fn(&Try<'_>, &mut dyn Peer) -> Result<(), ProbeError>,
}

impl Probe {
    pub(super) fn find(
        &self,
        sandbox: &Sandbox,
        peer: &mut dyn Peer,
    ) -> Result<Vec<Finding>, ProbeError> {
        let attempt = Try { probe: self, sandbox, found: Default::default() };
        (self.run)(&attempt, peer)?;
        Ok(attempt.found.into_inner())
    }

    /// Runs the probe, and turns a call that fails into a finding: a lock would need that call.
    pub(super) fn try_out(
        &self,
        sandbox: &Sandbox,
        peer: &mut dyn Peer,
    ) -> Result<Vec<Finding>, ProbeError> {
        match self.find(sandbox, peer) {
            Err(ProbeError::Failed(errno)) if !matches!(fault(errno), Fault::Full { .. }) => {
                let (seen, meaning) =
                    (format!("failed: {}", describe(errno)), "A lock needs this.");
                Ok(vec![Finding::new(Grade::Fatal, self.name, self.tried, seen, meaning)])
            }
            done => done,
        }
    }
}

/// One run of a probe, and its findings.
pub(super) struct Try<'a> {
    pub(super) probe: &'a Probe,
    pub(super) sandbox: &'a Sandbox,
    pub(super) found: RefCell<Vec<Finding>>,
}

impl Try<'_> {
    pub(super) fn note(&self, grade: Grade, seen: impl Into<String>, meaning: impl Into<String>) {
        let Probe { name, tried, .. } = self.probe;
        self.found.borrow_mut().push(Finding::new(grade, name, tried, seen, meaning));
    }

    pub(super) fn good(&self, seen: impl Into<String>, meaning: impl Into<String>) {
        self.note(Grade::Good, seen, meaning);
    }

    pub(super) fn remark(&self, seen: impl Into<String>, meaning: impl Into<String>) {
        self.note(Grade::Remark, seen, meaning);
    }

    pub(super) fn fatal(&self, seen: impl Into<String>, meaning: impl Into<String>) {
        self.note(Grade::Fatal, seen, meaning);
    }

    pub(super) fn untried(&self, why: impl Into<String>, meaning: impl Into<String>) {
        self.note(Grade::Untried, why, meaning);
    }
}
