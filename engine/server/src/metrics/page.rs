//! Figures as families, whoever reads them: Prometheus as text, a collector as messages ([`crate::telemetry`]).

use std::fmt::Write;

use protocol::histogram::{BOUNDS_US, BUCKETS, Counted};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Gauge,
    Counter,
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        }
    }
}

/// What is measured under one name.
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub labels: Vec<(&'static str, String)>,
    pub value: Value,
}

pub enum Value {
    Number(f64),
    Durations(Box<Counted>),
}

/// Counts beyond 2^53 lose their last digits, in Prometheus as here.
pub trait Number {
    fn number(self) -> f64;
}

impl Number for f64 {
    fn number(self) -> f64 {
        self
    }
}

impl Number for u64 {
    fn number(self) -> f64 {
        self as f64
    }
}

impl Number for usize {
    fn number(self) -> f64 {
        self as f64
    }
}

#[derive(Default)]
pub struct Page {
    pub families: Vec<Family>,
}

impl Page {
    /// Its rows follow.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) {
        self.families.push(Family { name, kind, help, rows: Vec::new() });
    }

    /// Of the family that was begun last.
    pub fn row(&mut self, labels: Vec<(&'static str, String)>, value: impl Number) {
        self.push(Row { labels, value: Value::Number(value.number()) });
    }

    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Number) {
        self.family(name, Kind::Gauge, help);
        self.row(Vec::new(), value);
    }

    pub fn counter(&mut self, name: &'static str, help: &'static str, value: impl Number) {
        self.family(name, Kind::Counter, help);
        self.row(Vec::new(), value);
    }

    pub fn histogram(&mut self, name: &'static str, help: &'static str, counted: Counted) {
        self.family(name, Kind::Histogram, help);
        self.durations(Vec::new(), counted);
    }

    pub fn durations(&mut self, labels: Vec<(&'static str, String)>, counted: Counted) {
        self.push(Row { labels, value: Value::Durations(Box::new(counted)) });
    }

    fn push(&mut self, row: Row) {
        self.families.last_mut().expect("a family is begun before its rows").rows.push(row);
    }

    /// Prometheus' text format, 0.0.4.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Family { name, kind, help, rows } in &self.families {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
            for Row { labels, value } in rows {
                match value {
                    Value::Number(number) => line(&mut text, name, "", labels, None, *number),
                    Value::Durations(counted) => durations(&mut text, name, labels, counted),
                }
            }
        }
        text
    }
}

fn durations(text: &mut String, name: &str, labels: &[(&'static str, String)], counted: &Counted) {
    let mut below = 0;
    for bucket in 0..BUCKETS {
        below += counted.counts[bucket];
        let bound = BOUNDS_US.get(bucket).map_or("+Inf".to_string(), |us| (*us as f64 / 1e6).to_string());
        line(text, name, "_bucket", labels, Some(&bound), below as f64);
    }
    line(text, name, "_sum", labels, None, counted.sum_seconds());
    line(text, name, "_count", labels, None, below as f64);
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &[(&'static str, String)], bound: Option<&str>, value: f64) {
    let _ = write!(text, "{name}{suffix}");
    let bound = bound.map(|bound| ("le", bound));
    let mut before = '{';
    for (label, said) in labels.iter().map(|(label, said)| (*label, said.as_str())).chain(bound) {
        let said = said.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{before}{label}=\"{said}\"");
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::histogram::Histogram;

    use super::*;

    #[test]
    fn it_is_written_as_prometheus_reads_it() {
        let mut page = Page::default();
        page.gauge("a_bytes", "A.", 3_usize);
        page.family("b_total", Kind::Counter, "B.");
        page.row(vec![("x", "1".to_string()), ("y", "a\"b\\\n".to_string())], 0.5);
        let histogram = Histogram::default();
        histogram.count(Duration::from_micros(200));
        histogram.count(Duration::from_secs(1_000));
        page.histogram("c_seconds", "C.", histogram.counted());
        let text = page.text();
        let expected = [
            "# HELP a_bytes A.\n# TYPE a_bytes gauge\na_bytes 3\n",
            "# TYPE b_total counter\nb_total{x=\"1\",y=\"a\\\"b\\\\\\n\"} 0.5\n",
            "c_seconds_bucket{le=\"0.0001\"} 0\nc_seconds_bucket{le=\"0.00025\"} 1\n",
            "c_seconds_bucket{le=\"300\"} 1\nc_seconds_bucket{le=\"+Inf\"} 2\nc_seconds_sum 1000.0002\nc_seconds_count 2\n",
        ];
        for part in expected {
            assert!(text.contains(part), "{part:?} expected in:\n{text}");
        }
    }
}
