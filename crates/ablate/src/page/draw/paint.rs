//! Pens, inks and colours: apart for colour-blind readers too, values centred at 0.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// How many pixels a unit of the drawing has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pen(pub(super) i32);

/// How a text looks.
#[derive(Clone, Copy)]
pub(super) struct Ink {
    pub(super) size: i32,
    pub(super) colour: RGBColor,
    pub(super) across: HPos,
    pub(super) down: VPos,
}

/// Of the circuit; also what supports the behaviour.
pub(super) const IN: RGBColor = RGBColor(179, 88, 6);
/// Outside of it; also what works against the behaviour.
pub(super) const OUT: RGBColor = RGBColor(33, 102, 172);
pub(super) const GREY: RGBColor = RGBColor(90, 90, 96);
pub(super) const PALE: RGBColor = RGBColor(205, 205, 210);
/// Nothing, on the scale between the two.
const MIDDLE: RGBColor = RGBColor(247, 247, 247);
/// Lines without a group, one after the other.
pub(super) const SERIES: [RGBColor; 4] =
    [RGBColor(33, 102, 172), RGBColor(179, 88, 6), RGBColor(0, 128, 98), RGBColor(120, 60, 150)];

impl Ink {
    pub(super) fn label() -> Self {
        Self { size: 12, colour: RGBColor(40, 40, 44), across: HPos::Left, down: VPos::Top }
    }

    pub(super) fn title() -> Self {
        Self { size: 16, ..Self::label() }
    }

    pub(super) fn small() -> Self {
        Self { size: 11, colour: GREY, ..Self::label() }
    }

    pub(super) fn at(self, across: HPos, down: VPos) -> Self {
        Self { across, down, ..self }
    }
}

impl Pen {
    /// A number of units in pixels.
    pub(super) fn px(self, units: i32) -> i32 {
        units * self.0
    }

    pub(super) fn point(self, (x, y): (i32, i32)) -> (i32, i32) {
        (self.px(x), self.px(y))
    }

    pub(super) fn style(self, ink: &Ink) -> TextStyle<'static> {
        ("sans-serif", f64::from(self.px(ink.size)))
            .into_font()
            .color(&ink.colour)
            .pos(Pos::new(ink.across, ink.down))
    }

    pub(super) fn text<B: DrawingBackend>(
        self,
        area: &DrawingArea<B, Shift>,
        text: &str,
        at: (i32, i32),
        ink: &Ink,
    ) -> super::Drawn
    where
        B::ErrorType: 'static,
    {
        area.draw(&Text::new(shown(text, 110), self.point(at), self.style(ink)))?;
        Ok(())
    }

    pub(super) fn line<B: DrawingBackend>(
        self,
        area: &DrawingArea<B, Shift>,
        points: &[(i32, i32)],
        colour: RGBAColor,
        width: u32,
    ) -> super::Drawn
    where
        B::ErrorType: 'static,
    {
        let points: Vec<_> = points.iter().map(|p| self.point(*p)).collect();
        area.draw(&PathElement::new(points, colour.stroke_width(width * self.0 as u32)))?;
        Ok(())
    }

    pub(super) fn rect<B: DrawingBackend>(
        self,
        area: &DrawingArea<B, Shift>,
        (x, y): (i32, i32),
        (width, height): (i32, i32),
        style: impl Into<ShapeStyle>,
    ) -> super::Drawn
    where
        B::ErrorType: 'static,
    {
        area.draw(&Rectangle::new([self.point((x, y)), self.point((x + width, y + height))], style))?;
        Ok(())
    }
}

/// The text, cut short where it is long, line breaks and control characters as spaces.
pub(super) fn shown(text: &str, most: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if plain.chars().count() <= most {
        return plain;
    }
    plain.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The colour of a value where the largest |value| is `most`.
pub(super) fn colour(value: f64, most: f64) -> RGBColor {
    let share = if most > 0.0 { (value / most).clamp(-1.0, 1.0) } else { 0.0 };
    let end = if share < 0.0 { OUT } else { IN };
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share.abs()).round() as u8;
    RGBColor(mix(MIDDLE.0, end.0), mix(MIDDLE.1, end.1), mix(MIDDLE.2, end.2))
}

/// The colour of a group of lines or bars.
pub(super) fn group(name: &str, i: usize) -> RGBColor {
    match name {
        "in" => IN,
        "out" => OUT,
        _ => SERIES[i % SERIES.len()],
    }
}
