//! Tests of the etcd lab itself.

use std::{process::Stdio, sync::Arc};

use lockbydir_etcd_lab::{Certificates, Cluster, Options, Server, User};

#[test]
fn a_server_that_was_killed_comes_back_with_its_data() {
    let mut server = Server::start().expect("etcd");
    server.control(&["put", "a", "1"]).expect("a put");

    server.kill().expect("a kill");
    assert!(server.control(&["get", "a"]).is_err());
    server.restart().expect("a restart");

    assert_eq!(server.control(&["get", "a", "--print-value-only"]).expect("a get"), "1\n");
}

#[test]
fn a_server_with_tls_and_users_turns_all_others_away() {
    let certificates = Arc::new(Certificates::new().expect("certificates"));
    let options = Options {
        certificates: Some(Arc::clone(&certificates)),
        clients_certified: true,
        ..Options::default()
    };
    let mut server = Server::start_with(&options).expect("etcd");
    let [alice, bob] = ["alice", "bob"].map(|name| User { name, password: "x", prefix: name });
    server.require_users(&[alice, bob]).expect("users");

    let (certificate, key) = certificates.client();
    let by = |user: &str, key_file: &std::path::Path, of: &str| {
        let mut command = std::process::Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &server.endpoint()]);
        command.arg("--cacert").arg(certificates.authority());
        command.arg("--cert").arg(&certificate).arg("--key").arg(key_file);
        command.args(["--user", user, "put", of, "1"]).stderr(Stdio::null()).stdout(Stdio::null());
        command.status().expect("etcdctl").success()
    };

    assert!(by("alice:x", &key, "alice/a"));
    assert!(!by("alice:x", &key, "bob/a"));
    assert!(!by("alice:y", &key, "alice/a"));
    assert!(!by("alice:x", &certificates.server().1, "alice/a"));
    server.compact().expect("root may compact");
}

#[test]
fn a_cluster_replaces_a_stopped_killed_or_cut_off_leader() {
    let mut cluster = Cluster::in_namespaces(&Options::default()).expect("etcd, and root");

    let first = cluster.leader().expect("a leader");
    cluster.member(first).stop().expect("a stop");
    let second = cluster.leader().expect("another");
    assert_ne!(second, first);
    cluster.members()[second].control(&["put", "a", "1"]).expect("two are a majority");
    cluster.member(first).go_on().expect("it goes on");

    cluster.await_health().expect("all three");
    let second = cluster.leader().expect("a leader");
    cluster.cut(second).expect("a cut");
    let third = cluster.leader().expect("another");
    assert_ne!(third, second);
    let cut_off = cluster.members()[second].control(&["get", "a"]);
    assert!(cut_off.is_err(), "{cut_off:?}");
    cluster.heal(second).expect("it is healed");

    cluster.await_health().expect("all three");
    let third = cluster.leader().expect("a leader");
    cluster.member(third).kill().expect("a kill");
    let fourth = cluster.leader().expect("another");
    assert_ne!(fourth, third);
    cluster.member(third).restart().expect("it comes back");
    for member in cluster.members() {
        assert_eq!(member.control(&["get", "a", "--print-value-only"]).expect("a get"), "1\n");
    }
}

#[test]
fn a_cluster_on_loopback_is_gone_when_it_is_dropped() {
    let cluster = Cluster::on_loopback(&Options::default()).expect("etcd");
    let folder = cluster.members()[0].log();
    assert!(folder.exists());

    drop(cluster);

    assert!(!folder.exists());
}
