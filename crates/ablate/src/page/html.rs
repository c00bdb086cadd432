//! The page as one HTML file: style, libraries, scripts and data inside, nothing from outside.
//!
//! The data is one block of JSON that no markup can end (`<`, `>`, `&` and the line separators of JavaScript are escaped); the
//! scripts put texts in only as text. A policy in the file forbids every connection and every script but those written here, by
//! their hashes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::Page;
use crate::error::{Error, Result};

/// Most bytes of a page.
pub const LARGEST: usize = 5_000_000;

const STYLE: &str = include_str!("../../assets/page.css");
/// The libraries, under the ISC licence, and the page's own scripts, in the order that they are run.
const SCRIPTS: [&str; 9] = [
    include_str!("../../assets/vendor/d3.min.js"),
    include_str!("../../assets/vendor/plot.min.js"),
    include_str!("../../assets/base.js"),
    include_str!("../../assets/table.js"),
    include_str!("../../assets/charts.js"),
    include_str!("../../assets/heat.js"),
    include_str!("../../assets/graph.js"),
    include_str!("../../assets/tree.js"),
    include_str!("../../assets/main.js"),
];
const LICENCES: [(&str, &str); 2] = [
    ("D3", include_str!("../../assets/vendor/d3-LICENSE")),
    ("Observable Plot", include_str!("../../assets/vendor/plot-LICENSE")),
];

impl Page {
    /// The HTML file.
    ///
    /// # Errors
    /// A page of more than [`LARGEST`] bytes.
    pub fn html(&self) -> Result<String> {
        let data = serde_json::to_string(self)
            .map_err(|e| Error::argument(format!("internal: {e}"), "report this"))?;
        let policy: Vec<String> =
            SCRIPTS.iter().map(|s| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(s)))).collect();
        let policy = policy.join(" ");
        let title = text(&self.title);
        let headline = text(&self.headline.text);
        let licences: Vec<String> =
            LICENCES.iter().map(|(name, licence)| format!("<!-- {name}:\n{licence}-->\n")).collect();
        let scripts: Vec<String> = SCRIPTS.iter().map(|s| format!("<script>{s}</script>\n")).collect();
        let (licences, scripts, data) = (licences.concat(), scripts.concat(), inert(&data));
        let out = format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {policy}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="ablate">
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
{licences}<noscript><p>{headline}</p><p>This page needs JavaScript, all of which is inside it, to draw its figures.</p></noscript>
<script type="application/json" id="data">{data}</script>
{scripts}</body>
</html>
"#
        );
        if out.len() > LARGEST {
            return Err(Error::argument(
                format!("the page would have {} bytes, more than {LARGEST}", out.len()),
                "give fewer files, or fewer or shorter prompts (--prompts)",
            ));
        }
        Ok(out)
    }
}

/// Text as HTML.
fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// JSON that means the same and holds nothing that HTML or JavaScript could take for an end or a beginning.
fn inert(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a failed test may panic
mod tests {
    use super::inert;

    #[test]
    fn data_cannot_end_its_block() {
        let hostile = "</script><!--<script>&\u{2028}\u{2029}";
        let json = serde_json::to_string(hostile).unwrap();
        let safe = inert(&json);
        assert!(!safe.contains(['<', '>', '&', '\u{2028}', '\u{2029}']));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
    }
}
