//! Attacks on bells and tickets in a queue that attacker and victim share on purpose: they are rung, filled,
//! forged, removed, or filled with garbage. Order and wake-ups may suffer; patience, progress and the machine
//! must not.

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
use lockbydir_testbed::needs;
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};

use super::{ATTACKER, Ground, VICTIM, one_of};

/// The mode by which everybody may use the lock: attacks on a queue need that.
const SHARED: &str = "mode=511";
/// The share of a processor above which a wait counts as busy.
const MOST_OF_A_PROCESSOR: f64 = 0.25;
/// The additional time for reading thousands of tickets a few times.
const READING: Duration = Duration::from_secs(1);
/// The time within which a released lock must be acquired by the only process that can take it.
const NOTICED: Duration = Duration::from_millis(1_500);
/// The time that a wait may last beyond its patience: a second, and another for a busy machine.
const BEYOND: Duration = Duration::from_secs(2);
/// The time after its patience at which a wait counts as hanging.
const HANGS: Duration = Duration::from_secs(5);

/// Returns the processor time of a worker so far.
fn worked(worker: &mut ScriptedWorker) -> Duration {
    let pid = worker.number("pid");
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("its times");
    Duration::from_nanos(text.split(' ').next().and_then(|text| text.parse().ok()).expect("a time"))
}

/// Returns a ticket's name with this order, of this boot or of one long ago, of no real process.
fn ticket(order: u64, nonce: u32, is_of_this_boot: bool) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot");
    let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let boot = if is_of_this_boot { &boot } else { "0123456789abcdef" };
    format!("t1.{order}.{nonce:026}.5.{boot}.00000001.00000001.1-1.forged.-")
}

fn make_ticket(queue: &Path, name: &str) {
    let path = queue.join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("a ticket");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("a mode");
    chown(&path, Some(ATTACKER), Some(ATTACKER)).expect("root may give away");
}

/// Makes a queue that belongs to the attacker.
fn make_queue(ground: &Ground, mode: u32) -> std::path::PathBuf {
    let queue = ground.stage.path("n.lockdir.queue");
    fs::create_dir(&queue).expect("a line");
    fs::set_permissions(&queue, fs::Permissions::from_mode(mode)).expect("a mode");
    chown(&queue, Some(ATTACKER), Some(ATTACKER)).expect("root may give away");
    queue
}

/// Prepares a queue, and returns the actions of the attackers.
type Prepare = fn(&Ground) -> Vec<Vec<String>>;

fn action(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Puts a live ticket of the attacker ahead of all others.
fn live_one_ahead(ground: &Ground, mode: u32) -> Vec<String> {
    let queue = make_queue(ground, mode);
    make_ticket(&queue, &ticket(5, 1, true));
    action(&["hold", &format!("n.lockdir.queue/{}", ticket(5, 1, true))])
}

const THOUSANDS: &str = "thousands of an earlier boot are ahead";
const QUEUE: &str = "n.lockdir.queue";

const ATTACKS: [(&str, Prepare); 11] = [
    ("the bell is rung", |_| vec![action(&["ring", QUEUE])]),
    ("the bell is full", |_| vec![action(&["fill-bell", QUEUE])]),
    ("tickets are removed", |_| vec![action(&["expel", QUEUE])]),
    ("tickets behind a live one are removed", |ground| {
        vec![live_one_ahead(ground, 0o777), action(&["expel", QUEUE, "t1.5."])]
    }),
    ("a live one ahead says `first`", |ground| {
        vec![live_one_ahead(ground, 0o777), action(&["say", QUEUE, "first\\n"])]
    }),
    ("a live one ahead says rubbish", |ground| {
        vec![live_one_ahead(ground, 0o777), action(&["say", QUEUE, "\u{1b}[2J"])]
    }),
    ("a live one ahead says much", |ground| {
        vec![live_one_ahead(ground, 0o777), action(&["say", QUEUE, &"behind\\n".repeat(5_000)])]
    }),
    (THOUSANDS, |ground| {
        let queue = make_queue(ground, 0o777);
        (0..9_000).for_each(|nth| make_ticket(&queue, &ticket(5, nth, false)));
        Vec::new()
    }),
    ("one of an earlier boot is ahead and cannot be removed", |ground| {
        make_ticket(&make_queue(ground, 0o1777), &ticket(5, 1, false));
        Vec::new()
    }),
    ("a dead one is ahead and cannot be removed", |ground| {
        make_ticket(&make_queue(ground, 0o1777), &ticket(5, 1, true));
        Vec::new()
    }),
    ("a live one is ahead and cannot be removed", |ground| vec![live_one_ahead(ground, 0o1777)]),
];

/// Waits for a lock that stays held, and then for one that is released at half of its patience. Returns the
/// faults.
fn wait_under(what: &str, prepare: Prepare) -> Vec<String> {
    let patience = one_of(11);
    let options = format!("{SHARED} timeout_ms=600000 patience_ms={}", patience.as_millis());
    let ground = Ground::sticky();
    let name = ground.stage.path("n");
    let [mut holder, mut victim] = [(); 2].map(|()| {
        let mut worker =
            ScriptedWorker::start_as(ground.programs.path().join("lockbydir-worker"), VICTIM);
        worker.lock(&name, &options);
        worker
    });
    holder.hold("acquire");
    let actions = prepare(&ground);
    let attackers: Vec<_> = actions
        .iter()
        .map(|action| ground.attacker(&action.iter().map(String::as_str).collect::<Vec<_>>()))
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
    thread::sleep(patience / 2); // not to synchronise: the length of the attack
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
fn attacks_on_the_queue_break_no_patience_and_no_progress() {
    needs!(AnotherUser);
    let wrong: Vec<_> =
        ATTACKS.into_iter().flat_map(|(what, prepare)| wait_under(what, prepare)).collect();

    assert_eq!(wrong, Vec::<String>::new());
}
