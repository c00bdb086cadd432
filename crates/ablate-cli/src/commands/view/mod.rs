//! `ablate view`: a local page over run folders, for this machine only.

mod compare;
mod guard;
mod page;
mod store;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ablate::{Error, Result};
use clap::Args;
use tiny_http::{Header, Request, Response, Server};

use self::guard::{Asked, Refusal};
use self::store::Store;
use crate::app::App;
use crate::outcome::Outcome;
use crate::table::Table;

/// Look at run folders in a browser: list, search, compare, and follow one that is running
///
/// The page is served to this machine only, and reads nothing but run folders below DIR. Ctrl-C ends it.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  ablate view experiments\n  ablate view experiments --port 8100 --no-open"
)]
pub(crate) struct ViewArgs {
    /// A run folder, or a folder with run folders in it
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// The port; a free one unless given
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
    /// Open no browser
    #[arg(long)]
    no_open: bool,
}

/// Requests answered at the same time: one who reads slowly does not keep the others waiting.
const WORKERS: usize = 4;

/// What is sent for a request.
struct Answer {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
    /// What a page may do; nothing unless said.
    policy: &'static str,
}

/// The program's own pages: its own style and script, nothing else, and in no frame.
const OURS: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
                    frame-ancestors 'none'";
/// Reports and other files: an origin of their own, so that they cannot read the other pages.
const SANDBOX: &str = "sandbox allow-scripts allow-downloads; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                       img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Answer {
    fn page(status: u16, html: String) -> Self {
        Self { status, kind: "text/html; charset=utf-8", body: html.into_bytes(), policy: OURS }
    }
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &ViewArgs) -> Result<Outcome> {
    let store = Store::open(&args.folder)?;
    if app.globals.explain {
        return list(app, &store);
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let server = Server::http(address).map_err(|e| {
        Error::argument(format!("cannot listen on {address}: {e}"), "leave --port out for a free one")
    })?;
    let Some(bound) = server.server_addr().to_ip() else {
        return Err(Error::argument("internal: an address that is none", "report this"));
    };
    let url = format!("{}{bound}/", guard::SCHEME);
    app.printer.line(&format!("{url}  (Ctrl-C ends it)"))?;
    if !args.no_open {
        open_browser(&url);
    }
    let (server, store, stop) = (Arc::new(server), Arc::new(store), app.stop_flag());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (server, store, stop) = (Arc::clone(&server), Arc::clone(&store), Arc::clone(&stop));
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(Some(request)) = server.recv_timeout(Duration::from_millis(200)) {
                        serve(&store, bound.port(), request);
                    }
                }
            });
        }
    });
    Ok(Outcome::Done)
}

/// Answers one request. One who is gone needs no answer.
fn serve(store: &Store, port: u16, request: Request) {
    let answer = match guard::check(&request, port) {
        Ok(asked) => answer(store, &asked),
        Err(refusal) => refuse(refusal),
    };
    let mut response = Response::from_data(answer.body).with_status_code(answer.status);
    let headers = [
        ("Content-Type", answer.kind),
        ("Content-Security-Policy", answer.policy),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cache-Control", "no-store"),
        ("Allow", "GET"),
    ];
    for (name, value) in headers {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    let _ = request.respond(response);
}

fn refuse(refusal: Refusal) -> Answer {
    let (status, text) = refusal.said();
    Answer::page(status, page::message(text))
}

fn answer(store: &Store, asked: &Asked) -> Answer {
    let parts: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    let missing = || Answer::page(404, page::message("There is no such run, or it is not there any more."));
    match parts.as_slice() {
        [] => Answer::page(200, page::list(&store.runs(), asked.get("q"))),
        ["view.css"] => own("text/css; charset=utf-8", page::STYLE),
        ["view.js"] => own("text/javascript; charset=utf-8", page::SCRIPT),
        ["run", run @ ..] => store
            .run(run)
            .map_or_else(missing, |run| Answer::page(200, page::run(store, &run, &store.runs()))),
        ["file", file @ ..] => store.file(file).map_or_else(missing, |(kind, body)| Answer {
            status: 200,
            kind,
            body,
            policy: SANDBOX,
        }),
        ["compare"] => {
            let run = |key: &str| {
                store.run(&guard::parts(asked.get(key))?.iter().map(String::as_str).collect::<Vec<_>>())
            };
            match (run("a"), run("b")) {
                (Some(a), Some(b)) => Answer::page(200, compare::page(store, &a, &b)),
                _ => missing(),
            }
        }
        _ => Answer::page(404, page::message("There is no such page.")),
    }
}

fn own(kind: &'static str, text: &str) -> Answer {
    Answer { status: 200, kind, body: text.as_bytes().to_vec(), policy: OURS }
}

/// The runs, without a page.
fn list(app: &App<'_>, store: &Store) -> Result<Outcome> {
    let mut table = Table::new(&["run", "status", ">steps", "title"]);
    for run in store.runs() {
        let (done, all) = run.steps_done();
        let name = page::shown_name(&run);
        table.row([name, run.status().to_owned(), format!("{done}/{all}"), run.report.title.clone()]);
    }
    app.printer.table(&table)?;
    Ok(Outcome::Done)
}

/// Opens the page where a browser can be had; the address was printed for where it cannot.
fn open_browser(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = std::process::Command::new(program);
    let quiet = std::process::Stdio::null;
    let _ = command.arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
}
