//! It bites: the same torture and judge find two holders in locks that are known to be bad.
//!
//! `proper-lockfile` needs Node and its package: `verify/gate/torture` does it.

use std::time::Duration;

use lockbydir_proof::torture::{
    self, Plan,
    faults::Fault,
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
    let told = matches!(conclusion, Conclusion::Broken(promise::AT_MOST_ONE_VALID_HOLDER, _));
    assert!(told, "{conclusion:?}");
}

#[test]
fn the_first_versions_lock_has_two_holders_within_two_minutes() {
    assert_convicted(LockUnderTest::FirstVersion);
}

#[test]
fn a_lock_file_that_is_unlinked_when_old_has_two_holders_within_two_minutes() {
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
