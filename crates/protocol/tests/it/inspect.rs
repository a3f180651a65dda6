//! Looking at a lock without changing it.

use lockbydir_protocol::*;

use crate::play::*;
use Operation::{AskLiveness, Look, ReadFileClock};

fn inspect() -> Play<Inspect> {
    Play::of(Inspect::new(here())).asks(Look)
}

fn view(sight: Observation) -> View {
    View { sight, verdict: None, file_clock: None, fault: None, torn: None }
}

fn of(listing: Listing) -> View {
    view(Observation::Directory(listing))
}

#[test]
fn a_free_or_foreign_lock_is_reported_at_once() {
    inspect().answer(absent()).ends(view(Observation::Absent));
    inspect().answer(seen(&[open(7)])).ends(of(listing(&[open(7)])));
    let link = Observation::Foreign(Foreign::Symlink);
    inspect().answer(Answer::Seen(link.clone())).ends(view(link));
    let thing = Observation::Foreign(Foreign::Holds("thing".into()));
    inspect().answer(found(cluttered(&[held(7)]))).ends(view(thing));
}

#[test]
fn a_holder_is_judged() {
    let live = Verdict::Live { until: secs(BEGIN + 9) };
    let ask = || inspect().answer(seen(&[held(7)])).asks(AskLiveness(OWNER));

    for (life, verdict) in
        [(Liveness::Alive, live), (Liveness::Gone, Verdict::Dead(Evidence::ProcessGone))]
    {
        ask()
            .answer(Answer::Liveness(life))
            .ends(View { verdict: Some(verdict), ..of(listing(&[held(7)])) });
    }
}

#[test]
fn a_holder_elsewhere_is_judged_by_the_file_systems_clock_alone() {
    let ask = || inspect().answer(seen(&[remote(7)])).asks(ReadFileClock);
    let live = Verdict::Live { until: secs(BEGIN + 10) };
    let just = Stamp(changed().0 + 70_000_000_000);
    let old = Stamp(just.0 + 1);

    for (clock, verdict) in [(just, live), (old, Verdict::Expired(Evidence::FileClock))] {
        ask().answer(Answer::FileClock(clock)).ends(View {
            verdict: Some(verdict),
            file_clock: Some(clock),
            ..of(listing(&[remote(7)]))
        });
    }
    // Where the clock cannot be read, the entry counts as fresh.
    ask().answer(failed(BROKEN)).ends(View {
        verdict: Some(live),
        file_clock: Some(changed()),
        ..of(listing(&[remote(7)]))
    });
}

#[test]
fn the_age_of_a_bare_lock_is_asked_for() {
    let clock = stamp(secs(WALL));
    let ask = || inspect().answer(seen(&[])).asks(ReadFileClock);

    ask()
        .answer(Answer::FileClock(clock))
        .ends(View { file_clock: Some(clock), ..of(listing(&[])) });
    ask().answer(failed(BROKEN)).ends(View { file_clock: Some(changed()), ..of(listing(&[])) });
}

#[test]
fn a_torn_listing_is_read_eight_times_more_and_then_foreign() {
    let torn = seen(&[held(7), open(9)]);
    let again = |play: Play<Inspect>| play.asks(Look).answer(torn.clone());

    inspect().times(TORN, again).asks(Look).answer(seen(&[open(7)])).ends(of(listing(&[open(7)])));
    inspect()
        .times(TORN + 1, again)
        .ends(View {
            torn: Some(listing(&[held(7), open(9)])),
            ..view(Observation::Foreign(Foreign::TwoEntries))
        })
        .again()
        .times(TORN, again)
        .asks(Look);
}

#[test]
fn a_failed_look_reports_its_fault() {
    inspect()
        .answer(failed(DENIED))
        .ends(View { fault: Some(DENIED), ..view(Observation::Absent) });
}
