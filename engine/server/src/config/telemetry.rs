//! What leaves for a collector, if anything does: from the original's variables, which have no keys in files.

use std::time::Duration;

use url::Url;

use crate::config::ConfigError;

const ENDPOINT_DEFAULT: &str = "http://localhost:4317";
const SERVICE_DEFAULT: &str = "rivet";
/// One request in a thousand, as in the original.
pub const RATIO_DEFAULT: f64 = 0.001;
/// The standard's own variable and default.
const METRICS_INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
const METRICS_MS_DEFAULT: u64 = 60_000;
const METRICS_MS_MIN: u64 = 100;
const METRICS_MS_MAX: u64 = 60 * 60_000;
const SERVICE_BYTES_MAX: usize = 256;

#[derive(Clone, PartialEq, Debug)]
pub struct TelemetryConfig {
    /// Where the collector listens: OTLP over gRPC.
    pub endpoint: String,
    /// The share of the requests that bring no decision of their own.
    pub ratio: f64,
    pub service: String,
    /// Callers decide whether what they ask for is traced.
    pub accept_traceparent: bool,
    /// Others are told which trace a guest's request belongs to.
    pub send_traceparent: bool,
    pub metrics_every: Duration,
}

/// None unless it is turned on: then nothing leaves.
pub fn telemetry(variable: impl Fn(&str) -> Option<String>) -> Result<Option<TelemetryConfig>, ConfigError> {
    let said = |name: &str| variable(name).filter(|text| !text.is_empty());
    let flag = |name: &str| match said(name).as_deref() {
        Some("1" | "true") => Ok(Some(true)),
        Some("0" | "false") => Ok(Some(false)),
        None => Ok(None),
        Some(other) => Err(ConfigError(format!("{name}: {other:?}: 1 or 0 is expected"))),
    };
    if flag("RIVET_OTEL_ENABLED")? != Some(true) {
        return Ok(None);
    }
    let endpoint = said("RIVET_OTEL_GRPC_ENDPOINT").unwrap_or_else(|| ENDPOINT_DEFAULT.to_string());
    let url = Url::parse(&endpoint).ok().filter(|url| url.scheme() == "http" && url.host_str().is_some());
    if url.is_none() {
        let remedy = "http://HOST:PORT is expected: TLS is not spoken to collectors; run one on this host and let it send on";
        return Err(ConfigError(format!("RIVET_OTEL_GRPC_ENDPOINT: {endpoint:?}: {remedy}")));
    }
    let ratio = said("RIVET_OTEL_SAMPLER_RATIO").map_or(Ok(RATIO_DEFAULT), |text| {
        parse_ratio(&text).map_err(|error| ConfigError(format!("RIVET_OTEL_SAMPLER_RATIO: {error}")))
    })?;
    let service = said("RIVET_SERVICE_NAME").unwrap_or_else(|| SERVICE_DEFAULT.to_string());
    if service.len() > SERVICE_BYTES_MAX {
        return Err(ConfigError(format!("RIVET_SERVICE_NAME: it has more than {SERVICE_BYTES_MAX} bytes")));
    }
    let ms = said(METRICS_INTERVAL).map_or(Ok(METRICS_MS_DEFAULT), |text| {
        let ms = text.parse().ok().filter(|ms| (METRICS_MS_MIN..=METRICS_MS_MAX).contains(ms));
        let expected = format!("{METRICS_MS_MIN} to {METRICS_MS_MAX} milliseconds are possible");
        ms.ok_or_else(|| ConfigError(format!("{METRICS_INTERVAL}: {text:?}: {expected}")))
    })?;
    Ok(Some(TelemetryConfig {
        endpoint,
        ratio,
        service,
        accept_traceparent: flag("RIVET_OTEL_ACCEPT_TRACEPARENT")?.unwrap_or(true),
        send_traceparent: flag("RIVET_OTEL_SEND_TRACEPARENT")?.unwrap_or(false),
        metrics_every: Duration::from_millis(ms),
    }))
}

pub fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| format!("{text:?}: a number from 0 (none) to 1 (all) is expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let read = |said: &[(&str, &str)]| {
            telemetry(|name| said.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string()))
        };
        let on = ("RIVET_OTEL_ENABLED", "1");
        let rows: [(&[(&str, &str)], &str); 14] = [
            (&[], "off"),
            (&[("RIVET_OTEL_GRPC_ENDPOINT", "http://x")], "off"),
            (&[("RIVET_OTEL_ENABLED", "0"), ("RIVET_OTEL_SAMPLER_RATIO", "x")], "off"),
            (&[on], "http://localhost:4317 0.001 rivet 60s true false"),
            (
                &[on, ("RIVET_OTEL_SAMPLER_RATIO", "1"), ("RIVET_SERVICE_NAME", "shop")],
                "http://localhost:4317 1 shop 60s true false",
            ),
            (
                &[on, ("RIVET_OTEL_ACCEPT_TRACEPARENT", "0"), ("RIVET_OTEL_SEND_TRACEPARENT", "true")],
                "http://localhost:4317 0.001 rivet 60s false true",
            ),
            (&[on, ("RIVET_OTEL_SEND_TRACEPARENT", "yes")], "RIVET_OTEL_SEND_TRACEPARENT"),
            (
                &[on, ("RIVET_OTEL_GRPC_ENDPOINT", "http://otel:9"), (METRICS_INTERVAL, "500")],
                "http://otel:9 0.001 rivet 500ms true false",
            ),
            (&[on, ("RIVET_OTEL_GRPC_ENDPOINT", "https://otel:9")], "RIVET_OTEL_GRPC_ENDPOINT"),
            (&[on, ("RIVET_OTEL_GRPC_ENDPOINT", "otel")], "RIVET_OTEL_GRPC_ENDPOINT"),
            (&[on, ("RIVET_OTEL_SAMPLER_RATIO", "1.1")], "RIVET_OTEL_SAMPLER_RATIO"),
            (&[on, ("RIVET_OTEL_SAMPLER_RATIO", "NaN")], "RIVET_OTEL_SAMPLER_RATIO"),
            (&[on, (METRICS_INTERVAL, "1")], METRICS_INTERVAL),
            (&[("RIVET_OTEL_ENABLED", "maybe")], "RIVET_OTEL_ENABLED"),
        ];
        for (said, expected) in rows {
            let seen = match read(said) {
                Ok(None) => "off".to_string(),
                Ok(Some(config)) => {
                    let TelemetryConfig { endpoint, ratio, service, metrics_every, accept_traceparent, send_traceparent } = config;
                    format!("{endpoint} {ratio} {service} {metrics_every:?} {accept_traceparent} {send_traceparent}")
                }
                Err(ConfigError(sentence)) => sentence.split(':').next().unwrap_or_default().to_string(),
            };
            assert_eq!(seen, expected, "{said:?}");
        }
    }
}
