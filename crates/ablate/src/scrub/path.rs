//! Sets of paths as text. A path is (component)(slot)(component)… from a sender to the root; steps are typed, nothing counts
//! depths.
//!
//! `a0.h2 -> a2.h1<k>@B1 -> logits`: what `a0.h2` contributes to the keys of `a2.h1` at position `B1`, on the way of
//! `a2.h1`'s contribution to the logits. An arrow is one hop through the residual stream and norms alone;
//! `-[mlps]->` may pass any number of MLPs on the way, `-[*]->` anything, `-[* except a9.*]->` anything else.
//! Positions behind a slot (`<k>@B1`, `logits@end`) are those at which it reads, positions behind a name (`a0.h2@B1`) those at
//! which the sender's output is read; `@!B1` is every other position. A path that ends in nothing or in a slot only
//! (`a0.h2 -> <k>`) goes on from where the parent's paths begin.

use std::fmt;

use ablate_graph::Positions;

use crate::error::{Error, Result};

/// Token positions, or all but them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Where {
    /// The positions.
    pub positions: Positions,
    /// All others instead.
    pub except: bool,
}

/// Components that may lie between two ends of a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// A set of components.
    pub set: String,
    /// Those that may not, although they are in the set.
    pub except: Option<String>,
}

/// One hop, from a reader back to a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The reader's slots; empty = all.
    pub slots: Vec<String>,
    /// Positions at which the reader reads; `None` = all.
    pub reads_at: Option<Where>,
    /// What may lie between; `None` = nothing.
    pub through: Option<Through>,
    /// The set of senders.
    pub nodes: String,
    /// Positions at which the senders' outputs are read.
    pub sent_at: Option<Where>,
}

/// A set of paths: hops, from the end back to the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The hops, the one into the end first.
    pub hops: Vec<Hop>,
    /// The component it ends in; `None` = where the parent's paths begin.
    pub end: Option<String>,
    text: String,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A name with positions and slots on both sides of an arrow.
#[derive(Default)]
struct Stop {
    nodes: String,
    sent_at: Option<Where>,
    slots: Vec<String>,
    reads_at: Option<Where>,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// Anything that is not one, with what is wrong and how one is written.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |why: &str| {
            Error::argument(
                format!("`{text}` is no path: {why}"),
                "write a path from a sender to the end, as a0.h2 -> a2.h1<k>@B1 -> logits",
            )
        };
        let (parts, arrows) = split(text).ok_or_else(|| fail("`-[` is never closed by `]->`"))?;
        if arrows.is_empty() {
            return Err(fail("there is no arrow"));
        }
        let stops = parts.iter().map(|p| stop(p)).collect::<std::result::Result<Vec<_>, String>>();
        let mut stops = stops.map_err(|why| fail(&why))?;
        let Some(mut last) = stops.pop() else { return Err(fail("it is empty")) };
        if last.slots.is_empty() && last.reads_at.is_none() {
            // `logits@end`: the end only reads
            last.reads_at = last.sent_at.take();
        }
        if last.sent_at.is_some() {
            return Err(fail("the end has positions at which it is read, but nothing reads it"));
        }
        if let Some(first) = stops.first()
            && (!first.slots.is_empty() || first.reads_at.is_some())
        {
            return Err(fail("the first sender has a slot, but the path begins at its output"));
        }
        let end = Some(last.nodes.clone()).filter(|n| !n.is_empty() && n != "parent");
        let mut hops = Vec::with_capacity(stops.len());
        let mut reader = last;
        while let Some(sender) = stops.pop() {
            if sender.nodes.is_empty() {
                return Err(fail("a sender is missing"));
            }
            hops.push(Hop {
                slots: std::mem::take(&mut reader.slots),
                reads_at: reader.reads_at.take(),
                through: arrows[stops.len()].clone(),
                nodes: sender.nodes.clone(),
                sent_at: sender.sent_at.clone(),
            });
            reader = sender;
        }
        Ok(Self { hops, end, text: text.trim().to_owned() })
    }
}

/// The parts between arrows, and the arrows.
fn split(text: &str) -> Option<(Vec<&str>, Vec<Option<Through>>)> {
    let (mut parts, mut arrows, mut rest) = (Vec::new(), Vec::new(), text);
    loop {
        let (plain, wide) = (rest.find("->"), rest.find("-["));
        let at = match (plain, wide) {
            (None, None) => {
                parts.push(rest.trim());
                return Some((parts, arrows));
            }
            (Some(p), w) if w.is_none_or(|w| p < w) => {
                arrows.push(None);
                parts.push(rest[..p].trim());
                p + 2
            }
            (_, w) => {
                let w = w?;
                let close = w + rest[w..].find("]->")?;
                let inside = &rest[w + 2..close];
                let (set, except) = match inside.split_once(" except ") {
                    Some((set, except)) => (set, Some(except.trim().to_owned())),
                    None => (inside, None),
                };
                arrows.push(Some(Through { set: set.trim().to_owned(), except }));
                parts.push(rest[..w].trim());
                close + 3
            }
        };
        rest = &rest[at..];
    }
}

fn stop(text: &str) -> std::result::Result<Stop, String> {
    let (before, inside) = match text.split_once('<') {
        Some((before, rest)) => {
            let (slots, after) =
                rest.split_once('>').ok_or_else(|| format!("`<` of `{text}` is never closed"))?;
            (before, Some((slots, after)))
        }
        None => (text, None),
    };
    let (nodes, sent_at) = at(before)?;
    let mut stop = Stop { nodes: nodes.to_owned(), sent_at, ..Stop::default() };
    if let Some((slots, after)) = inside {
        stop.slots = slots.split(',').map(|s| s.trim().to_owned()).collect();
        let (rest, reads_at) = at(after)?;
        if !rest.is_empty() || stop.slots.iter().any(String::is_empty) {
            return Err(format!("`{text}` is not a name with slots, as a2.h1<k>@B1"));
        }
        stop.reads_at = reads_at;
    }
    Ok(stop)
}

fn at(text: &str) -> std::result::Result<(&str, Option<Where>), String> {
    let Some((name, at)) = text.split_once('@') else { return Ok((text.trim(), None)) };
    let (at, except) = match at.trim().strip_prefix('!') {
        Some(rest) => (rest, true),
        None => (at.trim(), false),
    };
    let positions = Positions::parse(at).map_err(|e| e.to_string())?;
    let all = positions == Positions::All;
    if all && except {
        return Err("`@!all` leaves no position".into());
    }
    Ok((name.trim(), (!all).then_some(Where { positions, except })))
}
