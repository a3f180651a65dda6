//! All verbs except `run`.

use clap::CommandFactory;
use lockbydir::engine::shown;
use lockbydir::{Key, Owner, printable};

use crate::args::{Acquire, Args, Command};
use crate::exit::{Failure, IO, LOST, NOT_DONE, SIGNAL};
use crate::{doctor, man, nested, output, render, run};

pub(crate) fn perform(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Run(run) => {
            run::run(&run.prepared()?).map(|code| u8::try_from(code).unwrap_or(u8::MAX))
        }
        Command::Acquire(acquire) => self::acquire(&acquire),
        Command::Renew(renew) => {
            let lock = renew.named.lock();
            let lock = match renew.timeout {
                Some(timeout) => lock.timeout(timeout),
                None => lock,
            };
            lock.renew(&renew.key.parse::<Key>()?)?;
            Ok(0)
        }
        Command::Release(release) => {
            release.named.lock().release(&release.key.parse::<Key>()?)?;
            Ok(0)
        }
        Command::Status(status) => {
            let found = status.bare.apply(status.named.lock()).status()?;
            output::print(&if status.json {
                render::json(&render::StatusJson::of(&found))?
            } else {
                render::status(&found)
            })
        }
        Command::IsLocked(args) => {
            Ok(if args.bare.apply(args.named.lock()).is_locked()? { 0 } else { NOT_DONE })
        }
        Command::List(list) => {
            let found = lockbydir::list(&list.dir)?;
            if list.json {
                let found: Vec<_> = found.iter().map(render::StatusJson::of).collect();
                return output::print(&render::json(&found)?);
            }
            if found.is_empty() {
                output::note(format!("no locks below {}", shown(&list.dir)));
                return Ok(0);
            }
            output::print(&render::table(&found))
        }
        #[cfg(feature = "player")]
        Command::Watch(args) => crate::watch::watch(&args),
        #[cfg(not(feature = "player"))]
        Command::Watch(_) => Err(crate::missing::missing("watch", "player")),
        Command::Break(args) => crate::break_lock::break_lock(&args),
        Command::Clean(clean) => {
            let removed = lockbydir::clean(&clean.dir)?;
            output::print(
                &removed.iter().map(|path| format!("{}\n", printable(path))).collect::<String>(),
            )
        }
        Command::Doctor(args) => doctor::doctor(&args),
        Command::DoctorAssistant(assistant) => doctor::assist(&assistant),
        #[cfg(all(feature = "bench", target_os = "linux"))]
        Command::Bench(args) => crate::bench::bench(&args),
        #[cfg(all(feature = "bench", target_os = "linux"))]
        Command::BenchWorker(worker) => crate::bench::work(&worker),
        #[cfg(not(all(feature = "bench", target_os = "linux")))]
        Command::Bench(_) => Err(crate::missing::missing("bench", "bench")),
        #[cfg(feature = "player")]
        Command::Serve(args) => crate::serve::serve(&args),
        #[cfg(not(feature = "player"))]
        Command::Serve(_) => Err(crate::missing::missing("serve", "player")),
        #[cfg(feature = "player")]
        Command::Play(args) => crate::play::play(&args),
        #[cfg(not(feature = "player"))]
        Command::Play(_) => Err(crate::missing::missing("play", "player")),
        #[cfg(feature = "player")]
        Command::PlayStage(stage) => crate::play::stage(&stage),
        // `main` runs this verb itself, since the exit code is that of the example.
        #[cfg(feature = "player")]
        Command::PlayPart(_) => Ok(0),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "lockbydir", &mut out);
            output::print(&String::from_utf8_lossy(&out))
        }
        Command::Man { command } => output::print(&man::page(command.as_deref())?),
    }
}

fn acquire(args: &Acquire) -> Result<u8, Failure> {
    let lock = args.holding.apply(args.named.lock(), "");
    let lock = lock.owner(args.pid.map_or(Owner::Nobody, Owner::Process));
    let signals = run::signals_for(&[args.named.name()])?;
    nested::refuse(&lock, &run::name_of(&run::resolved(args.named.lock())?)?)?;
    let guard = run::wait_for(lock, &args.holding, &signals)?;
    // The lock is left to the key only after the key was printed. If printing fails, the lock is
    // released, for which a tenth of the timeout is kept.
    let least = guard.timeout() / 10;
    let may_wait = || guard.remaining() > least && signals.received().is_none();
    let printed = output::print_while(format!("{}\n", guard.key()), may_wait);
    let path = printable(guard.path());
    match printed {
        Ok(()) if guard.is_held() => {
            let _ = guard.keep();
            Ok(0)
        }
        Ok(()) => {
            let message = format!("lost the lock {path}: it timed out before its key was printed");
            Err(Failure::new(LOST, message))
        }
        Err(error) => {
            let released = match guard.release() {
                Ok(()) => "so the lock is released".into(),
                Err(error) => format!("and then: {error}"),
            };
            let message = format!("cannot print the key of {path}: {error}; {released}");
            let ended_by = signals.received().map(|signal| SIGNAL.saturating_add(signal));
            Err(Failure::new(ended_by.unwrap_or(IO), message))
        }
    }
}
