//! Writes for people: lines, tables, moments.
//!
//! A reader that has gone away, like `head`, ends the program quietly: that is not an error and never a panic.

use std::io::{self, IsTerminal, Write};
use std::process;

/// To standard output: what was asked for.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        process::exit(0);
    }
}

/// To standard error: what happens meanwhile.
pub fn note(text: &str) {
    // Nowhere to say that nothing can be said.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// One line on a terminal, written over again and again; nothing elsewhere.
pub fn progress(text: &str) {
    let mut terminal = io::stderr().lock();
    if terminal.is_terminal() {
        // Only for looking at: if it cannot be written, nobody looks.
        let _ = write!(terminal, "\r\x1b[K{text}");
        let _ = terminal.flush();
    }
}

/// Columns as wide as they must be, two blanks between them.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    for text in table_lines(head, rows) {
        line(&text);
    }
}

fn table_lines(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let layout = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_string()
    };
    let mut lines = vec![layout(head.to_vec())];
    lines.extend(rows.iter().map(|row| layout(row.iter().map(String::as_str).collect())));
    lines
}

/// A moment as people write it, in UTC.
pub fn moment(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    // Years counted from March, so that the leap day is the last of its year; 400 of them have 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let rows = [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (951_868_799_999, "2000-02-29 23:59:59Z"),
            (1_709_251_199_000, "2024-02-29 23:59:59Z"),
            (1_735_689_599_000, "2024-12-31 23:59:59Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        ];
        for (ms, expected) in rows {
            assert_eq!(moment(ms), expected);
        }
    }

    #[test]
    fn sizes() {
        let rows = [(0, "0.0 KiB"), (1_536, "1.5 KiB"), (1_048_576, "1.0 MiB"), (134_217_728, "128.0 MiB")];
        for (bytes, expected) in rows {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_string(), "1".to_string()], vec!["größer".to_string(), String::new()]];
        assert_eq!(table_lines(&["NAME", "X"], &rows), ["NAME    X", "a       1", "größer"]);
    }
}
