//! BARE: numbers little-endian, lengths and tags as varints, nothing between the fields.
//!
//! The bytes come from strangers. A count or a length is compared with what is left of the message before anything is allocated
//! for it. There is one encoding of every value: what can be read is written back as the same bytes.

use std::fmt;

use bytes::Bytes;

use super::version::{CannotSay, Feature, Language};
use crate::limits::WIRE_ITEMS_MAX;

/// Something with a place in a message.
pub(super) trait Wire: Sized {
    fn read(r: &mut Reader) -> Result<Self, DecodeError>;
    fn write(&self, w: &mut Writer);

    /// A list of them. For a type whose lists have a rule of their own, as those of pairs do.
    fn read_list(r: &mut Reader) -> Result<Vec<Self>, DecodeError> {
        r.list()
    }
}

/// All of `bytes` as one value.
pub(super) fn decode<T: Wire>(language: impl Into<Language>, bytes: Bytes) -> Result<T, DecodeError> {
    let mut reader = Reader::new(language, bytes);
    let value = T::read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// `prefix`, then the value, in a buffer of exactly their size: they are counted first, which copies nothing.
pub(super) fn encode<T: Wire>(language: impl Into<Language>, prefix: &[u8], value: &T) -> Result<Bytes, CannotSay> {
    let language = language.into();
    let mut writer = Writer { language, cannot: None, len: prefix.len(), out: None };
    value.write(&mut writer);
    if let Some(what) = writer.cannot {
        return Err(CannotSay { what, language });
    }
    writer.out = Some(Vec::with_capacity(writer.len));
    writer.put(prefix);
    value.write(&mut writer);
    Ok(writer.out.unwrap_or_default().into())
}

/// Reads a message from its beginning, in the version that the connection speaks.
pub(super) struct Reader {
    language: Language,
    bytes: Bytes,
    at: usize,
    /// How many more items all lists of this message may have together.
    items_left: usize,
    /// What lists and texts have asked memory for.
    #[cfg(test)]
    pub(super) allocated: usize,
}

impl Reader {
    pub(super) fn new(language: impl Into<Language>, bytes: Bytes) -> Reader {
        Reader {
            language: language.into(),
            bytes,
            at: 0,
            items_left: WIRE_ITEMS_MAX,
            #[cfg(test)]
            allocated: 0,
        }
    }

    pub(super) fn has(&self, feature: Feature) -> bool {
        self.language.has(feature)
    }

    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.error(self.at, Problem::Trailing { left })),
        }
    }

    /// Steps over the next byte if it is this one.
    pub(super) fn take_if(&mut self, byte: u8) -> bool {
        let same = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(same);
        same
    }

    /// Which member of a union, or which value of an enum.
    pub(super) fn uint(&mut self) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let [byte] = self.array()?;
            // The tenth byte holds the 64th bit and nothing else; a last byte of zero says nothing.
            if shift == 63 && byte > 1 || shift > 0 && byte == 0 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error(start, Problem::Varint))
    }

    pub(super) fn no_member(&self, at: usize, of: &'static str, tag: u64) -> DecodeError {
        self.error(at, Problem::NoMember { of, tag, language: self.language })
    }

    pub(super) fn error(&self, at: usize, problem: Problem) -> DecodeError {
        DecodeError { at, problem }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(chunk) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) else {
            return Err(self.ends(N as u64));
        };
        self.at += N;
        Ok(*chunk)
    }

    fn data(&mut self) -> Result<Bytes, DecodeError> {
        let len = self.uint()?;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= self.left()) else {
            return Err(self.ends(len));
        };
        let data = self.bytes.slice(self.at..self.at + len);
        self.at += len;
        Ok(data)
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let start = self.at;
        let data = self.data()?;
        let text = std::str::from_utf8(&data).map_err(|_| self.error(start, Problem::NotUtf8))?;
        #[cfg(test)]
        {
            self.allocated += text.len();
        }
        Ok(text.to_owned())
    }

    fn list<T: Wire>(&mut self) -> Result<Vec<T>, DecodeError> {
        let start = self.at;
        let count = self.uint()?;
        let left = self.left();
        // Every item has at least one byte.
        let Some(count) = usize::try_from(count).ok().filter(|count| *count <= left) else {
            return Err(self.error(start, Problem::Count { count, left }));
        };
        self.items_left = self.items_left.checked_sub(count).ok_or_else(|| self.error(start, Problem::Items))?;
        // Not `count`: an item may be one byte here and a hundred in memory. What follows the first ones has been read by then.
        let mut items = Vec::with_capacity(count.min(left / size_of::<T>() + 1));
        for _ in 0..count {
            // What was reserved, and what each doubling adds to it.
            #[cfg(test)]
            if items.len() == items.capacity() || items.is_empty() {
                self.allocated += items.capacity() * size_of::<T>();
            }
            items.push(T::read(self)?);
        }
        Ok(items)
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [byte] => Err(self.error(self.at - 1, Problem::Flag(byte))),
        }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn ends(&self, wanted: u64) -> DecodeError {
        self.error(self.at, Problem::Ends { wanted, left: self.left() })
    }
}

/// Counts the bytes of a message, or writes them, in the version that the connection speaks.
pub(super) struct Writer {
    language: Language,
    /// The first thing that this version has no words for.
    cannot: Option<&'static str>,
    len: usize,
    /// None while counting.
    out: Option<Vec<u8>>,
}

impl Writer {
    pub(super) fn has(&self, feature: Feature) -> bool {
        self.language.has(feature)
    }

    pub(super) fn cannot_say(&mut self, what: &'static str) {
        self.cannot.get_or_insert(what);
    }

    fn put(&mut self, bytes: &[u8]) {
        match &mut self.out {
            Some(out) => out.extend_from_slice(bytes),
            None => self.len += bytes.len(),
        }
    }

    pub(super) fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }

    pub(super) fn data(&mut self, data: &[u8]) {
        self.uint(data.len() as u64);
        self.put(data);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.data(text.as_bytes());
    }
}

macro_rules! numbers {
    ($($number:ty)*) => { $(
        impl Wire for $number {
            fn read(r: &mut Reader) -> Result<Self, DecodeError> {
                r.array().map(<$number>::from_le_bytes)
            }

            fn write(&self, w: &mut Writer) {
                w.put(&self.to_le_bytes());
            }
        }
    )* };
}

numbers! { u16 u32 u64 i64 }

impl Wire for bool {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        r.flag()
    }

    fn write(&self, w: &mut Writer) {
        w.put(&[u8::from(*self)]);
    }
}

/// Of fixed length: without one on the wire.
impl<const N: usize> Wire for [u8; N] {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        r.array()
    }

    fn write(&self, w: &mut Writer) {
        w.put(self);
    }
}

impl Wire for Bytes {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        r.data()
    }

    fn write(&self, w: &mut Writer) {
        w.data(self);
    }
}

impl Wire for String {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        r.text()
    }

    fn write(&self, w: &mut Writer) {
        w.data(self.as_bytes());
    }
}

impl<T: Wire> Wire for Option<T> {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        r.flag()?.then(|| T::read(r)).transpose()
    }

    fn write(&self, w: &mut Writer) {
        self.is_some().write(w);
        if let Some(value) = self {
            value.write(w);
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        T::read_list(r)
    }

    fn write(&self, w: &mut Writer) {
        w.uint(self.len() as u64);
        self.iter().for_each(|item| item.write(w));
    }
}

/// An entry of a map. A list of them is the map, in the order that it was written, each key once.
impl<V: Wire> Wire for (String, V) {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok((Wire::read(r)?, Wire::read(r)?))
    }

    fn write(&self, w: &mut Writer) {
        self.0.write(w);
        self.1.write(w);
    }

    fn read_list(r: &mut Reader) -> Result<Vec<Self>, DecodeError> {
        let start = r.at;
        let entries: Vec<Self> = r.list()?;
        let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(r.error(start, Problem::DuplicateKey));
        }
        Ok(entries)
    }
}

/// Bytes that are no message of the version they should be in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeError {
    /// Where in the message, in bytes from its beginning.
    pub at: usize,
    pub problem: Problem,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// So many bytes should follow.
    Ends {
        wanted: u64,
        left: usize,
    },
    /// The message is complete, and the bytes are not at their end.
    Trailing {
        left: usize,
    },
    /// A varint that is longer than it needs to be, or than 64 bits.
    Varint,
    Flag(u8),
    NotUtf8,
    /// A list that cannot be in what is left of the message.
    Count {
        count: u64,
        left: usize,
    },
    /// More than [`WIRE_ITEMS_MAX`] items in all lists of the message.
    Items,
    DuplicateKey,
    /// A union or an enum without such a member, in this version.
    NoMember {
        of: &'static str,
        tag: u64,
        language: Language,
    },
    /// A value that its type allows and its meaning does not.
    Not(&'static str),
    /// Of an event that names its actor twice.
    OtherActor,
    /// Of a message that begins with its version.
    Version(u16),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: ", self.at)?;
        match self.problem {
            Problem::Ends { wanted, left } => write!(f, "{wanted} bytes should follow, {left} do"),
            Problem::Trailing { left } => write!(f, "the message is complete, and {left} bytes follow"),
            Problem::Varint => f.write_str("a varint is longer than its value needs, or than 64 bits"),
            Problem::Flag(byte) => write!(f, "a flag is 0 or 1, this is {byte}"),
            Problem::NotUtf8 => f.write_str("a text is not UTF-8"),
            Problem::Count { count, left } => write!(f, "a list of {count} items cannot be in the {left} bytes that follow"),
            Problem::Items => write!(f, "the lists of a message have at most {WIRE_ITEMS_MAX} items together, these have more"),
            Problem::DuplicateKey => f.write_str("a map has the same key twice"),
            Problem::NoMember { of, tag, language } => write!(f, "{of} has no member {tag} in {language}"),
            Problem::Not(what) => write!(f, "this is not {what}"),
            Problem::OtherActor => f.write_str("an event names another actor than its checkpoint does"),
            Problem::Version(number) => write!(f, "envoy protocol {number} is not spoken here"),
        }
    }
}

impl std::error::Error for DecodeError {}
