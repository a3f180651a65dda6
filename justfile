# One line a habit. `just` lists them.

default:
    @just --list

# Build the program and run it: `just run run jobs -- echo hello`.
run *ARGS:
    cargo run -- {{ARGS}}

# The README's test command.
test:
    cargo test --workspace --all-features

# Format, clippy and docs, as the gate does.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features
    verify/gate/words

# The model: every interleaving of small worlds, and the mutants.
model *ARGS:
    cargo run --release -q -p lockbydir-model -- {{ARGS}}

# Torture with real processes, for some seconds.
torture SECONDS="20":
    cargo run --release -q -p lockbydir-proof --bin lockbydir-torture -- --seconds {{SECONDS}}

# The book into target/book; its links; its recipes, with a lock and without.
book:
    verify/gate/book

# The wheel and the sdist, into crates/python/dist.
wheel:
    crates/python/build

# Everything, from a clean clone, as root: about an hour.
gate:
    .ci/run
