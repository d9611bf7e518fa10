//! The report as one HTML file.

use std::fmt::Write as _;

use elman::Error;
use plotters::prelude::*;

use crate::report::{Against, Histogram, Report, SameBits};

/// Several reports as one HTML page that needs nothing else: the verdict and the contents, then for each report the
/// outcome, the failures, the worst entry of each tensor, and how the errors are distributed below what is allowed, as
/// inline SVG. The page follows the reader's light or dark scheme and the width of the screen.
///
/// # Errors
/// [`Error::Unsupported`] if a figure cannot be drawn.
pub fn html(reports: &[Report]) -> Result<String, Error> {
    let mut page = String::from(HEAD);
    contents(&mut page, reports);
    for (number, report) in reports.iter().enumerate() {
        section(&mut page, number, report)?;
    }
    page.push_str("</main></body></html>\n");
    Ok(page)
}

/// The class of a report's outcome in the style.
fn class(report: &Report) -> &'static str {
    if report.passed() { "passed" } else { "failed" }
}

/// The verdict over all reports, and a link to each.
fn contents(page: &mut String, reports: &[Report]) {
    let failed = reports.iter().filter(|report| !report.passed()).count();
    let (colour, verdict) = match (reports.len(), failed) {
        (0, _) => ("failed", "nothing was checked".to_string()),
        (all, 0) => ("passed", format!("passed: all of {all} reports")),
        (all, failed) => ("failed", format!("FAILED: {failed} of {all} reports")),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(page, "<p class=\"verdict {colour}\">{verdict}</p>\n<ul>");
    for (number, report) in reports.iter().enumerate() {
        let _ = writeln!(
            page,
            "<li><a href=\"#report{number}\">{}</a>: <span class=\"{}\">{}</span></li>",
            escape(&report.title()),
            class(report),
            report.outcome()
        );
    }
    page.push_str("</ul>\n");
    page.push_str(ABOUT);
}

const ABOUT: &str = "<p>This page shows how near an implementation of the network comes to what it may differ from the \
    definition. Each entry of each gradient, probability and state was compared with the reference, with finite \
    differences or with dual numbers; how much rounding may change it was derived beforehand. <b>Ratio</b> is the error as a \
    part of what is allowed: above 1 is a mistake. <b>Blind</b> counts entries that a comparison cannot judge, because its own \
    error is as large as they are. <b>Bits</b> is the number of \
    effective binary digits in the median case: the largest error in units of the tensor's largest entry.</p>\n\
    <p>Each figure counts the entries of one tensor, over all cases, by their error as a part of what is allowed there, on \
    logarithmic axes. The red line is what is allowed: a correct implementation stays left of it, near it if the allowance \
    is tight. Entries without any error are not drawn; their number is in the title.</p>\n";

const HEAD: &str = r##"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>elman verify</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --line: #d0d7de; --thin: #eaeef2;
  --passed: #116329; --failed: #a40e26; --quote: #fff5f5; --bar: #0969da; --limit: #d1242f }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --paper: #0d1117; --line: #3d444d;
  --thin: #262c36; --passed: #56d364; --failed: #ff7b72; --quote: #2a1215; --bar: #58a6ff; --limit: #ff7b72 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 }
main { max-width: 1060px; margin: 2rem auto; padding: 0 1rem }
a { color: var(--bar) }
h1 { font-size: 1.5rem }
h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; overflow-wrap: anywhere }
p { max-width: 46rem }
.verdict { font-size: 1.2rem; font-weight: bold } .passed { color: var(--passed) } .failed { color: var(--failed) }
pre { background: var(--quote); border-left: 3px solid var(--failed); padding: .6rem; white-space: pre-wrap;
  overflow-wrap: anywhere }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }
th, td { text-align: right; padding: .15rem .7rem; border-bottom: 1px solid var(--thin); white-space: nowrap }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2), td:last-child, th:last-child { text-align: left }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: .8rem }
figure { margin: 0 } figcaption { font-size: .9rem; padding-left: .4rem }
svg { display: block; width: 100%; height: auto }
svg text { fill: var(--ink) }
svg [stroke="#000000"] { stroke: var(--soft) }
svg [stroke="#FF0000"] { stroke: var(--limit) } svg [fill="#FF0000"] { fill: var(--limit) }
svg [fill="#0969DA"] { fill: var(--bar) }
@media (max-width: 600px) { main { margin: 1rem auto } th, td { padding: .15rem .4rem } }
</style></head><body><main>
<h1>elman verify</h1>
"##;

fn section(page: &mut String, number: usize, report: &Report) -> Result<(), Error> {
    let entries: usize = report.measurements.iter().map(|m| m.entries).sum();
    let _ = write!(
        page,
        "<h2 id=\"report{number}\">{}: <span class=\"{}\">{}</span></h2>\n<p>{} cases, {entries} entries, {} other \
         requirements, seed {}</p>\n",
        escape(&report.title()),
        class(report),
        report.outcome(),
        report.cases,
        report.requirements,
        report.seed
    );
    for (kind, SameBits { same, compared }) in &report.bits {
        let _ = writeln!(page, "<p>Same bits, {kind}: {same} of {compared} tensors.</p>");
    }
    for failure in &report.failures {
        let _ = writeln!(page, "<pre>{}</pre>", escape(&failure.to_string()));
    }
    if report.measurements.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<div class=\"wide\"><table><tr><th>against</th><th>tensor</th><th>cases</th><th>entries</th><th>blind</th>\
         <th>bits</th><th>worst error</th><th>allowed</th><th>ratio</th><th>where</th></tr>\n",
    );
    for line in report.summaries() {
        let worst = &line.worst.worst;
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1e}</td><td>{:.1e}</td>\
             <td>{:.4}</td><td>{:?} of {}</td></tr>",
            line.against,
            line.tensor,
            line.cases,
            line.entries,
            line.blind,
            line.bits.map_or("-".to_string(), |bits| format!("{bits:.1}")),
            (worst.found - worst.expected).abs(),
            worst.allowed,
            worst.ratio(),
            worst.index,
            escape(&line.worst.case)
        );
    }
    page.push_str("</table></div>\n<div class=\"figures\">\n");
    for ((against, tensor), histogram) in &report.histograms {
        page.push_str(&figure(*against, tensor, histogram)?);
    }
    page.push_str("</div>\n");
    Ok(())
}

fn figure(against: Against, tensor: &str, histogram: &Histogram) -> Result<String, Error> {
    draw(against, tensor, histogram).map_err(|error| Error::Unsupported {
        what: format!("figure of {tensor}"),
        expected: "one that can be drawn".to_string(),
        found: error,
    })
}

fn draw(against: Against, tensor: &str, histogram: &Histogram) -> Result<String, String> {
    let most = histogram.counts.iter().max().copied().unwrap_or(0).max(1) as f64;
    let (from, to) = (Histogram::lower(0), Histogram::lower(Histogram::BINS));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (400, 220)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .margin_right(14)
            .x_label_area_size(34)
            .y_label_area_size(44)
            .build_cartesian_2d(from..to, (0.5..most * 2.0).log_scale())
            .map_err(said)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_desc("error / allowed")
            .x_labels(6)
            .x_label_formatter(&|x| format!("1e{x:.0}"))
            .y_labels(5)
            .y_label_formatter(&|y| if *y < 1e4 { format!("{y:.0}") } else { format!("{y:.0e}") })
            .draw()
            .map_err(said)?;
        let bars =
            histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bin, count)| {
                let colour = if Histogram::lower(bin) >= 0.0 { RED } else { RGBColor(9, 105, 218) };
                let corners = [(Histogram::lower(bin), 0.5), (Histogram::lower(bin + 1), *count as f64)];
                Rectangle::new(corners, colour.filled())
            });
        chart.draw_series(bars).map_err(said)?;
        let limit = [(0.0, 0.5), (0.0, most * 2.0)];
        chart.draw_series([PathElement::new(limit, RED.stroke_width(2))]).map_err(said)?;
        area.present().map_err(said)?;
    }
    Ok(format!(
        "<figure><figcaption>{tensor} against {against} ({} without error)</figcaption>{svg}</figure>\n",
        histogram.exact
    ))
}

fn said(error: impl std::error::Error) -> String {
    error.to_string()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
