//! A file that is shortened while it is mapped must end in an error, not in a dead process.
//!
//! Reading a mapped page that the file no longer has raises SIGBUS, whose default is to kill the process. On Unix a
//! handler, installed with the first map, looks whether the address lies in one of our maps; if so it puts zero pages
//! there, so that the read goes on, and marks the map as damaged, which whoever computes with the data asks about
//! afterwards. A SIGBUS of anyone else's goes to whatever handled it before.
//!
//! On other systems a mapped file cannot be shortened (Windows refuses it), and nothing here does anything.
#![allow(unsafe_code)]

#[cfg(unix)]
pub(crate) use unix::Guard;

#[cfg(not(unix))]
pub(crate) use elsewhere::Guard;

#[cfg(unix)]
mod unix {
    use std::{
        mem::MaybeUninit,
        sync::{
            Once,
            atomic::{AtomicBool, AtomicUsize, Ordering::*},
        },
    };

    /// Maps that can be guarded at a time; more work too, unguarded. A signal handler may take no lock, so the list has a
    /// fixed size.
    const SLOTS: usize = 512;

    /// A guarded range; `start` is 0 in a free slot and `RESERVED` in one that is being filled or emptied.
    struct Slot {
        start: AtomicUsize,
        end: AtomicUsize,
        damaged: AtomicBool,
    }

    const RESERVED: usize = usize::MAX;

    static MAPS: [Slot; SLOTS] = [const {
        Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), damaged: AtomicBool::new(false) }
    }; SLOTS];

    /// A page's size, and what handled SIGBUS before us; both written once, before the handler is installed.
    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);
    static mut PREVIOUS: MaybeUninit<libc::sigaction> = MaybeUninit::zeroed();
    static INSTALL: Once = Once::new();

    /// Guards a range of mapped memory until it is dropped.
    pub(crate) struct Guard {
        slot: Option<&'static Slot>,
    }

    impl Guard {
        /// Guards the map `bytes`; it must be dropped before the map is.
        pub(crate) fn new(bytes: &[u8]) -> Guard {
            INSTALL.call_once(install);
            let start = bytes.as_ptr() as usize;
            let free = |slot: &&Slot| slot.start.compare_exchange(0, RESERVED, AcqRel, Relaxed).is_ok();
            let slot = MAPS.iter().find(free);
            if let Some(slot) = slot {
                slot.end.store(start + bytes.len(), Release);
                slot.damaged.store(false, Release);
                slot.start.store(start, Release);
            }
            Guard { slot }
        }

        /// Whether a part of the map that was read is not in the file any more.
        pub(crate) fn is_damaged(&self) -> bool {
            self.slot.is_some_and(|slot| slot.damaged.load(Acquire))
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            if let Some(slot) = self.slot {
                slot.start.store(0, Release);
            }
        }
    }

    fn install() {
        // SAFETY: plain system calls. The structures are zeroed, which is a valid value of them, and filled as sigaction(2)
        // asks; PREVIOUS is written here only, before the handler that reads it exists.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE);
            if page > 0 {
                PAGE_BYTES.store(page as usize, Release);
            }
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigemptyset(&mut action.sa_mask);
            // Where this fails, maps are unguarded and a shortened file kills the process, as it would without us.
            libc::sigaction(libc::SIGBUS, &action, (&raw mut PREVIOUS).cast());
        }
    }

    /// Touches only atomics and makes system calls, as a signal handler must.
    extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
        // SAFETY: the system hands a valid siginfo_t to an SA_SIGINFO handler.
        let address = unsafe { (*info).si_addr() } as usize;
        for slot in &MAPS {
            let start = slot.start.load(Acquire);
            let end = slot.end.load(Acquire);
            if start == 0 || start == RESERVED || address < start || address >= end {
                continue;
            }
            let page_bytes = PAGE_BYTES.load(Acquire);
            let page = address & !(page_bytes - 1);
            // All that follows is gone from the file too.
            let len = (end - page).next_multiple_of(page_bytes);
            let flags = libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_ANONYMOUS;
            // SAFETY: the range lies inside a live map of ours (its guard is dropped before it), which nothing but reads
            // of `&[u8]` uses; zero pages in its place are as good as what a shortened file holds.
            let mapped = unsafe { libc::mmap(page as *mut libc::c_void, len, libc::PROT_READ, flags, -1, 0) };
            if mapped != libc::MAP_FAILED {
                slot.damaged.store(true, Release);
                return;
            }
        }
        // Not ours: whatever was there before handles it when the read is tried again.
        // SAFETY: PREVIOUS was written by `install`, before this handler could run.
        unsafe { libc::sigaction(signal, (&raw const PREVIOUS).cast(), std::ptr::null_mut()) };
    }
}

#[cfg(not(unix))]
mod elsewhere {
    /// Guards nothing.
    pub(crate) struct Guard;

    impl Guard {
        pub(crate) fn new(_: &[u8]) -> Guard {
            Guard
        }

        pub(crate) fn is_damaged(&self) -> bool {
            false
        }
    }
}
