//! Lines and bars.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::Drawn;
use super::paint::{GREY, Ink, PALE, Pen, group, shown};
use crate::page::figure::{Bars, Lines, Rule, Series, number};

/// Longest name of a bar.
const NAME: usize = 30;
/// Height of a bar with its space.
const BAR: i32 = 20;
/// Standard errors on each side of a mean that hold it with 95 %.
const NORMAL: f64 = 1.96;

/// The smallest and largest of some numbers, a little apart where they are the same.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    if !low.is_finite() || !high.is_finite() {
        return (0.0, 1.0);
    }
    let room = if high > low { 0.06 * (high - low) } else { 0.5 + 0.1 * high.abs() };
    (low - room, high + room)
}

pub(super) fn lines<B: DrawingBackend>(lines: &Lines, area: &DrawingArea<B, Shift>, pen: Pen) -> Drawn
where
    B::ErrorType: 'static,
{
    let along = |x: f64| if lines.x_log { x.max(1e-9).log10() } else { x };
    let points = || lines.series.iter().flat_map(|s| &s.points);
    let heights = points().flat_map(|p| {
        let (low, high) = p.band.unwrap_or((p.y, p.y));
        [p.y, low, high]
    });
    let (low, high) = range(heights.chain(lines.rules.iter().map(|r| r.at)));
    let (left, right) = range(points().map(|p| along(p.x)));
    // room for names at the ends of lines, and behind them those of rules
    let right = right + 0.36 * (right - left);
    let label = |x: &f64| tick(lines, *x);
    let mut chart = ChartBuilder::on(area)
        .margin(pen.px(12))
        .margin_top(pen.px(56))
        .x_label_area_size(pen.px(44))
        .y_label_area_size(pen.px(64))
        .build_cartesian_2d(left..right, low..high)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(PALE.mix(0.5))
        .axis_style(GREY.stroke_width(pen.0 as u32))
        .x_labels(if lines.x_names.is_empty() { 10 } else { 2 * lines.x_names.len() })
        .x_label_formatter(&label)
        .y_label_formatter(&|y| tidy(*y))
        .x_desc(shown(&lines.x_label, 60))
        .y_desc(shown(&lines.y_label, 40))
        .label_style(pen.style(&Ink::label()))
        .axis_desc_style(pen.style(&Ink::small()))
        .draw()?;
    for (rule, label) in lines.rules.iter().zip(heights_of_labels(&lines.rules, 0.05 * (high - low))) {
        let ends = [(left, rule.at), (right, rule.at)];
        chart.draw_series([PathElement::new(ends.to_vec(), GREY.mix(0.7).stroke_width(pen.0 as u32))])?;
        let ink = Ink::small().at(HPos::Right, VPos::Bottom);
        chart.draw_series([Text::new(shown(&rule.name, 24), (right, label), pen.style(&ink))])?;
    }
    for (i, series) in lines.series.iter().enumerate() {
        let colour = group(&series.group, i);
        let at: Vec<(f64, f64)> = series.points.iter().map(|p| (along(p.x), p.y)).collect();
        if let Some(outline) = outline(series, along) {
            chart.draw_series([Polygon::new(outline, colour.mix(0.18))])?;
        }
        if series.group != "points" {
            chart.draw_series([PathElement::new(at.clone(), colour.stroke_width(2 * pen.0 as u32))])?;
        }
        let size = pen.px(if series.group == "points" { 3 } else { 2 });
        chart.draw_series(at.iter().map(|p| Circle::new(*p, size, colour.filled())))?;
    }
    for (series, i, (x, y)) in ends(lines, along, high - low) {
        let ink = Ink { colour: group(&series.group, i), ..Ink::small() }.at(HPos::Left, VPos::Center);
        chart.draw_series([Text::new(format!(" {}", shown(&series.name, 22)), (x, y), pen.style(&ink))])?;
    }
    Ok(())
}

/// The band of a line as a polygon, where it has one.
fn outline(series: &Series, along: impl Fn(f64) -> f64) -> Option<Vec<(f64, f64)>> {
    let bands: Vec<(f64, f64, f64)> =
        series.points.iter().filter_map(|p| p.band.map(|(l, h)| (along(p.x), l, h))).collect();
    let up = bands.iter().map(|b| (b.0, b.2));
    (bands.len() > 1).then(|| up.chain(bands.iter().rev().map(|b| (b.0, b.1))).collect())
}

/// Where labels of rules stand: at the rules, at least `gap` apart.
fn heights_of_labels(rules: &[Rule], gap: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..rules.len()).collect();
    order.sort_by(|a, b| rules[*b].at.total_cmp(&rules[*a].at));
    let mut out = vec![0.0; rules.len()];
    let mut above = f64::INFINITY;
    for i in order {
        above = rules[i].at.min(above - gap);
        out[i] = above;
    }
    out
}

/// A number of an axis, without needless zeros.
fn tidy(x: f64) -> String {
    let text = number(if x.abs() < 1e-12 { 0.0 } else { x });
    if text.contains('.') && !text.contains('e') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// Round numbers between two ends, about eight.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 8.0;
    let unit = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * unit).find(|s| *s >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|x| *x <= high).take(12).collect()
}

/// The name of a place on the x axis.
fn tick(lines: &Lines, x: f64) -> String {
    if lines.x_log {
        // whole powers only
        return if (x - x.round()).abs() < 1e-6 { tidy(10f64.powf(x)) } else { String::new() };
    }
    if lines.x_names.is_empty() {
        return tidy(x);
    }
    let i = x.round();
    let whole = (x - i).abs() < 1e-6 && i >= 0.0;
    lines.x_names.get(i as usize).filter(|_| whole).cloned().unwrap_or_default()
}

/// Where names of lines stand: at their ends, far enough from one another.
fn ends<'l>(
    lines: &'l Lines,
    along: impl Fn(f64) -> f64,
    height: f64,
) -> Vec<(&'l Series, usize, (f64, f64))> {
    if lines.series.len() < 2 {
        return Vec::new();
    }
    let end = |(i, s): (usize, &'l Series)| s.points.last().map(|p| (s, i, (along(p.x), p.y)));
    let mut out: Vec<_> = lines.series.iter().enumerate().filter_map(end).collect();
    out.sort_by(|a, b| b.2.1.total_cmp(&a.2.1));
    let mut above = f64::INFINITY;
    for (_, _, at) in &mut out {
        at.1 = at.1.min(above - 0.045 * height);
        above = at.1;
    }
    out
}

pub(super) fn bars_size(bars: &Bars) -> (u32, u32) {
    (900, (110 + BAR * bars.bars.len() as i32).max(180) as u32)
}

pub(super) fn bars<B: DrawingBackend>(bars: &Bars, area: &DrawingArea<B, Shift>, pen: Pen) -> Drawn
where
    B::ErrorType: 'static,
{
    let ends = bars.bars.iter().flat_map(|b| {
        let half = NORMAL * b.std_err.unwrap_or(0.0);
        [b.value - half, b.value + half]
    });
    let (low, high) = range(ends.chain([0.0]).chain(bars.rules.iter().map(|r| r.at)));
    let longest = bars.bars.iter().map(|b| b.name.chars().count().min(NAME)).max().unwrap_or(0) as i32;
    let (x0, x1) = (24 + 8 * longest, 810);
    let place = |v: f64| x0 + ((v - low) / (high - low) * f64::from(x1 - x0)).round() as i32;
    let top = 60;
    let bottom = top + BAR * bars.bars.len() as i32;
    for value in ticks(low, high) {
        pen.line(area, &[(place(value), top), (place(value), bottom)], PALE.mix(0.6), 1)?;
        pen.text(area, &tidy(value), (place(value), bottom + 6), &Ink::small().at(HPos::Center, VPos::Top))?;
    }
    for (i, bar) in bars.bars.iter().enumerate() {
        let y = top + BAR * i as i32;
        let colour = if bar.group.is_empty() {
            super::paint::colour(bar.value.signum(), 1.0)
        } else {
            group(&bar.group, 0)
        };
        let (from, to) = (place(0.0).min(place(bar.value)), place(0.0).max(place(bar.value)));
        pen.rect(area, (from, y + 3), ((to - from).max(1), BAR - 7), colour.filled())?;
        pen.text(
            area,
            &shown(&bar.name, NAME),
            (x0 - 8, y + BAR / 2),
            &Ink::label().at(HPos::Right, VPos::Center),
        )?;
        if let Some(error) = bar.std_err {
            let (l, h) = (place(bar.value - NORMAL * error), place(bar.value + NORMAL * error));
            pen.line(area, &[(l, y + BAR / 2 - 1), (h, y + BAR / 2 - 1)], BLACK.to_rgba(), 1)?;
        }
        pen.text(
            area,
            &number(bar.value),
            (x1 + 10, y + BAR / 2),
            &Ink::small().at(HPos::Left, VPos::Center),
        )?;
    }
    pen.line(area, &[(place(0.0), top), (place(0.0), bottom)], GREY.to_rgba(), 1)?;
    for rule in &bars.rules {
        let x = place(rule.at);
        pen.line(area, &[(x, top), (x, bottom)], GREY.to_rgba(), 1)?;
        pen.text(area, &rule.name, (x, top - 3), &Ink::small().at(HPos::Left, VPos::Bottom))?;
    }
    pen.text(area, &bars.value_label, (x0, bottom + 24), &Ink::small())
}
