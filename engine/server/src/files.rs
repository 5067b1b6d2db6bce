//! Raises the number of files that this process may have open to what the system allows it.
//!
//! Each connection is one, and what shells give a process by default is less than a thousand.

use std::io;

/// What the limit is now, and what it could be.
pub fn raise_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a value of ours that the call fills in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: the pointer is to a value of ours that the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((limit.rlim_cur, wanted.rlim_cur))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_never_lowered() {
        let (before, after) = raise_limit().expect("a process may raise its soft limit");
        assert!(after >= before);
        assert_eq!(raise_limit().expect("again"), (after, after));
    }
}
