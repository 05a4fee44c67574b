//! File descriptors: every connection takes one, and so do the database and the threads.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is kept for the database, the listeners and everything else.
const RESERVED: u64 = 192;

/// What is kept for each thread of the gate: its runtime's, and its handles of the listeners.
const RESERVED_PER_THREAD: u64 = 8;

/// Raises the limit of open files as far as this process may.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::info!(from = current, to = maximum, "raised the limit of open files"),
        Err(error) => tracing::warn!(error = %error, limit = current, "cannot raise the limit of open files"),
    }
}

/// How many connections each of `listeners` may have, where `wanted` are wished for. Connections must not take what the
/// database needs.
pub(super) fn connections_each(wanted: u32, listeners: u32, threads: usize) -> usize {
    let allowed = share(getrlimit(Resource::Nofile).current, listeners, threads);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    if allowed < wanted {
        tracing::warn!(
            max_connections = wanted,
            allowed,
            "the limit of open files (ulimit -n, LimitNOFILE) allows fewer connections to each listener"
        );
    }
    wanted.min(allowed)
}

fn share(limit: Option<u64>, listeners: u32, threads: usize) -> usize {
    let Some(limit) = limit else { return usize::MAX };
    let reserved = RESERVED.saturating_add(RESERVED_PER_THREAD.saturating_mul(threads.try_into().unwrap_or(u64::MAX)));
    let each = limit.saturating_sub(reserved) / u64::from(listeners.max(1));
    usize::try_from(each).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_shared() {
        assert_eq!(share(None, 3, 8), usize::MAX);
        assert_eq!(share(Some(1_000_000), 2, 2), (1_000_000 - 192 - 16) / 2);
        assert_eq!(share(Some(1024), 3, 4), (1024 - 192 - 32) / 3);
        assert_eq!(share(Some(100), 3, 4), 1, "little is better than nothing");
    }
}
