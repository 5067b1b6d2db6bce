//! The HTTP API: what operators, dashboards and clients ask about namespaces, actors and deployments.
//!
//! Built once, used for every request that is not for an actor. Handlers read what is said, ask the core or the readers, and
//! show what comes back; what may be done is the core's.
//!
//! In reading order:
//! - [`extract`]: reads queries and bodies, strictly.
//! - [`views`]: records as JSON.
//! - [`namespaces`], [`actors`], [`logs`], [`deployments`], [`about`]: the routes.
//! - [`cors`]: what browsers are told.

pub mod about;
pub mod actors;
pub mod cors;
pub mod deployments;
pub mod extract;
pub mod logs;
pub mod namespaces;
pub mod views;

use std::sync::Arc;

use axum::routing::{delete, get, post, put};
use axum::{Router, middleware};
use engine_core::action::Answer;

use crate::engine::Engine;
use crate::error::ApiError;

pub fn router(engine: Arc<Engine>) -> Router {
    let api = Router::new()
        .route("/namespaces", get(namespaces::list).post(namespaces::create))
        .route("/actors", get(actors::list).put(actors::get_or_create).post(actors::create))
        .route("/actors/names", get(actors::names))
        .route("/actors/{actor}", delete(actors::destroy))
        .route("/actors/{actor}/sleep", post(actors::sleep))
        .route("/actors/{actor}/reschedule", post(actors::reschedule))
        .route("/actors/{actor}/kv/keys/{key}", get(actors::kv_entry))
        .route("/actors/{actor}/logs", get(logs::logs))
        .route("/datacenters", get(about::datacenters))
        .route("/deployments", get(deployments::list))
        .route("/deployments/{name}", put(deployments::deploy))
        .route("/deployments/{name}/activate", post(deployments::activate))
        .route("/metadata", get(about::metadata))
        .layer(middleware::from_fn(cors::of_routes));
    Router::new().merge(api).route("/health", get(about::health)).fallback(cors::not_found).with_state(engine)
}

/// The core answered a call with something that does not belong to it: a bug, told as one.
fn unexpected(answer: &Answer) -> ApiError {
    ApiError::internal("the engine's answer makes no sense", &format!("{answer:?}"))
}
