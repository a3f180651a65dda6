//! Lists what the tests have left out, and why. Not a test, but the last program of `cargo test --workspace`
//! that could have left something out.

#[cfg(unix)]
fn main() {
    let all = lockbydir_testbed::take_all();
    let count: usize = all.values().map(Vec::len).sum();
    match count {
        0 => println!("\nNothing was left out.\n"),
        count => println!("\n{count} tests or parts of tests were left out:"),
    }
    for (why, names) in all {
        println!("\n{why}");
        names.iter().for_each(|name| println!("    {name}"));
    }
    println!();
}

#[cfg(not(unix))]
fn main() {}
