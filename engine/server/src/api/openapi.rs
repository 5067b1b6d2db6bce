//! `/openapi.json`: the API described for programs, made from the handlers themselves.

use axum::Extension;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, ServerBuilder};

use crate::api::about::VERSION;

const DESCRIPTION: &str = "Namespaces, actors, pools and deployments of an engine. Calls to actors are not in it: they go to \
     /gateway/{actor_id}/… or /gateway/{name}/…?rvt-namespace=…&rvt-method=…, with any method, and the answers are the actors' own. \
     Every answer has x-rivet-ray-id. A parameter or field that is not listed is an error.";

/// The document, written once.
#[derive(Clone)]
pub struct Document(Bytes);

impl Document {
    pub fn new(described: &OpenApi) -> Document {
        Document(described.to_json().expect("a description is JSON").into())
    }
}

/// Everything but the routes.
pub fn frame() -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info =
        InfoBuilder::new().title("rivet-engine").version(VERSION).description(Some(DESCRIPTION)).license(Some(license)).build();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = ComponentsBuilder::new().security_scheme("admin_token", token).build();
    // The engine that the document comes from.
    let server = ServerBuilder::new().url("/").build();
    OpenApiBuilder::new().info(info).components(Some(components)).servers(Some([server])).build()
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Engine",
    responses((status = 200, body = serde_json::Value, description = "OpenAPI 3.1"))
)]
pub async fn document(Extension(document): Extension<Document>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], document.0).into_response()
}
