//! The verdict: rule by rule as in docs/protocol.md; in doubt the holder is alive.

use std::time::Duration;

use lockbydir_protocol::*;

use crate::play::*;

/// The facts of a judge that has just seen the entry.
fn facts() -> Facts {
    Facts {
        now: now(),
        watched: Duration::ZERO,
        modified: changed(),
        life: None,
        file_clock: Some(stamp(secs(WALL))),
    }
}

const DEAD: Verdict = Verdict::Dead(Evidence::EarlierBoot);

fn lives_until(second: u64) -> Verdict {
    Verdict::Live { until: secs(second) }
}

#[test]
fn processes_are_checked_only_in_the_same_pid_namespace() {
    let ask = Verdict::Ask(Question::Liveness(OWNER));
    assert_eq!(judge(&held(7), &here(), &facts()), ask);

    let nobody = Entry { owner: Owner::Nobody, ..held(7) };
    assert_eq!(judge(&nobody, &here(), &facts()), lives_until(BEGIN + 9));

    for origin in [
        Origin { pids: 2, ..ORIGIN },
        Origin { pids: 0, ..ORIGIN },
        Origin { boot: 2, ..ORIGIN },
        Origin { boot: 0, ..ORIGIN },
    ] {
        let there = LocalContext { origin, ..here() };
        let elsewhere = Entry { origin, ..held(7) };
        for (entry, judge_of) in [(held(7), there), (elsewhere, here())] {
            let verdict = judge(&entry, &judge_of, &facts());
            assert!(!matches!(verdict, Verdict::Ask(_)), "{origin:?}: {verdict:?}");
        }
    }
    // Unknown is never equal to unknown.
    let unknown = Origin { boot: 0, time: 0, pids: 0 };
    let entry = Entry { origin: unknown, ..held(7) };
    let verdict = judge(&entry, &LocalContext { origin: unknown, ..here() }, &facts());
    assert_eq!(verdict, lives_until(BEGIN + 10));
    for (origin, is_asked) in [(Origin { pids: 0, ..ORIGIN }, false), (ORIGIN, true)] {
        let entry = Entry { origin, ..held(7) };
        let verdict = judge(&entry, &LocalContext { origin, ..here() }, &facts());
        assert_eq!(matches!(verdict, Verdict::Ask(_)), is_asked);
    }
}

#[test]
fn start_times_are_compared_only_where_clocks_are_shared() {
    let any = |pid| Process { pid, start: 0 };
    let started = |pid| Process { pid, start: 5 };
    for (owner, asked) in [
        (Owner::One(started(1)), Owner::One(any(1))),
        (Owner::Two(started(1), started(2)), Owner::Two(any(1), any(2))),
    ] {
        let entry = Entry { owner, ..held(7) };
        for time in [0, 2] {
            let there = LocalContext { origin: Origin { time, ..ORIGIN }, ..here() };
            let verdict = judge(&entry, &there, &facts());
            assert_eq!(verdict, Verdict::Ask(Question::Liveness(asked)));
        }
        let verdict = judge(&entry, &here(), &facts());
        assert_eq!(verdict, Verdict::Ask(Question::Liveness(owner)));
    }
}

#[test]
fn a_holder_whose_processes_are_gone_is_dead() {
    let gone = Facts { life: Some(Liveness::Gone), ..facts() };
    let alive = Facts { life: Some(Liveness::Alive), ..facts() };

    assert_eq!(judge(&held(7), &here(), &gone), Verdict::Dead(Evidence::ProcessGone));
    assert_eq!(judge(&held(7), &here(), &alive), lives_until(BEGIN + 9));
}

#[test]
fn only_entries_of_this_host_from_before_its_boot_are_dead() {
    let booted = here().booted.unwrap();
    let before = Facts { modified: Stamp(booted.0 - 1), ..facts() };
    let since = Facts { modified: booted, ..facts() };
    let ours = Entry { origin: ELSEWHERE, ..held(7) };
    let nobody = Entry { owner: Owner::Nobody, ..ours.clone() };

    assert_eq!(judge(&ours, &here(), &before), DEAD);
    assert_eq!(judge(&nobody, &here(), &before), DEAD);

    // A client of an exported folder: it wrote since our boot, or has another host name.
    assert_ne!(judge(&ours, &here(), &since), DEAD);
    let far = Entry { host: Host::new("far"), ..ours.clone() };
    assert_ne!(judge(&far, &here(), &before), DEAD);
    // A file system that is not local; an unknown time of our boot; an unknown boot identity.
    assert_ne!(judge(&ours, &shared(), &before), DEAD);
    assert_ne!(judge(&ours, &LocalContext { booted: None, ..here() }, &before), DEAD);
    let unknown = Origin { boot: 0, ..ORIGIN };
    assert_ne!(judge(&ours, &LocalContext { origin: unknown, ..here() }, &before), DEAD);
    assert_ne!(judge(&Entry { origin: unknown, ..ours }, &here(), &before), DEAD);
    // An entry of this very boot, whatever the change time is.
    let nobody = Entry { owner: Owner::Nobody, ..held(7) };
    assert_ne!(judge(&nobody, &here(), &before), DEAD);
}

#[test]
fn on_a_shared_boot_clock_a_lock_expires_at_stamp_plus_timeout() {
    let nobody = Entry { owner: Owner::Nobody, ..held(7) };
    let at = |time| Facts { now: later(now(), time), ..facts() };
    let expired = Verdict::Expired(Evidence::BootClock);

    assert_eq!(judge(&nobody, &here(), &at(millis(8_999))), lives_until(BEGIN + 9));
    assert_eq!(judge(&nobody, &here(), &at(secs(9))), expired);
    // Neither watching nor the file system's clock shortens the timeout.
    let old = Facts { watched: secs(3600), file_clock: Some(Stamp(i128::MAX)), ..facts() };
    assert_eq!(judge(&nobody, &here(), &old), lives_until(BEGIN + 9));
}

#[test]
fn a_stamp_from_the_future_of_our_clock_is_watched() {
    let nobody = |stamp| Entry { owner: Owner::Nobody, stamp, ..held(7) };
    let watched = Facts { watched: secs(10), ..facts() };

    let now = nobody(secs(BEGIN));
    assert_eq!(judge(&now, &here(), &watched), lives_until(BEGIN + 10));
    let future = nobody(secs(BEGIN) + millis(1));
    assert_eq!(judge(&future, &here(), &watched), Verdict::Expired(Evidence::Watched));
    assert_eq!(judge(&future, &here(), &facts()), lives_until(BEGIN + 10));
}

#[test]
fn without_a_shared_clock_a_lock_is_watched_for_its_timeout() {
    let watched = |time| Facts { watched: time, ..facts() };
    let expired = Verdict::Expired(Evidence::Watched);
    let time = Entry { origin: Origin { time: 2, ..ORIGIN }, owner: Owner::Nobody, ..held(7) };

    for entry in [remote(7), time] {
        assert_eq!(judge(&entry, &here(), &watched(secs(4))), lives_until(BEGIN + 6));
        assert_eq!(
            judge(&entry, &here(), &watched(millis(9_999))),
            Verdict::Live { until: secs(BEGIN) + millis(1) }
        );
        assert_eq!(judge(&entry, &here(), &watched(secs(10))), expired);
    }
}

#[test]
fn by_the_file_systems_clock_alone_expiry_takes_a_minute_more() {
    let clock = |nanos| Facts { file_clock: Some(Stamp(changed().0 + nanos)), ..facts() };
    let unread = Facts { file_clock: None, ..facts() };

    assert_eq!(judge(&remote(7), &here(), &unread), Verdict::Ask(Question::FileClock));
    assert_eq!(judge(&remote(7), &here(), &clock(70_000_000_000)), lives_until(BEGIN + 10));
    let expired = Verdict::Expired(Evidence::FileClock);
    assert_eq!(judge(&remote(7), &here(), &clock(70_000_000_001)), expired);
    // A change time in the future makes no lock that lasts for ever, and no second holder.
    assert_eq!(judge(&remote(7), &here(), &clock(i128::MIN / 2)), lives_until(BEGIN + 10));
}

#[test]
fn another_name_is_watched_anew() {
    let mut watch = None;
    let at = |seconds| later(now(), secs(seconds));
    let renewed = Entry { renewals: 4, ..held(7) };

    assert_eq!(Watch::on(&mut watch, &held(7), at(0)), Duration::ZERO);
    assert_eq!(Watch::on(&mut watch, &held(7), at(3)), secs(3));
    assert_eq!(Watch::on(&mut watch, &renewed, at(5)), Duration::ZERO);
    assert_eq!(Watch::on(&mut watch, &renewed, at(6)), SECOND);
    assert_eq!(Watch::on(&mut watch, &held(7), at(7)), Duration::ZERO);
}

#[test]
fn a_tickets_order_shows_whether_it_was_made_before_the_boot() {
    let booted = micros(secs(WALL - BEGIN));
    let ticket = |order| ticket(order, 1);

    assert!(here().is_before_boot(&ticket(booted - 1)));
    assert!(!here().is_before_boot(&ticket(booted)));
    assert!(!here().is_before_boot(&ticket(booted + 1)));
    assert!(!LocalContext { booted: None, ..here() }.is_before_boot(&ticket(1)));
}

#[test]
fn a_holders_own_deadline_is_earlier_by_a_margin() {
    for (timeout, expected) in [
        (100, 50),
        (200, 100),
        (500, 125),
        (1000, 250),
        (2000, 500),
        (10_000, 500),
        (20_000, 1000),
        (3_600_000, 1000),
    ] {
        let timeout = millis(timeout);
        assert_eq!(margin(timeout), millis(expected), "{timeout:?}");
        let entry = Entry { timeout, ..held(7) };
        assert_eq!(entry.expires_at(), entry.stamp + timeout);
        assert_eq!(entry.deadline(), entry.expires_at() - millis(expected));
    }
}
