//! Walks through the small worlds to the end, and convicts every mutant. All worlds:
//! `cargo run --release -p lockbydir-model`.

use lockbydir_model::{Mutant, WORLDS};

#[test]
fn small_worlds_keep_every_promise_in_every_state() {
    for world in WORLDS.iter().filter(|world| world.is_small) {
        let walk = world.walk(2);

        println!(
            "{} states, {} deep, in {:.1?}: {}",
            walk.states, walk.depth, walk.time, world.name
        );
        assert_eq!(walk.faults, Vec::<String>::new(), "{}", world.name);
    }
}

#[test]
fn every_mutant_breaks_its_promise() {
    for mutant in Mutant::ALL {
        let (sentence, promise) = (mutant.sentence(), mutant.promise());

        let conviction = mutant.convict();

        let conviction = conviction.unwrap_or_else(|| panic!("{sentence} It keeps {promise:?}"));
        println!("\n{sentence} In {} steps it breaks {promise:?}:", conviction.steps);
        print!("{}", conviction.story);
    }
}
