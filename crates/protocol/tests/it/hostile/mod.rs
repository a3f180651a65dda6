//! Machines that get arbitrary answers: a world made of bytes answers every operation truly or falsely,
//! and every operation of the machine is checked against the rules that hold whatever the answers are.
//! The bytes are from the fuzzer and from the tests.

/// Asserts a rule that serves a promise.
macro_rules! hold {
    ($promise:expr, $rule:expr, $($said:tt)+) => {
        assert!($rule, "\"{}\" is broken: {}", $promise, format!($($said)+))
    };
}

mod chance;
mod ends;
pub(crate) mod names;
mod rules;
mod world;

pub(crate) use chance::Chance;
use rules::{Rules, Verb};
use world::{PATIENT, World};

use lockbydir_protocol::*;

/// The most operations of one acquisition, whatever its answers are; the next constants are those of the
/// other verbs.
const MOST_OF_ACQUIRE: usize = 150;
const MOST_OF_RENEW: usize = 20;
const MOST_OF_RELEASE: usize = 25;
const MOST_OF_EVICT: usize = 111;
const MOST_OF_INSPECT: usize = 11;
/// The most operations of [`Queue`] from one sleep to the next, not counting those that remove dead
/// tickets, one after the other, which end with its patience.
const MOST_OF_QUEUE: usize = 220;

/// Makes a world from these bytes and runs one verb in it, up to three times.
///
/// # Panics
/// If a rule is broken.
pub(crate) fn attack(bytes: &[u8]) {
    let mut chance = Chance::new(bytes);
    let verb = chance.below(6);
    let mut world = World::new(chance);
    let turns = 1 + world.chance.below(3);
    match verb {
        0 => acquire(world, turns),
        1 => renew(world, turns),
        2 => release(world, turns),
        3 => evict(world, turns),
        4 => inspect(world, turns),
        _ => queue(world, turns),
    }
}

/// Runs a machine to its end and checks each operation.
fn run<M: Machine>(
    world: &mut World<'_>,
    rules: &mut Rules,
    machine: &mut M,
    most: usize,
) -> M::Outcome {
    // Prints the operations and answers of an input, to investigate a broken rule.
    let prints = std::env::var_os("LOCKBYDIR_FUZZ_STORY").is_some();
    let mut step = machine.start(world.now);
    rules.begun();
    let (mut all, mut steps) = (0, 0);
    loop {
        let operation = match step {
            Step::Finished(outcome) => return outcome,
            Step::Perform(operation) => operation,
        };
        all += 1;
        match operation {
            Operation::Sleep(..) => steps = 0,
            Operation::Expel(..) | Operation::ListQueue => {}
            _ => steps += 1,
        }
        assert!(steps <= most, "no end after {steps} operations: {operation:?}");
        assert!(all <= 3 * PATIENT, "goes on, its patience long over: {operation:?}");
        rules.asked(&operation, world.now);
        let answer = world.answer(&operation);
        if prints {
            eprintln!("{:?}\n    {operation:?}\n    -> {answer:?}", world.now.boot);
        }
        rules.answered(&operation, &answer, world.now);
        step = machine.resume(world.now, answer);
    }
}

fn acquire(mut world: World<'_>, turns: usize) {
    let request = world.request();
    let shortcut = world.chance.one_in(4).then(|| world.left_open());
    let mut rules = Rules::new(Verb::Acquire, &world, request.nonce, request.timeout);
    rules.given.extend(shortcut.clone());
    let mut machine = Acquire::new(request.clone(), world.here, shortcut);
    for _ in 0..turns {
        let outcome = run(&mut world, &mut rules, &mut machine, MOST_OF_ACQUIRE);
        rules.acquired(&outcome, &request, world.now);
    }
}

fn renew(mut world: World<'_>, turns: usize) {
    let mine = world.mine(State::Held);
    let request = world.renew_request();
    let mut rules = Rules::new(Verb::Renew, &world, mine.nonce, mine.timeout);
    let mut machine = if world.chance.one_in(3) {
        Renew::by_nonce(mine.nonce, request, world.here)
    } else {
        rules.given.push(mine.clone());
        Renew::new(mine.clone(), request, world.here)
    };
    for _ in 0..turns {
        let outcome = run(&mut world, &mut rules, &mut machine, MOST_OF_RENEW);
        rules.renewed(&outcome, &request, world.now);
    }
}

fn release(mut world: World<'_>, turns: usize) {
    let state = if world.chance.one_in(4) { State::Open } else { State::Held };
    let mut mine = world.mine(state);
    // Only the process that parked an open entry removes it, and never a fenced one.
    mine.fenced &= state == State::Held;
    let stay = world.chance.one_in(3);
    let mut rules = Rules::new(Verb::Release(state), &world, mine.nonce, mine.timeout);
    let mut machine = if state == State::Held && world.chance.one_in(3) {
        Release::by_nonce(mine.nonce, stay, world.here)
    } else {
        rules.given.push(mine.clone());
        Release::new(mine.clone(), stay, world.here)
    };
    for _ in 0..turns {
        let outcome = run(&mut world, &mut rules, &mut machine, MOST_OF_RELEASE);
        rules.released(&outcome);
        if !matches!(outcome, Released::Failed(_)) {
            break;
        }
    }
}

fn evict(mut world: World<'_>, turns: usize) {
    let force = world.chance.one_in(2);
    let request = world.request();
    let mut rules = Rules::new(Verb::Evict { force }, &world, request.nonce, request.timeout);
    let mut machine = Evict::new(world.here, force, request.timeout);
    for _ in 0..turns {
        let outcome = run(&mut world, &mut rules, &mut machine, MOST_OF_EVICT);
        rules.evicted(&outcome);
    }
}

fn inspect(mut world: World<'_>, turns: usize) {
    let request = world.request();
    let mut rules = Rules::new(Verb::Inspect, &world, request.nonce, request.timeout);
    let mut machine = Inspect::new(world.here);
    for _ in 0..turns {
        let view = run(&mut world, &mut rules, &mut machine, MOST_OF_INSPECT);
        rules.inspected(&view);
    }
}

fn queue(mut world: World<'_>, turns: usize) {
    let request = world.request();
    let own_ticket = world.own_ticket();
    for _ in 0..turns {
        let mut rules = Rules::new(Verb::Queue, &world, request.nonce, request.timeout);
        let acquire = Acquire::new(request.clone(), world.here, None);
        let until = world.until();
        let mut machine = Queue::new(acquire, own_ticket.clone(), world.here, Some(until));
        rules.until = until;
        let outcome = run(&mut world, &mut rules, &mut machine, MOST_OF_QUEUE);
        rules.waited(&outcome, &machine, world.now);
        if matches!(outcome, Waited::Ended(Acquisition::Got(..))) {
            break;
        }
    }
}
