//! The README's shell examples do what it says.

use std::process::Command;

use crate::{Folder, Ran};

const README: &str = include_str!("README.md");

/// Returns the README's code blocks in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    README
        .split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .collect()
}

#[test]
fn every_shell_block_runs_without_an_error() {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_lockbydir"));
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let blocks = blocks("sh");
    assert!(blocks.len() >= 2, "the README has its shell examples");
    for block in blocks {
        let folder = Folder::new();
        let output = Command::new("bash")
            .args(["-euc", block])
            .current_dir(folder.path())
            .env("PATH", &path)
            .output()
            .unwrap();
        let ran = Ran::of(output);
        assert_eq!(ran.code, 0, "{block}\n{ran:?}");
    }
}

#[test]
fn the_picture_of_a_lock_directory_is_what_ls_shows() {
    let picture =
        blocks("text").into_iter().find(|block| block.contains("v1.held")).expect("a picture");
    let shown = picture.lines().find(|line| line.starts_with("v1.held")).unwrap();
    let folder = Folder::new();
    let ran = folder.run(&["run", "jobs", "--", "ls", "jobs.lockdir"]);
    let parts = |name: &str| name.trim().split('.').count();
    assert_eq!(parts(shown), parts(&ran.out), "{shown} {ran:?}");
}
