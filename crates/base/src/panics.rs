//! Panics, which are always defects of ours: one in a statement fails that statement, one anywhere else ends the process.
//!
//! A statement works on a snapshot and hands over what it wants changed as a whole, so one that breaks off leaves nothing half
//! done. A thread that ticks, syncs or carries rows may: it is safer to end at once, as after a power cut, and to open the data
//! directory again.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use crate::error::{Error, Result};

thread_local! {
    /// Whether a panic of this thread is caught by someone who knows what to do.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic ends the process after its message, unless it is [`contained`] or of a thread that says so.
pub fn end_the_process() {
    let tell = take_hook();
    set_hook(Box::new(move |panic| {
        tell(panic);
        if !CONTAINED.get() {
            std::process::abort();
        }
    }));
}

/// Does `work`; a panic in it becomes an error.
///
/// # Errors
/// Those of `work`; `Internal` where it panicked.
pub fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = CONTAINED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(before);
    outcome.unwrap_or_else(|panic| Err(defect(&said(panic.as_ref()))))
}

/// To be called by a thread of a runtime that catches panics of its tasks itself.
pub fn contain_this_thread() {
    CONTAINED.set(true);
}

/// What is said of work that panicked.
pub fn defect(message: &str) -> Error {
    Error::internal(format!("a defect of Gridhouse: {message}"))
        .hint("nothing else is affected; please report it with this statement and the log around this moment")
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_panic_becomes_an_error_and_others_stay_as_they_are() {
        assert_eq!(contained(|| Ok(5)).unwrap(), 5);
        let refused = contained(|| Err::<(), _>(Error::invalid("no"))).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        let rows = Vec::<i32>::new();
        let broken = contained(|| Ok(rows[3])).unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::Internal);
        assert!(broken.to_string().contains("index out of bounds"), "{broken}");
        assert!(!CONTAINED.get());
    }
}
