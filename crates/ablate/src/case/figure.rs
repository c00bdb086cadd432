//! Effects against scales as a figure.

use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::report::{CaseEffectRow, CaseReport};

/// Colours of nodes in the circuit and outside it: apart for colour-blind readers too.
const COLOURS: [(&str, RGBColor); 2] =
    [("in_circuit", RGBColor(213, 94, 0)), ("not_in_circuit", RGBColor(0, 114, 178))];

/// An SVG with one line a node: effect against scale, coloured by status. Scales are spaced evenly, as they are rarely
/// spread evenly.
///
/// # Errors
/// What cannot be drawn.
pub fn effects(report: &CaseReport) -> Result<String> {
    let mut text = String::new();
    crate::font::register()?;
    draw(report, &mut text)
        .map_err(|e| Error::argument(format!("cannot draw the effects: {e}"), "report this"))?;
    Ok(text)
}

fn draw(report: &CaseReport, text: &mut String) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut scales: Vec<f64> =
        report.rows.iter().flat_map(|r| r.effects.keys().filter_map(|s| s.parse().ok())).collect();
    scales.sort_by(f64::total_cmp);
    scales.dedup();
    let last = scales.len().saturating_sub(1).max(1) as f64;
    let area = SVGBackend::with_string(text, (900, 460)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("case {}: {}", report.case, report.ablation);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.2..last + 0.3 * last + 0.4, -0.03..1.03)?;
    let name = |x: &f64| {
        let i = x.round();
        let whole = (x - i).abs() < 1e-6 && i >= 0.0;
        scales.get(i as usize).filter(|_| whole).map_or(String::new(), ToString::to_string)
    };
    chart
        .configure_mesh()
        .x_labels(2 * scales.len().max(2))
        .x_label_formatter(&name)
        .x_desc("scale of the value put in place")
        .y_desc("share of changed outputs that come out wrong")
        .light_line_style(WHITE)
        .draw()?;
    let at = |row: &CaseEffectRow| -> Vec<(f64, f64)> {
        let point = |(i, s): (usize, &f64)| Some((i as f64, *row.effects.get(&s.to_string())?));
        scales.iter().enumerate().filter_map(point).collect()
    };
    for (status, colour) in COLOURS {
        for (i, row) in report.rows.iter().filter(|r| r.status == status).enumerate() {
            let series = chart.draw_series(LineSeries::new(at(row), colour.stroke_width(2)))?;
            if i == 0 {
                series
                    .label(status.replace('_', " "))
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            }
        }
    }
    for (row, x, end, y) in apart(report, &at) {
        let colour = COLOURS.iter().find(|(status, _)| *status == row.status).map_or(BLACK, |(_, c)| *c);
        chart.draw_series([PathElement::new([(x, end), (x + 0.03 * last, y)], colour.mix(0.4))])?;
        let style = ("sans-serif", 11).into_font().color(&colour);
        let place = (x + 0.035 * last, y + 0.014);
        chart.draw_series([Text::new(row.node.clone(), place, style)])?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(())
}

/// Rows with the end of their line and a height for their name, far enough from one another to be read.
fn apart<'r>(
    report: &'r CaseReport,
    at: &dyn Fn(&CaseEffectRow) -> Vec<(f64, f64)>,
) -> Vec<(&'r CaseEffectRow, f64, f64, f64)> {
    const GAP: f64 = 0.036;
    let mut names: Vec<_> =
        report.rows.iter().filter_map(|row| at(row).last().map(|&(x, y)| (row, x, y, y.min(1.0)))).collect();
    names.sort_by(|a, b| b.2.total_cmp(&a.2));
    let mut above = f64::INFINITY;
    for name in &mut names {
        name.3 = name.3.min(above - GAP);
        above = name.3;
    }
    // what was pushed below the axis pushes the others up again
    let mut below = -GAP;
    for name in names.iter_mut().rev() {
        name.3 = name.3.max(below + GAP);
        below = name.3;
    }
    names
}
