//! How the dashboard is served: addresses, types, headers, what a browser already has. What it does in a browser is tested in
//! `tests/dashboard/`.

use rivet_tests::{Answer, Call, Engine};

const HTML: &str = "text/html; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// A request, its status, and headers of the answer.
type Row = (Call, u16, &'static [(&'static str, &'static str)]);

/// Status and headers; an empty header is one that is not there.
fn check(what: &str, answer: &Answer, status: u16, headers: &[(&str, &str)]) {
    assert_eq!(answer.status, status, "{what}: {answer}");
    for (name, expected) in headers {
        assert_eq!(answer.header(name), *expected, "{what}: header {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_files_are_served() {
    let engine = Engine::start().await;
    // Path, type, and words that are in the file.
    let rows = [
        ("/ui", HTML, "<!doctype html>"),
        ("/ui/", HTML, "<!doctype html>"),
        ("/ui/index.html", HTML, "<!doctype html>"),
        ("/ui/style.css", "text/css; charset=utf-8", "prefers-color-scheme"),
        ("/ui/icon.svg", "image/svg+xml", "<svg"),
        ("/ui/app.js", JS, "import"),
        ("/ui/pages/actor.js", JS, "import"),
        ("/ui/app.js?with=a-query", JS, "import"),
        // The page finds out what these are.
        ("/ui/ns/default/actors", HTML, "<!doctype html>"),
        ("/ui/ns/default/actors/%ff", HTML, "<!doctype html>"),
        ("/ui/no-such-file.js", HTML, "<!doctype html>"),
        ("/ui/pages", HTML, "<!doctype html>"),
    ];
    for (path, kind, words) in rows {
        let answer = engine.get(path).await;
        let same = [("cache-control", "no-cache"), ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")];
        check(path, &answer, 200, &[("content-type", kind)]);
        check(path, &answer, 200, &same);
        assert!(answer.text().contains(words), "{path}: {answer}");
        assert!(!answer.header("x-rivet-ray-id").is_empty(), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}: other pages have no business with it");
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{path}: {policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_the_way_there() {
    let engine = Engine::start().await;
    let reads: &'static [(&'static str, &'static str)] = &[("allow", "GET,HEAD"), ("content-security-policy", "")];
    let rows: [Row; 7] = [
        (Call::new("HEAD", "/ui/app.js"), 200, &[("content-type", JS)]),
        (Call::new("HEAD", "/ui/ns/x"), 200, &[("content-type", HTML)]),
        (Call::post("/ui/"), 405, reads),
        (Call::put("/ui"), 405, reads),
        (Call::delete("/ui/app.js"), 405, reads),
        (Call::post("/"), 405, reads),
        (Call::get("/uix"), 404, &[("content-type", "application/json")]),
    ];
    for (call, status, headers) in rows {
        let what = format!("{} {}", call.method, call.target);
        let head = call.method == "HEAD";
        let answer = engine.send(call).await;
        check(&what, &answer, status, headers);
        assert!(answer.body.is_empty() || !(head || status == 405), "{what}: {answer}");
        assert!(!head || answer.header("content-length").parse::<u64>().is_ok_and(|bytes| bytes > 0), "{what}");
    }
    // Not the client that the others use: it would follow.
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
        let answer = client.request(method.clone(), format!("{}/", engine.url())).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (308, &"/ui/".parse().expect("a value")), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_has_is_not_sent_again() {
    let engine = Engine::start().await;
    let tag = engine.get("/ui/app.js").await.expect_ok("a file").header("etag").to_string();
    assert!(tag.len() > 10 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    assert_ne!(engine.get("/ui/api.js").await.header("etag"), tag, "each file has its own");
    assert_eq!(engine.get("/ui/").await.header("etag"), engine.get("/ui/ns/x").await.header("etag"), "the same page");
    let rows = [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"other\", {tag}"), 304),
        ("*".to_string(), 304),
        ("\"other\"".to_string(), 200),
        (tag.trim_matches('"').to_string(), 200),
        (String::new(), 200),
    ];
    for (known, status) in rows {
        let answer = engine.send(Call::get("/ui/app.js").header("if-none-match", known.clone())).await;
        check(&known, &answer, status, &[("etag", &tag), ("cache-control", "no-cache"), ("x-content-type-options", "nosniff")]);
        assert_eq!(answer.body.is_empty(), status == 304, "{known}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_there_before_anybody_has_said_the_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("engine.yaml");
    std::fs::write(&file, "auth: {admin_token: secret}\nguard: {host: 127.0.0.1}").expect("a file");
    let engine = Engine::start_with(&["--config", file.to_str().expect("a path that is text")]).await;
    for path in ["/", "/ui/", "/ui/app.js"] {
        engine.get(path).await.expect_ok(path);
    }
    assert_eq!(engine.get("/namespaces").await.status, 403);
}
