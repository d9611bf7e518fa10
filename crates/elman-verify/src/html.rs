//! The report as one HTML file.

use std::fmt::Write as _;

use elman::Error;
use plotters::prelude::*;

use crate::report::{Against, Histogram, Report};

/// Several reports as one HTML page that needs nothing else: the outcome, the failures, the worst entry of
/// each tensor, and how the errors are distributed below what is allowed, as inline SVG.
///
/// # Errors
/// [`Error::Unsupported`] if a figure cannot be drawn.
pub fn html(reports: &[Report]) -> Result<String, Error> {
    let mut page = String::from(HEAD);
    for report in reports {
        section(&mut page, report)?;
    }
    page.push_str("</main></body></html>\n");
    Ok(page)
}

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>elman verify</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 0 }
main { max-width: 1060px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid #d0d7de; padding-top: 1rem }
.passed { color: #116329 } .failed { color: #a40e26 }
pre { background: #fff5f5; border-left: 3px solid #a40e26; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }
th, td { text-align: right; padding: .15rem .7rem; border-bottom: 1px solid #eaeef2 }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2), td:last-child, th:last-child { text-align: left }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: .8rem }
.figures svg { width: 100%; height: auto }
.note { color: #57606a; max-width: 46rem }
</style></head><body><main>
<h1>elman verify</h1>
<p class="note">Each figure counts the entries of one tensor, over all cases, by their error as a part of what is
allowed there, on logarithmic axes. The red line is what is allowed: a correct implementation stays left of it,
near it if the allowance is tight. Entries without any error are not drawn; their number is in the title.</p>
"#;

fn section(page: &mut String, report: &Report) -> Result<(), Error> {
    let (class, outcome) = match (report.passed(), report.failures.len()) {
        (true, _) => ("passed", "passed".to_string()),
        (false, 0) => ("failed", "nothing was checked".to_string()),
        (false, failures) => ("failed", format!("{failures} failed")),
    };
    let entries: usize = report.measurements.iter().map(|m| m.entries).sum();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<h2>{} ({}): <span class=\"{class}\">{outcome}</span></h2>\n<p>{} cases, {entries} entries, {} other \
         requirements, seed {}</p>\n",
        escape(&report.name),
        report.number,
        report.cases,
        report.requirements,
        report.seed
    );
    for failure in &report.failures {
        let _ = writeln!(page, "<pre>{}</pre>", escape(&failure.to_string()));
    }
    if report.measurements.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<table><tr><th>against</th><th>tensor</th><th>cases</th><th>entries</th><th>blind</th>\
         <th>worst error</th><th>allowed</th><th>ratio</th><th>where</th></tr>\n",
    );
    for line in report.summaries() {
        let worst = &line.worst.worst;
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1e}</td><td>{:.1e}</td>\
             <td>{:.4}</td><td>{:?} of {}</td></tr>",
            line.against,
            line.tensor,
            line.cases,
            line.entries,
            line.blind,
            (worst.found - worst.expected).abs(),
            worst.allowed,
            worst.ratio(),
            worst.index,
            escape(&line.worst.case)
        );
    }
    page.push_str("</table>\n<div class=\"figures\">\n");
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
        let area = SVGBackend::with_string(&mut svg, (400, 240)).into_drawing_area();
        let title = format!("{tensor} against {against} ({} without error)", histogram.exact);
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 14))
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
    Ok(svg)
}

fn said(error: impl std::error::Error) -> String {
    error.to_string()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
