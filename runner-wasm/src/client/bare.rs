//! The third encoding: BARE structs behind two bytes that say the protocol's version.

use super::{Broken, VERSION};

pub struct Reader<'a> {
    bytes: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    /// Of another version the structs are others, too.
    pub fn new(bytes: &'a [u8]) -> Result<Reader<'a>, Broken> {
        let mut reader = Reader { bytes, total: bytes.len() };
        let version = reader.take(2)?;
        match u16::from_le_bytes([version[0], version[1]]) {
            VERSION => Ok(reader),
            other => Err(reader.broken(&format!("it is of version {other} of the protocol, {VERSION} is spoken here"))),
        }
    }

    /// Nothing follows.
    pub fn end(self) -> Result<(), Broken> {
        match self.bytes.is_empty() {
            true => Ok(()),
            false => Err(self.broken("there is more behind the message")),
        }
    }

    pub fn byte(&mut self) -> Result<u8, Broken> {
        Ok(self.take(1)?[0])
    }

    pub fn bool(&mut self) -> Result<bool, Broken> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.broken(&format!("{other} is neither true nor false"))),
        }
    }

    pub fn uint(&mut self) -> Result<u64, Broken> {
        let mut value = 0u64;
        for at in 0..10 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if at == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.broken("a number has more than 64 bits"))
    }

    pub fn u64(&mut self) -> Result<u64, Broken> {
        Ok(self.take(8)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    pub fn data(&mut self) -> Result<&'a [u8], Broken> {
        let bytes = self.uint()?;
        self.take(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    pub fn text(&mut self) -> Result<String, Broken> {
        let bytes = self.data()?;
        std::str::from_utf8(bytes).map(str::to_string).map_err(|_| self.broken("a text is not UTF-8"))
    }

    pub fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Broken>) -> Result<Option<T>, Broken> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    pub fn broken(&self, what: &str) -> Broken {
        Broken::Malformed(format!("not the BARE that is expected, at byte {}: {what}", self.total - self.bytes.len()))
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.bytes.split_at_checked(bytes).ok_or_else(|| self.broken("it ends in the middle of a field"))?;
        self.bytes = rest;
        Ok(taken)
    }
}

pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new() -> Writer {
        Writer(VERSION.to_le_bytes().to_vec())
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    pub fn byte(&mut self, value: u8) -> &mut Writer {
        self.0.push(value);
        self
    }

    pub fn uint(&mut self, mut value: u64) -> &mut Writer {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8)
    }

    pub fn data(&mut self, value: &[u8]) -> &mut Writer {
        self.uint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub fn text(&mut self, value: &str) -> &mut Writer {
        self.data(value.as_bytes())
    }

    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Writer, T) -> &mut Writer) -> &mut Writer {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
        self
    }
}
