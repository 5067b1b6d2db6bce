//! Log lines: text or JSON, with the request that they are about, at levels that can be changed while the engine runs.
//!
//! What follows a request is found where its task keeps it ([`protocol::trace`]), when a line is written: a request that writes none
//! pays nothing for it.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock};

use protocol::trace;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, Layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::LogFormat;
use crate::lock::lock;

/// What `RUST_LOG` says where nobody set it.
const FILTER_DEFAULT: &str = "info";
/// A filter has a handful of words.
pub const FILTER_BYTES_MAX: usize = 4_096;

/// The process has one subscriber, and so one filter.
static LEVELS: OnceLock<Levels> = OnceLock::new();

struct Levels {
    filter: reload::Handle<EnvFilter, Registry>,
    /// As it was said.
    text: Mutex<String>,
}

/// From now on the process logs, on standard error.
pub fn write_logs(format: LogFormat) {
    let said = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|said| !said.is_empty());
    let parsed = said.and_then(|said| Some((parse(&said).ok()?, said)));
    let (filter, text) = parsed.unwrap_or_else(|| (EnvFilter::new(FILTER_DEFAULT), FILTER_DEFAULT.to_string()));
    let (filter, handle) = reload::Layer::new(filter);
    let lines = Layer::default().with_writer(|| Quiet);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(lines.event_format(Text(Format::default().with_target(false)))).init(),
        LogFormat::Json => registry.with(lines.event_format(Json)).init(),
    }
    LEVELS.get_or_init(|| Levels { filter: handle, text: Mutex::new(text) });
}

/// The filter that counts now. None: this process writes no logs of its own.
pub fn filter() -> Option<String> {
    LEVELS.get().map(|levels| lock(&levels.text).clone())
}

/// Until the process ends, or it is changed again. The error says what is wrong with it.
pub fn change_filter(text: &str) -> Result<(), String> {
    let filter = parse(text)?;
    let levels = LEVELS.get().ok_or("this process writes no log lines")?;
    // Under its lock: of two who change it, the one that is shown is the one that counts.
    let mut said = lock(&levels.text);
    levels.filter.reload(filter).map_err(|error| format!("the filter cannot be changed: {error}"))?;
    *said = text.to_string();
    Ok(())
}

/// `warn`, or `info,rivet_engine=debug`: as `RUST_LOG` has it.
fn parse(text: &str) -> Result<EnvFilter, String> {
    if text.trim().is_empty() || text.len() > FILTER_BYTES_MAX {
        return Err(format!("a filter has 1 to {FILTER_BYTES_MAX} bytes; info,rivet_engine=debug is one"));
    }
    EnvFilter::try_new(text).map_err(|error| format!("{text:?} is no filter ({error}); info,rivet_engine=debug is one"))
}

/// What a line says about the request, after its own fields.
fn about_request(mut say: impl FnMut(&str, &str)) {
    trace::current(|followed| {
        if let Some(ray) = followed.ray.as_ref().and_then(|ray| ray.to_str().ok()) {
            say("ray_id", ray);
        }
        if let Some(parent) = &followed.parent {
            let context = parent.context();
            say("trace_id", &format!("{:032x}", context.trace_id));
            say("span_id", &format!("{:016x}", context.span_id));
        }
    });
}

struct Text(Format<Full, SystemTime>);

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        about_request(|name, value| {
            line.truncate(line.trim_end_matches('\n').len());
            line.push_str(&format!(" {name}={value}\n"));
        });
        writer.write_str(&line)
    }
}

/// One object a line, and no objects inside of it.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let mut line = fields.0;
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        // A field of the same name would be one of ours; these are what readers look for.
        line.insert("timestamp".to_string(), timestamp.into());
        line.insert("level".to_string(), event.metadata().level().as_str().into());
        line.insert("target".to_string(), event.metadata().target().into());
        about_request(|name, value| drop(line.insert(name.to_string(), value.into())));
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().trim_start_matches("r#").to_string(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

/// Standard error, where nobody may be listening any more: whoever started the engine may be gone, and it must go on.
struct Quiet;

impl Write for Quiet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_are_taken() {
        let long = "a".repeat(FILTER_BYTES_MAX + 1);
        let rows = [
            ("info", true),
            ("warn,rivet_engine=debug", true),
            ("rivet_engine::gateway=trace", true),
            ("", false),
            ("  ", false),
            ("info,rivet_engine=loud", false),
            (&long, false),
        ];
        for (text, taken) in rows {
            assert_eq!(parse(text).is_ok(), taken, "{text}");
        }
    }
}
