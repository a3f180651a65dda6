//! Locks that are known to be bad: the same torture and the same judge must find two holders in them.
//!
//! `proper-lockfile` needs Node and its package: `verify/gate/known_bad` runs it.

use std::time::Duration;

use lockbydir_proof::torture::{
    self, Plan,
    fault::Fault,
    report::{Conclusion, Report},
    worker::LockUnderTest,
};
use lockbydir_protocol::promise;

use crate::stage::Stage;

fn tortured(stage: &Stage, contestant: LockUnderTest, seconds: u64) -> Report {
    let plan = Plan {
        contestant,
        faults: vec![Fault::Kill, Fault::Stop],
        until_broken: true,
        time: Duration::from_secs(seconds),
        ..stage.plan()
    };
    let report = torture::run(&plan).expect("a run");
    println!("{report}");
    report
}

fn assert_convicted(contestant: LockUnderTest) {
    let stage = Stage::on_tmpfs();

    let report = tortured(&stage, contestant, 120);

    let conclusion = report.conclusion();
    let is_convicted =
        matches!(conclusion, Conclusion::Broken(promise::AT_MOST_ONE_VALID_HOLDER, _));
    assert!(is_convicted, "{conclusion:?}");
}

#[test]
fn the_first_versions_lock_has_two_holders_within_two_minutes() {
    assert_convicted(LockUnderTest::FirstVersion);
}

#[test]
fn unlinking_old_lock_files_makes_two_holders_in_two_minutes() {
    assert_convicted(LockUnderTest::StatUnlink);
}

#[test]
fn a_lease_renewed_by_utimes_has_two_holders_within_two_minutes() {
    assert_convicted(LockUnderTest::UtimesLease);
}

#[test]
fn ours_under_the_same_faults_has_never_two_holders() {
    let stage = Stage::on_tmpfs();

    let report = tortured(&stage, LockUnderTest::Lockbydir, 5);

    report.assert_kept();
}
