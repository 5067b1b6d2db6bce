//! Who may connect as a runner of components, and with which words.
//!
//! Refused as all runners are: by a close after the handshake.

use http::request::Parts;
use http::{HeaderName, header};
use protocol::message::{RunnerProfile, Serves};
use protocol::wire::ComponentsVersion;

use crate::auth::pass::Pass;
use crate::engine::{Engine, OWN_KEY};
use crate::error::ApiError;
use crate::runners::connect::{Endpoint, KEY_BYTES_MAX, Parameters, TOKEN_ITEM, X_RIVET_TOKEN, authorize, invalid};
use crate::websocket;

/// How such a runner introduced itself, once that is found to be in order.
#[derive(Debug)]
pub struct Hello {
    pub version: ComponentsVersion,
    pub profile: RunnerProfile,
    pub pass: Pass,
}

pub fn hello(engine: &Engine, parts: &Parts) -> Result<Hello, ApiError> {
    let (token, wanted): (Option<&str>, HeaderName) = match parts.headers.get(X_RIVET_TOKEN) {
        Some(token) => (token.to_str().ok(), X_RIVET_TOKEN),
        None => (websocket::parameter(&parts.headers, TOKEN_ITEM), header::SEC_WEBSOCKET_PROTOCOL),
    };
    let asker = authorize(engine, parts, Endpoint::Components, token, &wanted)?;
    // It takes actors of every namespace, and with them their code and their secrets.
    asker.may_run_in(engine, None)?;
    let parameters = Parameters::read(parts, "invalid_request")?;
    let number: u16 = parameters.number("protocol_version")?;
    let version = ComponentsVersion::new(number).ok_or_else(|| {
        let (oldest, newest) = (ComponentsVersion::OLDEST.number(), ComponentsVersion::NEWEST.number());
        let message = format!("components protocol {number} is not spoken here, {oldest} to {newest} are");
        ApiError::new("ws", "unsupported_protocol_version", message)
    })?;
    let key = parameters.text("runner_key")?;
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) || key == OWN_KEY {
        return Err(invalid(format!(
            "a runner_key has 1 to {KEY_BYTES_MAX} bytes and is not {OWN_KEY:?}, the engine's own runner"
        )));
    }
    let code_version = parameters.number("version")?;
    let profile = RunnerProfile { key: key.to_string(), version: code_version, serves: Serves::Components };
    Ok(Hello { version, profile, pass: asker.pass() })
}
