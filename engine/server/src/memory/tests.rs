//! The rule, as rows.

use super::*;
use crate::memory::allowed::By;

const GIB: u64 = 1024 * MIB_U64;

/// Limit, store, guests, buffers as they were said, in MiB; 0: nothing was said.
fn said(limit: u64, store: u64, guests: u64, buffers: u64) -> Wanted {
    let said = |mib: u64| (mib > 0).then_some(mib * MIB_U64);
    Wanted { limit: said(limit), store: said(store), guests: said(guests), buffers: said(buffers), has_guests: true }
}

fn check(wanted: Wanted, allowed: Allowed, expected: &str) {
    let seen = match divide(&wanted, allowed) {
        Ok(parts) => {
            let sum: u64 = parts.rows().iter().map(|(_, bytes)| bytes).sum();
            assert!(sum <= parts.limit, "{wanted:?}: the parts are {sum} bytes of {}", parts.limit);
            // What division leaves over, and nothing else, if the rule shares anything.
            let shares = [wanted.store, wanted.guests, wanted.buffers].contains(&None);
            assert!(!shares || parts.limit - sum < 8, "{wanted:?}: {} bytes are nobody's", parts.limit - sum);
            let raised = parts.raised.as_ref().map(|sentence| format!("; {sentence}")).unwrap_or_default();
            format!("{parts}{raised}")
        }
        Err(sentence) => sentence,
    };
    assert_eq!(seen, expected, "{wanted:?} {allowed:?}");
}

#[test]
fn one_limit_is_divided_by_one_rule() {
    let host = Allowed { bytes: 8 * GIB, by: By::Machine };
    let group = Allowed { bytes: GIB, by: By::Group };
    let small = Allowed { bytes: 128 * MIB_U64, by: By::Group };
    let unknown = Allowed { bytes: 0, by: By::Unknown };
    let rows: [(Wanted, Allowed, &str); 14] = [
        // Named.
        (
            said(256, 0, 0, 0),
            host,
            "256 MiB (memory_limit): 89 for the process itself, 39 for the store, 63 for guests, 63 for buffers",
        ),
        (
            said(1024, 0, 0, 0),
            host,
            "1024 MiB (memory_limit): 166 for the process itself, 212 for the store, 408 for guests, 236 for buffers",
        ),
        (
            said(187, 0, 0, 0),
            host,
            "187 MiB (memory_limit): 82 for the process itself, 24 for the store, 32 for guests, 48 for buffers",
        ),
        // Not named.
        (
            said(0, 0, 0, 0),
            host,
            "4096 MiB (half of this machine's memory): 473 for the process itself, 903 for the store, 1791 for guests, 927 for buffers",
        ),
        (
            said(0, 0, 0, 0),
            group,
            "768 MiB (three quarters of the control group's limit): 140 for the process itself, 154 for the store, 293 for guests, 178 for buffers",
        ),
        (
            said(0, 0, 0, 0),
            unknown,
            "2048 MiB (what is taken where the system does not say): 268 for the process itself, 442 for the store, 869 for guests, 466 for buffers",
        ),
        // Parts with keys of their own.
        (
            said(1024, 0, 512, 0),
            host,
            "1024 MiB (memory_limit): 166 for the process itself, 160 for the store, 512 for guests, 184 for buffers",
        ),
        (
            said(1024, 100, 100, 100),
            host,
            "1024 MiB (memory_limit): 166 for the process itself, 100 for the store, 100 for guests, 100 for buffers",
        ),
        (
            Wanted { has_guests: false, ..said(256, 0, 512, 0) },
            host,
            "256 MiB (memory_limit): 89 for the process itself, 71 for the store, 0 for guests, 95 for buffers",
        ),
        // Too little.
        (
            said(186, 0, 0, 0),
            host,
            "186 MiB is too little for 82 MiB for the process itself, at least 24 MiB for the store, at least 32 MiB for guests, at least 48 MiB for buffers; set at least 187 MiB",
        ),
        (
            said(256, 0, 512, 0),
            host,
            "256 MiB is too little for 89 MiB for the process itself, at least 24 MiB for the store, 512 MiB for guests (wasm.memory_mib), at least 48 MiB for buffers; set at least 721 MiB, or lower wasm.memory_mib",
        ),
        (
            said(512, 256, 256, 256),
            host,
            "512 MiB is too little for 115 MiB for the process itself, 256 MiB for the store (storage.memory_mib), 256 MiB for guests (wasm.memory_mib), 256 MiB for buffers (guard.memory_mib); set at least 925 MiB, or lower storage.memory_mib and wasm.memory_mib and guard.memory_mib",
        ),
        // Nobody has named a limit, so nothing stops the start.
        (
            said(0, 0, 0, 0),
            small,
            "187 MiB (three quarters of the control group's limit): 82 for the process itself, 24 for the store, 32 for guests, 48 for buffers; memory_limit: three quarters of the control group's limit is 96 MiB, too little for at least 24 MiB for the store, at least 32 MiB for guests, at least 48 MiB for buffers; the limit is 187 MiB: set one, or ask for less",
        ),
        (
            said(0, 0, 2048, 0),
            group,
            "2427 MiB (three quarters of the control group's limit): 306 for the process itself, 24 for the store, 2048 for guests, 48 for buffers; memory_limit: three quarters of the control group's limit is 768 MiB, too little for at least 24 MiB for the store, 2048 MiB for guests (wasm.memory_mib), at least 48 MiB for buffers; the limit is 2427 MiB: set one, or ask for less",
        ),
    ];
    for (wanted, allowed, expected) in rows {
        check(wanted, allowed, expected);
    }
}

#[test]
fn whatever_fits_is_divided_without_a_gap() {
    let host = Allowed { bytes: GIB, by: By::Machine };
    for limit_mib in (1..4096).step_by(7).chain([u64::MAX / MIB_U64]) {
        let wanted = said(limit_mib, 0, 0, 0);
        match divide(&wanted, host) {
            Err(_) => assert!(limit_mib < 187, "{limit_mib}"),
            Ok(parts) => {
                assert!(limit_mib >= 187, "{limit_mib}");
                let buffers = parts.queue_bytes() + parts.lines_bytes() + parts.databases_bytes() + parts.shared_bytes();
                assert!(buffers as u64 <= parts.buffers && parts.shared_bytes() as u64 >= REQUEST_BODY_BYTES_MAX, "{parts:?}");
            }
        }
    }
}
