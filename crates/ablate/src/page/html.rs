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
        let hashes: Vec<String> =
            SCRIPTS.iter().map(|s| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(s)))).collect();
        let mut out = String::with_capacity(data.len() + 700_000);
        out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        out.push_str(&format!(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src {}; style-src \
             'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n",
            hashes.join(" ")
        ));
        out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        out.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"ablate\">\n");
        out.push_str(&format!(
            "<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
            text(&self.title)
        ));
        for (name, licence) in LICENCES {
            out.push_str(&format!("<!-- {name}:\n{licence}-->\n"));
        }
        out.push_str(&format!(
            "<noscript><p>{}</p><p>This page needs JavaScript, all of which is inside it, to draw its figures.</p></noscript>\n",
            text(&self.headline.text)
        ));
        out.push_str(&format!("<script type=\"application/json\" id=\"data\">{}</script>\n", inert(&data)));
        for script in SCRIPTS {
            out.push_str(&format!("<script>{script}</script>\n"));
        }
        out.push_str("</body>\n</html>\n");
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
