//! The grammar of names, without a graph: text to value, `None` if no spelling fits. Ranges are checked later.

use crate::node::{Node, Reader, Slot};
use crate::plan::Site;

/// Reads a text from its front.
struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn lit(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn spaces(&mut self) {
        self.0 = self.0.trim_start();
    }

    /// A decimal number without superfluous zeros.
    fn number(&mut self) -> Option<usize> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        let number = digits.parse().ok()?;
        self.0 = rest;
        Some(number)
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// `[5]` or `.5` at the end.
    fn index(&mut self) -> Option<usize> {
        let bracket = self.lit("[").is_some();
        if !bracket {
            self.lit(".")?;
        }
        let number = self.number()?;
        if bracket {
            self.lit("]")?;
        }
        self.end()?;
        Some(number)
    }
}

/// `PREFIX number BETWEEN number SUFFIX`, spaces allowed after `BETWEEN`.
fn pair(text: &str, prefix: &str, between: &str, suffix: &str) -> Option<(usize, usize)> {
    let mut cursor = Cursor(text);
    cursor.lit(prefix)?;
    let first = cursor.number()?;
    cursor.lit(between)?;
    if between == "," {
        cursor.spaces();
    }
    let second = cursor.number()?;
    cursor.lit(suffix)?;
    cursor.end()?;
    Some((first, second))
}

fn single(text: &str, prefix: &str) -> Option<usize> {
    let mut cursor = Cursor(text);
    cursor.lit(prefix)?;
    cursor.spaces();
    let number = cursor.number()?;
    cursor.end()?;
    Some(number)
}

/// A node: `a3.h5`, `m3`, `input`, `logits`, `3.5`, `L3H5`, `A3.5`, `(3, 5)`, `MLP 3`, `Resid Start`, hook names.
pub(crate) fn node(text: &str) -> Option<Node> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.as_str() {
        "input" | "resid start" => return Some(Node::Input),
        "logits" | "resid end" => return Some(Node::Logits),
        _ => {}
    }
    let forms = [("a", ".h", ""), ("a", ".", ""), ("", ".", ""), ("l", "h", ""), ("(", ",", ")")];
    for (prefix, between, suffix) in forms {
        if let Some((layer, head)) = pair(&lower, prefix, between, suffix) {
            return Some(Node::Head { layer, head });
        }
    }
    let mlp = ["m", "mlp"].into_iter().find_map(|prefix| single(&lower, prefix));
    mlp.map(|layer| Node::Mlp { layer }).or_else(|| hook_node(&lower))
}

/// The layer and the rest of `blocks.3.REST`.
fn block(text: &str) -> Option<(usize, &str)> {
    let mut cursor = Cursor(text);
    cursor.lit("blocks.")?;
    let layer = cursor.number()?;
    cursor.lit(".")?;
    Some((layer, cursor.0))
}

fn hook_node(text: &str) -> Option<Node> {
    let (layer, rest) = block(text)?;
    match rest {
        "hook_mlp_out" => return Some(Node::Mlp { layer }),
        "hook_resid_pre" if layer == 0 => return Some(Node::Input),
        _ => {}
    }
    let head = ["attn.hook_z", "attn.hook_result"].into_iter().find_map(|hook| {
        let mut cursor = Cursor(rest);
        cursor.lit(hook)?;
        cursor.index()
    })?;
    Some(Node::Head { layer, head })
}

/// The layer of a hook name that covers all heads: `blocks.3.attn.hook_z` or `…hook_result`.
pub(crate) fn hook_heads(text: &str) -> Option<usize> {
    let (layer, rest) = block(text.trim())?;
    matches!(rest, "attn.hook_z" | "attn.hook_result").then_some(layer)
}

fn slot(text: &str) -> Option<Slot> {
    match text {
        "q" | "Q" => Some(Slot::Q),
        "k" | "K" => Some(Slot::K),
        "v" | "V" => Some(Slot::V),
        _ => None,
    }
}

/// A reader: `a3.h5<q>`, `a3.kv1<k>`, `m3`, `logits`, `A3.5.Q`, `L3H5<q>`, `blocks.3.hook_q_input[5]`, `hook_mlp_in`.
pub(crate) fn reader(text: &str, n_layers: usize) -> Option<Reader> {
    let text = text.trim();
    if let Some((base, letter)) = text.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
        return slotted(base, slot(letter)?);
    }
    if let Some((base, letter)) = text.rsplit_once('.')
        && let Some(slot) = slot(letter)
    {
        return slotted(base, slot);
    }
    match node(text) {
        Some(Node::Mlp { layer }) if block(text).is_none() => Some(Reader::Mlp { layer }),
        Some(Node::Logits) => Some(Reader::Logits),
        _ => hook_reader(text, n_layers),
    }
}

fn slotted(base: &str, slot: Slot) -> Option<Reader> {
    if let Some((layer, kv)) = pair(base, "a", ".kv", "") {
        return Some(Reader::Kv { layer, kv, slot });
    }
    match node(base) {
        Some(Node::Head { layer, head }) => Some(Reader::Head { layer, head, slot }),
        _ => None,
    }
}

fn hook_reader(text: &str, n_layers: usize) -> Option<Reader> {
    let (layer, rest) = block(text)?;
    match rest {
        "hook_mlp_in" => return Some(Reader::Mlp { layer }),
        "hook_resid_post" if n_layers.checked_sub(1) == Some(layer) => return Some(Reader::Logits),
        _ => {}
    }
    Slot::ALL.into_iter().find_map(|slot| {
        let mut cursor = Cursor(rest);
        cursor.lit(&format!("hook_{slot}_input"))?;
        Some(Reader::Head { layer, head: cursor.index()?, slot })
    })
}

/// A site that is not simply a node or an edge: a neuron, `resid-pre.3` and its like, or a hook name.
pub(crate) fn site(text: &str) -> Option<Site> {
    let text = text.trim();
    if let Some((layer, neuron)) = pair(text, "m", ".n", "") {
        return Some(Site::Neuron { layer, neuron });
    }
    let layered = [
        single(text, "resid-pre.").map(|layer| Site::ResidPre { layer }),
        single(text, "resid-mid.").map(|layer| Site::ResidMid { layer }),
        single(text, "attn-out.").map(|layer| Site::AttnOut { layer }),
        single(text, "mlp-out.").map(|layer| Site::MlpOut { layer }),
    ];
    if let Some(site) = layered.into_iter().flatten().next() {
        return Some(site);
    }
    for slot in Slot::ALL {
        if let Some((layer, head)) = pair(text, &format!("{slot}."), ".", "") {
            return Some(Site::Slot { layer, head, slot });
        }
    }
    if let Some((layer, head)) = pair(text, "pattern.", ".", "") {
        return Some(Site::Pattern { layer, head });
    }
    hook_site(text)
}

fn hook_site(text: &str) -> Option<Site> {
    let (layer, rest) = block(text)?;
    match rest {
        "hook_resid_pre" => return Some(Site::ResidPre { layer }),
        "hook_resid_mid" => return Some(Site::ResidMid { layer }),
        "hook_resid_post" => return Some(Site::ResidPre { layer: layer.checked_add(1)? }),
        "hook_attn_out" => return Some(Site::AttnOut { layer }),
        "hook_mlp_out" => return Some(Site::MlpOut { layer }),
        _ => {}
    }
    let indexed = |hook: &str| {
        let mut cursor = Cursor(rest);
        cursor.lit(hook)?;
        cursor.index()
    };
    if let Some(head) = indexed("attn.hook_pattern") {
        return Some(Site::Pattern { layer, head });
    }
    if let Some(neuron) = indexed("mlp.hook_post") {
        return Some(Site::Neuron { layer, neuron });
    }
    Slot::ALL
        .into_iter()
        .find_map(|slot| indexed(&format!("attn.hook_{slot}")).map(|head| Site::Slot { layer, head, slot }))
}
