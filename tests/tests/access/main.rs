//! Tokens: who may do what with which, how they are kept, what is written down.
//!
//! - [`roles`]: every route, with every kind of token.
//! - [`tokens`]: minted, listed, expired, revoked; on disk and in the log.
//! - [`runners`]: who may connect, and for how long. [`gateway`]: calls to actors where these need a token.
//! - [`boundaries`]: one namespace against another. [`ends`]: what a token opened ends with it.
//! - [`audit`]: the audit log.

mod audit;
mod boundaries;
mod ends;
mod gateway;
mod roles;
mod runners;
mod tokens;

use rivet_tests::{Call, Engine};
use serde_json::{Value, json};
use tempfile::TempDir;

const ADMIN: &str = "the-admin's-token";

/// An engine with an admin token, and a second namespace.
struct Secured {
    engine: Engine,
    _folder: TempDir,
}

impl Secured {
    async fn start() -> Secured {
        Secured::start_with("").await
    }

    /// With more of a configuration: lines of YAML.
    async fn start_with(more: &str) -> Secured {
        Secured::started(more, async |flags| Engine::start_alone(flags).await).await
    }

    /// It writes down everything that it can.
    async fn start_tracing(more: &str) -> Secured {
        Secured::started(more, async |flags| Engine::start_tracing(flags).await).await
    }

    async fn started(more: &str, start: impl AsyncFn(&[&str]) -> Engine) -> Secured {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("engine.yaml");
        let auth = if more.contains("auth:") { "" } else { "auth:\n" };
        let text = format!("guard: {{host: 127.0.0.1}}\n{more}\n{auth}  admin_token: \"{ADMIN}\"\n");
        std::fs::write(&file, text).expect("a file");
        let engine = start(&["--config", file.to_str().expect("a path that is text")]).await;
        let secured = Secured { engine, _folder: folder };
        let body = json!({ "name": "other", "display_name": "Other" });
        secured.send(ADMIN, Call::post("/namespaces").json(&body)).await.expect_ok("a namespace");
        secured
    }

    async fn send(&self, token: &str, call: Call) -> rivet_tests::Answer {
        self.engine.send(with(token, call)).await
    }

    /// Its id, and the token.
    async fn mint(&self, role: &str, namespace: Option<&str>, expires_in_ms: Option<u64>) -> (String, String) {
        let target = namespace.map_or("/tokens".to_string(), |namespace| format!("/tokens?namespace={namespace}"));
        let body = json!({ "role": role, "name": "a test's", "expires_in_ms": expires_in_ms });
        let minted = self.send(ADMIN, Call::post(target).json(&body)).await.expect_ok("a token").json();
        let text = |value: &Value| value.as_str().expect("a text").to_string();
        (text(&minted["token"]["id"]), text(&minted["secret"]))
    }

    async fn revoke(&self, id: &str) {
        self.send(ADMIN, Call::delete(format!("/tokens/{id}"))).await.expect_ok("a revocation");
    }

    /// What the API says, in short: the status, and why not.
    async fn told(&self, token: &str, call: Call) -> String {
        let answer = self.send(token, call).await;
        match answer.json()["metadata"]["reason"].as_str() {
            Some(reason) if answer.status == 403 => format!("403 {reason}"),
            _ => answer.status.to_string(),
        }
    }
}

/// No token if it is empty.
fn with(token: &str, call: Call) -> Call {
    if token.is_empty() { call } else { call.header("authorization", format!("Bearer {token}")) }
}
