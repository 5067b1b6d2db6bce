//! What an actor logged and printed, on its way to the engine in batches.
//!
//! A guest may log in an endless loop, so each message has a number of lines; what goes beyond is counted and said.

use protocol::limits::{LOG_LINE_BYTES_MAX, cut};
use protocol::message::{LogLevel, LogLine};

use crate::config::{LOG_BYTES_PER_BATCH, LOG_LINES_PER_BATCH, LOG_LINES_PER_MESSAGE_MAX};

#[derive(Default)]
pub struct LogBuffer {
    lines: Vec<LogLine>,
    bytes: usize,
    of_this_message: usize,
    dropped: usize,
}

impl LogBuffer {
    /// A message begins: it may log again.
    pub fn begin(&mut self) {
        self.of_this_message = 0;
    }

    /// Whether it is time to send what there is.
    pub fn push(&mut self, level: LogLevel, text: String, now_ms: u64) -> bool {
        if self.of_this_message >= LOG_LINES_PER_MESSAGE_MAX {
            self.dropped += 1;
            return false;
        }
        self.of_this_message += 1;
        self.add(level, text, now_ms);
        self.lines.len() >= LOG_LINES_PER_BATCH || self.bytes >= LOG_BYTES_PER_BATCH
    }

    pub fn take(&mut self, now_ms: u64) -> Vec<LogLine> {
        if self.dropped > 0 {
            let text = format!("{} more lines were dropped: one message logs at most {LOG_LINES_PER_MESSAGE_MAX}", self.dropped);
            self.dropped = 0;
            self.add(LogLevel::Warn, text, now_ms);
        }
        self.bytes = 0;
        std::mem::take(&mut self.lines)
    }

    fn add(&mut self, level: LogLevel, text: String, now_ms: u64) {
        const CUT: &str = " … (the line was cut)";
        let text = match text.len() > LOG_LINE_BYTES_MAX {
            true => cut(text, LOG_LINE_BYTES_MAX - CUT.len()) + CUT,
            false => text,
        };
        self.bytes += text.len();
        self.lines.push(LogLine { time_ms: now_ms, level, text });
    }
}
