//! An actor's key: a list of parts to people, one string on the wire and on disk.
//!
//! Parts are joined by `/`; inside a part `\` is written `\\` and `/` is written `\/`; an empty part is `\0`; no parts at all is
//! the single string `/`. RivetKit writes keys this way; to the API any string is a key.

/// The text of a key.
pub fn join<S: AsRef<str>>(parts: &[S]) -> String {
    if parts.is_empty() {
        return "/".to_string();
    }
    let mut text = String::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            text.push('/');
        }
        if part.as_ref().is_empty() {
            text.push_str("\\0");
        }
        for char in part.as_ref().chars() {
            if matches!(char, '\\' | '/') {
                text.push('\\');
            }
            text.push(char);
        }
    }
    text
}

/// The parts of a key. Total: a text that [`join`] would not write is still split at its bare slashes.
pub fn split(text: &str) -> Vec<String> {
    if text == "/" {
        return Vec::new();
    }
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let part = parts.last_mut().expect("there is always a part");
        match char {
            '/' => parts.push(String::new()),
            '\\' => match chars.next() {
                Some('0') if part.is_empty() => {}
                Some(next) => part.push(next),
                None => part.push('\\'),
            },
            other => part.push(other),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_text() {
        let rows: &[(&[&str], &str)] = &[
            (&[], "/"),
            (&["a"], "a"),
            (&["a", "b"], "a/b"),
            (&[""], "\\0"),
            (&["", ""], "\\0/\\0"),
            (&["a/b", "c\\d"], "a\\/b/c\\\\d"),
            (&["0"], "0"),
            (&["\\0"], "\\\\0"),
        ];
        for (parts, text) in rows {
            assert_eq!(join(parts), *text);
            assert_eq!(split(text), *parts, "{text}");
        }
    }

    #[test]
    fn any_text_splits() {
        let rows: &[(&str, &[&str])] = &[("", &[""]), ("a\\", &["a\\"]), ("a//b", &["a", "", "b"]), ("[\"x\"]", &["[\"x\"]"])];
        for (text, parts) in rows {
            assert_eq!(split(text), *parts, "{text}");
        }
    }
}
