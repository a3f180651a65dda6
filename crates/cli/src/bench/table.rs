//! The report for people: aligned tables, with some weight and colour on a terminal.

use super::alone::CONTESTANTS;
use super::report::{After, Engine, Report, Spread};

/// Formats a time with three digits and a unit: `12.3 µs`.
pub(super) fn time(seconds: f64) -> String {
    let (number, unit) = match seconds.abs() {
        tiny if tiny < 999.5e-9 => (seconds * 1e9, "ns"),
        small if small < 999.5e-6 => (seconds * 1e6, "µs"),
        middle if middle < 999.5e-3 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    format!("{} {unit}", digits(number))
}

/// Formats a number with three digits.
fn digits(number: f64) -> String {
    match number.abs() {
        small if small < 9.995 => format!("{number:.2}"),
        middle if middle < 99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// Formats a number with its thousands separated: `12 345`.
pub(super) fn count(number: f64) -> String {
    let plain = format!("{number:.0}");
    let mut apart = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            apart.push(' ');
        }
        apart.push(digit);
    }
    apart
}

pub(super) fn bytes(number: u64) -> String {
    match number as f64 / 1024.0 {
        kib if kib < 1024.0 => format!("{} KiB", digits(kib)),
        kib => format!("{} MiB", digits(kib / 1024.0)),
    }
}

/// Formats how many times as long one time is as another.
pub(super) fn ratio(of: Option<f64>, to: Option<f64>) -> String {
    match (of, to) {
        (Some(of), Some(to)) if to > 0.0 => format!("{} x", digits(of / to)),
        _ => dash(),
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

pub(super) fn dash() -> String {
    "-".into()
}

/// One table as cells; the page shows the same.
pub(super) struct Table {
    pub(super) title: &'static str,
    /// What the numbers mean.
    pub(super) note: String,
    /// Names of groups of columns, and how many columns each spans; may be empty.
    pub(super) groups: Vec<(&'static str, usize)>,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

/// Returns all tables that have a row.
pub(super) fn tables(report: &Report) -> Vec<Table> {
    let all =
        [alone(report), handoff(report), throughput(report), waiting(report), recovery(report)];
    all.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn alone(report: &Report) -> Table {
    let row = |&(name, title): &(&str, &str)| {
        let cost = report.cost(name)?;
        Some(vec![
            title.to_owned(),
            time(cost),
            ratio(Some(cost), report.cost("flock")),
            ratio(Some(cost), report.cost("mkdir_rmdir")),
            ratio(Some(cost), report.cost("two_renames")),
            report.system_calls(name).map_or_else(dash, count),
        ])
    };
    Table {
        title: "Uncontended: acquire and release without contention",
        note: match &report.not_counted {
            None => {
                "median of interleaved rounds, and as a multiple of others; system calls by strace"
                    .into()
            }
            Some(why) => format!(
                "median of interleaved rounds, and as a multiple of others; system calls were not counted: {why}"
            ),
        },
        groups: Vec::new(),
        head: vec!["", "median", "of flock", "of mkdir", "of renames", "system calls"],
        rows: CONTESTANTS.iter().filter_map(row).collect(),
    }
}

/// Formats median, 90 %, 99 % and worst.
fn four(spread: Option<Spread>) -> [String; 4] {
    match spread {
        Some(spread) => [spread.median_s, spread.p90_s, spread.p99_s, spread.worst_s].map(time),
        None => [const { String::new() }; 4].map(|_| dash()),
    }
}

fn handoff(report: &Report) -> Table {
    let rows = report.crowds().into_iter().map(|waiters| {
        let mut row = vec![waiters.to_string()];
        for engine in Engine::ALL {
            row.extend(four(report.handoff(engine, waiters).map(|found| found.spread)));
        }
        for engine in Engine::ALL {
            let found = report.handoff(engine, waiters);
            row.push(found.map_or_else(dash, |found| found.overtaking.to_string()));
        }
        row
    });
    Table {
        title: "Handoff: from the release of one process to the next one's acquire",
        note: "overtaking: turns served before somebody who had asked clearly earlier".into(),
        groups: vec![("", 1), ("lockbydir", 4), ("flock", 4), ("overtaking", 2)],
        head: vec![
            "waiting", "median", "90 %", "99 %", "worst", "median", "90 %", "99 %", "worst",
            "ours", "flock",
        ],
        rows: rows.collect(),
    }
}

fn throughput(report: &Report) -> Table {
    let mut all: Vec<usize> = report.throughput.iter().map(|one| one.processes).collect();
    all.dedup();
    let rows = all.into_iter().map(|processes| {
        let mut row = vec![processes.to_string()];
        for engine in Engine::ALL {
            match report.throughput(engine, processes) {
                Some(found) => {
                    row.push(count(found.per_s));
                    row.push(count(found.fewest as f64));
                    row.push(count(found.most as f64));
                }
                None => row.extend([dash(), dash(), dash()]),
            }
        }
        row
    });
    Table {
        title: "Throughput: acquisitions a second, empty critical sections",
        note: "fewest, most: turns of the least and of the most served process".into(),
        groups: vec![("", 1), ("lockbydir", 3), ("flock", 3)],
        head: vec!["processes", "a second", "fewest", "most", "a second", "fewest", "most"],
        rows: rows.collect(),
    }
}

fn waiting(report: &Report) -> Table {
    let rows = report.waiting.iter().map(|found| {
        vec![
            found.waiters.to_string(),
            percent(found.cpu_s_per_s),
            percent(found.cpu_s_per_s / found.waiters as f64),
            bytes(found.rss_bytes),
            bytes(found.own_bytes),
        ]
    });
    Table {
        title: "Waiting: idle CPU and resident memory while one holds",
        note: "CPU of one core; memory of one process (median), and what of it is not shared"
            .into(),
        groups: Vec::new(),
        head: vec!["waiting", "CPU of all", "of each", "memory", "its own"],
        rows: rows.collect(),
    }
}

fn recovery(report: &Report) -> Table {
    let cases = [
        ("holder killed (kill -9)", After::Kill, Engine::Lockbydir),
        ("  the same with flock", After::Kill, Engine::Flock),
        ("timeout of a stopped holder passed", After::Expiry, Engine::Lockbydir),
    ];
    let row = |(title, after, engine): (&str, After, Engine)| {
        let spread = report.recovery(after, engine)?.spread;
        let [median, p90, _, worst] = four(Some(spread));
        Some(vec![title.to_owned(), median, p90, worst, spread.count.to_string()])
    };
    Table {
        title: "Recovery: until the next one holds",
        note: "from just before the kill, or from the moment at which the lock expires".into(),
        groups: Vec::new(),
        head: vec!["", "median", "90 %", "worst", "times"],
        rows: cases.into_iter().filter_map(row).collect(),
    }
}

/// Describes where it was measured.
pub(super) fn circumstances(report: &Report) -> String {
    format!(
        "lockbydir {} on {} ({}), {}, {} CPUs",
        report.version, report.dir, report.file_system, report.kernel, report.cpus
    )
}

/// Formats the whole report as text.
pub(super) fn table(report: &Report) -> String {
    let is_coloured = crate::render::has_colours();
    let style = |code: &str, text: &str| match is_coloured && !text.is_empty() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut out = format!("{}\n", style("2", &circumstances(report)));
    for table in tables(report) {
        out += &format!("\n{}\n", style("1", table.title));
        draw(&table, &style, &mut out);
        out += &format!("  {}\n", style("2", &table.note));
    }
    if !report.notes.is_empty() {
        out.push('\n');
    }
    for note in &report.notes {
        out += &format!("{} {note}\n", style("33", "note:"));
    }
    if !report.complete {
        out += &format!("\n{}\n", style("33", "Stopped before its end: this is what is known."));
    }
    out
}

fn draw(table: &Table, style: &dyn Fn(&str, &str) -> String, out: &mut String) {
    let width = |at: usize| {
        let cells = table.rows.iter().map(|row| row[at].chars().count());
        cells.chain([table.head[at].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    // A wider gap before each group.
    let mut starts = Vec::new();
    let mut column = 0;
    for (_, span) in &table.groups {
        starts.push(column);
        column += span;
    }
    let gap = |at: usize| match (at, starts.contains(&at)) {
        (0, _) => 2,
        (_, true) => 5,
        _ => 3,
    };
    let mut line = String::new();
    for ((title, span), start) in table.groups.iter().zip(&starts) {
        let inner: usize = (*start..start + span).map(|at| widths[at] + gap(at)).sum();
        let pad = inner - gap(*start);
        line += &format!("{}{title:<pad$}", " ".repeat(gap(*start)));
    }
    if !line.trim().is_empty() {
        *out += &format!("{}\n", style("36", line.trim_end()));
    }
    let head: Vec<String> = table.head.iter().map(|cell| (*cell).to_owned()).collect();
    for (nth, row) in std::iter::once(&head).chain(&table.rows).enumerate() {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[at] - cell.chars().count());
            let is_text = at == 0 && table.head[0].is_empty();
            line += &" ".repeat(gap(at));
            line += &if is_text { format!("{cell}{pad}") } else { format!("{pad}{cell}") };
        }
        let line = line.trim_end();
        *out += &format!("{}\n", if nth == 0 { style("36", line) } else { line.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0.00 ns"),
            (12.34e-6, "12.3 µs"),
            (999.9e-6, "1.00 ms"),
            (0.1234, "123 ms"),
            (2.0, "2.00 s"),
            (-0.0005, "-500 µs"),
        ];
        for (seconds, text) in cases {
            assert_eq!(time(seconds), text);
        }
        assert_eq!([count(999.0), count(1234567.0)], ["999", "1 234 567"]);
        assert_eq!(bytes(3 * 1024 * 1024), "3.00 MiB");
    }
}
