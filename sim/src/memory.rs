//! What a piece of work takes in memory, at its height. A program that wants to know installs [`Counting`] as its allocator;
//! without it everything takes nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// As those, of all threads together.
static ALL_HELD: AtomicIsize = AtomicIsize::new(0);
static ALL_MOST: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, which counts what each thread holds, and all together. What another thread frees counts there.
pub struct Counting;

fn note(bytes: isize) {
    let all = ALL_HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if bytes > 0 && all > ALL_MOST.load(Ordering::Relaxed) {
        ALL_MOST.fetch_max(all, Ordering::Relaxed);
    }
    // A thread that is ending has no cells any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        MOST.with(|most| most.set(most.get().max(held.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator is installed that way; it only passes on what it is asked")]
// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Does something, and tells how many bytes this thread held at most meanwhile, beyond what it held before.
pub fn most_of<T>(act: impl FnOnce() -> T) -> (T, u64) {
    let before = HELD.get();
    MOST.set(before);
    let done = act();
    (done, (MOST.get() - before).max(0) as u64)
}

/// As [`most_of`], of all threads of the process together, whatever they do: one at a time may ask.
pub fn most_of_all<T>(act: impl FnOnce() -> T) -> (T, u64) {
    let before = held_by_all();
    ALL_MOST.store(before, Ordering::Relaxed);
    let done = act();
    (done, (ALL_MOST.load(Ordering::Relaxed) - before).max(0) as u64)
}

/// How many bytes all threads hold now.
pub fn held_by_all() -> isize {
    ALL_HELD.load(Ordering::Relaxed)
}
