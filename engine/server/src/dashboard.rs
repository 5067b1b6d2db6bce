//! The operators' dashboard: the files of `dashboard/`, which are in the binary, served below `/ui/`.
//!
//! It is open to everybody, because it holds nothing: what its pages show they ask of the API, with the token of whoever looks.
//! Never reads a file while the engine runs.

use std::sync::LazyLock;

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use sha2::{Digest, Sha256};

/// What pages of the dashboard may do: load from here, and nothing else. No script inside of HTML, no text that becomes HTML, no
/// page around it. It shows one page in a frame, the inspector that an app of RivetKit serves at its actor's address.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);
/// The names of the files say nothing about what is in them: ask each time, and mostly hear that nothing is new.
const ASK_FIRST: HeaderValue = HeaderValue::from_static("no-cache");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal: $kind:expr,)*) => {
        &[$(($path, $kind, include_bytes!(concat!("../../../dashboard/", $path)))),*]
    };
}

/// The first one is answered wherever there is no file: the page finds out from its address what to show.
const FILES: &[(&str, &str, &[u8])] = files! {
    "index.html": HTML,
    "style.css": CSS,
    "icon.svg": SVG,
    "app.js": JS,
    "api.js": JS,
    "dom.js": JS,
    "status.js": JS,
    "ui.js": JS,
    "pages/actor.js": JS,
    "pages/actors.js": JS,
    "pages/call.js": JS,
    "pages/create-actor.js": JS,
    "pages/deployments.js": JS,
    "pages/inspector.js": JS,
    "pages/logs.js": JS,
    "pages/namespaces.js": JS,
    "pages/pools.js": JS,
    "pages/runners.js": JS,
    "pages/token.js": JS,
};

/// For each file the hash of what is in it, in quotes.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |bytes: &[u8]| {
        let digits: String = Sha256::digest(bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        HeaderValue::try_from(format!("\"{digits}\"")).expect("digits and quotes")
    };
    FILES.iter().map(|(_, _, bytes)| tag(bytes)).collect()
});

pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|| async { Redirect::permanent("/ui/") }))
        .route("/ui", get(file))
        .route("/ui/", get(file))
        .route("/ui/{*path}", get(file))
}

async fn file(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().strip_prefix("/ui/").unwrap_or_default();
    let at = FILES.iter().position(|(name, _, _)| *name == path).unwrap_or_default();
    let (_, kind, bytes) = FILES[at];
    let tag = &TAGS[at];
    let always: [(HeaderName, HeaderValue); 5] = [
        (ETAG, tag.clone()),
        (CACHE_CONTROL, ASK_FIRST),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    if is_known(&headers, tag) {
        return (StatusCode::NOT_MODIFIED, always).into_response();
    }
    (always, [(CONTENT_TYPE, HeaderValue::from_static(kind))], Bytes::from_static(bytes)).into_response()
}

/// Whether the client has what the tag stands for. A proxy that compresses marks tags as weak; for this they mean the same.
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let listed = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    listed.map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn found(folder: &Path, before: &str, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("the folder of the dashboard") {
            let path = entry.expect("an entry").path();
            let name = format!("{before}{}", path.file_name().expect("a name").to_string_lossy());
            if path.is_dir() {
                found(&path, &format!("{name}/"), names);
            } else {
                names.insert(name);
            }
        }
    }

    #[test]
    fn every_file_of_the_dashboard_is_served() {
        let mut there = BTreeSet::new();
        found(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboard"), "", &mut there);
        let served: BTreeSet<String> = FILES.iter().map(|(path, _, _)| path.to_string()).collect();
        assert_eq!(there, served, "on disk and in FILES");
    }
}
