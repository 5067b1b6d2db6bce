//! What is configured about memory: one limit, and parts of it that have keys of their own.

use protocol::limits::MIB;

use crate::config::ConfigError;
use crate::config::said::All;
use crate::memory::allowed::Allowed;
use crate::memory::{KEY, Parts, Wanted, divide};

/// As the process would have it on this machine.
pub fn parts(said: &All) -> Result<Parts, ConfigError> {
    let mib = |key: &str| said.whole::<u64>(key).map(|mib| mib.saturating_mul(MIB as u64));
    let wanted = Wanted {
        limit: said.read(KEY, parse_limit)?.flatten(),
        store: mib("storage.memory_mib"),
        guests: mib("wasm.memory_mib"),
        buffers: mib("guard.memory_mib"),
        has_guests: said.flag("wasm.enabled").unwrap_or(true),
    };
    divide(&wanted, Allowed::of_process()).map_err(|sentence| said.wrong(KEY, &sentence))
}

/// None is what is usual.
pub fn parse_limit(text: &str) -> Result<Option<u64>, String> {
    if text == "auto" {
        return Ok(None);
    }
    let limit = parse_bytes(text).filter(|_| text.starts_with(|first: char| first.is_ascii_digit()));
    limit.map(Some).ok_or_else(|| format!("{text:?}: a size such as 512MiB or 4GiB is expected, or auto"))
}

/// With a unit, or without one in bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let rows = [
            ("auto", Ok(None)),
            ("268435456", Ok(Some(268_435_456))),
            ("512KiB", Ok(Some(524_288))),
            ("512MiB", Ok(Some(536_870_912))),
            ("4GiB", Ok(Some(4_294_967_296))),
            ("", Err(())),
            ("Auto", Err(())),
            ("512 MiB", Err(())),
            ("512mib", Err(())),
            ("512MB", Err(())),
            ("1.5GiB", Err(())),
            ("+1GiB", Err(())),
            ("-1", Err(())),
            ("MiB", Err(())),
            ("999999999999GiB", Err(())),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_limit(text).map_err(drop), expected, "{text:?}");
        }
    }
}
