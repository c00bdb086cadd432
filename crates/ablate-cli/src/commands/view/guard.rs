//! Who may ask, and for what: requests that this machine's own browser makes for this page, as plain names of things.
//!
//! A page of another site may send requests to this port, and may have its own name lead here (DNS rebinding). Its browser then
//! says so in `Host`, `Origin` or `Sec-Fetch-Site`.

use tiny_http::{Method, Request};

/// What stands before this machine's address.
pub(super) const SCHEME: &str = concat!("http:", "//");

/// A request that may be answered.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Parts of the path, decoded: plain names, never `..`.
    pub(super) path: Vec<String>,
    query: Vec<(String, String)>,
}

impl Asked {
    /// A value of the query, empty where it is not given.
    pub(super) fn get(&self, key: &str) -> &str {
        self.query.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v.as_str())
    }
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Method,
    Origin,
    Path,
}

impl Refusal {
    /// The status and the sentence.
    pub(super) fn said(self) -> (u16, &'static str) {
        match self {
            Self::Method => (405, "This page only answers GET."),
            Self::Origin => {
                (403, "This page is for this machine only: open it by the address that was printed.")
            }
            Self::Path => (400, "That is no path."),
        }
    }
}

/// Checks a request to `port`.
pub(super) fn check(request: &Request, port: u16) -> Result<Asked, Refusal> {
    let all = |name: &'static str| {
        let headers = request.headers().iter().filter(move |h| h.field.equiv(name));
        headers.map(|h| h.value.as_str()).collect::<Vec<_>>()
    };
    let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let ours = |text: &str| hosts.iter().any(|h| text.eq_ignore_ascii_case(h));
    match all("Host").as_slice() {
        [host] if ours(host) => {}
        _ => return Err(Refusal::Origin),
    }
    if !all("Origin").iter().all(|o| o.strip_prefix(SCHEME).is_some_and(ours)) {
        return Err(Refusal::Origin);
    }
    if all("Sec-Fetch-Site").iter().any(|s| !matches!(*s, "same-origin" | "none")) {
        return Err(Refusal::Origin);
    }
    if *request.method() != Method::Get {
        return Err(Refusal::Method);
    }
    parse(request.url()).ok_or(Refusal::Path)
}

/// What a request line asks for.
fn parse(url: &str) -> Option<Asked> {
    let rest = url.strip_prefix('/')?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.split('/').filter(|p| !p.is_empty()).map(|p| plain(decode(p, false)?));
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        Some((decode(key, true)?, decode(value, true)?))
    };
    let query = query.split('&').filter(|p| !p.is_empty()).map(pair);
    Some(Asked { path: path.collect::<Option<_>>()?, query: query.collect::<Option<_>>()? })
}

/// Parts of a decoded path.
pub(super) fn parts(text: &str) -> Option<Vec<String>> {
    text.split('/').filter(|p| !p.is_empty()).map(|p| plain(p.to_owned())).collect()
}

/// A name that stays where it is.
fn plain(part: String) -> Option<String> {
    let fine = part != "." && part != ".." && !part.contains(['/', '\\', '\0', ':']);
    fine.then_some(part)
}

/// Text of a path or, with `+` for spaces, of a query.
fn decode(text: &str, query: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
                (digit()? * 16 + digit()?) as u8
            }
            b'+' if query => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// A part of a path, so that [`decode`] gives it back.
pub(super) fn encode(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.~".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::{decode, encode, parse, parts};

    #[test]
    fn names_come_back() {
        for name in ["a b", "ü<&>\"'", "100%", "x/y", "+"] {
            assert_eq!(decode(&encode(name), false).as_deref(), Some(name));
            assert_eq!(decode(&encode(name), true).as_deref(), Some(name));
        }
    }

    #[test]
    fn paths_lead_nowhere_else() {
        for bad in [
            "http:/127.0.0.1/",
            "/a/../b",
            "/a/%2e%2e/b",
            "/%2E%2e",
            "/a%2fb",
            "/a%5cb",
            "/a%00",
            "/%ff",
            "/%2",
            "/%zz",
            "x",
            "/c:",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        assert!(parse("//run//a").is_some_and(|a| a.path == ["run", "a"]));
        assert!(parts("a/../b").is_none());
    }
}
