//! What operators follow: log lines, and traces and metrics on their way to a collector, if one is configured.
//!
//! Without one nothing leaves and nothing is measured: a request finds that there is no [`Otel`] and goes on. With one, a request is
//! sampled when it comes in, by its caller's decision or by chance; only then are there spans.
//!
//! In reading order: this, whether a request is sampled; [`spans`], how spans leave, and [`bounds`], how many; [`figures`], how metrics
//! do; [`lines`], log lines; [`port`], where a runner elsewhere is asked.

mod bounds;
mod figures;
pub mod lines;
pub mod port;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry_sdk::Resource;
use protocol::trace::{Kind, Span, SpanContext, Spans, TRACEPARENT, TRACESTATE};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::telemetry::TelemetryConfig;
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
    ending: watch::Sender<bool>,
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

/// What a caller has decided about a request and all that comes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decided {
    Traced(SpanContext),
    NotTraced,
    /// Nothing: chance decides, about each message of a socket anew.
    Nothing,
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
        let (exporter, task) = spans::Exporter::start(&config.endpoint, &resource, config.ratio, is_ending)
            .map_err(|error| format!("traces cannot be sent to RIVET_OTEL_GRPC_ENDPOINT, {}: {error}", config.endpoint))?;
        tracing::info!(endpoint = config.endpoint, ratio = config.ratio, "traces and metrics are sent to a collector");
        let tasks = std::sync::Mutex::new(vec![task]);
        Ok(Telemetry { otel: Some(Arc::new(Otel { exporter, config, resource, ending, tasks })) })
    }

    /// From now on the metrics leave too, as long as there is a page.
    pub fn send_figures<F: Future<Output = Option<Page>> + Send + 'static>(&self, page: impl Fn() -> F + Send + 'static) {
        if let Some(otel) = &self.otel {
            let task = figures::run(page, &otel.config, &otel.resource, otel.ending.subscribe());
            lock(&otel.tasks).push(tokio::spawn(task));
        }
    }

    /// Of a request that has just come: what its sender says about traces goes no further if callers do not decide here.
    pub fn admit(&self, headers: &mut HeaderMap) {
        if self.otel.as_ref().is_some_and(|otel| !otel.config.accept_traceparent) {
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
        }
    }

    /// What the sender of an admitted request says.
    pub fn decided(&self, headers: &HeaderMap) -> Decided {
        match headers.get(TRACEPARENT).filter(|_| self.otel.is_some()).and_then(SpanContext::parse) {
            Some(caller) if caller.is_sampled => Decided::Traced(caller),
            Some(_) => Decided::NotTraced,
            None => Decided::Nothing,
        }
    }

    /// The span of a request that came in, if it is sampled: its caller's decision, else by chance.
    pub fn request(&self, headers: &HeaderMap, name: &'static str) -> Span {
        let Some(otel) = &self.otel else { return Span::none() };
        match self.decided(headers) {
            Decided::Traced(SpanContext { trace_id, span_id, .. }) => {
                otel.span(trace_id, Some((span_id, true)), name, Kind::Server)
            }
            Decided::NotTraced => Span::none(),
            Decided::Nothing => self.root(name, Kind::Server),
        }
    }

    /// The first span of a trace of its own, if chance wants it.
    pub fn root(&self, name: &'static str, kind: Kind) -> Span {
        let Some(otel) = &self.otel else { return Span::none() };
        otel.exporter.sample().map_or(Span::none(), |trace_id| otel.span(trace_id, None, name, kind))
    }

    /// The same in any case: it belongs to what is traced already.
    pub fn root_of_traced(&self, name: &'static str, kind: Kind) -> Span {
        let Some(otel) = &self.otel else { return Span::none() };
        otel.span(u128::from_le_bytes(random::bytes()).max(1), None, name, kind)
    }

    /// What comes later in the trace of a span that is over.
    pub fn later(&self, than: SpanContext, name: &'static str) -> Span {
        let Some(otel) = &self.otel else { return Span::none() };
        otel.span(than.trace_id, Some((than.span_id, false)), name, Kind::Internal)
    }

    /// Whether requests of guests to elsewhere say which trace they belong to.
    pub fn sends_traceparent(&self) -> bool {
        self.otel.as_ref().is_some_and(|otel| otel.config.send_traceparent)
    }

    /// Where a runner's spans go.
    pub fn spans(&self) -> Option<Arc<dyn Spans>> {
        self.otel.as_ref().map(|otel| otel.exporter.clone() as Arc<dyn Spans>)
    }

    pub fn ratio(&self) -> Option<f64> {
        self.otel.as_ref().map(|otel| otel.exporter.ratio())
    }

    /// Until the process ends, or it is changed again. False: nothing is traced.
    pub fn change_ratio(&self, ratio: f64) -> bool {
        let Some(otel) = &self.otel else { return false };
        otel.exporter.change_ratio(ratio);
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
    fn span(&self, trace_id: u128, parent: Option<(u64, bool)>, name: &'static str, kind: Kind) -> Span {
        Span::begin(self.exporter.clone(), trace_id, parent, name, kind)
    }
}
