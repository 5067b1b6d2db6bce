//! From CBOR to JSON text and back, without a tree in between.
//!
//! An integer of 8 bytes is a bigint, as the npm client writes it and reads it; shorter ones are numbers, and numbers that do not
//! fit in 4 bytes are floats. Our own JSON goes out as the same shapes: its tags are arrays there, too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json::{self, Container, Sink, Text};
use super::{Broken, DEPTH_MAX};

/// Longest big integer: of more digits each would cost more than the one before.
const BIGINT_BYTES_MAX: usize = 64;

/// The tags that JSON has for what it cannot say.
const KNOWN: [&str; 5] = ["\"$BigInt\"", "\"$ArrayBuffer\"", "\"$Uint8Array\"", "\"$Undefined\"", "\"$Set\""];

/// One value as JSON text of at most so many bytes.
pub fn to_json(bytes: &[u8], bytes_max: usize) -> Result<String, Broken> {
    let mut reader = Reader { bytes, total: bytes.len(), out: Text::default(), bytes_max };
    reader.value(0)?;
    if !reader.bytes.is_empty() {
        return Err(reader.broken("there is more behind the value"));
    }
    Ok(reader.out.0)
}

struct Reader<'a> {
    bytes: &'a [u8],
    total: usize,
    out: Text,
    bytes_max: usize,
}

/// The first byte of an item and the number behind it.
struct Head {
    major: u8,
    /// How long the number is: itself, or 24, 25, 26, 27 for 1, 2, 4, 8 bytes; 31 for no number.
    info: u8,
    number: u64,
}

const INDEFINITE: u8 = 31;
const EIGHT_BYTES: u8 = 27;
const BREAK: u8 = 0xff;

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<(), Broken> {
        if depth >= DEPTH_MAX {
            return Err(self.broken(&format!("it is nested deeper than {DEPTH_MAX}")));
        }
        let head = self.head()?;
        match head.major {
            0 if head.info == EIGHT_BYTES => json::push_bigint(&mut self.out.0, head.number),
            0 => self.out.unsigned(head.number),
            1 if head.info == EIGHT_BYTES => json::push_bigint(&mut self.out.0, -1 - i128::from(head.number)),
            // At most 4 bytes.
            1 => self.out.signed(-1 - head.number as i64),
            2 => {
                let bytes = self.string(&head)?;
                self.bytes_tagged(&bytes);
            }
            3 => {
                let text = self.text(&head)?;
                self.out.text(&text);
            }
            4 => self.array(&head, depth)?,
            5 => self.map(&head, depth)?,
            6 => self.tagged(head.number, depth)?,
            _ => self.simple(&head)?,
        }
        match self.out.0.len() > self.bytes_max {
            true => Err(Broken::TooLong(format!("as JSON it has more than the {} bytes that are taken", self.bytes_max))),
            false => Ok(()),
        }
    }

    fn array(&mut self, head: &Head, depth: usize) -> Result<(), Broken> {
        self.out.begin(Container::Array);
        let first = self.out.0.len();
        let mut second = first;
        let mut elements = 0;
        while self.more(head, elements)? {
            if elements == 1 {
                second = self.out.0.len();
            }
            self.out.next(elements);
            self.value(depth + 1)?;
            elements += 1;
        }
        self.out.end(Container::Array, first, elements);
        // The user's own: a client that has bigints and bytes in CBOR itself does not mark what only looks like a tag.
        if elements == 2 {
            let tag = &self.out.0[first..second];
            if tag.starts_with("\"$") && !tag.starts_with("\"$$") && !KNOWN.contains(&tag) {
                self.out.0.insert(first + 1, '$');
            }
        }
        Ok(())
    }

    fn map(&mut self, head: &Head, depth: usize) -> Result<(), Broken> {
        self.out.begin(Container::Object);
        let mut elements = 0;
        while self.more(head, elements)? {
            self.out.next(elements);
            let key = self.head()?;
            match key.major {
                3 => {
                    let text = self.text(&key)?;
                    self.out.text(&text);
                }
                // JavaScript reads them as text, too.
                0 => self.out.text(&key.number.to_string()),
                1 => self.out.text(&(-1 - i128::from(key.number)).to_string()),
                _ => return Err(self.broken("a map has a key that is neither text nor an integer")),
            }
            self.out.value();
            self.value(depth + 1)?;
            elements += 1;
        }
        self.out.end(Container::Object, 0, elements);
        Ok(())
    }

    /// Whether there is another element; the end mark of a container without a length is consumed.
    fn more(&mut self, head: &Head, elements: usize) -> Result<bool, Broken> {
        if head.info != INDEFINITE {
            return Ok((elements as u64) < head.number);
        }
        let ends = self.bytes.first() == Some(&BREAK);
        if ends {
            self.take(1)?;
        }
        Ok(!ends)
    }

    fn tagged(&mut self, tag: u64, depth: usize) -> Result<(), Broken> {
        match tag {
            // A date, as JavaScript writes it in JSON: the text, or what the seconds since 1970 are as text.
            0 => self.value(depth + 1),
            1 => {
                let seconds = self.seconds()?;
                match date(seconds) {
                    Some(text) => self.out.text(&text),
                    None => self.out.null(),
                }
                Ok(())
            }
            2 | 3 => {
                let head = self.head()?;
                if head.major != 2 {
                    return Err(self.broken("a big integer is not made of bytes"));
                }
                let bytes = self.string(&head)?;
                let digits = decimal(&bytes, tag == 3)
                    .ok_or_else(|| self.broken(&format!("a big integer has more than {BIGINT_BYTES_MAX} bytes")))?;
                json::push_bigint(&mut self.out.0, digits);
                Ok(())
            }
            // Uint8Array; a Map; a mark that this is CBOR. Each says no more than what follows.
            64 | 259 | 55799 => self.value(depth + 1),
            258 => {
                self.out.0.push_str("[\"$Set\",");
                self.value(depth + 1)?;
                self.out.0.push(']');
                Ok(())
            }
            tag => Err(self.broken(&format!(
                "a value with the tag {tag} has no form in JSON; send plain values, bigints, dates, sets, or bytes as Uint8Array"
            ))),
        }
    }

    fn simple(&mut self, head: &Head) -> Result<(), Broken> {
        match head.info {
            20 => self.out.bool(false),
            21 => self.out.bool(true),
            22 => self.out.null(),
            23 => self.out.0.push_str(json::UNDEFINED),
            25 => self.out.float(half(head.number as u16)),
            26 => self.out.float(f64::from(f32::from_bits(head.number as u32))),
            27 => self.out.float(f64::from_bits(head.number)),
            _ => return Err(self.broken("an item of a kind that is not known")),
        }
        Ok(())
    }

    fn seconds(&mut self) -> Result<f64, Broken> {
        let head = self.head()?;
        match (head.major, head.info) {
            (0, _) => Ok(head.number as f64),
            (1, _) => Ok(-1.0 - head.number as f64),
            (7, 25) => Ok(half(head.number as u16)),
            (7, 26) => Ok(f64::from(f32::from_bits(head.number as u32))),
            (7, 27) => Ok(f64::from_bits(head.number)),
            _ => Err(self.broken("a date is not a number")),
        }
    }

    fn head(&mut self) -> Result<Head, Broken> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        let number = match info {
            0..=23 => u64::from(info),
            24..=27 => self.take(1 << (info - 24))?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
            INDEFINITE if (2..=5).contains(&major) => 0,
            _ => return Err(self.broken("an item has no valid length")),
        };
        Ok(Head { major, info, number })
    }

    /// The bytes of a string, whose head was read. One without a length comes in parts.
    fn string(&mut self, head: &Head) -> Result<std::borrow::Cow<'a, [u8]>, Broken> {
        if head.info != INDEFINITE {
            return Ok(self.take(usize::try_from(head.number).unwrap_or(usize::MAX))?.into());
        }
        let mut whole = Vec::new();
        while self.more(head, 0)? {
            let part = self.head()?;
            if part.major != head.major || part.info == INDEFINITE {
                return Err(self.broken("a part of a string is no string"));
            }
            whole.extend_from_slice(self.take(usize::try_from(part.number).unwrap_or(usize::MAX))?);
        }
        Ok(whole.into())
    }

    fn text(&mut self, head: &Head) -> Result<String, Broken> {
        let bytes = self.string(head)?.into_owned();
        String::from_utf8(bytes).map_err(|_| self.broken("a text is not UTF-8"))
    }

    fn bytes_tagged(&mut self, bytes: &[u8]) {
        self.out.0.push_str("[\"$Uint8Array\",\"");
        STANDARD.encode_string(bytes, &mut self.out.0);
        self.out.0.push_str("\"]");
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.bytes.split_at_checked(bytes).ok_or_else(|| self.broken("it ends in the middle of an item"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn broken(&self, what: &str) -> Broken {
        Broken::Malformed(format!("not the CBOR that is expected, at byte {}: {what}", self.total - self.bytes.len()))
    }
}

fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let value = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -value } else { value }
}

/// The digits of a big integer; of a negative one the bytes say -1 minus it.
fn decimal(bytes: &[u8], negative: bool) -> Option<String> {
    const CHUNK: u64 = 10_000_000_000_000_000_000;
    if bytes.len() > BIGINT_BYTES_MAX {
        return None;
    }
    // Parts of 19 digits, the least first.
    let mut chunks = vec![0u64];
    for (at, byte) in bytes.iter().enumerate() {
        let mut carry = u128::from(*byte) + u128::from(negative && at + 1 == bytes.len());
        for chunk in &mut chunks {
            let value = u128::from(*chunk) * 256 + carry;
            *chunk = (value % u128::from(CHUNK)) as u64;
            carry = value / u128::from(CHUNK);
        }
        if carry > 0 {
            chunks.push(carry as u64);
        }
    }
    if negative && bytes.is_empty() {
        chunks[0] = 1;
    }
    let mut digits = if negative { "-".to_string() } else { String::new() };
    let mut parts = chunks.iter().rev();
    digits.push_str(&parts.next().map(u64::to_string).unwrap_or_default());
    parts.for_each(|part| digits.push_str(&format!("{part:019}")));
    Some(digits)
}

/// `2023-11-14T22:13:20.123Z`, for the years that have four digits.
fn date(seconds: f64) -> Option<String> {
    const YEAR_0000_S: f64 = -62_167_219_200.0;
    const YEAR_10000_S: f64 = 253_402_300_800.0;
    if !(YEAR_0000_S..YEAR_10000_S).contains(&seconds) {
        return None;
    }
    let ms = (seconds * 1000.0).round() as i64;
    let (days, ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Years of this count begin in March, so that a leap day is the last of its year.
    let day = days + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"))
}

/// The same shapes in CBOR.
pub fn from_json(text: &str) -> Result<Vec<u8>, Broken> {
    let mut out = Binary(Vec::with_capacity(text.len()));
    json::read(text.as_bytes(), &mut out)?;
    Ok(out.0)
}

/// CBOR that is being written. Containers have a length of four bytes, which is filled in at their end.
struct Binary(Vec<u8>);

impl Binary {
    fn head(&mut self, major: u8, number: u32) {
        let major = major << 5;
        match number {
            0..=23 => self.0.push(major | number as u8),
            24..=0xff => self.0.extend([major | 24, number as u8]),
            0x100..=0xffff => {
                self.0.push(major | 25);
                self.0.extend((number as u16).to_be_bytes());
            }
            _ => {
                self.0.push(major | 26);
                self.0.extend(number.to_be_bytes());
            }
        }
    }
}

impl Sink for Binary {
    fn null(&mut self) {
        self.0.push(0xf6);
    }

    fn bool(&mut self, value: bool) {
        self.0.push(0xf4 + u8::from(value));
    }

    fn unsigned(&mut self, value: u64) {
        match u32::try_from(value) {
            Ok(value) => self.head(0, value),
            Err(_) => self.float(value as f64),
        }
    }

    fn signed(&mut self, value: i64) {
        match u32::try_from(-1 - value) {
            Ok(behind) => self.head(1, behind),
            Err(_) => self.float(value as f64),
        }
    }

    fn float(&mut self, value: f64) {
        self.0.push(0xfb);
        self.0.extend(value.to_bits().to_be_bytes());
    }

    fn text(&mut self, value: &str) {
        // Longer ones do not get here: messages are far shorter than 4 GiB.
        self.head(3, value.len() as u32);
        self.0.extend_from_slice(value.as_bytes());
    }

    fn begin(&mut self, container: Container) -> usize {
        self.0.push(if container == Container::Array { 0x9a } else { 0xba });
        self.0.extend([0; 4]);
        self.0.len()
    }

    fn next(&mut self, _: usize) {}

    fn value(&mut self) {}

    fn end(&mut self, _: Container, began: usize, elements: usize) {
        self.0[began - 4..began].copy_from_slice(&(elements as u32).to_be_bytes());
    }
}
