//! Figures on logarithmic axes, as SVG.

use plotters::prelude::*;

/// What is drawn of a [`Series`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line through the points.
    Line,
    /// The points, joined by a thin line.
    Points,
    /// The points alone, each with its number, from 1.
    Numbers,
}

/// A line or a set of points, with its name in the legend.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name; an empty one is not in the legend.
    pub name: String,
    /// Positive coordinates.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub mark: Mark,
    /// Which of the [`COLOURS`].
    pub colour: usize,
}

/// Colours that differ for most readers (Okabe and Ito).
pub const COLOURS: [(u8, u8, u8); 8] = [
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (120, 120, 120),
    (230, 159, 0),
    (86, 180, 233),
    (0, 0, 0),
];

/// A figure with both axes logarithmic.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Above it.
    pub title: String,
    /// What the x axis counts.
    pub x: String,
    /// What the y axis counts.
    pub y: String,
    /// Width and height.
    pub size: (u32, u32),
    /// What is drawn, in this order.
    pub series: Vec<Series>,
}

impl Figure {
    /// Draws it; the text is text, not curves.
    ///
    /// # Errors
    /// There is no point, or plotters refuses.
    pub fn svg(&self) -> Result<String, String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        if points().any(|(x, y)| !(x.is_finite() && y.is_finite() && *x > 0.0 && *y > 0.0)) {
            return Err(format!("{}: a logarithmic axis has no place for zero or less", self.title));
        }
        let range = |value: fn(&(f64, f64)) -> f64, below: f64, above: f64| {
            let least = points().map(value).fold(f64::INFINITY, f64::min);
            let most = points().map(value).fold(0.0, f64::max);
            (least.is_finite() && most > 0.0)
                .then(|| (least / below..most * above).log_scale())
                .ok_or_else(|| format!("{}: no point", self.title))
        };
        let (xs, ys) = (range(|point| point.0, 1.15, 1.15)?, range(|point| point.1, 1.5, 2.2)?);
        let said = |error: &dyn std::error::Error| format!("{}: {error}", self.title);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, self.size).into_drawing_area();
            area.fill(&WHITE).map_err(|e| said(&e))?;
            let named: Vec<&Series> = self.series.iter().filter(|series| !series.name.is_empty()).collect();
            let rows = named.len().div_ceil(2) as u32;
            let (above, legend) = area.split_vertically(self.size.1.saturating_sub(18 * rows + 6));
            let mut chart = ChartBuilder::on(&above)
                .caption(&self.title, ("sans-serif", 16))
                .margin(8)
                .margin_right(20)
                .x_label_area_size(38)
                .y_label_area_size(62)
                .build_cartesian_2d(xs, ys)
                .map_err(|e| said(&e))?;
            chart
                .configure_mesh()
                .light_line_style(WHITE.mix(0.0))
                .bold_line_style(RGBColor(225, 228, 232))
                .x_desc(&self.x)
                .y_desc(&self.y)
                .x_labels(8)
                .y_labels(8)
                .x_label_formatter(&|x| short(*x))
                .y_label_formatter(&|y| short(*y))
                .draw()
                .map_err(|e| said(&e))?;
            for series in &self.series {
                let (r, g, b) = COLOURS[series.colour % COLOURS.len()];
                let colour = RGBColor(r, g, b);
                let width = match series.mark {
                    Mark::Line => 2,
                    Mark::Points => 1,
                    Mark::Numbers => 0,
                };
                if width > 0 {
                    let line = PathElement::new(series.points.clone(), colour.stroke_width(width));
                    chart.draw_series([line]).map_err(|e| said(&e))?;
                }
                if series.mark != Mark::Line {
                    let dots = series.points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
                    chart.draw_series(dots).map_err(|e| said(&e))?;
                }
                if series.mark == Mark::Numbers {
                    let numbers = series.points.iter().enumerate().map(|(i, point)| {
                        EmptyElement::at(*point)
                            + Text::new(
                                format!("{}", i + 1),
                                (5, -13),
                                ("sans-serif", 12).into_font().color(&colour),
                            )
                    });
                    chart.draw_series(numbers).map_err(|e| said(&e))?;
                }
            }
            // Below, in two columns, where no line can run through it.
            for (i, series) in named.into_iter().enumerate() {
                let (x, y) = (62 + (i as i32 % 2) * (self.size.0 as i32 - 62) / 2, 9 + i as i32 / 2 * 18);
                let (r, g, b) = COLOURS[series.colour % COLOURS.len()];
                let colour = RGBColor(r, g, b);
                if series.mark != Mark::Numbers {
                    let line = PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
                    legend.draw(&line).map_err(|e| said(&e))?;
                }
                if series.mark != Mark::Line {
                    legend.draw(&Circle::new((x + 9, y), 3, colour.filled())).map_err(|e| said(&e))?;
                }
                let name = Text::new(series.name.as_str(), (x + 24, y - 7), ("sans-serif", 13));
                legend.draw(&name).map_err(|e| said(&e))?;
            }
            area.present().map_err(|e| said(&e))?;
        }
        Ok(svg)
    }
}

/// A number of an axis in few characters.
fn short(value: f64) -> String {
    for (limit, factor, unit) in [(1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")] {
        if value >= limit {
            return format!("{}{unit}", value / factor);
        }
    }
    let micro = format!("{value}");
    if micro.len() > 7 { format!("{value:e}") } else { micro }
}

/// The exponent `e` of the best fit `y = c · x^e`, by least squares of the logarithms; none of fewer than two
/// different x.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let logs = || points.iter().map(|(x, y)| (x.ln(), y.ln()));
    let (mean_x, mean_y) = (logs().map(|p| p.0).sum::<f64>() / n, logs().map(|p| p.1).sum::<f64>() / n);
    let spread: f64 = logs().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let common: f64 = logs().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (points.len() > 1 && spread > 0.0).then(|| common / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_is_found() {
        let cube: Vec<(f64, f64)> = [1.0f64, 2.0, 5.0, 40.0].map(|x| (x, 0.3 * x.powi(3))).to_vec();
        assert!((exponent(&cube).unwrap() - 3.0).abs() < 1e-12);
        assert!((exponent(&[(1.0, 7.0), (9.0, 7.0)]).unwrap()).abs() < 1e-12);
        assert_eq!(exponent(&[(2.0, 1.0), (2.0, 3.0)]), None);
        assert_eq!(exponent(&[]), None);
    }

    #[test]
    fn a_figure_shows_its_names_and_refuses_what_it_cannot_draw() {
        let series = |points: Vec<(f64, f64)>, mark| Series { name: "name".into(), points, mark, colour: 0 };
        let mut figure = Figure {
            title: "title".into(),
            x: "across".into(),
            y: "up".into(),
            size: (400, 300),
            series: vec![
                series(vec![(1.0, 2.0), (100.0, 50.0)], Mark::Line),
                series(vec![(10.0, 9.0)], Mark::Numbers),
            ],
        };
        let svg = figure.svg().unwrap();
        for part in ["title", "across", "up", "name", "<polyline", "<circle"] {
            assert!(svg.contains(part), "{part}");
        }
        figure.series.push(series(vec![(0.0, 1.0)], Mark::Points));
        assert!(figure.svg().unwrap_err().contains("title: a logarithmic axis"));
        figure.series.clear();
        assert!(figure.svg().unwrap_err().contains("no point"));
    }
}
