//! Takes traces and metrics over OTLP, as a collector does: the protocol's own service definitions, on a port of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{MetricsService, MetricsServiceServer};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::until::until;

/// A span as it has come.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty if it has none.
    pub parent: String,
    /// The spans that it goes back to, in other traces.
    pub links: Vec<String>,
    pub name: String,
    pub kind: SpanKind,
    pub service: String,
    pub attributes: BTreeMap<String, String>,
    /// What went wrong.
    pub error: Option<String>,
    /// Since 1970.
    pub began_nanos: u64,
    pub nanos: u64,
}

#[derive(Clone, Default)]
pub struct Collector {
    taken: Arc<Mutex<Taken>>,
    /// Before it answers.
    pause: Duration,
    /// Spans are counted, and not kept.
    only_counts: bool,
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    count: usize,
    metrics: Vec<Metric>,
}

impl Collector {
    /// And where it listens.
    pub async fn start() -> (Collector, String) {
        Collector::default().serve().await
    }

    /// One that takes so long to answer.
    pub async fn start_slow(pause: Duration) -> (Collector, String) {
        Collector { pause, ..Collector::default() }.serve().await
    }

    /// One for many spans, which it only [counts](Collector::count).
    pub async fn start_counting() -> (Collector, String) {
        Collector { only_counts: true, ..Collector::default() }.serve().await
    }

    async fn serve(self) -> (Collector, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let (traces, metrics) = (TraceServiceServer::new(self.clone()), MetricsServiceServer::new(self.clone()));
        let server = Server::builder().add_service(traces).add_service(metrics);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        (self, url)
    }

    pub fn spans(&self) -> Vec<Span> {
        self.taken.lock().expect("no panic").spans.clone()
    }

    /// How many have come.
    pub fn count(&self) -> usize {
        self.taken.lock().expect("no panic").count
    }

    /// Waits until there are as many with this name.
    pub async fn named(&self, name: &str, count: usize) -> Vec<Span> {
        self.named_in("", name, count).await
    }

    /// The same in the trace whose id begins so.
    pub async fn named_in(&self, trace: &str, name: &str, count: usize) -> Vec<Span> {
        until(&format!("{count} spans {name}"), async || {
            let spans: Vec<Span> = self.spans().into_iter().filter(|span| span.trace.starts_with(trace)).collect();
            let found: Vec<_> = spans.iter().filter(|span| span.name == name).cloned().collect();
            let names = || spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>();
            (found.len() >= count).then_some(found).ok_or_else(|| format!("{:?}", names()))
        })
        .await
    }

    /// The newest of each name.
    pub fn metrics(&self) -> BTreeMap<String, Metric> {
        let taken = self.taken.lock().expect("no panic");
        taken.metrics.iter().map(|metric| (metric.name.clone(), metric.clone())).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        tokio::time::sleep(self.pause).await;
        let mut taken = self.taken.lock().expect("no panic");
        for resource in request.into_inner().resource_spans {
            let about = resource.resource.map(|resource| texts(&resource.attributes)).unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                taken.count += 1;
                if self.only_counts {
                    continue;
                }
                taken.spans.push(Span {
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
                    kind: SpanKind::try_from(span.kind).expect("a kind of span"),
                    name: span.name,
                    service: about.get("service.name").cloned().unwrap_or_default(),
                    attributes: texts(&span.attributes),
                    error: span.status.filter(|status| status.code == 2).map(|status| status.message),
                    began_nanos: span.start_time_unix_nano,
                    nanos: span.end_time_unix_nano - span.start_time_unix_nano,
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        tokio::time::sleep(self.pause).await;
        let resources = request.into_inner().resource_metrics.into_iter();
        let metrics = resources.flat_map(|resource| resource.scope_metrics).flat_map(|scope| scope.metrics);
        self.taken.lock().expect("no panic").metrics.extend(metrics);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}
