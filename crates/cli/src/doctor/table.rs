//! The doctor's report for people: a table as wide as the terminal, and a verdict. All that matters is
//! in words; colours only help.

use std::io::stdout;

use lockbydir::doctor::{Finding, Grade, Other, Report, Verdict};
use lockbydir::printable;

/// The width of a table in characters, where the terminal's width is unknown.
const WIDTH: usize = 80;
/// The least and the largest width of a table in characters: a narrower one cannot be read, and a
/// wider one is no easier to read.
const WIDTHS: (usize, usize) = (60, 140);
const GAP: usize = 2;

pub(super) fn table(report: &Report) -> String {
    let width = match terminal_size::terminal_size_of(stdout()) {
        Some((terminal_size::Width(columns), _)) if columns > 0 => usize::from(columns),
        _ => WIDTH,
    };
    draw(report, width.clamp(WIDTHS.0, WIDTHS.1), crate::render::has_colours())
}

fn draw(report: &Report, width: usize, is_coloured: bool) -> String {
    let style = |code: &str, text: &str| match is_coloured && !text.is_empty() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let widths = widths(&report.findings, width);
    let mut out = String::new();
    for line in wrapped(&circumstances(report), width) {
        out += &format!("{}\n", style("2", &line));
    }
    out.push('\n');
    let head = ["", "what was tried", "what was seen", "what it means for a lock"];
    out += &row(head.map(String::from), widths, |text, _| style("36", text));
    for finding in &report.findings {
        let (mark, colour) = mark(finding.grade);
        let Finding { tried, seen, meaning, .. } = finding;
        let cells = [mark.to_owned(), tried.clone(), seen.clone(), meaning.clone()];
        let is_problem = finding.grade > Grade::Untried;
        out += &row(cells, widths, |text, column| match column {
            0 => style(colour, text),
            2 if is_problem => style(colour, text),
            _ => text.to_owned(),
        });
    }
    out.push('\n');
    let (verdict, colour) = verdict(report);
    for line in wrapped(&verdict, width) {
        out += &format!("{}\n", style(colour, &line));
    }
    out
}

fn circumstances(report: &Report) -> String {
    let with = match report.other {
        Other::Host => "two hosts",
        Other::Process => "two processes",
        _ => "two threads",
    };
    format!(
        "lockbydir {}: {} ({}), tried by {with}",
        env!("CARGO_PKG_VERSION"),
        printable(&report.dir),
        report.file_system.kind
    )
}

/// Returns a word that is understood without colours, and the colour.
fn mark(grade: Grade) -> (&'static str, &'static str) {
    match grade {
        Grade::Good => ("ok", "32"),
        Grade::Remark => ("note", "33"),
        Grade::Fatal => ("BAD", "1;31"),
        _ => ("-", "2"),
    }
}

fn verdict(report: &Report) -> (String, &'static str) {
    let count = |grade| report.findings.iter().filter(|finding| finding.grade == grade).count();
    let of = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    match report.verdict() {
        Verdict::Safe => ("safe to lock in".into(), "1;32"),
        Verdict::SafeWithRemarks => {
            (format!("safe to lock in, with {}", of(count(Grade::Remark), "remark")), "1;33")
        }
        _ => {
            let faults = of(count(Grade::Fatal), "fault");
            (format!("not safe: {faults}; do not lock there"), "1;31")
        }
    }
}

/// Returns the widths of the columns: what they need, or shares of the width if it is too small.
fn widths(findings: &[Finding], width: usize) -> [usize; 4] {
    const MARK: usize = 4;
    let room = width - MARK - 3 * GAP;
    let longest = |text: fn(&Finding) -> &str, head: usize| {
        findings.iter().map(|finding| text(finding).chars().count()).max().unwrap_or(0).max(head)
    };
    let tried = longest(|finding| &finding.tried, 14).min(room * 29 / 100);
    let seen = longest(|finding| &finding.seen, 13).min(room * 31 / 100);
    [MARK, tried, seen, room - tried - seen]
}

/// Formats one row, with as many lines as its longest cell.
fn row(cells: [String; 4], widths: [usize; 4], style: impl Fn(&str, usize) -> String) -> String {
    let cells: Vec<Vec<String>> =
        cells.iter().zip(widths).map(|(cell, width)| wrapped(cell, width)).collect();
    let lines = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = String::new();
    for nth in 0..lines {
        // Blanks are written only before a text, so no line ends in blanks.
        let mut blanks = 0;
        for (column, cell) in cells.iter().enumerate() {
            let text = cell.get(nth).map_or("", String::as_str);
            if !text.is_empty() {
                out += &" ".repeat(blanks);
                out += &style(text, column);
                blanks = 0;
            }
            blanks += widths[column] - text.chars().count() + GAP;
        }
        out.push('\n');
    }
    out
}

/// Breaks a text into lines of this width, between words where possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_longer_than_a_line_are_split() {
        assert_eq!(wrapped("to be or not", 6), ["to be", "or not"]);
        assert_eq!(wrapped("a considerable word", 6), ["a", "consid", "erable", "word"]);
        assert_eq!(wrapped("", 6), Vec::<String>::new());
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_word_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let report = lockbydir::doctor::examine(folder.path()).unwrap();

        for width in [WIDTHS.0, 80, 120, WIDTHS.1] {
            let drawn = draw(&report, width, false);

            let widest = drawn.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{widest} of {width}:\n{drawn}");
            let words = |text: &str| text.split_whitespace().count();
            let all = report.findings.iter().map(|finding| {
                let Finding { tried, seen, meaning, .. } = finding;
                [tried, seen, meaning].map(|text| words(text)).iter().sum::<usize>()
            });
            assert!(words(&drawn) >= all.sum(), "{drawn}");
            assert!(drawn.lines().all(|line| line == line.trim_end()), "{drawn}");
        }
    }
}
