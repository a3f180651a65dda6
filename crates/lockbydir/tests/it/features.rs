//! What the optional features add.

use std::time::Duration;

use lockbydir::{Error, Lock, Patience};

use crate::{impatient, secs};

#[cfg(feature = "serde")]
#[test]
fn a_key_and_a_status_survive_json() {
    use lockbydir::{Key, State, Status};

    let folder = tempfile::tempdir().unwrap();
    let guard = impatient(folder.path()).label("nightly").acquire().unwrap();

    let key = serde_json::to_string(&guard.key()).unwrap();
    let status = impatient(folder.path()).status().unwrap();
    let text = serde_json::to_value(&status).unwrap();

    assert_eq!(key, format!("\"{}\"", guard.key()));
    assert_eq!(serde_json::from_str::<Key>(&key).unwrap(), guard.key());
    let error = serde_json::from_str::<Key>("\"jobs\"").unwrap_err().to_string();
    assert!(error.contains("`jobs` is not a key"), "{error}");
    assert_eq!((text["state"].as_str(), status.state), (Some("held"), State::Held));
    assert_eq!(text["holder"]["label"], "nightly");
    assert_eq!(serde_json::from_value::<Status>(text).unwrap(), status);
}

#[test]
fn an_error_becomes_an_io_error_of_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let _guard = impatient(folder.path()).acquire().unwrap();
    let kind = |error: Error| std::io::Error::from(error).kind();

    let busy = impatient(folder.path()).acquire().unwrap_err();
    let missing = Lock::new(folder.path().join("none/jobs")).acquire().unwrap_err();
    let unnamed = Lock::new("").acquire().unwrap_err();

    let said = busy.to_string();
    let inside: std::io::Error = busy.into();
    assert_eq!((inside.kind(), inside.to_string()), (std::io::ErrorKind::TimedOut, said));
    assert_eq!(kind(missing), std::io::ErrorKind::NotFound);
    assert_eq!(kind(unnamed), std::io::ErrorKind::InvalidInput);
}

#[test]
fn patience_may_be_an_option() {
    assert_eq!(Patience::from(None::<Duration>), Patience::FOREVER);
    assert_eq!(Patience::from(Some(secs(3))), Patience::from(secs(3)));
}

#[cfg(feature = "tracing")]
#[test]
fn what_happens_is_reported_to_tracing() {
    use std::fmt::{Debug, Write};
    use std::sync::mpsc::{Sender, channel};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    /// Sends each event as text.
    struct Log(Sender<String>);
    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _ = write!(self.0, "{field}={value:?} ");
        }
    }

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut text = Text(format!("{} ", event.metadata().level()));
            event.record(&mut text);
            let _ = self.0.send(text.0);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    let folder = tempfile::tempdir().unwrap();
    let (sender, events) = channel();
    tracing::subscriber::set_global_default(Log(sender)).unwrap();
    // Other tests make events, too; and the timeout may be over before the acquisition is reported.
    let mut seen = Vec::new();
    let mut next = |what: &str| loop {
        let is_it = |event: &String| {
            event.contains(&folder.path().display().to_string()) && event.contains(what)
        };
        if let Some(found) = seen.iter().position(is_it) {
            return seen.remove(found);
        }
        seen.push(events.recv_timeout(secs(60)).expect(what));
    };

    let guard = impatient(folder.path()).timeout(Duration::from_millis(200)).acquire().unwrap();
    assert!(next("acquired").starts_with("DEBUG "));
    assert!(next("its timeout of 0.2 s is over").starts_with("WARN "));

    let second = impatient(folder.path()).patience(secs(60)).acquire().unwrap();
    assert!(next("acquired after expiry").starts_with("WARN "));
    second.release().unwrap();
    assert!(next("released").starts_with("DEBUG "));
    drop(guard);
}
