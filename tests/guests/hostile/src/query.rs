//! The part of a URL behind the `?`, as bytes: a test may want a key that is not text.

pub struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    pub fn parse(query: &str) -> Query {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (name.into(), decode(value)))
                .collect(),
        )
    }

    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// Panics with the name if it is missing or no number: the test is wrong then.
    pub fn number(&self, name: &str) -> u64 {
        let value = self.bytes(name).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        value.unwrap_or_else(|| panic!("the query needs {name}=NUMBER"))
    }

    pub fn has(&self, name: &str) -> bool {
        self.bytes(name).is_some()
    }
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

/// The reverse: letters, digits and `-_./` as they are, all else as `%xx`.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => text.push(byte.into()),
            _ => text += &format!("%{byte:02x}"),
        }
        text
    })
}
