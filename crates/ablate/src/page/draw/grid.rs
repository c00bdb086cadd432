//! Grids of coloured cells.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::Drawn;
use super::paint::{Ink, Pen, colour, shown};
use crate::page::figure::{Heat, number};

/// Place of the first cell: room for title and names.
const TOP: i32 = 62;
/// Longest name of a row or column.
const NAME: usize = 18;

/// Width and height of a cell.
fn cell(heat: &Heat) -> (i32, i32) {
    let side = |n: usize, room: i32, least: i32, most: i32| (room / n.max(1) as i32).clamp(least, most);
    (side(heat.x.len(), 700, 14, 64), side(heat.y.len(), 620, 14, 34))
}

/// Room for the names of rows.
fn left(heat: &Heat) -> i32 {
    let longest = heat.y.iter().map(|n| n.chars().count().min(NAME)).max().unwrap_or(0) as i32;
    34 + 8 * longest
}

/// Room for the names of columns, which stand upright where they are long.
fn below(heat: &Heat) -> i32 {
    if upright(heat) {
        let longest = heat.x.iter().map(|n| n.chars().count().min(NAME)).max().unwrap_or(0) as i32;
        30 + 8 * longest
    } else {
        44
    }
}

fn upright(heat: &Heat) -> bool {
    let longest = heat.x.iter().map(|n| n.chars().count().min(NAME)).max().unwrap_or(0) as i32;
    8 * longest > cell(heat).0
}

pub(super) fn size(heat: &Heat) -> (u32, u32) {
    let (w, h) = cell(heat);
    let width = left(heat) + w * heat.x.len() as i32 + 200;
    let height = TOP + h * heat.y.len() as i32 + below(heat);
    (width.max(620) as u32, height.max(240) as u32)
}

pub(super) fn draw<B: DrawingBackend>(heat: &Heat, area: &DrawingArea<B, Shift>, pen: Pen) -> Drawn
where
    B::ErrorType: 'static,
{
    let (w, h) = cell(heat);
    let x0 = left(heat);
    let most = heat.cells.iter().fold(0.0_f64, |m, c| m.max(c.value.abs()));
    for cell in &heat.cells {
        let at = (x0 + w * cell.x as i32, TOP + h * cell.y as i32);
        pen.rect(area, at, (w - 1, h - 1), colour(cell.value, most).filled())?;
        if cell.marked {
            let frame = BLACK.stroke_width(2 * pen.0 as u32);
            pen.rect(area, (at.0 + 1, at.1 + 1), (w - 3, h - 3), frame)?;
        }
    }
    let row = Ink::label().at(HPos::Right, VPos::Center);
    let every = (14 / h.max(1)).max(1) as usize;
    for (i, name) in heat.y.iter().enumerate().filter(|(i, _)| i % every == 0) {
        pen.text(area, &shown(name, NAME), (x0 - 6, TOP + h * i as i32 + h / 2), &row)?;
    }
    let bottom = TOP + h * heat.y.len() as i32;
    for (i, name) in heat.x.iter().enumerate() {
        let x = x0 + w * i as i32 + w / 2;
        if upright(heat) {
            let ink = Ink::label().at(HPos::Right, VPos::Center);
            let style = pen.style(&ink).transform(FontTransform::Rotate270);
            area.draw(&Text::new(shown(name, NAME), pen.point((x, bottom + 5)), style))?;
        } else {
            pen.text(area, name, (x, bottom + 5), &Ink::label().at(HPos::Center, VPos::Top))?;
        }
    }
    let end = bottom + below(heat) - 18;
    let middle = x0 + w * heat.x.len() as i32 / 2;
    pen.text(area, &heat.x_label, (middle, end), &Ink::small().at(HPos::Center, VPos::Top))?;
    pen.text(area, &heat.y_label, (12, TOP - 14), &Ink::small())?;
    legend(heat, area, pen, (x0 + w * heat.x.len() as i32 + 20, TOP), most)
}

/// The scale, from the most to the least, with the values at its ends and middle.
fn legend<B: DrawingBackend>(
    heat: &Heat,
    area: &DrawingArea<B, Shift>,
    pen: Pen,
    (x, y): (i32, i32),
    most: f64,
) -> Drawn
where
    B::ErrorType: 'static,
{
    let steps = 40;
    let low = if heat.cells.iter().any(|c| c.value < 0.0) { -most } else { 0.0 };
    for i in 0..steps {
        let value = most + (low - most) * f64::from(i) / f64::from(steps - 1);
        pen.rect(area, (x, y + 3 * i), (14, 3), colour(value, most).filled())?;
    }
    let ink = Ink::label().at(HPos::Left, VPos::Center);
    for (at, value) in [(0, most), (60, f64::midpoint(most, low)), (120, low)] {
        pen.text(area, &number(value), (x + 20, y + at), &ink)?;
    }
    pen.text(area, &shown(&heat.value_label, 30), (x, y + 132), &Ink::small().at(HPos::Left, VPos::Top))
}
