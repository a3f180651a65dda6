//! Each verb in each state of the lock, each of its raw calls, and each possible fault of that call: once,
//! or permanently for every call of its kind.

use std::time::Duration;

use super::faults::Lie;
use super::faults::{FaultRates, InjectedFault};
use super::plot::{Action, Plot, SimulatedProcess};
use super::run::House;

const TIMEOUT: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(2);
/// A stall after which a hold has expired.
const LONG: Duration = Duration::from_millis(600);

/// Verbs in a state of the lock.
#[derive(Clone, Debug)]
pub struct Case {
    /// A description.
    pub name: &'static str,
    /// The processes.
    pub parts: Vec<SimulatedProcess>,
    /// The process whose calls get the faults.
    pub victim: usize,
}

fn part(deeds: &[Action]) -> SimulatedProcess {
    SimulatedProcess::new(TIMEOUT, deeds.to_vec())
}

/// Returns all cases.
#[must_use]
pub fn cases(is_local: bool) -> Vec<Case> {
    use Action::{
        Acquire, BreakByForce, BreakStale, Die, Forget, Keep, Look, MakeBare, Release, Renew,
        SetTimeout, Work,
    };
    let fenced = |part: SimulatedProcess| SimulatedProcess { fenced: true, ..part };
    let nobodys = |part: SimulatedProcess| SimulatedProcess { is_nobodys: true, ..part };
    let takes = part(&[Work(2 * LONG), Acquire(PATIENCE), Release]);
    let (longer, shorter) = (SetTimeout(TIMEOUT * 10), SetTimeout(TIMEOUT / 2));
    let whole = [Acquire(PATIENCE), Renew, longer, shorter, Release];
    let left = nobodys(part(&[Acquire(PATIENCE), Keep]));
    let dead = part(&[Acquire(PATIENCE), Die]);
    let holder = part(&[Acquire(PATIENCE), Work(Duration::from_millis(60)), Release]);
    let waiter = part(&[Acquire(PATIENCE), Renew, Release]);
    let breaks = part(&[Work(2 * LONG), BreakStale]);
    let case = |name, parts: Vec<SimulatedProcess>, victim| Case { name, parts, victim };
    let mut cases = vec![
        case("a free lock", vec![part(&whole)], 0),
        case("a free lock that is fenced", vec![fenced(part(&whole))], 0),
        case(
            "a lock that lingers",
            vec![SimulatedProcess {
                lingers: true,
                ..part(&[Acquire(PATIENCE), Release, Acquire(PATIENCE), Release, Forget])
            }],
            0,
        ),
        case("a key", vec![nobodys(part(&[Acquire(PATIENCE), Keep, Renew, Release]))], 0),
        case("an expired lock", vec![left.clone(), takes.clone()], 1),
        case("an expired lock that is fenced", vec![fenced(left.clone()), takes.clone()], 1),
        case("a dead one's lock", vec![dead.clone(), waiter.clone()], 1),
        case("a bare lock", vec![part(&[MakeBare]), takes.clone()], 1),
        case("an open lock", vec![fenced(waiter.clone()), fenced(waiter.clone())], 1),
        case("first in the queue", vec![holder.clone(), waiter.clone()], 1),
        case("second in the queue", vec![holder.clone(), waiter.clone(), waiter.clone()], 2),
        case("a release to one in the queue", vec![holder.clone(), waiter.clone()], 0),
        case(
            "a fenced release to one in the queue",
            vec![fenced(holder.clone()), waiter.clone()],
            0,
        ),
        case(
            "patience that ends",
            vec![
                SimulatedProcess {
                    timeout: PATIENCE,
                    ..part(&[Acquire(PATIENCE), Work(LONG), Release])
                },
                part(&[Acquire(TIMEOUT), Acquire(Duration::ZERO)]),
            ],
            1,
        ),
        case("an expired lock to break", vec![left.clone(), breaks.clone()], 1),
        case("a fenced one to break", vec![fenced(left.clone()), breaks.clone()], 1),
        case("a dead one's to break", vec![dead.clone(), part(&[BreakStale])], 1),
        case("a bare one to break", vec![part(&[MakeBare]), breaks.clone()], 1),
        case("a break by force", vec![left.clone(), part(&[BreakByForce])], 1),
        case("a look", vec![left.clone(), part(&[Look])], 1),
    ];
    if !is_local {
        let elsewhere = |part: SimulatedProcess| SimulatedProcess { host: 1, ..part };
        cases.extend([
            case("another host's expired lock", vec![left.clone(), elsewhere(waiter.clone())], 1),
            case("another host's dead one's", vec![dead, elsewhere(waiter.clone())], 1),
            case(
                "in the queue on another host",
                vec![holder.clone(), elsewhere(waiter.clone())],
                1,
            ),
            case(
                "second in the queue on another host",
                vec![holder, waiter.clone(), elsewhere(waiter)],
                2,
            ),
        ]);
    }
    cases
}

/// Returns what other processes may do meanwhile.
fn intruders() -> Vec<SimulatedProcess> {
    use Action::{Acquire, BreakByForce, Keep, Release, Work};
    let all: [&[Action]; 4] = [
        &[Acquire(Duration::ZERO), Work(Duration::from_millis(5)), Release],
        &[Work(LONG), Acquire(PATIENCE), Keep],
        &[Acquire(PATIENCE), Release],
        &[BreakByForce],
    ];
    all.into_iter()
        .map(|deeds| SimulatedProcess { waits_for_cue: true, is_nobodys: true, ..part(deeds) })
        .collect()
}

/// Returns every simulation of a case. The calls are counted in a first one, without faults.
///
/// # Panics
/// If a promise is broken without any fault.
#[must_use]
pub fn plots(house: &mut House, case: &Case, is_local: bool) -> Vec<Plot> {
    let plot = |meanwhile: Option<SimulatedProcess>, spells: Vec<InjectedFault>| {
        let mut parts = case.parts.clone();
        parts.extend(meanwhile);
        parts.push(part(&[]));
        Plot { is_local, is_mistaken: false, parts, spells, mood: FaultRates::default(), seed: 1 }
    };
    let well = house.play(&plot(None, Vec::new()), true);
    assert!(well.broken.is_none(), "{}, and nothing goes wrong:\n{well}", case.name);
    let mut plots = Vec::new();
    for deed in 1..=case.parts[case.victim].deeds.len() {
        let kinds = well.made.get(&(case.victim, deed)).map(Vec::as_slice).unwrap_or_default();
        for (call, kind) in (1..).zip(kinds) {
            let spell =
                |lie, persists| InjectedFault { who: case.victim, deed, call, persists, lie };
            for lie in Lie::all(*kind, is_local, LONG) {
                plots.push(plot(None, vec![spell(lie, false)]));
                if lie.is_of_the_file_system() {
                    plots.push(plot(None, vec![spell(lie, true)]));
                }
            }
            for lie in [Lie::Meanwhile, Lie::MeanwhileAfter] {
                for intruder in intruders() {
                    plots.push(plot(Some(intruder), vec![spell(lie, false)]));
                }
            }
        }
    }
    plots
}
