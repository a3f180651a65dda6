//! Plots as inline SVG, without scripts and styles: the page colours them by their classes.

use std::fmt::Write as _;

use super::report::{Engine, Report};
use super::table::{count, time};

/// The width of all plots in their own units; the page scales them.
const WIDTH: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 26.0;

/// A logarithmic axis over whole decades.
struct Decades {
    first: i32,
    last: i32,
}

impl Decades {
    /// Returns the axis that covers all positive ones of these numbers.
    fn over(numbers: impl Iterator<Item = f64>) -> Decades {
        let (mut least, mut most) = (f64::MAX, f64::MIN_POSITIVE);
        for number in numbers.filter(|number| *number > 0.0) {
            (least, most) = (least.min(number), most.max(number));
        }
        if least > most {
            (least, most) = (1.0, 1.0);
        }
        let first = least.log10().floor() as i32;
        Decades { first, last: (most.log10().ceil() as i32).max(first + 1) }
    }

    /// Returns the place of a number on the axis, from 0 to 1.
    fn at(&self, number: f64) -> f64 {
        let all = f64::from(self.last - self.first);
        ((number.max(f64::MIN_POSITIVE).log10() - f64::from(self.first)) / all).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|power| 10_f64.powi(power))
    }
}

fn open(height: f64, label: &str) -> String {
    let label = escaped(label);
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{label}\">\n")
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let words = escaped(words);
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>");
}

fn rule(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// Formats a power of ten: `10 µs`, `1 s`.
fn decade(seconds: f64) -> String {
    time(seconds).replace(".00", "").replace(".0", "")
}

/// Draws how handoff times are distributed: a row for each number of waiters, ours above its middle
/// line, flock below.
pub(super) fn distribution(report: &Report) -> String {
    const ROW: f64 = 62.0;
    const TOP: f64 = 8.0;
    const BINS: usize = 64;
    let crowds = report.crowds();
    let axis = Decades::over(report.handoff.iter().flat_map(|one| one.times.iter().copied()));
    let x = |share: f64| LEFT + share * (WIDTH - LEFT - RIGHT);
    let bottom = TOP + ROW * crowds.len() as f64;
    let mut svg = open(bottom + 40.0, "How handoff times are distributed, by number of waiters");
    for tick in axis.ticks() {
        let at = x(axis.at(tick));
        rule(&mut svg, "grid", (at, TOP), (at, bottom));
        text(&mut svg, "middle", at, bottom + 16.0, &decade(tick));
    }
    text(&mut svg, "middle axis", x(0.5), bottom + 35.0, "handoff time (logarithmic)");
    for (nth, &waiters) in crowds.iter().enumerate() {
        let middle = TOP + ROW * (nth as f64 + 0.5);
        text(&mut svg, "end", LEFT - 8.0, middle + 1.0, &waiters.to_string());
        text(&mut svg, "end small", LEFT - 8.0, middle + 14.0, "waiting");
        for (engine, sign) in [(Engine::Lockbydir, -1.0), (Engine::Flock, 1.0)] {
            let Some(found) = report.handoff(engine, waiters) else { continue };
            let mut bins = [0_u32; BINS];
            for &time in &found.times {
                bins[((axis.at(time) * BINS as f64) as usize).min(BINS - 1)] += 1;
            }
            let most = f64::from(bins.iter().copied().max().unwrap_or(1).max(1));
            let mut path = format!("M{:.1} {middle:.1}", x(0.0));
            for (bin, &many) in bins.iter().enumerate() {
                // A single outlier must be visible.
                let least = if many > 0 { 0.04 } else { 0.0 };
                let high = (f64::from(many) / most).max(least) * (ROW / 2.0 - 5.0);
                let (from, to) = (x(bin as f64 / BINS as f64), x((bin + 1) as f64 / BINS as f64));
                let y = middle + sign * high;
                let _ = write!(path, "L{from:.1} {y:.1}L{to:.1} {y:.1}");
            }
            let _ = write!(path, "L{:.1} {middle:.1}Z", x(1.0));
            let name = engine.name();
            let _ = writeln!(svg, "<path class=\"area {name}\" d=\"{path}\"/>");
            let median = x(axis.at(found.spread.median_s));
            let end = (median, middle + sign * (ROW / 2.0 - 4.0));
            rule(&mut svg, &format!("line {name}"), (median, middle), end);
        }
        rule(&mut svg, "base", (x(0.0), middle), (x(1.0), middle));
    }
    svg + "</svg>"
}

/// One line of a plot.
struct Series {
    class: String,
    points: Vec<(usize, f64)>,
}

/// Draws lines over numbers of processes, with both axes logarithmic.
fn lines(label: &str, below: &str, series: &[Series], tick_words: fn(f64) -> String) -> String {
    const TOP: f64 = 10.0;
    const BOTTOM: f64 = 230.0;
    let mut counts: Vec<usize> =
        series.iter().flat_map(|one| one.points.iter().map(|point| point.0)).collect();
    counts.sort_unstable();
    counts.dedup();
    let axis = Decades::over(series.iter().flat_map(|one| one.points.iter().map(|point| point.1)));
    let (first, last) = match (counts.first(), counts.last()) {
        (Some(first), Some(last)) => ((*first as f64).ln(), (*last as f64).ln()),
        _ => return String::new(),
    };
    let inset = 22.0;
    let x = |count: usize| match last > first {
        true => {
            let share = ((count as f64).ln() - first) / (last - first);
            LEFT + inset + share * (WIDTH - LEFT - RIGHT - 2.0 * inset)
        }
        false => (LEFT + WIDTH - RIGHT) / 2.0,
    };
    let y = |number: f64| BOTTOM - axis.at(number) * (BOTTOM - TOP);
    let mut svg = open(BOTTOM + 42.0, label);
    for tick in axis.ticks() {
        rule(&mut svg, "grid", (LEFT, y(tick)), (WIDTH - RIGHT, y(tick)));
        text(&mut svg, "end", LEFT - 6.0, y(tick) + 4.5, &tick_words(tick));
    }
    let mut free_from = 0.0;
    for &count in &counts {
        // In a long list of numbers, those without space are left out.
        if x(count) >= free_from {
            text(&mut svg, "middle", x(count), BOTTOM + 18.0, &count.to_string());
            free_from = x(count) + 30.0;
        }
    }
    text(&mut svg, "middle axis", (LEFT + WIDTH - RIGHT) / 2.0, BOTTOM + 37.0, below);
    for one in series {
        let points: Vec<String> =
            one.points.iter().map(|&(count, at)| format!("{:.1},{:.1}", x(count), y(at))).collect();
        let (class, points_text) = (&one.class, points.join(" "));
        let _ = writeln!(svg, "<polyline class=\"line {class}\" points=\"{points_text}\"/>");
        for &(count, at) in &one.points {
            let (x, y) = (x(count), y(at));
            let _ = writeln!(
                svg,
                "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.2\"/>"
            );
        }
    }
    svg + "</svg>"
}

/// Draws the handoff time against the number of waiters: the median, and dashed the 99th percentile.
pub(super) fn cost(report: &Report) -> String {
    let mut series = Vec::new();
    for engine in Engine::ALL {
        let of = |pick: fn(&super::report::Spread) -> f64| {
            let found = report.handoff.iter().filter(|one| one.engine == engine);
            found.map(|one| (one.waiters, pick(&one.spread))).collect::<Vec<_>>()
        };
        let name = engine.name();
        series.push(Series { class: name.into(), points: of(|spread| spread.median_s) });
        series.push(Series { class: format!("{name} dashed"), points: of(|spread| spread.p99_s) });
    }
    lines("Handoff time against the number of waiters", "processes waiting", &series, decade)
}

/// Draws the acquisitions a second against the number of processes.
pub(super) fn throughput(report: &Report) -> String {
    let series = Engine::ALL.map(|engine| Series {
        class: engine.name().into(),
        points: report
            .throughput
            .iter()
            .filter(|one| one.engine == engine)
            .map(|one| (one.processes, one.per_s))
            .collect(),
    });
    lines("Acquisitions a second against the number of processes", "processes", &series, count)
}

/// Draws the uncontended costs as bars on a logarithmic axis: on a linear one the dearest would hide the
/// others.
pub(super) fn bars(report: &Report) -> String {
    const ROW: f64 = 42.0;
    const INSET: f64 = 26.0;
    let mut axis = Decades::over(report.uncontended.iter().map(|one| one.spread.median_s));
    // Even the shortest bar is longer than one decade.
    axis.first -= 1;
    let x = |share: f64| INSET + share * (WIDTH - 2.0 * INSET);
    let bottom = ROW * report.uncontended.len() as f64;
    let mut svg = open(bottom + 24.0, "Acquire and release without contention");
    for tick in axis.ticks() {
        let at = x(axis.at(tick));
        rule(&mut svg, "grid", (at, 0.0), (at, bottom));
        text(&mut svg, "middle", at, bottom + 18.0, &decade(tick));
    }
    for (nth, one) in report.uncontended.iter().enumerate() {
        let top = ROW * nth as f64;
        let title = super::alone::CONTESTANTS.iter().find(|(name, _)| *name == one.name);
        text(&mut svg, "", x(0.0), top + 15.0, title.map_or(&one.name, |(_, title)| title));
        let calls = one.system_calls.map(|calls| format!(", {} calls", count(calls)));
        let cost = time(one.spread.median_s) + &calls.unwrap_or_default();
        text(&mut svg, "end", x(1.0), top + 15.0, &cost);
        let class = match one.name.as_str() {
            "flock" => "flock",
            name if name.starts_with("lockbydir") => "lockbydir",
            _ => "raw",
        };
        let (x, y, wide) = (x(0.0), top + 21.0, x(axis.at(one.spread.median_s)) - x(0.0));
        let _ = writeln!(
            svg,
            "<rect class=\"bar {class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"11\" rx=\"2\"/>"
        );
    }
    svg + "</svg>"
}

/// Escapes a text so that it is no markup, in attributes either.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_covers_whole_decades() {
        let axis = Decades::over([20e-6, 3e-3].into_iter());
        assert_eq!((axis.first, axis.last), (-5, -2));
        assert!((axis.at(1e-3) - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(
            axis.ticks().map(decade).collect::<Vec<_>>(),
            ["10 µs", "100 µs", "1 ms", "10 ms"]
        );
        let none = Decades::over([].into_iter());
        assert!(none.last > none.first);
    }
}
