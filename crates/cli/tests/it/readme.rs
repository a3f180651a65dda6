//! The shell examples of the README and of the book's pages do what they say.

use std::process::Command;

use crate::{Folder, Ran};

const INTRODUCTION: &str = include_str!("pages/introduction.md");

/// The pages whose shell examples run as they are printed, each in an empty folder.
const PAGES: [(&str, &str); 5] = [
    ("README.md", include_str!("README.md")),
    ("shell.md", include_str!("pages/shell.md")),
    ("hosts.md", include_str!("pages/hosts.md")),
    ("watching.md", include_str!("pages/watching.md")),
    ("exit-codes.md", include_str!("pages/exit-codes.md")),
];

/// Returns a page's code blocks in this language.
fn blocks(page: &'static str, language: &str) -> Vec<&'static str> {
    page.split("\n```")
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
    for (name, page) in PAGES {
        let blocks = blocks(page, "sh");
        assert!(!blocks.is_empty(), "{name} has its shell examples");
        for block in blocks {
            let folder = Folder::new();
            let output = Command::new("bash")
                .args(["-euc", block])
                .current_dir(folder.path())
                .env("PATH", &path)
                .output()
                .unwrap();
            let ran = Ran::of(output);
            assert_eq!(ran.code, 0, "{name}: {block}\n{ran:?}");
        }
    }
}

#[test]
fn the_picture_of_a_lock_directory_is_what_ls_shows() {
    let picture = blocks(INTRODUCTION, "text")
        .into_iter()
        .find(|block| block.contains("v1.held"))
        .expect("a picture");
    let shown = picture.lines().find(|line| line.starts_with("v1.held")).unwrap();
    let folder = Folder::new();
    let ran = folder.run(&["run", "jobs", "--", "ls", "jobs.lockdir"]);
    let parts = |name: &str| name.trim().split('.').count();
    assert_eq!(parts(shown), parts(&ran.out), "{shown} {ran:?}");
}
