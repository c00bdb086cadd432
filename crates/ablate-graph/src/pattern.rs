//! `SET`: names, globs and groups joined by commas.
//!
//! `heads`, `mlps`, `*` or `all` (every sender), `a9.*`, `a{7,8}.h3`; for edges a pattern on each side:
//! `a3.*->m5`, `*->logits`. A head without slot on the right of an edge means all its slots. Results are in
//! canonical order without repeats; a pattern that matches nothing is an error.

use crate::error::{Error, Result, shorten};
use crate::graph::Graph;
use crate::node::{EdgeId, Node, Reader};
use crate::set::{EdgeSet, Id, NodeSet};
use crate::spelling;

/// More alternatives than this in one set are refused.
const MAX_PATTERNS: usize = 4096;

impl Graph {
    /// The senders of a set, in canonical order.
    pub fn parse_nodes(&self, text: &str) -> Result<Vec<Node>> {
        Ok(self.parse_node_set(text)?.iter().map(|id| self.node(id)).collect())
    }

    /// The senders of a set, as ids.
    pub fn parse_node_set(&self, text: &str) -> Result<NodeSet> {
        let mut set = NodeSet::new(self.n_senders());
        for pattern in patterns(text)? {
            let hits = self.match_senders(&pattern)?;
            set.extend(hits.iter().enumerate().filter(|(_, hit)| **hit).map(|(i, _)| Id::from_index(i)));
        }
        Ok(set)
    }

    /// The readers of a set, in canonical order: `logits`, `a9.*<q>`, `m3`; a head without slot means all its slots.
    pub fn parse_readers(&self, text: &str) -> Result<Vec<Reader>> {
        let mut all = vec![false; self.n_readers()];
        for pattern in patterns(text)? {
            for (seen, hit) in all.iter_mut().zip(self.match_readers(&pattern)?) {
                *seen |= hit;
            }
        }
        Ok(self.readers().zip(all).filter(|(_, hit)| *hit).map(|(reader, _)| reader).collect())
    }

    /// The edges of a set, in canonical order.
    pub fn parse_edges(&self, text: &str) -> Result<Vec<EdgeId>> {
        Ok(self.parse_edge_set(text)?.iter().collect())
    }

    /// The edges of a set, as a set. Of a pattern with braces or globs some combination must exist, not every one.
    pub fn parse_edge_set(&self, text: &str) -> Result<EdgeSet> {
        let mut set = EdgeSet::new(self.n_edges());
        for part in split_top(text)? {
            let choices = expand(part)?;
            if let ([_], Some((left, right))) = (&choices[..], part.split_once("->"))
                && !glob_or_group(left.trim())
                && self.parse_reader(right).is_ok()
            {
                set.extend(self.edge_id(self.parse_edge(part)?));
                continue;
            }
            let mut any = false;
            for choice in choices {
                any |= self.add_edges(&choice, &mut set)?;
            }
            if !any {
                return Err(no_edge(part));
            }
        }
        Ok(set)
    }

    /// Adds the edges of one pattern; says whether there are any.
    fn add_edges(&self, pattern: &str, set: &mut EdgeSet) -> Result<bool> {
        if matches!(pattern, "*" | "all") {
            *set = EdgeSet::full(self.n_edges());
            return Ok(true);
        }
        let (left, right) = pattern.split_once("->").ok_or_else(|| no_edge(pattern))?;
        let (senders, readers) = (self.match_senders(left)?, self.match_readers(right)?);
        let mut any = false;
        for reader in self.reader_ids().filter(|id| readers[id.index()]) {
            for (edge, _) in self.in_edges(reader).zip(&senders).filter(|(_, hit)| **hit) {
                set.insert(edge);
                any = true;
            }
        }
        Ok(any)
    }

    fn match_senders(&self, pattern: &str) -> Result<Vec<bool>> {
        let pattern = pattern.trim();
        let hits: Vec<bool> = match pattern {
            "*" | "all" => self.senders().map(|_| true).collect(),
            "heads" => self.senders().map(|node| matches!(node, Node::Head { .. })).collect(),
            "mlps" => self.senders().map(|node| matches!(node, Node::Mlp { .. })).collect(),
            _ if is_glob(pattern) => self.senders().map(|node| glob(pattern, &node.to_string())).collect(),
            _ if let Some(layer) = spelling::hook_heads(pattern) => {
                let of_layer = |node| matches!(node, Node::Head { layer: l, .. } if l == layer);
                self.senders().map(of_layer).collect()
            }
            _ => {
                let one = self.sender(pattern).ok_or_else(|| self.unknown("sender", pattern))?;
                self.senders().map(|node| node == one).collect()
            }
        };
        self.some("node", pattern, hits)
    }

    fn match_readers(&self, pattern: &str) -> Result<Vec<bool>> {
        let pattern = pattern.trim();
        let is_head = |reader| matches!(reader, Reader::Head { .. } | Reader::Kv { .. });
        let hits: Vec<bool> = match pattern {
            "*" | "all" => self.readers().map(|_| true).collect(),
            "heads" => self.readers().map(is_head).collect(),
            "mlps" => self.readers().map(|reader| matches!(reader, Reader::Mlp { .. })).collect(),
            _ if is_glob(pattern) => self.readers().map(|reader| self.glob_reader(pattern, reader)).collect(),
            _ if let Some(head @ Node::Head { .. }) = self.sender(pattern) => {
                let slots = self.readers_of(head);
                self.reader_ids().map(|id| slots.contains(&id)).collect()
            }
            _ => {
                let one = self.parse_reader(pattern)?;
                self.readers().map(|reader| reader == one).collect()
            }
        };
        self.some("reader", pattern, hits)
    }

    fn sender(&self, name: &str) -> Option<Node> {
        spelling::node(name).filter(|node| self.node_id(*node).is_some())
    }

    /// A glob matches a reader by its name, or without a slot by the name of its head.
    fn glob_reader(&self, pattern: &str, reader: Reader) -> bool {
        if glob(pattern, &reader.to_string()) {
            return true;
        }
        !pattern.contains('<') && self.nodes_of(reader).iter().any(|node| glob(pattern, &node.to_string()))
    }

    fn some(&self, kind: &'static str, pattern: &str, hits: Vec<bool>) -> Result<Vec<bool>> {
        if hits.contains(&true) {
            return Ok(hits);
        }
        let plain = pattern.replace(['*', '?'], "");
        Err(Error::NoMatch { kind, pattern: shorten(pattern), nearest: self.nearest_names(kind, &plain) })
    }
}

fn no_edge(pattern: &str) -> Error {
    Error::NoMatch { kind: "edge", pattern: shorten(pattern), nearest: vec![] }
}

fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

fn glob_or_group(pattern: &str) -> bool {
    is_glob(pattern) || matches!(pattern, "all" | "heads" | "mlps")
}

/// The patterns of a set: split at top-level commas, braces expanded.
fn patterns(text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for part in split_top(text)? {
        found.extend(expand(part)?);
    }
    Ok(found)
}

/// Splits at commas outside of `{}` and `()`.
fn split_top(text: &str) -> Result<Vec<&str>> {
    let fail = |at: usize, why: &str| {
        let at = text[..at].chars().count();
        Error::Syntax { text: shorten(text), at, why: why.into() }
    };
    let (mut open, mut start, mut parts) = (Vec::new(), 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' | '(' => open.push((at, c)),
            '}' | ')' => match (open.pop(), c) {
                (Some((_, '{')), '}') | (Some((_, '(')), ')') => {}
                _ => return Err(fail(at, "this closes nothing")),
            },
            ',' if open.is_empty() => {
                parts.push((start, &text[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    if let Some((at, _)) = open.pop() {
        return Err(fail(at, "this is never closed"));
    }
    parts.push((start, &text[start..]));
    if let Some((at, _)) = parts.iter().find(|(_, part)| part.trim().is_empty()) {
        return Err(fail(*at, "a name, a glob or a group is missing here"));
    }
    Ok(parts.into_iter().map(|(_, part)| part.trim()).collect())
}

/// Expands `a{7,8}.h{1,2}` to its four patterns, first brace slowest.
fn expand(pattern: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut todo = vec![pattern.to_string()];
    while let Some(next) = todo.pop() {
        if found.len() + todo.len() > MAX_PATTERNS {
            let why = format!("braces stand for more than {MAX_PATTERNS} patterns");
            return Err(Error::Syntax { text: shorten(pattern), at: 0, why });
        }
        let Some(open) = next.find('{') else {
            found.push(next);
            continue;
        };
        let close = matching(&next, open);
        let (before, inner, after) = (&next[..open], &next[open + 1..close], &next[close + 1..]);
        for choice in split_top(inner)?.into_iter().rev() {
            todo.push(format!("{before}{choice}{after}"));
        }
    }
    Ok(found)
}

/// The brace that closes the one at `open` (they are balanced by now).
fn matching(text: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < open) {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len() - 1
}

/// `*` stands for any characters, `?` for one.
fn glob(pattern: &str, name: &str) -> bool {
    let (p, n) = (pattern.as_bytes(), name.as_bytes());
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < n.len() {
        match p.get(i) {
            Some(b'*') => {
                star = Some((i, j));
                i += 1;
            }
            Some(&c) if c == b'?' || c == n[j] => {
                i += 1;
                j += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                i = at + 1;
                j = from + 1;
            }
        }
    }
    p[i..].iter().all(|&c| c == b'*')
}
