//! Tests of the NFS lab itself. One lab is booted for all of them, because that takes a while.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lockbydir_nfs_lab::{Ended, Lab, Name, Options};
use rustix::process::Signal;

/// The guests' agent, which also prints their shared clock.
const AGENT: &str = env!("CARGO_BIN_EXE_lockbydir-nfs-lab");

fn shell(lab: &Lab, name: Name, line: &str) -> String {
    lab.guest(name).shell(line).expect("the line runs")
}

/// Returns the shared clock and the guest's own, in seconds.
fn clocks(lab: &Lab, name: Name) -> [f64; 2] {
    let line = lab.guest(name).run(&["lockbydir-nfs-lab", "clock"]).expect("the guest has a clock");
    let mut words = line.split_whitespace().map(|word| word.parse().expect("a number"));
    [words.next().expect("one"), words.next().expect("another")]
}

fn each_guest_has_a_kernel_of_its_own(lab: &Lab) {
    let boot = |name| shell(lab, name, "cat /proc/sys/kernel/random/boot_id");

    assert_ne!(boot(Name::Client1), boot(Name::Client2));
    assert_ne!(boot(Name::Client1), boot(Name::Server));
}

fn each_client_sees_the_changes_of_the_other(lab: &Lab) {
    shell(lab, Name::Client1, "mkdir /n/shared; mv /n/shared /n/moved");

    assert_eq!(shell(lab, Name::Client2, "ls /n | grep moved"), "moved\n");
    shell(lab, Name::Client2, "rmdir /n/moved");
}

fn the_shared_clock_is_the_same_for_all_and_only_grows(lab: &Lab) {
    let mut last = 0.0;

    for name in [Name::Client1, Name::Client2, Name::Client1, Name::Server] {
        let [shared, _] = clocks(lab, name);

        assert!(shared > last, "{shared} s after {last} s");
        last = shared;
    }
}

fn earlier_output_is_received_when_a_signal_takes_effect(lab: &Lab) {
    let output = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&output);
    let on_output =
        move |bytes: &[u8], _| received.lock().expect("no panic").extend_from_slice(bytes);
    let command = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; done"];
    let mut process =
        lab.guest(Name::Client1).start(&command, Box::new(on_output)).expect("it starts");

    while output.lock().expect("no panic").is_empty() {
        std::thread::yield_now();
    }
    assert!(process.signal(Signal::STOP, Duration::from_secs(20)));
    let at_stop = output.lock().expect("no panic").len();
    let status =
        shell(lab, Name::Client1, &format!("cat /proc/{}/stat", process.pid().unwrap_or(0)));
    let later = output.lock().expect("no panic").len();
    process.signal(Signal::KILL, Duration::from_secs(20));

    assert!(status.contains(") T "), "{status}");
    assert!(at_stop > 0 && later == at_stop, "{later} bytes, and {at_stop} when it was stopped");
    assert_eq!(process.wait(Duration::from_secs(20)), Some(Ended::Code(128 + 9)));
}

fn a_frozen_guest_notices_how_much_time_has_passed(lab: &Lab) {
    let frozen = Duration::from_secs(3);
    let [shared, own] = clocks(lab, Name::Client1);

    lab.guest(Name::Client1).freeze().expect("it freezes");
    // Not to synchronise: it is frozen for this time.
    std::thread::sleep(frozen);
    lab.guest(Name::Client1).thaw().expect("it thaws");

    let [shared_then, own_then] = clocks(lab, Name::Client1);
    let (shared, own) = (shared_then - shared, own_then - own);
    assert!(shared >= frozen.as_secs_f64());
    assert!((shared - own).abs() < 0.05, "{own} s have passed there, {shared} s here");
}

fn a_guest_that_is_cut_off_receives_nothing(lab: &Lab) {
    let ping = || lab.guest(Name::Client2).shell("ping -c 1 -W 1 10.9.0.1").is_ok();

    lab.switch().cut(Name::Client2, true);
    let cut = ping();
    lab.switch().cut(Name::Client2, false);

    assert!(!cut && ping());
}

fn a_server_without_power_comes_back_with_its_disk(lab: &Lab) {
    shell(lab, Name::Client1, "echo kept > /n/kept");

    lab.guest(Name::Server).kill().expect("it was running");
    lab.boot(Name::Server).expect("it boots");

    assert_eq!(shell(lab, Name::Client2, "cat /n/kept"), "kept\n");
}

fn a_client_without_power_comes_back_and_mounts(lab: &Lab) {
    lab.guest(Name::Client2).kill().expect("it was running");
    lab.boot(Name::Client2).expect("it boots");

    assert_eq!(shell(lab, Name::Client2, "cat /n/kept"), "kept\n");
}

fn nothing_is_left_of_it(folder: &Path, lab: Lab) {
    drop(lab);

    let left = std::fs::read_dir(folder).expect("the folder is there").count();
    let running = Command::new("pgrep").arg("-f").arg(folder).output().expect("pgrep runs");
    assert_eq!((left, running.stdout.len()), (0, 0));
}

#[test]
fn a_lab_is_three_hosts_on_one_network() {
    assert!(Path::new(AGENT).exists());
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let options = Options { parent: Some(folder.path().to_owned()), ..Options::default() };
    let lab = Lab::start(&options).expect("a lab");
    lab.mount("vers=4.2").expect("a mount");

    let promises: [(&str, fn(&Lab)); 8] = [
        ("each guest has a kernel of its own", each_guest_has_a_kernel_of_its_own),
        ("what one client does the other sees", each_client_sees_the_changes_of_the_other),
        ("the shared clock only grows", the_shared_clock_is_the_same_for_all_and_only_grows),
        ("a signal is felt", earlier_output_is_received_when_a_signal_takes_effect),
        ("a frozen guest sees time pass", a_frozen_guest_notices_how_much_time_has_passed),
        ("a guest that is cut off receives nothing", a_guest_that_is_cut_off_receives_nothing),
        ("a server comes back", a_server_without_power_comes_back_with_its_disk),
        ("a client comes back", a_client_without_power_comes_back_and_mounts),
    ];
    for (promise, test) in promises {
        let begun = Instant::now();
        test(&lab);
        println!("{promise} ({:.1} s)", begun.elapsed().as_secs_f64());
    }
    nothing_is_left_of_it(folder.path(), lab);
}
