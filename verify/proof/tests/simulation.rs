//! The simulation: the real library, on a directory whose calls fail, lie, stall and kill.
//!
//! These tests are a process of their own: a child that another test has just forked would keep the pipes of
//! a dead process open until it executes its program, and change the simulation.
//!
//! `LOCKBYDIR_SIMULATED_SCHEDULES=N` runs the schedules of the seeds below N, and
//! `LOCKBYDIR_SIMULATION_SEED=S` that of one seed, printing it call by call.

use std::env;
use std::time::{Duration, Instant};

use lockbydir_proof::simulation::faults::Lie;
use lockbydir_proof::simulation::mutant::{self, Mutant};
use lockbydir_proof::simulation::run::{House, Tally, play_all};
use lockbydir_proof::simulation::{
    Action, FaultRates, InjectedFault, Plot, RENEWED_BY_KEY, SimulatedProcess, every_call, schedule,
};
use lockbydir_proof::{EVERY_CALL, SCHEDULES};
use lockbydir_protocol::promise;
use rustix::io::Errno;

/// The number of schedules within which each mutant must be detected.
const SOON: u64 = 300;

fn number(dial: &str) -> Option<u64> {
    let text = env::var(dial).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{dial} is a number, not `{text}`")))
}

/// Fails with the story of a simulation that broke a promise, if there is one.
fn assert_kept(tally: &Tally, began: Instant) {
    println!("{tally}; {:?}", began.elapsed());
    if let Some((nth, plot, broken)) = &tally.broken {
        let played = House::default().play(plot, true);
        panic!("{plot:#?}\n{played}\nthis was number {nth}, and there it was {broken:?}");
    }
}

fn every_call_of_every_verb(is_local: bool) {
    let began = Instant::now();
    let mut house = House::default();
    let cases = every_call::cases(is_local);
    let all: Vec<Plot> =
        cases.iter().flat_map(|case| every_call::plots(&mut house, case, is_local)).collect();
    let step = EVERY_CALL.number();
    let count = all.len() as u64;

    let tally = play_all(0..count / step, |nth| all[(nth * step) as usize].clone());

    println!("{} cases, {count} plays, one in {step} played", cases.len());
    assert_kept(&tally, began);
}

#[test]
fn no_fault_of_any_call_breaks_a_promise_on_local_file_systems() {
    every_call_of_every_verb(true);
}

#[test]
fn no_fault_of_any_call_breaks_a_promise_where_servers_lie() {
    every_call_of_every_verb(false);
}

#[test]
fn a_shortened_timeout_counts_while_the_call_lasts() {
    let ms = Duration::from_millis;
    let holder = [Action::Acquire(ms(1_000)), Action::SetTimeout(ms(100))];
    let next = [Action::Work(ms(200)), Action::Acquire(ms(1_000))];
    let parts =
        [&holder[..], &next, &[]].map(|deeds| SimulatedProcess::new(ms(2_000), deeds.to_vec()));
    // The second call of the second action is the rename: done, and its answer is late.
    let lie = Lie::StalledAfter(ms(600));
    let slow = InjectedFault { who: 0, deed: 2, call: 2, persists: false, lie };
    let plot = Plot {
        is_local: true,
        is_mistaken: false,
        parts: parts.to_vec(),
        spells: vec![slow],
        mood: FaultRates::default(),
        seed: 1,
    };

    let played = House::default().play(&plot, true);

    assert!(played.broken.is_none(), "{played}");
    assert_eq!(played.holds, 3, "{played}");
}

#[test]
fn a_waiter_with_a_stage_it_cannot_remove_gets_the_lock() {
    let ms = Duration::from_millis;
    let deeds = vec![Action::Acquire(ms(1_000)), Action::Release];
    // The install is refused, and then the unlink that removes the stage.
    let refused = [(5, Errno::EXIST), (7, Errno::IO)].map(|(call, errno)| InjectedFault {
        who: 0,
        deed: 1,
        call,
        persists: false,
        lie: Lie::Refused(errno),
    });
    let plot = Plot {
        is_local: true,
        is_mistaken: false,
        parts: vec![
            SimulatedProcess::new(ms(100), deeds),
            SimulatedProcess::new(ms(100), Vec::new()),
        ],
        spells: refused.to_vec(),
        mood: FaultRates::default(),
        seed: 1,
    };

    let played = House::default().play(&plot, true);

    assert!(played.broken.is_none(), "{played}");
    assert_eq!(played.holds, 2, "{played}");
}

#[test]
fn no_schedule_of_contenders_verbs_and_faults_breaks_a_promise() {
    let began = Instant::now();
    if let Some(seed) = number("LOCKBYDIR_SIMULATION_SEED") {
        let plot = schedule::of(seed);
        let played = House::default().play(&plot, true);
        println!("{plot:#?}\n{played}");
        assert!(played.broken.is_none(), "seed {seed} breaks a promise");
        return;
    }
    let count = number("LOCKBYDIR_SIMULATED_SCHEDULES").unwrap_or_else(|| SCHEDULES.number());

    let tally = play_all(0..count, schedule::of);

    if let Some((seed, ..)) = &tally.broken {
        println!("LOCKBYDIR_SIMULATION_SEED={seed} prints this story again");
    }
    assert_kept(&tally, began);
}

#[test]
fn renewing_another_hold_by_its_key_breaks_no_promise() {
    let began = Instant::now();
    let count = number("LOCKBYDIR_SIMULATED_SCHEDULES").unwrap_or_else(|| SCHEDULES.number()) / 10;

    let tally = play_all(0..count, schedule::with_keys);

    assert_kept(&tally, began);
    assert!(tally.counts.contains_key(RENEWED_BY_KEY), "{tally}");
}

#[test]
fn the_same_seed_repeats_the_same_calls() {
    let mut house = House::default();
    for seed in 0..40 {
        let plot = schedule::of(seed);

        let (first, second) = (house.play(&plot, true), house.play(&plot, true));

        assert!(!first.story.is_empty());
        let lines = first.story.iter().zip(&second.story);
        let differs = lines.enumerate().find(|(_, (first, second))| first != second);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.story.len(), second.story.len(), "seed {seed}");
    }
}

/// Returns the promises that are broken in the first schedules of these simulations.
fn broken_in(plot: impl Fn(u64) -> Plot) -> Vec<&'static str> {
    let mut house = House::default();
    let plays = (0..SOON).map(|seed| house.play(&plot(seed), false));
    plays.filter_map(|played| Some(played.broken?.promise)).collect()
}

#[test]
fn every_mutant_is_detected_by_the_promise_that_it_breaks() {
    for mutant in mutant::ALL {
        let found = broken_in(|seed| mutant.in_schedule(seed));

        let (promise, count) = (mutant.breaks(), found.len());
        let right = found.iter().filter(|broken| **broken == promise).count();
        println!("{mutant:?}: found out in {count} of {SOON} schedules, in {right} by: {promise}");
        assert!(right > 0, "{mutant:?} breaks {found:?} only");
    }
}

#[test]
fn every_promise_checked_here_has_a_mutant() {
    // A queue that does not move shows as a lock that the next process does not get. What is left behind
    // is removed by the last process before anybody looks.
    let elsewhere =
        [promise::THE_QUEUE_MOVES, promise::A_LOCK_THAT_NOBODY_WANTS_LEAVES_NOTHING_BEHIND];
    let looked_for = promise::ALL.iter().filter(|name| !elsewhere.contains(name));

    for name in looked_for {
        assert!(mutant::ALL.iter().any(|mutant| mutant.breaks() == *name), "{name}");
    }
}

#[test]
fn trusting_a_lying_server_makes_two_holders() {
    let ms = Duration::from_millis;
    let before = [Action::Acquire(ms(0)), Action::Release];
    let holder = [Action::Acquire(ms(0)), Action::Work(ms(50)), Action::Release];
    let other = [Action::Work(ms(10)), Action::Acquire(ms(0)), Action::Release];
    let mut parts = [&before[..], &holder, &other, &[]]
        .map(|deeds| SimulatedProcess::new(ms(2_000), deeds.to_vec()));
    parts[0].fenced = true; // its directory stays, to be taken by one rename
    let broken = |is_mistaken| {
        let mut house = House::default();
        let plays = (1..20).map(|call| Plot {
            is_local: false,
            is_mistaken,
            parts: parts.to_vec(),
            spells: vec![InjectedFault {
                who: 1,
                deed: 1,
                call,
                persists: false,
                lie: Lie::NotDone,
            }],
            mood: FaultRates::default(),
            seed: 1,
        });
        let broken = plays.filter_map(|plot| Some(house.play(&plot, false).broken?.promise));
        broken.collect::<Vec<_>>()
    };

    assert!(broken(true).contains(&promise::AT_MOST_ONE_VALID_HOLDER), "{:?}", broken(true));
    assert_eq!(broken(false), Vec::<&str>::new());
}

#[test]
fn without_a_mutant_the_same_schedules_keep_every_promise() {
    let well = |seed| {
        let mut plot = Mutant::HoldsTooLong.in_schedule(seed);
        plot.parts[0].mutant = None;
        plot
    };

    assert_eq!(broken_in(well), Vec::<&str>::new());
}
