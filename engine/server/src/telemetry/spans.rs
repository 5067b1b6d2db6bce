//! Spans on their way to the collector.
//!
//! A request hands a finished span over and goes on: the line is bounded, and what does not fit is counted and lost. One task sends
//! what waits, in batches. A collector that does not answer is one line in the log, and then a number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use protocol::trace::{self, Finished, Kind, Spans, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::metrics::page::Page;
use crate::random;
use crate::telemetry::bounds::Bounds;

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
    /// Their trace had as many as it may.
    left_out: AtomicU64,
    bounds: Bounds,
    began: Instant,
    /// Of what brings no decision of its own; the bits of a number from 0 to 1.
    ratio: AtomicU64,
}

impl Exporter {
    /// Inside a runtime. The task ends once it is told to.
    pub fn start(
        endpoint: &str,
        resource: &Resource,
        ratio: f64,
        is_ending: watch::Receiver<bool>,
    ) -> Result<(Arc<Exporter>, JoinHandle<()>), ExporterBuildError> {
        let timeout = Duration::from_millis(SEND_MS_MAX);
        let mut client = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(timeout).build()?;
        client.set_resource(resource);
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (sent, dropped, refused, left_out, bounds) = Default::default();
        let (began, ratio) = (Instant::now(), AtomicU64::new(ratio.to_bits()));
        let exporter = Arc::new(Exporter { queue, sent, dropped, refused, left_out, bounds, began, ratio });
        let task = tokio::spawn(run(exporter.clone(), waiting, client, is_ending));
        Ok((exporter, task))
    }

    pub fn figures(&self, page: &mut Page) {
        let load = |count: &AtomicU64| count.load(Relaxed);
        page.counter("rivet_otel_spans_sent_total", "Spans that the collector has taken.", load(&self.sent));
        page.counter("rivet_otel_spans_dropped_total", "Spans for which there was no room in the line.", load(&self.dropped));
        page.counter("rivet_otel_spans_refused_total", "Spans that the collector did not take.", load(&self.refused));
        page.counter("rivet_otel_spans_left_out_total", "Spans whose trace had as many as it may.", load(&self.left_out));
    }

    pub fn ratio(&self) -> f64 {
        f64::from_bits(self.ratio.load(Relaxed))
    }

    pub fn change_ratio(&self, ratio: f64) {
        self.ratio.store(ratio.to_bits(), Relaxed);
    }
}

impl Spans for Exporter {
    fn finished(&self, mut span: Finished) {
        // The first of its trace in this process, or in this part of it.
        if span.parent.is_none() || span.parent_is_remote {
            let left_out = self.bounds.take_left_out(span.context.trace_id);
            if left_out > 0 {
                span.attributes.push(("rivet.spans_left_out", left_out.into()));
            }
        }
        if self.queue.try_send(span).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    fn begin(&self, trace_id: u128) -> Option<u64> {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if !self.bounds.begin(trace_id, now_ms) {
            self.left_out.fetch_add(1, Relaxed);
            return None;
        }
        Some(u64::from_le_bytes(random::bytes()).max(1))
    }

    fn sample(&self) -> Option<u128> {
        let ratio = self.ratio();
        if ratio <= 0.0 {
            return None;
        }
        Some(u128::from_le_bytes(random::bytes())).filter(|trace_id| is_sampled(*trace_id, ratio))
    }
}

/// By the trace's number, so that everybody with the same ratio decides the same: as OpenTelemetry's own sampler does.
fn is_sampled(trace_id: u128, ratio: f64) -> bool {
    const SPAN: u64 = 1 << 63;
    trace_id != 0 && (ratio >= 1.0 || (trace_id as u64 >> 1) < (ratio * SPAN as f64) as u64)
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
    let Finished { context, parent, parent_is_remote, link, kind, name, began, took, attributes, error } = span;
    let mut links = SpanLinks::default();
    links.links.extend(link.map(|link| Link::with_context(place(link, true))));
    SpanData {
        span_context: place(context, false),
        parent_span_id: parent.map_or(SpanId::INVALID, |id| SpanId::from_bytes(id.to_be_bytes())),
        parent_span_is_remote: parent_is_remote,
        span_kind: match kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
            Kind::Consumer => SpanKind::Consumer,
        },
        name: name.into(),
        start_time: began,
        end_time: began + took,
        attributes: attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn place(context: trace::SpanContext, is_remote: bool) -> SpanContext {
    let trace::SpanContext { trace_id, span_id, is_sampled } = context;
    let flags = if is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let (trace_id, span_id) = (TraceId::from_bytes(trace_id.to_be_bytes()), SpanId::from_bytes(span_id.to_be_bytes()));
    SpanContext::new(trace_id, span_id, flags, is_remote, TraceState::NONE)
}

fn attribute((name, value): (&'static str, Value)) -> KeyValue {
    match value {
        Value::Text(text) => KeyValue::new(name, text),
        Value::Whole(number) => KeyValue::new(name, number),
    }
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
