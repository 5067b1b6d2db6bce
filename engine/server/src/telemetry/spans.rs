//! Spans on their way to the collector.
//!
//! A request hands a finished span over and goes on: the line is bounded, and what does not fit is counted and lost. One task sends
//! what waits, in batches. A collector that does not answer is one line in the log, and then a number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use protocol::trace::{Finished, Kind, Spans, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::metrics::page::Page;
use crate::random;

/// Spans that wait to be sent.
const QUEUE_MAX: usize = 4_096;
/// Of one message to the collector.
const BATCH_MAX: usize = 512;
/// How long the first of a batch waits for others.
const GATHER_MS: u64 = 1_000;
/// How long the collector may take to answer.
const SEND_MS_MAX: u64 = 5_000;
const SCOPE: &str = "rivet-engine";
const _: () = assert!(BATCH_MAX <= QUEUE_MAX);

pub struct Exporter {
    queue: mpsc::Sender<Finished>,
    sent: AtomicU64,
    /// There was no room for them.
    dropped: AtomicU64,
    /// The collector did not take them.
    refused: AtomicU64,
}

impl Exporter {
    /// Inside a runtime. The task ends once it is told to.
    pub fn start(
        endpoint: &str,
        resource: &Resource,
        is_ending: watch::Receiver<bool>,
    ) -> Result<(Arc<Exporter>, JoinHandle<()>), ExporterBuildError> {
        let timeout = Duration::from_millis(SEND_MS_MAX);
        let mut client = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(timeout).build()?;
        client.set_resource(resource);
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (sent, dropped, refused) = Default::default();
        let exporter = Arc::new(Exporter { queue, sent, dropped, refused });
        let task = tokio::spawn(run(exporter.clone(), waiting, client, is_ending));
        Ok((exporter, task))
    }

    pub fn figures(&self, page: &mut Page) {
        let load = |count: &AtomicU64| count.load(Relaxed);
        page.counter("rivet_otel_spans_sent_total", "Spans that the collector has taken.", load(&self.sent));
        page.counter("rivet_otel_spans_dropped_total", "Spans for which there was no room in the line.", load(&self.dropped));
        page.counter("rivet_otel_spans_refused_total", "Spans that the collector did not take.", load(&self.refused));
    }
}

impl Spans for Exporter {
    fn finished(&self, span: Finished) {
        if self.queue.try_send(span).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    fn span_id(&self) -> u64 {
        u64::from_le_bytes(random::bytes()).max(1)
    }
}

async fn run(
    exporter: Arc<Exporter>,
    mut waiting: mpsc::Receiver<Finished>,
    client: SpanExporter,
    mut is_ending: watch::Receiver<bool>,
) {
    let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut was_refused = false;
    loop {
        let ending = *is_ending.borrow();
        if !ending {
            gather(&mut waiting, &mut batch, &mut is_ending).await;
        }
        while batch.len() < BATCH_MAX
            && let Ok(span) = waiting.try_recv()
        {
            batch.push(span);
        }
        if batch.is_empty() {
            match ending {
                true => return,
                false => continue,
            }
        }
        let spans: Vec<_> = batch.drain(..).map(|span| data(span, &scope)).collect();
        let count = spans.len() as u64;
        let sent = tokio::time::timeout(Duration::from_millis(SEND_MS_MAX), client.export(spans)).await;
        let error = match sent {
            Ok(Ok(())) => {
                exporter.sent.fetch_add(count, Relaxed);
                was_refused = false;
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {SEND_MS_MAX} ms"),
        };
        exporter.refused.fetch_add(count, Relaxed);
        if !std::mem::replace(&mut was_refused, true) {
            tracing::warn!(error, "the collector does not take traces; they are lost, and counted, until it does");
        }
    }
}

/// Until there is a batch, or the first of it has waited long enough, or the process ends.
async fn gather(waiting: &mut mpsc::Receiver<Finished>, batch: &mut Vec<Finished>, is_ending: &mut watch::Receiver<bool>) {
    tokio::select! {
        _ = waiting.recv_many(batch, BATCH_MAX) => {}
        _ = is_ending.changed() => return,
    }
    let time = tokio::time::sleep(Duration::from_millis(GATHER_MS));
    let mut time = std::pin::pin!(time);
    while batch.len() < BATCH_MAX {
        let room = BATCH_MAX - batch.len();
        tokio::select! {
            _ = waiting.recv_many(batch, room) => {}
            () = &mut time => return,
            _ = is_ending.changed() => return,
        }
    }
}

fn data(span: Finished, scope: &InstrumentationScope) -> SpanData {
    let Finished { context, parent, parent_is_remote, kind, name, began, took, attributes, error } = span;
    let trace_id = TraceId::from_bytes(context.trace_id.to_be_bytes());
    let id = |id: u64| SpanId::from_bytes(id.to_be_bytes());
    SpanData {
        span_context: SpanContext::new(trace_id, id(context.span_id), TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: parent.map_or(SpanId::INVALID, id),
        parent_span_is_remote: parent_is_remote,
        span_kind: match kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        },
        name: name.into(),
        start_time: began,
        end_time: began + took,
        attributes: attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn attribute((name, value): (&'static str, Value)) -> KeyValue {
    match value {
        Value::Text(text) => KeyValue::new(name, text),
        Value::Whole(number) => KeyValue::new(name, number),
    }
}
