//! What operators follow: log lines, and traces and metrics on their way to a collector, if one is configured.
//!
//! Without one nothing leaves and nothing is measured: a request finds that there is no [`Otel`] and goes on. With one, a request is
//! sampled when it comes in, by its caller's decision or by chance; only then are there spans.
//!
//! In reading order: this, whether a request is sampled; [`spans`], how spans leave; [`figures`], how metrics do; [`lines`], log lines.

mod figures;
pub mod lines;
mod spans;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry_sdk::Resource;
use protocol::trace::{Kind, Span, SpanContext, Spans, TRACEPARENT};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::telemetry::TelemetryConfig;
use crate::engine::Engine;
use crate::lock::lock;
use crate::metrics::page::Page;
use crate::random;

/// How long what has not left yet may take when the process ends.
const FLUSH_MS_MAX: u64 = 3_000;

/// Off, or on the way to a collector.
#[derive(Default)]
pub struct Telemetry {
    otel: Option<Arc<Otel>>,
}

struct Otel {
    exporter: Arc<spans::Exporter>,
    config: TelemetryConfig,
    resource: Resource,
    /// The bits of a number from 0 to 1.
    ratio: AtomicU64,
    ending: watch::Sender<bool>,
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Telemetry {
    /// Inside a runtime.
    pub fn start(config: Option<&TelemetryConfig>) -> Result<Telemetry, String> {
        let Some(config) = config.cloned() else { return Ok(Telemetry::default()) };
        let instance = u64::from_le_bytes(random::bytes());
        let attributes =
            [("service.version", env!("CARGO_PKG_VERSION").to_string()), ("service.instance.id", format!("{instance:016x}"))];
        let attributes = attributes.map(|(name, value)| opentelemetry::KeyValue::new(name, value));
        let resource = Resource::builder_empty().with_service_name(config.service.clone()).with_attributes(attributes).build();
        let (ending, is_ending) = watch::channel(false);
        let (exporter, task) = spans::Exporter::start(&config.endpoint, &resource, is_ending)
            .map_err(|error| format!("traces cannot be sent to RIVET_OTEL_GRPC_ENDPOINT, {}: {error}", config.endpoint))?;
        tracing::info!(endpoint = config.endpoint, ratio = config.ratio, "traces and metrics are sent to a collector");
        let ratio = AtomicU64::new(config.ratio.to_bits());
        let tasks = std::sync::Mutex::new(vec![task]);
        Ok(Telemetry { otel: Some(Arc::new(Otel { exporter, config, resource, ratio, ending, tasks })) })
    }

    /// From now on the metrics leave too.
    pub fn send_figures(&self, engine: &Arc<Engine>) {
        if let Some(otel) = &self.otel {
            let task = figures::run(Arc::downgrade(engine), &otel.config, &otel.resource, otel.ending.subscribe());
            lock(&otel.tasks).push(tokio::spawn(task));
        }
    }

    /// The span of a request that came in, if it is sampled: its caller's decision, else by chance.
    pub fn request(&self, headers: &HeaderMap, name: &'static str) -> Span {
        let Some(otel) = &self.otel else { return Span::none() };
        let caller = headers.get(TRACEPARENT).and_then(SpanContext::parse);
        let (trace_id, parent) = match caller {
            Some(caller) if caller.is_sampled => (caller.trace_id, Some((caller.span_id, true))),
            Some(_) => return Span::none(),
            None => {
                let trace_id = u128::from_le_bytes(random::bytes());
                if !is_sampled(trace_id, otel.ratio()) {
                    return Span::none();
                }
                (trace_id, None)
            }
        };
        Span::begin(otel.exporter.clone(), trace_id, parent, name, Kind::Server)
    }

    /// Where a runner's spans go.
    pub fn spans(&self) -> Option<Arc<dyn Spans>> {
        self.otel.as_ref().map(|otel| otel.exporter.clone() as Arc<dyn Spans>)
    }

    pub fn ratio(&self) -> Option<f64> {
        self.otel.as_ref().map(|otel| otel.ratio())
    }

    /// Until the process ends, or it is changed again. False: nothing is traced.
    pub fn change_ratio(&self, ratio: f64) -> bool {
        let Some(otel) = &self.otel else { return false };
        otel.ratio.store(ratio.to_bits(), Relaxed);
        true
    }

    pub fn figures(&self, page: &mut Page) {
        if let Some(otel) = &self.otel {
            otel.exporter.figures(page);
        }
    }

    /// What was measured leaves, or is given up.
    pub async fn end(&self) {
        let Some(otel) = &self.otel else { return };
        otel.ending.send_replace(true);
        let tasks = std::mem::take(&mut *lock(&otel.tasks));
        let all = futures_util::future::join_all(tasks);
        if tokio::time::timeout(Duration::from_millis(FLUSH_MS_MAX), all).await.is_err() {
            tracing::warn!("the collector did not take the last traces and metrics within {FLUSH_MS_MAX} ms");
        }
    }
}

impl Otel {
    fn ratio(&self) -> f64 {
        f64::from_bits(self.ratio.load(Relaxed))
    }
}

/// By the trace's number, so that everybody with the same ratio decides the same: as OpenTelemetry's own sampler does.
fn is_sampled(trace_id: u128, ratio: f64) -> bool {
    const SPAN: u64 = 1 << 63;
    trace_id != 0 && (ratio >= 1.0 || (trace_id as u64 >> 1) < (ratio * SPAN as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_requests() {
        for (ratio, least, most) in [(0.0, 0, 0), (0.25, 2_200, 2_800), (1.0, 10_000, 10_000)] {
            let sampled = (0..10_000).filter(|_| is_sampled(u128::from_le_bytes(random::bytes()), ratio)).count();
            assert!((least..=most).contains(&sampled), "{ratio}: {sampled}");
        }
        assert!(!is_sampled(0, 1.0), "0 is no number of a trace");
    }
}
