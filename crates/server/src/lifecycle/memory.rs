//! Huge pages: good for a large index, a waste for everything else.

use rustix::thread::disable_transparent_huge_pages;

/// From how many credentials on the index is so large that finding a page's address costs as much as reading it. Below,
/// the processor remembers all of them.
const MANY: u64 = 100_000;

/// Keeps the kernel from giving this process huge pages of memory, of which the allocator would use a small part.
///
/// Called before the first thread is started. A kernel that has none to give is fine.
pub fn without_huge_pages() {
    let _ = disable_transparent_huge_pages(true);
}

/// Takes that back, for memory that is asked for from now on, where the index will be large.
pub(super) fn make_room_for(credentials: u64) {
    if credentials >= MANY {
        let _ = disable_transparent_huge_pages(false);
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::transparent_huge_pages_are_disabled;

    use super::*;

    #[test]
    fn only_a_large_index_gets_huge_pages() {
        without_huge_pages();
        let check = |credentials, disabled| {
            make_room_for(credentials);
            assert_eq!(transparent_huge_pages_are_disabled().unwrap(), disabled, "{credentials}");
        };
        check(0, true);
        check(MANY - 1, true);
        check(MANY, false);
    }
}
