//! Reads the query part of a URL: `+` is a blank, `%41` is a byte, the whole must be UTF-8.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The decoded bytes are not UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotUtf8;

/// Key and value of each pair, still encoded. A pair without `=` has an empty value.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// As forms are encoded. A `%` that no two hexadecimal digits follow stands for itself.
pub fn decode(raw: &str) -> Result<Cow<'_, str>, NotUtf8> {
    if !raw.contains('+') {
        return decode_percent(raw);
    }
    let blanks = raw.replace('+', " ");
    Ok(Cow::Owned(decode_percent(&blanks)?.into_owned()))
}

/// As paths are encoded.
pub fn decode_percent(raw: &str) -> Result<Cow<'_, str>, NotUtf8> {
    percent_decode(raw.as_bytes()).decode_utf8().map_err(|_| NotUtf8)
}

/// A host as a request names it, without the port behind it.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let rows = [
            ("", Ok("")),
            ("a", Ok("a")),
            ("a+b%20c", Ok("a b c")),
            ("%2B%2f%2F", Ok("+//")),
            ("%c3%a4", Ok("ä")),
            ("100%", Ok("100%")),
            ("%zz%4", Ok("%zz%4")),
            ("%ff", Err(NotUtf8)),
            ("+%ff", Err(NotUtf8)),
        ];
        for (raw, expected) in rows {
            assert_eq!(decode(raw).as_deref(), expected.as_ref().copied(), "{raw}");
        }
        assert_eq!(decode_percent("a+b").as_deref(), Ok("a+b"));
    }

    #[test]
    fn pairs_are_split() {
        let split: Vec<_> = pairs("a=1&&b&=c&d=e=f").collect();
        assert_eq!(split, [("a", "1"), ("b", ""), ("", "c"), ("d", "e=f")]);
    }
}
