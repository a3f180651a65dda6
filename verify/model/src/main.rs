//! `lockbydir-model`: walks through every world, tries every mutant, and prints the results.

use std::process::ExitCode;

use clap::Parser;
use lockbydir_model::{Known, Mutant, WORLDS};

/// Checks the protocol of lockbydir exhaustively: the machines that the library runs, on a lock
/// directory in memory, in every order in which their operations can interleave.
///
/// Two parts. Worlds: each is walked through to its end; every promise must be kept in every state,
/// certain things must happen, and the number of states must be the one that is known. Mutants:
/// each breaks one rule on purpose, and must break a promise.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Only worlds and mutants whose names contain this.
    only: Option<String>,
    /// Leave out the worlds that take more than some seconds.
    #[arg(long)]
    small: bool,
    /// Of the worlds that take more than some seconds only a part, such as 0/3: each third one.
    #[arg(long, value_name = "PART/OF", value_parser = part, conflicts_with = "small")]
    large: Option<(usize, usize)>,
    /// Show the shortest way in which each mutant breaks its promise, step by step.
    #[arg(long)]
    stories: bool,
    /// How many threads walk.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_meant = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(only));
    let (part, of) = arguments.large.unwrap_or((0, 1));
    let large = WORLDS.iter().filter(|world| !world.is_small).skip(part).step_by(of);
    let large: Vec<&str> = large.map(|world| world.name).collect();
    let is_wanted =
        |world: &Known| world.is_small || !arguments.small && large.contains(&world.name);
    let worlds = WORLDS.iter().filter(|world| is_wanted(world) && is_meant(world.name));
    let mutants = Mutant::ALL.iter().filter(|mutant| is_meant(mutant.sentence()));

    let mut passed = 0;
    let mut failed = 0;
    let mut count = |is_good: bool| if is_good { passed += 1 } else { failed += 1 };
    println!("{:>10}  {:>5}  {:>8}  world", "states", "depth", "seconds");
    for world in worlds {
        count(walk(world, arguments.threads));
    }
    println!("\n{:>5}  mutant, and the promise that it breaks", "steps");
    for mutant in mutants {
        count(convict(*mutant, arguments.stories));
    }
    println!("\n{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0 || passed == 0))
}

fn part(text: &str) -> Result<(usize, usize), String> {
    let numbers =
        text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    numbers.filter(|(part, of)| part < of).ok_or_else(|| "write it like 0/3, 1/3 or 2/3".to_owned())
}

fn walk(world: &Known, threads: usize) -> bool {
    let walk = world.walk(threads);
    let (states, depth, seconds) = (walk.states, walk.depth, walk.time.as_secs_f64());
    println!("{states:>10}  {depth:>5}  {seconds:>8.1}  {}", world.name);
    for fault in &walk.faults {
        println!("            FAULT: {}", fault.replace('\n', "\n            "));
    }
    walk.faults.is_empty()
}

fn convict(mutant: Mutant, shows: bool) -> bool {
    let (sentence, promise) = (mutant.sentence(), mutant.promise());
    let Some(conviction) = mutant.convict() else {
        println!("FAULT  {sentence} It keeps \"{promise}\".");
        return false;
    };
    println!("{:>5}  {sentence} \"{promise}\"", conviction.steps);
    if shows {
        println!("{}", conviction.story);
    }
    true
}
