//! What somebody may have meant by a key that nobody knows.

use crate::config::keys::{Fate, KEYS};

/// A longer name is not a key that was typed wrong.
const NAME_BYTES_MAX: usize = 64;
/// So many letters that are wrong, missing, too many or exchanged are a slip.
const SLIPS_MAX: usize = 2;

/// The key that it is most like, of those that are known there; or else one of the same name elsewhere.
pub fn meant(name: &str, known: &[&str], section: &[String]) -> Option<String> {
    if name.len() > NAME_BYTES_MAX || name.is_empty() {
        return None;
    }
    let name = name.to_ascii_lowercase();
    // In a short name two slips are another name.
    let slips = |other: &str| SLIPS_MAX.min(name.len().min(other.len()) / 2);
    let alike = known.iter().filter(|known| !known.contains('*')).map(|known| (distance(&name, known), *known));
    let nearest = alike.filter(|(distance, known)| *distance <= slips(known)).min();
    if let Some((_, nearest)) = nearest {
        return Some(section.iter().map(String::as_str).chain([nearest]).collect::<Vec<_>>().join("."));
    }
    let elsewhere = KEYS.iter().filter(|key| key.fate == Fate::Used && key.path.rsplit('.').next() == Some(&name));
    elsewhere.map(|key| key.path.to_string()).next()
}

/// Letters to change, insert, remove or exchange with the next, to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, j) => j,
                (i, 0) => i,
                (i, j) => {
                    let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let one = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(changed);
                    let exchanged = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    if exchanged { one.min(rows[i - 2][j - 2] + 1) } else { one }
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_were_typed_wrong() {
        let known = ["host", "port", "rate_limit", "max_in_flight", "*"];
        let rows = [
            ("prt", Some("guard.port")),
            ("prot", Some("guard.port")),
            ("Port", Some("guard.port")),
            ("max_in_fligth", Some("guard.max_in_flight")),
            ("ratelimit", Some("guard.rate_limit")),
            ("admin_token", Some("auth.admin_token")),
            ("xy", None),
            ("", None),
            ("ä", None),
        ];
        for (name, expected) in rows {
            assert_eq!(meant(name, &known, &["guard".to_string()]).as_deref(), expected, "{name}");
        }
        assert_eq!(meant(&"p".repeat(65), &known, &[]), None);
    }
}
