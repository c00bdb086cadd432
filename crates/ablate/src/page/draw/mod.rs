//! Figures of a page as SVG and PNG, drawn by the same code.

mod charts;
mod grid;
mod layered;
mod paint;

use plotters::coord::Shift;
use plotters::prelude::*;

use self::paint::{Ink, Pen};
use super::figure::{Body, Figure};
use crate::error::{Error, Result};

/// Pixels of a PNG for one of the SVG's.
const PNG_SCALE: u32 = 2;

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Whether there is anything to draw; figures that are only tables are not drawn.
pub fn drawable(figure: &Figure) -> bool {
    !matches!(figure.body, Body::Table)
}

/// The figure as SVG.
///
/// # Errors
/// What cannot be drawn.
pub fn svg(figure: &Figure) -> Result<String> {
    crate::font::register()?;
    let (width, height) = size(figure);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        draw(figure, &area, Pen(1)).map_err(|e| cannot(figure, &*e))?;
    }
    Ok(text)
}

/// The figure as PNG, twice the SVG's pixels.
///
/// # Errors
/// As [`svg`].
pub fn png(figure: &Figure) -> Result<Vec<u8>> {
    crate::font::register()?;
    let (width, height) = size(figure);
    let (width, height) = (width * PNG_SCALE, height * PNG_SCALE);
    let mut pixels = vec![0; (width * height * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        draw(figure, &area, Pen(PNG_SCALE as i32)).map_err(|e| cannot(figure, &*e))?;
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut w| w.write_image_data(&pixels));
    written.map_err(|e| cannot(figure, &e))?;
    Ok(out)
}

fn cannot(figure: &Figure, why: &dyn std::error::Error) -> Error {
    Error::argument(format!("cannot draw {}: {why}", figure.id), "report this")
}

/// Width and height of the SVG.
fn size(figure: &Figure) -> (u32, u32) {
    match &figure.body {
        Body::Heat(heat) => grid::size(heat),
        Body::Bars(bars) => charts::bars_size(bars),
        Body::Graph(graph) => layered::size(graph),
        Body::Tree(tree) => layered::tree_size(tree),
        Body::Lines(_) | Body::Table => (900, 460),
    }
}

fn draw<B: DrawingBackend>(figure: &Figure, area: &DrawingArea<B, Shift>, pen: Pen) -> Drawn
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    pen.text(area, &figure.title, (12, 12), &Ink::title())?;
    pen.text(area, &format!("from {}", figure.source), (12, 34), &Ink::small())?;
    match &figure.body {
        Body::Heat(heat) => grid::draw(heat, area, pen)?,
        Body::Lines(lines) => charts::lines(lines, area, pen)?,
        Body::Bars(bars) => charts::bars(bars, area, pen)?,
        Body::Graph(graph) => layered::graph(graph, area, pen)?,
        Body::Tree(tree) => layered::tree(tree, area, pen)?,
        Body::Table => {}
    }
    area.present()?;
    Ok(())
}
