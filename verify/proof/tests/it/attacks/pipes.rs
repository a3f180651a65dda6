//! Bells and tickets in a line that attacker and victim share on purpose: rung, filled, forged,
//! removed, told rubbish. Order and wakes may suffer; patience, progress and the machine may not.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lockbydir_proof::scripted_worker::{ScriptedWorker, send};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};

use super::{ATTACKER, Ground, VICTIM, one_of};

/// Everybody may use the lock: attacks on a line need that.
const SHARED: &str = "mode=511";
/// More of a processor than this is no waiting.
const MOST_OF_A_PROCESSOR: f64 = 0.25;
/// Beside the work of reading thousands of tickets, a few times.
const READING: Duration = Duration::from_secs(1);
/// A lock that was released is had after so long by the only one who can take it.
const NOTICED: Duration = Duration::from_millis(1_500);
/// How long a wait may last beyond its patience: a second, and one for a busy machine.
const BEYOND: Duration = Duration::from_secs(2);
/// Who is not done so long after its patience hangs.
const HANGS: Duration = Duration::from_secs(5);

/// Time on a processor, so far.
fn worked(puppet: &mut ScriptedWorker) -> Duration {
    let pid = puppet.number("pid");
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("its times");
    Duration::from_nanos(text.split(' ').next().and_then(|text| text.parse().ok()).expect("a time"))
}

/// A ticket's name with this order, of this boot or of one long ago, whose maker is nobody.
fn ticket(order: u64, nonce: u32, is_of_this_boot: bool) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot");
    let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let boot = if is_of_this_boot { &boot } else { "0123456789abcdef" };
    format!("t1.{order}.{nonce:026}.5.{boot}.00000001.00000001.1-1.forged.-")
}

fn make_ticket(line: &Path, name: &str) {
    let path = line.join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("a ticket");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("a mode");
    chown(&path, Some(ATTACKER), Some(ATTACKER)).expect("root may give away");
}

/// A line of the attacker's.
fn make_line(ground: &Ground, mode: u32) -> std::path::PathBuf {
    let line = ground.stage.path("n.lockdir.queue");
    fs::create_dir(&line).expect("a line");
    fs::set_permissions(&line, fs::Permissions::from_mode(mode)).expect("a mode");
    chown(&line, Some(ATTACKER), Some(ATTACKER)).expect("root may give away");
    line
}

/// Prepares a line, and says what the attackers do.
type Prepare = fn(&Ground) -> Vec<Vec<String>>;

fn deed(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// One live ticket of the attacker's stands ahead of all.
fn live_one_ahead(ground: &Ground, mode: u32) -> Vec<String> {
    let line = make_line(ground, mode);
    make_ticket(&line, &ticket(5, 1, true));
    deed(&["hold", &format!("n.lockdir.queue/{}", ticket(5, 1, true))])
}

const THOUSANDS: &str = "thousands of an earlier boot are ahead";
const LINE: &str = "n.lockdir.queue";

const ATTACKS: [(&str, Prepare); 11] = [
    ("the bell is rung", |_| vec![deed(&["ring", LINE])]),
    ("the bell is full", |_| vec![deed(&["fill-bell", LINE])]),
    ("tickets are removed", |_| vec![deed(&["expel", LINE])]),
    ("tickets behind a live one are removed", |ground| {
        vec![live_one_ahead(ground, 0o777), deed(&["expel", LINE, "t1.5."])]
    }),
    ("a live one ahead says `first`", |ground| {
        vec![live_one_ahead(ground, 0o777), deed(&["say", LINE, "first\\n"])]
    }),
    ("a live one ahead says rubbish", |ground| {
        vec![live_one_ahead(ground, 0o777), deed(&["say", LINE, "\u{1b}[2J"])]
    }),
    ("a live one ahead says much", |ground| {
        vec![live_one_ahead(ground, 0o777), deed(&["say", LINE, &"behind\\n".repeat(5_000)])]
    }),
    (THOUSANDS, |ground| {
        let line = make_line(ground, 0o777);
        (0..9_000).for_each(|nth| make_ticket(&line, &ticket(5, nth, false)));
        Vec::new()
    }),
    ("one of an earlier boot is ahead and cannot be removed", |ground| {
        make_ticket(&make_line(ground, 0o1777), &ticket(5, 1, false));
        Vec::new()
    }),
    ("a dead one is ahead and cannot be removed", |ground| {
        make_ticket(&make_line(ground, 0o1777), &ticket(5, 1, true));
        Vec::new()
    }),
    ("a live one is ahead and cannot be removed", |ground| vec![live_one_ahead(ground, 0o1777)]),
];

/// Waits for a lock that stays held, and then for one that is released at half of its patience.
/// Tells what was wrong.
fn wait_under(what: &str, prepare: Prepare) -> Vec<String> {
    let patience = one_of(11);
    let options = format!("{SHARED} timeout_ms=600000 patience_ms={}", patience.as_millis());
    let ground = Ground::sticky();
    let name = ground.stage.path("n");
    let [mut holder, mut victim] = [(); 2].map(|()| {
        let mut puppet =
            ScriptedWorker::start_as(ground.programs.path().join("lockbydir-worker"), VICTIM);
        puppet.lock(&name, &options);
        puppet
    });
    holder.hold("acquire");
    let deeds = prepare(&ground);
    let attackers: Vec<_> = deeds
        .iter()
        .map(|deed| ground.attacker(&deed.iter().map(String::as_str).collect::<Vec<_>>()))
        .collect();

    let (begun, before) = (Instant::now(), worked(&mut victim));
    let number = u32::try_from(victim.number("pid")).expect("a process number");
    let in_time = Arc::new(AtomicBool::new(false));
    let watchman = {
        let (in_time, latest) = (Arc::clone(&in_time), begun + patience + HANGS);
        thread::spawn(move || {
            while Instant::now() < latest && !in_time.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10)); // how finely it looks
            }
            if !in_time.load(Ordering::Relaxed) {
                send(number, Signal::KILL);
            }
        })
    };
    victim.order("acquire");
    let answer = victim.answer();
    in_time.store(true, Ordering::Relaxed);
    watchman.join().expect("the watchman");
    let waited = begun.elapsed();
    let Some(answer) = answer else {
        return vec![format!("{what}: it did not end within {waited:.1?}")];
    };
    let work = worked(&mut victim) - before;
    let reading = if what == THOUSANDS { READING } else { Duration::ZERO };
    let share = work.saturating_sub(reading).as_secs_f64() / waited.as_secs_f64();

    let longer = format!("{SHARED} timeout_ms=600000 patience_ms=60000");
    victim.lock(&name, &longer);
    let begun = Instant::now();
    victim.order("acquire");
    thread::sleep(patience / 2); // not to synchronise: it is the attack that lasts so long
    holder.ask("release");
    let released = begun.elapsed();
    let then = victim.answer().expect("an answer");
    let got = begun.elapsed();

    let counts: Vec<u64> = attackers.into_iter().map(super::Attacker::end).collect();
    println!(
        "{what} ({counts:?} times): patience of {patience:?} was over after {waited:.2?}, {work:.2?} of \
         it worked; a lock released after {released:.2?} was had after {got:.2?}"
    );
    ground.assert_untouched();
    [
        (answer == "patience-over", answer),
        (waited < patience + BEYOND + reading, format!("waited {waited:?}")),
        (share < MOST_OF_A_PROCESSOR, format!("{share:.2} of a processor")),
        (then.starts_with("held "), then),
        (
            got < released + NOTICED + reading,
            format!("had only {:?} after its release", got - released),
        ),
        (counts.iter().all(|count| *count > 0), "nothing was attacked".to_owned()),
    ]
    .into_iter()
    .filter_map(|(is_good, what_is)| (!is_good).then(|| format!("{what}: {what_is}")))
    .collect()
}

#[test]
fn whatever_is_done_to_the_queue_patience_and_progress_hold() {
    let wrong: Vec<_> =
        ATTACKS.into_iter().flat_map(|(what, prepare)| wait_under(what, prepare)).collect();

    assert_eq!(wrong, Vec::<String>::new());
}
