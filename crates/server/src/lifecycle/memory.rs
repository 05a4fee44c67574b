//! Huge pages: good for a large index, a waste for everything else.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};

/// From how many credentials on the index is so large that finding a page's address costs as much as reading it. Below,
/// the processor remembers all of them.
const MANY: u64 = 100_000;

/// Keeps the kernel from giving this process huge pages of memory, of which the allocator would use a small part.
///
/// What the process has got before it came here stays as it is, which is 3 MiB of an idle server's 9. Therefore the program
/// begins anew in the same process, with the same arguments, which inherits the setting: to be called before anything that
/// must not happen twice, and before the first thread is started. Where that is impossible, and where the kernel has no
/// huge pages to give, it goes on.
pub fn without_huge_pages() {
    if is_without() || disable_transparent_huge_pages(true).is_err() || !is_without() {
        return;
    }
    let mut arguments = std::env::args_os();
    if let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) {
        // It returns only if it has failed.
        let _ = Command::new(program).arg0(name).args(arguments).exec();
    }
}

fn is_without() -> bool {
    transparent_huge_pages_are_disabled() == Ok(true)
}

/// Makes an index with room for so many credentials: with huge pages where it will be large. Its tables are written as
/// they are made. What comes later is in no such order, and would leave a tenth of them empty.
pub(super) fn making_room_for<T>(credentials: u64, make: impl FnOnce() -> T) -> T {
    if credentials < MANY {
        return make();
    }
    let _ = disable_transparent_huge_pages(false);
    let made = make();
    let _ = disable_transparent_huge_pages(true);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_large_index_gets_huge_pages() {
        disable_transparent_huge_pages(true).unwrap();
        let check = |credentials, disabled| {
            assert_eq!(making_room_for(credentials, is_without), disabled, "{credentials}");
            assert!(is_without(), "{credentials}");
        };
        check(0, true);
        check(MANY - 1, true);
        check(MANY, false);
    }
}
