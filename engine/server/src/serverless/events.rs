//! The events of a `text/event-stream`, from bytes that arrive in pieces.
//!
//! Only their names matter here, so nothing but the line that is being read is kept, and that is bounded. Unlike a browser's, an
//! event with a name and without data is one: that is how apps say theirs.

/// A line, with its field's name. Names of events and pings are short, and nothing else is of use.
const LINE_BYTES_MAX: usize = 64 * 1024;

#[derive(Default)]
pub struct Events {
    line: Vec<u8>,
    /// The name of the event that is being read.
    name: Option<String>,
    /// It has data.
    data: bool,
    /// The last line ended with a carriage return: a line feed that follows belongs to that.
    returned: bool,
    /// The first line is over; before it there may be a byte order mark.
    begun: bool,
}

/// The stream makes no sense.
#[derive(PartialEq, Eq, Debug)]
pub struct Malformed {
    pub message: String,
    pub line: Vec<u8>,
}

impl Events {
    /// Calls `each` with the name of every event that is complete with these bytes.
    pub fn hear(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) -> Result<(), Malformed> {
        let mut rest = bytes;
        if self.returned && !rest.is_empty() {
            self.returned = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, after) = rest.split_at(end);
            self.keep(line)?;
            self.line_ends(&mut each)?;
            rest = match after {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.returned = true;
                    &[]
                }
                [_, after @ ..] => after,
                [] => &[],
            };
        }
        self.keep(rest)
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), Malformed> {
        if self.line.len() + part.len() > LINE_BYTES_MAX {
            let message = format!("a line has more than {LINE_BYTES_MAX} bytes");
            return Err(Malformed { message, line: std::mem::take(&mut self.line) });
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn line_ends(&mut self, each: &mut impl FnMut(&str)) -> Result<(), Malformed> {
        let line = std::mem::take(&mut self.line);
        let Ok(text) = std::str::from_utf8(&line) else {
            return Err(Malformed { message: "a line is not UTF-8".to_string(), line });
        };
        let text = if self.begun { text } else { text.trim_start_matches('\u{feff}') };
        self.begun = true;
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        match field {
            "" if text.is_empty() => self.event_ends(each),
            "event" => self.name = Some(value.strip_prefix(' ').unwrap_or(value).to_string()),
            "data" => self.data = true,
            // A comment, or what other readers want to know.
            _ => {}
        }
        Ok(())
    }

    fn event_ends(&mut self, each: &mut impl FnMut(&str)) {
        match (self.name.take(), std::mem::take(&mut self.data)) {
            (Some(name), _) => each(&name),
            (None, true) => each("message"),
            (None, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pieces: &[&[u8]]) -> Result<Vec<String>, Malformed> {
        let (mut events, mut names) = (Events::default(), Vec::new());
        for piece in pieces {
            events.hear(piece, |name| names.push(name.to_string()))?;
        }
        Ok(names)
    }

    #[test]
    fn streams_and_their_events_however_they_are_cut() {
        let rows: [(&str, &[&str]); 12] = [
            ("", &[]),
            ("event: ping\ndata:\n\nevent: stopping\ndata:\n\n", &["ping", "stopping"]),
            ("event: ping\r\ndata: \r\n\r\nevent:stopping\r\n\r\n", &["ping", "stopping"]),
            ("event: ping\rdata:\r\revent: stopping\r\r", &["ping", "stopping"]),
            ("\u{feff}event: ping\n\n", &["ping"]),
            (": a comment\n\n\n\nevent: x\n\n", &["x"]),
            ("data: a\ndata: b\n\n", &["message"]),
            ("id: 7\nretry: 5\nevent\n\n", &[""]),
            ("event: first\nevent: last\n\n", &["last"]),
            ("event:  two blanks \n\n", &[" two blanks "]),
            ("event: stopping\n", &[]),
            ("event: stop\u{e4}\n\n", &["stop\u{e4}"]),
        ];
        for (stream, expected) in rows {
            let bytes = stream.as_bytes();
            for cut in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                assert_eq!(names(&[head, tail]).expect("it makes sense"), expected, "{stream:?} cut at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(names(&single).expect("it makes sense"), expected, "{stream:?} byte by byte");
        }
    }

    #[test]
    fn what_makes_no_sense() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(names(&[&long, b"\n"]), Ok(Vec::new()));
        assert!(names(&[&long, b"y"]).is_err());
        assert!(names(&[&[b"data:".as_slice(), &long].concat(), b"\n"]).is_err());
        assert!(names(&[b"event: \xff\n"]).is_err());
        assert!(names(&[b"event: \xff"]).is_ok(), "the rest of the letter may come");
    }
}
