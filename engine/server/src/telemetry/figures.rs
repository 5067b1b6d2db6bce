//! Metrics on their way to the collector: the figures of Prometheus' page, as OTLP's messages.
//!
//! The SDK's own meters would count everything a second time, and differ from the page. Sums and histograms are cumulative, since the
//! process began.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource as Described;
use opentelemetry_sdk::Resource;
use protocol::histogram::{BOUNDS_US, Counted};
use tokio::sync::watch;
use tonic::transport::Endpoint;

use crate::config::telemetry::TelemetryConfig;
use crate::metrics::page::{Family, Kind, Page, Row, Value};

/// How long the collector may take to answer, and to be reached.
const SEND_MS_MAX: u64 = 5_000;
const SCOPE: &str = "rivet-engine";

/// Until the process ends, with the last figures then, or there is nothing any more that could be counted.
pub fn run<P: Fn() -> F + Send, F: Future<Output = Option<Page>> + Send>(
    figures: P,
    config: &TelemetryConfig,
    resource: &Resource,
    mut is_ending: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + use<P, F> {
    let (endpoint, every, began) = (config.endpoint.clone(), config.metrics_every, SystemTime::now());
    let attributes = resource.iter().map(|(name, value)| text(name.as_str(), value.as_str().into_owned())).collect();
    let resource = Described { attributes, ..Described::default() };
    async move {
        let timeout = Duration::from_millis(SEND_MS_MAX);
        let endpoint = match Endpoint::from_shared(endpoint) {
            Ok(endpoint) => endpoint.connect_timeout(timeout).timeout(timeout),
            Err(error) => return tracing::warn!(%error, "metrics are not sent to the collector"),
        };
        let mut client = MetricsServiceClient::new(endpoint.connect_lazy());
        let mut was_refused = false;
        loop {
            let ending = tokio::select! {
                () = tokio::time::sleep(every) => false,
                _ = is_ending.changed() => true,
            };
            let Some(page) = figures().await else { return };
            match client.export(message(&page, began, &resource)).await {
                Ok(_) => was_refused = false,
                Err(error) if !std::mem::replace(&mut was_refused, true) => {
                    tracing::warn!(%error, "the collector does not take metrics; Prometheus' port has them all the same");
                }
                Err(_) => {}
            }
            if ending {
                return;
            }
        }
    }
}

fn message(page: &Page, began: SystemTime, resource: &Described) -> ExportMetricsServiceRequest {
    let times = [began, SystemTime::now()].map(nanos);
    let scope = InstrumentationScope {
        name: SCOPE.to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        ..InstrumentationScope::default()
    };
    let metrics = page.families.iter().map(|family| metric(family, times)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource: Some(resource.clone()), scope_metrics, ..ResourceMetrics::default() }],
    }
}

fn metric(family: &Family, times: [u64; 2]) -> Metric {
    let numbers = || family.rows.iter().filter_map(|row| number(row, times)).collect();
    let temporality = AggregationTemporality::Cumulative as i32;
    let data = match family.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Counter => Data::Sum(Sum { data_points: numbers(), aggregation_temporality: temporality, is_monotonic: true }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: family.rows.iter().filter_map(|row| durations(row, times)).collect(),
            aggregation_temporality: temporality,
        }),
    };
    Metric {
        name: family.name.to_string(),
        description: family.help.to_string(),
        unit: unit(family.name).to_string(),
        data: Some(data),
        ..Metric::default()
    }
}

/// Its name says it.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit_once('_') {
        Some((_, "seconds")) => "s",
        Some((_, "bytes")) => "By",
        _ => "1",
    }
}

fn number(row: &Row, [start, now]: [u64; 2]) -> Option<NumberDataPoint> {
    let Value::Number(value) = row.value else { return None };
    Some(NumberDataPoint {
        attributes: labels(row),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    })
}

fn durations(row: &Row, [start, now]: [u64; 2]) -> Option<HistogramDataPoint> {
    let Value::Durations(counted) = &row.value else { return None };
    let counted: &Counted = counted;
    Some(HistogramDataPoint {
        attributes: labels(row),
        start_time_unix_nano: start,
        time_unix_nano: now,
        count: counted.total(),
        sum: Some(counted.sum_seconds()),
        bucket_counts: counted.counts.to_vec(),
        explicit_bounds: BOUNDS_US.iter().map(|us| *us as f64 / 1e6).collect(),
        ..HistogramDataPoint::default()
    })
}

fn labels(row: &Row) -> Vec<KeyValue> {
    row.labels.iter().map(|(name, value)| text(name, value.clone())).collect()
}

fn text(name: &str, value: String) -> KeyValue {
    KeyValue { key: name.to_string(), value: Some(AnyValue { value: Some(Any::StringValue(value)) }), ..KeyValue::default() }
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
