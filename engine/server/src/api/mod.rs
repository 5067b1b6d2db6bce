//! The HTTP API: what operators, dashboards and clients ask about namespaces, actors and deployments.
//!
//! Built once, used for every request that is not for an actor. Handlers read what is said, ask the core or the readers, and
//! show what comes back; what may be done is the core's.
//!
//! In reading order:
//! - [`extract`]: reads queries and bodies, strictly.
//! - [`views`]: records as JSON.
//! - [`namespaces`], [`tenants`], [`actors`], [`storage`], [`portable`], [`logs`], [`runners`], [`runner_configs`], [`deployments`],
//!   [`versions`], [`checks`], [`tokens`], [`audit`], [`backups`], [`about`], [`tracing`]: the routes. Who may use each is in
//!   [`crate::auth::table`].
//! - [`pool_form`]: a pool's configuration as it is put and shown. [`settings`]: a deployment's, as they are put.
//! - [`openapi`]: the document that describes all of this; [`schemas`]: values whose types are not the API's.
//! - [`cors`]: what browsers are told.

pub mod about;
pub mod actors;
pub mod audit;
pub mod backups;
pub mod checks;
pub mod cors;
pub mod deployments;
pub mod extract;
pub mod logs;
pub mod namespaces;
pub mod openapi;
pub mod pool_form;
pub mod portable;
pub mod runner_configs;
pub mod runners;
pub mod schemas;
pub mod settings;
pub mod storage;
pub mod tenants;
pub mod tokens;
pub mod tracing;
pub mod versions;
pub mod views;

use std::sync::Arc;

use axum::{Extension, Router, middleware};
use engine_core::action::Answer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::caller;
use crate::dashboard;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::metrics;

/// All routes. Each is named once, in its handler's description, so that the document lists what is served and nothing else.
pub fn router(engine: Arc<Engine>) -> Router {
    let api = OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(namespaces::list, namespaces::create))
        .routes(routes!(tenants::quotas, tenants::set_quotas))
        .routes(routes!(tenants::delete))
        .routes(routes!(actors::list, actors::create, actors::get_or_create))
        .routes(routes!(actors::names))
        .routes(routes!(actors::destroy))
        .routes(routes!(portable::export))
        .routes(routes!(portable::import))
        .routes(routes!(actors::sleep))
        .routes(routes!(actors::reschedule))
        .routes(routes!(actors::kv_entry))
        .routes(routes!(storage::of_actor))
        .routes(routes!(logs::logs))
        .routes(routes!(runners::envoys))
        .routes(routes!(runners::runners))
        .routes(routes!(runners::names))
        .routes(routes!(runner_configs::list))
        .routes(routes!(runner_configs::put, runner_configs::delete))
        .routes(routes!(runner_configs::check))
        .routes(routes!(runner_configs::refresh))
        .routes(routes!(deployments::list))
        .routes(routes!(deployments::get, deployments::deploy, versions::configure))
        .routes(routes!(checks::check))
        .routes(routes!(versions::activate))
        .routes(routes!(versions::share))
        .routes(routes!(versions::promote))
        .routes(routes!(versions::retry))
        .routes(routes!(versions::of_actor, versions::pin, versions::unpin))
        .routes(routes!(backups::list, backups::create))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::own))
        .routes(routes!(tokens::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(about::datacenters))
        .routes(routes!(tracing::get, tracing::put))
        .routes(routes!(about::fanout))
        .routes(routes!(about::metadata))
        .routes(routes!(openapi::document))
        .layer(middleware::from_fn_with_state(engine.clone(), caller::layer))
        .layer(middleware::from_fn(cors::of_routes));
    let (router, described) = api.routes(routes!(about::health)).routes(routes!(about::ready)).split_for_parts();
    router
        .merge(dashboard::router())
        .fallback(cors::not_found)
        .layer(Extension(openapi::Document::new(&described)))
        .layer(middleware::from_fn_with_state(engine.clone(), metrics::count))
        .with_state(engine)
}

/// The core answered a call with something that does not belong to it: a bug, told as one.
pub fn unexpected(answer: &Answer) -> ApiError {
    ApiError::internal("the engine's answer makes no sense", &format!("{answer:?}"))
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use http::{HeaderMap, Method};
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::table;
    use crate::testing::{self, TestEngine};

    /// Status, headers and body of an answer.
    async fn answer(engine: &TestEngine, method: &str, uri: &str, body: Option<Value>) -> (u16, HeaderMap, Value) {
        let method: Method = method.parse().expect("a method");
        let request = Request::builder().method(method).uri(uri).header("origin", "http://page");
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        let api = TowerToHyperService::new(router(engine.engine.clone()));
        let Ok(response) = api.call(request.expect("a request")).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Status and code, or the body where it is no error.
    async fn told(engine: &TestEngine, method: &str, uri: &str, body: Option<Value>) -> String {
        let (status, _, body) = answer(engine, method, uri, body).await;
        match body["code"].as_str() {
            Some(code) => format!("{status} {}.{code}", body["group"].as_str().unwrap_or_default()),
            None if body.is_null() => status.to_string(),
            None => format!("{status} {body}"),
        }
    }

    async fn with_namespace() -> TestEngine {
        let engine = testing::start();
        let made = told(&engine, "POST", "/namespaces", Some(json!({ "name": "default", "display_name": "Default" }))).await;
        assert!(made.starts_with("200 {\"namespace\":{\"create_ts\":"), "{made}");
        engine
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_route_says_who_may_use_it() {
        let (_, _, document) = answer(&testing::start(), "GET", "/openapi.json", None).await;
        let mut served: Vec<String> = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            let methods = item.as_object().expect("methods").keys().filter(|method| *method != "parameters");
            served.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
        }
        let mut known: Vec<String> = table::ROUTES.iter().map(|row| format!("{} {}", row.method, row.path)).collect();
        served.sort();
        known.sort();
        assert_eq!(served, known, "the left is served, the right has a row in auth/table.rs; a new route needs one");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_refused() {
        let engine = with_namespace().await;
        let id = "0".repeat(30);
        let ghost = protocol::id::Id::new([1; 16], 1);
        let create = json!({ "name": "a", "key": "k", "runner_name_selector": "p", "crash_policy": "sleep" });
        let with = |field: &str, value: Value| {
            let mut body = create.clone();
            body[field] = value;
            Some(body)
        };
        let rows: Vec<(&str, String, Option<Value>, &str)> = vec![
            (
                "POST",
                "/namespaces".into(),
                Some(json!({ "name": "default", "display_name": "x" })),
                "400 namespace.name_not_unique",
            ),
            ("POST", "/namespaces".into(), Some(json!({ "name": "A", "display_name": "x" })), "400 namespace.failed_to_create"),
            ("POST", "/namespaces".into(), Some(json!({ "name": "a" })), "400 api.bad_request"),
            ("POST", "/namespaces".into(), None, "400 api.bad_request"),
            ("GET", "/namespaces?namespace_id=x".into(), None, "400 api.bad_request"),
            ("GET", "/namespaces?cursor=x".into(), None, "400 api.bad_request"),
            ("GET", "/actors".into(), None, "400 api.bad_request"),
            ("GET", "/actors?namespace=default".into(), None, "400 validation.invalid_input"),
            ("GET", "/actors?namespace=none".into(), None, "400 validation.invalid_input"),
            ("GET", "/actors?namespace=none&name=a".into(), None, "400 namespace.not_found"),
            ("GET", format!("/actors?namespace=default&actor_id={id}"), None, "400 api.bad_request"),
            ("GET", "/actors?namespace=default&name=a&cursor=x".into(), None, "400 api.bad_request"),
            ("PUT", "/actors?namespace=default".into(), Some(create.clone()), "400 actor.no_runner_config_configured"),
            ("PUT", "/actors?namespace=none".into(), Some(create.clone()), "400 namespace.not_found"),
            ("PUT", "/actors".into(), Some(create.clone()), "400 api.bad_request"),
            ("PUT", "/actors?namespace=none".into(), with("key", Value::Null), "400 api.bad_request"),
            ("POST", "/actors?namespace=default".into(), with("datacenter", json!("mars")), "400 datacenter.not_found"),
            ("POST", "/actors?namespace=none".into(), with("input", json!("*")), "400 api.bad_request"),
            ("POST", "/actors?namespace=default".into(), with("more", json!(1)), "400 api.bad_request"),
            ("DELETE", format!("/actors/{ghost}?namespace=default"), None, "400 actor.not_found"),
            ("DELETE", format!("/actors/{ghost}?namespace=none"), None, "400 namespace.not_found"),
            ("DELETE", "/actors/x?namespace=default".into(), None, "400 api.bad_request"),
            ("POST", format!("/actors/{ghost}/sleep?namespace=default"), Some(json!({})), "400 actor.not_found"),
            ("POST", format!("/actors/{ghost}/sleep?namespace=default"), None, "400 api.bad_request"),
            ("POST", format!("/actors/{ghost}/reschedule?namespace=default"), Some(json!({ "x": 1 })), "400 api.bad_request"),
            ("GET", format!("/actors/{ghost}/kv/keys/Aw==?namespace=default"), None, "400 actor.not_found"),
            ("GET", format!("/actors/{ghost}/kv/keys/*?namespace=default"), None, "400 api.bad_request"),
            ("GET", format!("/actors/{ghost}/kv/keys/%ff?namespace=default"), None, "400 api.bad_request"),
            ("GET", format!("/actors/{ghost}/logs?namespace=default"), None, "400 actor.not_found"),
            ("GET", "/deployments?namespace=none".into(), None, "400 namespace.not_found"),
            ("PUT", "/deployments/a?namespace=none".into(), None, "400 namespace.not_found"),
            ("PUT", "/deployments/a?namespace=default".into(), None, "400 deployment.no_component_runner"),
            ("PUT", format!("/deployments/{}?namespace=default", "n".repeat(257)), None, "400 actor.name_too_large"),
            ("POST", "/deployments/a/activate?namespace=default".into(), Some(json!({ "version": 1 })), "400 deployment.not_found"),
            ("POST", "/deployments/a/activate?namespace=default".into(), Some(json!({ "version": -1 })), "400 api.bad_request"),
            ("GET", "/deployments/a?namespace=default".into(), None, "400 deployment.not_found"),
            ("GET", "/deployments/a?namespace=none".into(), None, "400 namespace.not_found"),
            ("PUT", "/deployments/a?namespace=default&canary=101%25".into(), None, "400 api.bad_request"),
            ("PATCH", "/deployments/a?namespace=default".into(), Some(json!({})), "400 deployment.not_found"),
            ("PATCH", "/deployments/a?namespace=default".into(), None, "400 api.bad_request"),
            ("PATCH", "/deployments/a?namespace=default".into(), Some(json!([])), "400 deployment.settings_invalid"),
            ("PUT", "/deployments/a/canary?namespace=default".into(), Some(json!({ "share": "5%" })), "400 deployment.not_found"),
            ("PUT", "/deployments/a/canary?namespace=default".into(), Some(json!({ "share": 5 })), "400 api.bad_request"),
            ("POST", "/deployments/a/promote?namespace=default".into(), Some(json!({})), "400 deployment.not_found"),
            ("POST", "/deployments/a/retry?namespace=default".into(), Some(json!({})), "400 deployment.not_found"),
            ("GET", format!("/actors/{ghost}/version?namespace=default"), None, "400 actor.not_found"),
            ("PUT", format!("/actors/{ghost}/version?namespace=default"), Some(json!({ "version": 1 })), "400 actor.not_found"),
            ("PUT", format!("/actors/{ghost}/version?namespace=default"), Some(json!({ "version": null })), "400 api.bad_request"),
            ("DELETE", format!("/actors/{ghost}/version?namespace=default"), None, "400 actor.not_found"),
            ("GET", "/nothing".into(), None, "404 api.not_found"),
            ("GET", "/actors/".into(), None, "404 api.not_found"),
            ("PATCH", "/actors".into(), None, "405"),
            ("GET", format!("/actors/{ghost}"), None, "405"),
            ("OPTIONS", "/health".into(), None, "405"),
        ];
        for (method, uri, body, expected) in rows {
            assert_eq!(told(&engine, method, &uri, body).await, expected, "{method} {uri}");
        }
        let left = std::fs::read_dir(engine.folder().join("components")).expect("it is there").count();
        assert_eq!(left, 0, "a component that was refused is not kept");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_answered_without_any_actor() {
        let engine = with_namespace().await;
        let rows = [
            ("/namespaces?name=none", r#"200 {"namespaces":[],"pagination":{"cursor":null}}"#),
            ("/namespaces?limit=0", r#"200 {"namespaces":[],"pagination":{"cursor":null}}"#),
            ("/actors?namespace=default&name=a", r#"200 {"actors":[],"pagination":{"cursor":null}}"#),
            ("/actors?namespace=default&name=a&key=k", r#"200 {"actors":[],"pagination":{"cursor":null}}"#),
            ("/actors/names?namespace=default", r#"200 {"names":{},"pagination":{"cursor":null}}"#),
            ("/deployments?namespace=default", r#"200 {"deployments":[]}"#),
            (
                "/datacenters?anything=1",
                r#"200 {"datacenters":[{"label":1,"name":"default","url":"http://127.0.0.1:6420/"}],"pagination":{"cursor":null}}"#,
            ),
        ];
        for (uri, expected) in rows {
            assert_eq!(told(&engine, "GET", uri, None).await, expected, "{uri}");
        }
        assert_eq!(answer(&engine, "GET", "/health", None).await.2["runtime"], "engine");
        assert_eq!(answer(&engine, "GET", "/metadata?namespace=x", None).await.2["envoy_protocol_version"], 8);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_browsers_are_told() {
        let engine = with_namespace().await;
        let rows = [
            ("GET", "/namespaces", 200, Some("http://page"), true),
            ("OPTIONS", "/actors", 200, Some("http://page"), true),
            ("GET", "/actors", 400, Some("http://page"), true),
            ("GET", "/nothing", 404, Some("*"), true),
            ("OPTIONS", "/nothing", 200, Some("*"), true),
            ("DELETE", "/namespaces", 405, Some("http://page"), true),
            ("GET", "/health", 200, None, false),
        ];
        for (method, uri, status, origin, varies) in rows {
            let (found, headers, _) = answer(&engine, method, uri, None).await;
            assert_eq!(found, status, "{method} {uri}");
            let allowed = headers.get("access-control-allow-origin").map(|value| value.to_str().expect("text"));
            assert_eq!(allowed, origin, "{method} {uri}");
            assert_eq!(headers.contains_key("vary"), varies, "{method} {uri}");
        }
    }
}
