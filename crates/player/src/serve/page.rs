//! The page: its files put into one, with a number used once that names what of it may run.

/// As it is sent.
pub(super) struct Page {
    pub(super) html: String,
    /// What a browser may do with it.
    pub(super) policy: String,
}

/// What is where in `page/index.html`.
const STYLE: &str = "/*style*/";
const SCRIPT: &str = "/*script*/";
const NONCE: &str = "NONCE";

/// The script's parts, in the order in which they build on each other.
const PARTS: [&str; 7] = [
    include_str!("page/words.js"),
    include_str!("page/state.js"),
    include_str!("page/cards.js"),
    include_str!("page/lanes.js"),
    include_str!("page/view.js"),
    include_str!("page/facts.js"),
    include_str!("page/main.js"),
];

/// A page for one viewer.
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
