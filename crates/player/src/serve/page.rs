//! The page: its files assembled into one, with a nonce that names the style and script that may
//! run.

/// The page as it is sent.
pub(super) struct Page {
    pub(super) html: String,
    /// The content security policy.
    pub(super) policy: String,
}

/// The placeholders in `page/index.html`.
const STYLE: &str = "/*style*/";
const SCRIPT: &str = "/*script*/";
const NONCE: &str = "NONCE";

/// The parts of the script; each may use those before it.
const PARTS: [&str; 7] = [
    include_str!("page/words.js"),
    include_str!("page/state.js"),
    include_str!("page/cards.js"),
    include_str!("page/lanes.js"),
    include_str!("page/view.js"),
    include_str!("page/facts.js"),
    include_str!("page/main.js"),
];

/// Assembles a page for one viewer, with a fresh nonce.
pub(super) fn fresh() -> Page {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    let nonce: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let html = include_str!("page/index.html").replace(NONCE, &nonce);
    let html = html.replacen(STYLE, include_str!("page/style.css"), 1);
    let html = html.replacen(SCRIPT, &PARTS.concat(), 1);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; \
         connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    Page { html, policy }
}
