//! The report as one page without scripts or parts from elsewhere; light or dark by the reader's
//! preference, and readable on a telephone.

use std::fmt::Write as _;

use super::plot::{self, escaped};
use super::report::{After, Engine, Report};
use super::table::{self, Table, bytes, circumstances, time};

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #fff; --ink: #1d2128; --soft: #626b78;
  --grid: #e4e2dc; --ours: #2257c9; --flock: #c2600b; --raw: #8a93a0; --warn: #9a5b00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --card: #1c2027; --ink: #e8eaee;
  --soft: #98a2b0; --grid: #2f353f; --ours: #85aaff; --flock: #f2a25c; --raw: #727c8b; --warn: #f0c070; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .2rem; line-height: 1.35; }
p { margin: .2rem 0; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
.soft { overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.tile, figure, section { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 1rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.25; white-space: nowrap; } .tile span { color: var(--soft); font-size: .85rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); gap: .8rem; align-items: start; }
figure { margin: 0; } svg { display: block; width: 100%; height: auto; margin-top: .6rem; }
section { margin-top: .8rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; margin: .5rem 0; min-width: min(100%, 30rem); }
th, td { text-align: right; padding: .28rem .7rem; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { color: var(--soft); font-weight: 500; } th.group { text-align: center; }
.text th:first-child, .text td:first-child { text-align: left; }
th:first-child, td:first-child { padding-left: 0; }
.whole { white-space: nowrap; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 3px; margin: 0 .3em; }
.key.lockbydir { background: var(--ours); } .key.flock { background: var(--flock); }
.note { color: var(--warn); overflow-wrap: anywhere; }
svg text { fill: var(--soft); font-size: 13px; paint-order: stroke; stroke: var(--card); stroke-width: 3px; } svg .small { font-size: 11px; } svg .axis { font-size: 12px; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--grid); } svg .base { stroke: var(--soft); stroke-width: .7; }
svg .lockbydir { --own: var(--ours); } svg .flock { --own: var(--flock); } svg .raw { --own: var(--raw); }
svg .area { fill: var(--own); fill-opacity: .35; stroke: var(--own); stroke-width: .6; }
svg .line { stroke: var(--own); stroke-width: 2; fill: none; } svg .line.dashed { stroke-dasharray: 5 4; stroke-width: 1.4; }
svg .dot, svg .bar { fill: var(--own); }
";

pub(super) fn page(report: &Report) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    let _ = writeln!(out, "<title>lockbydir bench: {}</title>", escaped(&report.dir));
    let _ = writeln!(out, "<style>{STYLE}</style>\n<main>\n<h1>lockbydir bench</h1>");
    let _ = writeln!(out, "<p class=\"soft\">{}</p>", escaped(&circumstances(report)));
    let _ = writeln!(
        out,
        "<p class=\"soft\">{}, each measure {} s. <span class=\"whole\"><span class=\"key lockbydir\"></span>lockbydir</span> \
         <span class=\"whole\"><span class=\"key flock\"></span>flock(2)</span>, in the same folder and run</p>",
        escaped(&report.at),
        report.measure_s
    );
    if !report.complete {
        out += "<p class=\"note\">Stopped before its end: this is what is known.</p>\n";
    }
    for note in &report.notes {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escaped(note));
    }
    tiles(report, &mut out);
    plots(report, &mut out);
    for table in table::tables(report) {
        section(&table, &mut out);
    }
    out + "</main>\n</html>\n"
}

/// Writes the most important numbers.
fn tiles(report: &Report, out: &mut String) {
    let mut tiles: Vec<(String, String)> = Vec::new();
    if let Some(cost) = report.cost("lockbydir") {
        tiles.push((time(cost), "acquire and release, alone".into()));
    }
    let crowd = report.crowds().into_iter().filter(|crowd| *crowd <= 8).max();
    let crowd = crowd.and_then(|crowd| report.handoff(Engine::Lockbydir, crowd));
    if let Some(found) = crowd {
        tiles.push((time(found.spread.median_s), format!("handoff, {} waiting", found.waiters)));
    }
    if let Some(found) = report.recovery(After::Kill, Engine::Lockbydir) {
        tiles.push((time(found.spread.median_s), "recovery from kill -9".into()));
    }
    if let Some(found) = report.waiting.last() {
        tiles.push((bytes(found.own_bytes), "memory of its own for a waiting process".into()));
    }
    if tiles.is_empty() {
        return;
    }
    *out += "<div class=\"tiles\">\n";
    for (number, words) in tiles {
        let (number, words) = (escaped(&number), escaped(&words));
        let _ = writeln!(out, "<div class=\"tile\"><b>{number}</b><span>{words}</span></div>");
    }
    *out += "</div>\n";
}

/// Whether its data are known, its title, its caption, and the function that draws it.
type Plot = (bool, &'static str, &'static str, fn(&Report) -> String);

fn plots(report: &Report, out: &mut String) {
    let has_crowds = !report.handoff.is_empty();
    let all: [Plot; 4] = [
        (
            has_crowds,
            "How handoff times are distributed",
            "Above each line lockbydir, below it flock; the stroke is the median.",
            plot::distribution,
        ),
        (
            has_crowds,
            "Handoff against the number of waiters",
            "Median, and dashed what 99 % stay below.",
            plot::cost,
        ),
        (
            !report.throughput.is_empty(),
            "Throughput: acquisitions a second",
            "Empty critical sections. flock keeps no queue: it serves whichever process asks at the right moment.",
            plot::throughput,
        ),
        (
            !report.uncontended.is_empty(),
            "Uncontended: acquire and release",
            "Medians of interleaved rounds, on a logarithmic scale; and the system calls of one.",
            plot::bars,
        ),
    ];
    *out += "<div class=\"plots\">\n";
    for (is_known, title, caption, draw) in all {
        if is_known {
            let _ = writeln!(
                out,
                "<figure><h2>{title}</h2><figcaption>{caption}</figcaption>\n{}</figure>",
                draw(report)
            );
        }
    }
    *out += "</div>\n";
}

fn section(table: &Table, out: &mut String) {
    let class = if table.head.first() == Some(&"") { " class=\"text\"" } else { "" };
    let _ = writeln!(
        out,
        "<section><h2>{}</h2>\n<div class=\"wide\"><table{class}>",
        escaped(table.title)
    );
    if !table.groups.is_empty() {
        *out += "<tr>";
        for (title, span) in &table.groups {
            let _ = write!(out, "<th class=\"group\" colspan=\"{span}\">{}</th>", escaped(title));
        }
        *out += "</tr>\n";
    }
    let row = |out: &mut String, tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        *out += "<tr>";
        for cell in cells {
            let _ = write!(out, "<{tag}>{}</{tag}>", escaped(cell.trim_start()));
        }
        *out += "</tr>\n";
    };
    row(out, "th", &mut table.head.iter().copied());
    for cells in &table.rows {
        row(out, "td", &mut cells.iter().map(String::as_str));
    }
    let _ =
        writeln!(out, "</table></div>\n<p class=\"soft\">{}</p></section>", escaped(&table.note));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<a b='\"&'>"), "&lt;a b=&#39;&quot;&amp;&#39;&gt;");
    }
}
