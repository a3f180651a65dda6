//! Chromium, controlled by its own protocol over two pipes. This module knows nothing of the page.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// A browser with one page.
pub(crate) struct Page {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    /// The messages that were not answers to a call.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// The viewport and the preferences of a viewer.
#[derive(Clone, Copy)]
pub(crate) struct Looks {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) theme: &'static str,
    pub(crate) is_still: bool,
}

pub(crate) const DESKTOP: Looks =
    Looks { width: 1280, height: 800, theme: "light", is_still: false };
pub(crate) const NIGHT: Looks = Looks { theme: "dark", ..DESKTOP };
pub(crate) const PHONE: Looks = Looks { width: 360, height: 740, ..DESKTOP };

impl Page {
    /// Opens this address.
    pub(crate) fn open(url: &str, looks: Looks) -> Page {
        let profile = tempfile::tempdir().unwrap();
        // The protocol uses the descriptors 3 and 4.
        let script = "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", "--headless=new", "--no-sandbox", "--disable-gpu"]);
        command.args(["--remote-debugging-pipe", "--no-first-run", "--disable-extensions"]);
        command.args(["--disable-background-networking", "--disable-dev-shm-usage"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let to = child.stdin.take().unwrap();
        let mut pipe = BufReader::new(child.stdout.take().unwrap());
        let (sender, from) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while pipe.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let received: Value = serde_json::from_slice(&message).unwrap();
                if sender.send(received).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut page = Page {
            child,
            to,
            from,
            session: None,
            calls: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = page.call("Target.createTarget", json!({"url": "about:blank"}));
        let id = target["targetId"].clone();
        let attach = json!({"targetId": id, "flatten": true});
        let attached = page.call("Target.attachToTarget", attach);
        page.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Performance"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.look(looks);
        page.go("Page.navigate", json!({"url": url}));
        page
    }

    /// Reloads the page.
    pub(crate) fn reload(&mut self) {
        self.go("Page.reload", json!({}));
    }

    /// Navigates to another document, and waits until it is there: an earlier call would reach the
    /// previous document, or none.
    fn go(&mut self, method: &str, params: Value) {
        let before = self.events.len();
        self.call(method, params);
        let is_there = |event: &Value| {
            let url = &event["params"]["frame"]["url"];
            event["method"] == "Page.frameNavigated" && *url != "about:blank"
        };
        while !self.events[before..].iter().any(is_there) {
            let event = self.receive(method);
            self.events.push(event);
        }
    }

    pub(crate) fn look(&mut self, looks: Looks) {
        let Looks { width, height, theme, is_still } = looks;
        let is_small = width < 600;
        let size = json!({"width": width, "height": height, "mobile": is_small,
            "deviceScaleFactor": if is_small { 2 } else { 1 }});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let motion = if is_still { "reduce" } else { "no-preference" };
        let media = json!({"features": [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": motion}]});
        self.call("Emulation.setEmulatedMedia", media);
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut call = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        self.to.write_all(call.to_string().as_bytes()).unwrap();
        self.to.write_all(b"\0").unwrap();
        loop {
            let mut message = self.receive(method);
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// Receives the next message; `method` is the call that waits for it.
    fn receive(&self, method: &str) -> Value {
        let message = self.from.recv_timeout(Duration::from_secs(90));
        message.unwrap_or_else(|_| panic!("Chromium does not answer {method}"))
    }

    /// Returns the value of an expression in the page.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let ask = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut done = self.call("Runtime.evaluate", ask);
        let failed = &done["exceptionDetails"];
        assert!(failed.is_null(), "{expression}: {failed}");
        done["result"]["value"].take()
    }

    #[track_caller]
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({selector:?})?.textContent"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(crate) fn see(&mut self, expression: &str) {
        let wait = format!(
            "new Promise((done) => {{
               const end = Date.now() + 60000;
               const look = () => {{
                 let is = false;
                 try {{ is = Boolean({expression}); }} catch (error) {{ is = false; }}
                 if (is || Date.now() > end) done(is);
                 else setTimeout(look, 20);
               }};
               look();
             }})"
        );
        if self.eval(&wait) != true {
            let text = self.eval("document.body?.innerText");
            panic!("not within a minute: {expression}\n{text}");
        }
    }

    /// Presses a key, such as `Enter` or `l`, optionally with `Shift+` before it.
    pub(crate) fn press(&mut self, key: &str) {
        let (modifiers, key) = match key.strip_prefix("Shift+") {
            Some(key) => (8, key),
            None => (0, key),
        };
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            " " => 32,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            other => u32::from(other.to_ascii_uppercase().as_bytes()[0]),
        };
        let text = match key {
            "Enter" => "\r",
            one if one.len() == 1 => one,
            _ => "",
        };
        let event = json!({"type": "keyDown", "key": key, "text": text, "modifiers": modifiers,
            "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", event);
        let event = json!({"type": "keyUp", "key": key, "modifiers": modifiers,
            "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Sends a mouse event of this kind at a point: `mouseMoved`, `mousePressed` or `mouseReleased`.
    pub(crate) fn mouse(&mut self, kind: &str, x: f64, y: f64) {
        let buttons = u8::from(kind != "mouseReleased");
        let event = json!({"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1,
            "buttons": buttons});
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Returns the seconds that the page has worked: in all, and in its script.
    pub(crate) fn worked(&mut self) -> (f64, f64) {
        let metrics = self.call("Performance.getMetrics", json!({}));
        let of = |name: &str| {
            let all = metrics["metrics"].as_array().unwrap().iter();
            all.filter(|one| one["name"] == name).filter_map(|one| one["value"].as_f64()).sum()
        };
        (of("TaskDuration"), of("ScriptDuration"))
    }

    /// Saves a picture of the page in `target/page`, for people to look at.
    pub(crate) fn picture(&mut self, name: &str) {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("page");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), decoded(shot["data"].as_str().unwrap()))
            .unwrap();
    }

    /// Returns the errors that the page reported, and its requests to other servers.
    fn faults(&self, url: &str) -> Vec<String> {
        let fault = |event: &Value| {
            let params = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" => Some(params.to_string()),
                "Runtime.consoleAPICalled" => Some(params["args"].to_string()),
                // The browser itself logs that a server is unreachable.
                "Log.entryAdded" if params["entry"]["source"] != "network" => {
                    Some(params["entry"].to_string())
                }
                "Network.requestWillBeSent" => {
                    let asked = params["request"]["url"].as_str().unwrap_or_default();
                    let is_ours = asked.starts_with(url) || asked.starts_with("data:");
                    (!is_ours).then(|| format!("asks for {asked}"))
                }
                _ => None,
            }
        };
        self.events.iter().filter_map(fault).collect()
    }

    /// Asserts that the page reported no error, and sent requests to our server only.
    #[track_caller]
    pub(crate) fn was_fine(mut self, url: &str) {
        // All events up to now arrive before this answer.
        self.eval("1");
        let asked =
            self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        assert!(asked.count() >= 2, "requests are seen at all");
        assert_eq!(self.faults(url), Vec::<String>::new());
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Decodes base64, the format of pictures.
fn decoded(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let text: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(value).collect();
    let chunk = |four: &[u8]| {
        let bits = four.iter().fold(0_u32, |bits, six| bits << 6 | u32::from(*six));
        let bits = bits << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    text.chunks(4).flat_map(chunk).collect()
}
