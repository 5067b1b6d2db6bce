//! Reads what API requests say: strictly, and always answering `api.bad_request` where they say something else.
//!
//! Unknown parameters and fields are refused, so that a typing error is an error and not a silent default.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request};
use engine_core::record::NamespaceRecord;
use engine_core::refusal::Refusal;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use protocol::limits::{KIB, MIB, cut};
use serde::de::DeserializeOwned;

use crate::auth::caller::Asked;
use crate::auth::identity::{Denied, Identity};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::form;

pub const API_BODY_BYTES_MAX: usize = 2 * MIB;
/// As much of what is wrong with a body is told.
const ERROR_BYTES_SHOWN: usize = KIB;

/// The parameters of a query, decoded.
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub fn read(uri: &Uri, known: &[&str]) -> Result<Query, ApiError> {
        let mut pairs = Vec::new();
        for (name, value) in form::pairs(uri.query().unwrap_or_default()) {
            let not_utf8 = |_| ApiError::bad_request(format!("the query parameter {name:?} is not UTF-8"));
            let name = form::decode(name).map_err(not_utf8)?;
            if !known.contains(&&*name) {
                let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
                return Err(ApiError::bad_request(format!("unknown query parameter {name:?}; known here: {known}")));
            }
            let value = form::decode(value).map_err(not_utf8)?;
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Query { pairs })
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that may be left out; an empty one was, as forms send them.
    pub fn one(&self, name: &str) -> Result<Option<&str>, ApiError> {
        Ok(self.given(name)?.filter(|value| !value.is_empty()))
    }

    /// The entries of a list between commas.
    pub fn listed(&self, name: &str) -> Result<impl Iterator<Item = &str>, ApiError> {
        Ok(self.one(name)?.into_iter().flat_map(|list| list.split(',')))
    }

    fn given(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.pairs.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let first = values.next();
        match values.count() {
            0 => Ok(first),
            more => Err(ApiError::bad_request(format!("the query parameter {name:?} is given {} times; give it once", more + 1))),
        }
    }

    pub fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.given(name)?.ok_or_else(|| ApiError::bad_request(format!("the query parameter {name:?} is missing")))
    }

    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(ApiError::bad_request(format!("{name} is {other:?}; true or false is expected"))),
        }
    }

    /// A number of rows.
    pub fn limit(&self, default: usize) -> Result<usize, ApiError> {
        match self.one("limit")? {
            None => Ok(default),
            Some(text) => number("limit", text),
        }
    }

    /// A whole number, if it is given.
    pub fn whole(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.one(name)?.map(|text| number(name, text)).transpose()
    }

    /// A moment in milliseconds, or a number.
    pub fn cursor_ms(&self) -> Result<Option<u64>, ApiError> {
        self.moment("cursor")
    }

    pub fn moment(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.one(name)?.map(|text| number(name, text)).transpose()
    }
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::bad_request(format!("{name} is {text:?}; a whole number from 0 on is expected")))
}

/// The namespace that the query names.
pub fn namespace(engine: &Engine, query: &Query) -> Result<NamespaceRecord, ApiError> {
    let name = query.required("namespace")?;
    usable_namespace(engine, name)
}

/// One that is there, and is not being deleted.
pub fn usable_namespace(engine: &Engine, name: &str) -> Result<NamespaceRecord, ApiError> {
    match engine.directory.namespace(name) {
        Some(record) if record.delete_ms.is_some() => Err(Refusal::NamespaceDeleting { namespace: record.name }.into()),
        Some(record) => Ok(record),
        None => Err(ApiError::namespace_not_found(name)),
    }
}

/// The same where it may be left out.
pub fn some_namespace(engine: &Engine, query: &Query) -> Result<Option<NamespaceRecord>, ApiError> {
    query.one("namespace")?.map(|_| namespace(engine, query)).transpose()
}

/// What a request brings to show that it may.
pub struct Token(Arc<Asked>);

impl<S: Send + Sync> FromRequestParts<S> for Token {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Token, ApiError> {
        let asked = parts.extensions.get::<Arc<Asked>>().cloned();
        asked.map(Token).ok_or_else(|| ApiError::internal("nobody knows who asks", &parts.uri.path()))
    }
}

impl Token {
    /// Asked once the request has been understood, as the original does: what makes no sense is told to everybody. What the route
    /// needs is in [`crate::auth::table`]. Whoever may use it need not see everything that there is: [`Identity::within`].
    pub fn check(&self, engine: &Engine) -> Result<Identity, ApiError> {
        self.0.check(engine)
    }

    /// As if the table had refused it, where that depends on more than the route.
    pub fn refuse(&self, engine: &Engine, denied: Denied) -> ApiError {
        self.0.refused(engine, denied);
        denied.into()
    }
}

/// The body of a request, which must be JSON and say so.
pub async fn json<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    if !says_json(request.headers()) {
        return Err(ApiError::bad_request("the header content-type must be application/json"));
    }
    let body = Limited::new(request.into_body(), API_BODY_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ApiError::bad_request(format!("the body is longer than {API_BODY_BYTES_MAX} bytes"))
        } else {
            ApiError::bad_request(format!("the body could not be read: {error}"))
        }
    })?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        // It quotes what it cannot read.
        ApiError::bad_request(format!("the body is not as expected: {}", cut(error.to_string(), ERROR_BYTES_SHOWN)))
    })
}

fn says_json(headers: &HeaderMap) -> bool {
    let Some(Ok(content_type)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The variable parts of a path, decoded.
pub struct PathPart<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathPart<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathPart<T>, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(part)) => Ok(PathPart(part)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(ApiError::bad_request(error.body_text())),
            Err(other) => Err(ApiError::internal("the path could not be taken apart", &other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde::Deserialize;

    use super::*;

    fn query(text: &str) -> Result<Query, ApiError> {
        Query::read(&format!("/x?{text}").parse().expect("an address"), &["a", "limit", "cursor"])
    }

    #[test]
    fn parameters_are_read_strictly() {
        let value = |text: &str| query(text).and_then(|query| query.one("a").map(|value| value.map(str::to_string)));
        assert_eq!(value("a=x+y%2B"), Ok(Some("x y+".to_string())));
        assert_eq!(value("%61=1"), Ok(Some("1".to_string())));
        assert_eq!((value(""), value("a=")), (Ok(None), Ok(None)));
        for bad in ["b=1", "a=1&a=2", "a=%ff", "A=1", "a[]=1"] {
            assert_eq!(value(bad).map_err(|error| error.code), Err("bad_request"), "{bad}");
        }
        let limit = |text: &str| query(text).and_then(|query| query.limit(7));
        assert_eq!(limit(""), Ok(7));
        assert_eq!((limit("limit="), limit("limit=0")), (Ok(7), Ok(0)));
        for bad in ["limit=-1", "limit=1.5", "limit=99999999999999999999", "limit=ten"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
        let flag = |text: &str| query(text).and_then(|query| query.flag("a"));
        assert_eq!((flag("a=true"), flag("a=false"), flag("")), (Ok(true), Ok(false), Ok(false)));
        assert!(flag("a=1").is_err());
        assert!(query("cursor=x").and_then(|query| query.cursor_ms()).is_err());
        assert!(query("").is_ok_and(|query| query.required("a").is_err()));
        assert!(query("a=").is_ok_and(|query| query.required("a") == Ok("")));
        let listed = |text: &str| query(text).and_then(|query| Ok(query.listed("a")?.map(str::to_string).collect::<Vec<_>>()));
        assert_eq!((listed("a="), listed("a=x,,y")), (Ok(vec![]), Ok(["x", "", "y"].map(str::to_string).to_vec())));
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        a: u8,
    }

    #[tokio::test]
    async fn bodies_are_read_strictly() {
        let long = format!("{{\"a\":1{}}}", " ".repeat(API_BODY_BYTES_MAX));
        let deep = "[".repeat(100_000);
        let quoted = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
        let rows = [
            (Some("application/json"), r#"{"a":1}"#, true),
            (Some("Application/JSON; charset=utf-8"), r#"{"a":1}"#, true),
            (Some("application/vnd.api+json"), r#"{"a":1}"#, true),
            (None, r#"{"a":1}"#, false),
            (Some("text/plain"), r#"{"a":1}"#, false),
            (Some("application/json"), r#"{"a":1,"b":2}"#, false),
            (Some("application/json"), r#"{"a":"1"}"#, false),
            (Some("application/json"), r#"{}"#, false),
            (Some("application/json"), r#"{"a":1}x"#, false),
            (Some("application/json"), "", false),
            (Some("application/json"), &long, false),
            (Some("application/json"), &deep, false),
            (Some("application/json"), &quoted, false),
        ];
        for (content_type, body, good) in rows {
            let mut request = Request::new(Body::from(body.to_string()));
            if let Some(content_type) = content_type {
                request.headers_mut().insert(CONTENT_TYPE, content_type.parse().expect("a header"));
            }
            match json::<Fields>(request).await {
                Ok(fields) => assert!(good && fields == Fields { a: 1 }),
                Err(error) => assert!(!good && error.code == "bad_request" && error.message.len() < 2 * KIB, "{error:?}"),
            }
        }
    }
}
