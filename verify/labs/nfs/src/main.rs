//! The lab as a program: boots it, and executes commands, one per line.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use lockbydir_nfs_lab::{
    Ended, Lab, MOUNTED, Name, Options, Outcome, agent,
    clock::{self, Face},
};

/// The option for a program of this machine that the guests get.
const WITH: &str = "--with=";
const ABOUT: &str = "\
An NFS server and two clients in QEMU. Each client has an empty disk, /dev/vda. PROGRAM, of this
machine, is in the guests' /bin, with its libraries.";
const HELP: &str = "\
mount OPTIONS         both clients mount anew at /n: mount vers=4.2,actimeo=60
server|c1|c2 COMMAND  runs a shell's line in that guest
kill GUEST            pulls its plug         boot GUEST    boots it again
freeze GUEST          stops all of it        thaw GUEST    lets it go on
cut GUEST             nothing goes to or from it           heal GUEST
lose GUEST PERCENT    so many of its frames are lost
put FILE GUEST PATH   copies a file in
quit                  (or the end of the input) ends all";

fn execute(lab: &Lab, line: &str) -> Outcome<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let guest = |at: usize| {
        let word = words.get(at).copied().unwrap_or_default();
        Name::of(word).ok_or_else(|| format!("no guest `{word}`: server, c1 or c2"))
    };
    match words[..] {
        ["mount", options] => {
            lab.mount(options)?;
            for name in Name::CLIENTS {
                print!("{}", lab.guest(name).shell(&format!("grep ' {MOUNTED} ' /proc/mounts"))?);
            }
        }
        ["kill", _] => lab.guest(guest(1)?).kill()?,
        ["boot", _] => lab.boot(guest(1)?)?,
        ["freeze", _] => lab.guest(guest(1)?).freeze()?,
        ["thaw", _] => lab.guest(guest(1)?).thaw()?,
        ["cut", _] => lab.switch().cut(guest(1)?, true),
        ["heal", _] => lab.switch().cut(guest(1)?, false),
        ["lose", _, percent] => {
            let percent: f64 = percent.parse().map_err(|_| "PERCENT is a number")?;
            lab.switch().lose(guest(1)?, percent / 100.0);
        }
        ["put", file, _, path] => lab.guest(guest(2)?).put(file.as_ref(), path)?,
        [word, _, ..] if Name::of(word).is_some() => {
            let command = line.trim_start().split_once(char::is_whitespace).unwrap_or_default().1;
            run(lab, guest(0)?, command)?;
        }
        _ => println!("{HELP}"),
    }
    Ok(())
}

/// Runs a command in a guest, and shows its output as it arrives.
fn run(lab: &Lab, name: Name, line: &str) -> Outcome<()> {
    let show = |bytes: &[u8], is_stderr: bool| {
        // Nobody reads our output any more: that is no error.
        let _ = match is_stderr {
            true => io::stderr().write_all(bytes),
            false => io::stdout().write_all(bytes),
        };
    };
    let mut process = lab.guest(name).start(&["sh", "-c", line], Box::new(show))?;
    process.stdin().close()?;
    match process.wait(Duration::MAX) {
        Some(Ended::Code(0)) => Ok(()),
        ended => Err(format!("{}: {line}: {ended:?}", name.word()).into()),
    }
}

fn run_lines(lines: &[String]) -> Outcome<()> {
    let begun = Instant::now();
    let is_program = |line: &&String| line.starts_with(WITH);
    let programs = lines.iter().filter(is_program).map(|line| line[WITH.len()..].into()).collect();
    let lines: Vec<_> = lines.iter().filter(|line| !is_program(line)).collect();
    let lab = Lab::start(&Options { programs, ..Options::default() })?;
    eprintln!("server, c1 and c2 are up after {:.1} s", begun.elapsed().as_secs_f64());
    if !lines.is_empty() {
        return lines.into_iter().try_for_each(|line| execute(&lab, line));
    }
    let prompt = || {
        if io::stdin().is_terminal() {
            print!("lab> ");
        }
        io::stdout().flush()
    };
    prompt()?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.trim() {
            "" => {}
            "quit" => break,
            line => {
                let begun = Instant::now();
                if let Err(error) = execute(&lab, line) {
                    eprintln!("{error}");
                }
                eprintln!("({:.2} s)", begun.elapsed().as_secs_f64());
            }
        }
        prompt()?;
    }
    Ok(())
}

/// In a guest: prints the shared clock and its own, in seconds.
fn print_clocks() -> Outcome<()> {
    let shared = Face::open()?.now();
    println!("{} {}", shared as f64 / 1e9, clock::boot() as f64 / 1e9);
    Ok(())
}

/// In a guest: sets its wall clock to the host's.
fn set_clock() -> Outcome<()> {
    Face::open()?.set_wall_clock()
}

fn main() -> ExitCode {
    let lines: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match lines.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["agent"] => agent::serve(),
        ["clock"] => print_clocks(),
        ["set-clock"] => set_clock(),
        ["--help" | "-h"] => {
            println!(
                "lockbydir-nfs-lab [--with=PROGRAM]... [LINE]...\n\n{ABOUT}\n\nLines:\n{HELP}"
            );
            Ok(())
        }
        _ => run_lines(&lines),
    };
    outcome.map_or_else(
        |error| {
            eprintln!("lockbydir-nfs-lab: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}
