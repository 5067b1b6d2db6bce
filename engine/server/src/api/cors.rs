//! What browsers are told about calling the API from pages of other origins.
//!
//! Routes mirror what the browser asks for and allow credentials, also where they refuse; what is not there is open to all.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::error::{ApiError, quotable};

const ANY: HeaderValue = HeaderValue::from_static("*");
const VARIES: HeaderValue = HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

pub async fn of_routes(request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        let mut response = StatusCode::OK.into_response();
        mirror(request.headers(), ACCESS_CONTROL_REQUEST_METHOD, response.headers_mut(), ACCESS_CONTROL_ALLOW_METHODS);
        mirror(request.headers(), ACCESS_CONTROL_REQUEST_HEADERS, response.headers_mut(), ACCESS_CONTROL_ALLOW_HEADERS);
        response
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(VARY, VARIES);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn mirror(from: &HeaderMap, asked: HeaderName, to: &mut HeaderMap, allowed: HeaderName) {
    if let Some(value) = from.get(asked) {
        to.insert(allowed, value.clone());
    }
}

/// Whatever no route serves.
pub async fn not_found(request: Request) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else {
        let path = quotable(request.uri().path());
        ApiError::new("api", "not_found", format!("nothing is served at {path}")).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(VARY, VARIES);
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    if request.method() == Method::OPTIONS {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ANY);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ANY);
    } else {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
    }
    response
}
