//! The bytes of a kept state where they lie: in several files, one span after the other.

use std::cell::Cell;

use super::kept::Span;

/// A kept state to be compared with; empty where nothing was kept.
#[derive(Default)]
pub struct Earlier<'a> {
    parts: Vec<Part<'a>>,
    len: u64,
    /// The part that was asked for last: the next question is mostly about the same or the one behind it.
    last: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Part<'a> {
    /// Where it begins in the state.
    start: u64,
    span: Span,
    bytes: &'a [u8],
    /// Whether its file may be named again.
    stays: bool,
}

impl<'a> Earlier<'a> {
    /// The state whose bytes stand in `spans` of `files`; `stays` tells of a file whether it may be named again. `None` where a
    /// span is not within its file.
    pub fn of(spans: &[Span], files: &dyn Fn(u64) -> Option<&'a [u8]>, stays: &dyn Fn(u64) -> bool) -> Option<Self> {
        let (mut parts, mut len) = (Vec::with_capacity(spans.len()), 0);
        for span in spans {
            let bytes =
                files(span.file)?.get(usize::try_from(span.at).ok()?..)?.get(..usize::try_from(span.len).ok()?)?;
            parts.push(Part { start: len, span: *span, bytes, stays: stays(span.file) });
            len += span.len;
        }
        Some(Self { parts, len, last: Cell::new(0) })
    }

    /// How many bytes the state has.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The parts from the one that `at` lies in.
    fn parts_at(&self, at: u64) -> &[Part<'a>] {
        let is_here = |i: usize| self.parts.get(i).is_some_and(|p| p.start <= at && at - p.start < p.span.len);
        let last = self.last.get();
        let found = [last, last + 1].into_iter().find(|i| is_here(*i));
        let found = found.unwrap_or_else(|| self.parts.partition_point(|p| p.start + p.span.len <= at));
        self.last.set(found);
        &self.parts[found.min(self.parts.len())..]
    }

    /// The bytes from `at` on, part by part.
    fn slices(&self, at: u64) -> impl Iterator<Item = &'a [u8]> {
        self.parts_at(at).iter().map(move |part| &part.bytes[at.saturating_sub(part.start) as usize..])
    }

    /// How many bytes are the same from `at` on and in `new`.
    pub(super) fn common(&self, at: u64, new: &[u8]) -> usize {
        let mut same = 0;
        for old in self.slices(at) {
            let len = old.len().min(new.len() - same);
            let common = common(&old[..len], &new[same..same + len]);
            same += common;
            if common < old.len() || same == new.len() {
                break;
            }
        }
        same
    }

    /// Fills `out` with the bytes from `at` on as far as there are some, and tells how many.
    pub(super) fn read(&self, at: u64, out: &mut [u8]) -> usize {
        let mut filled = 0;
        for old in self.slices(at) {
            let len = old.len().min(out.len() - filled);
            out[filled..filled + len].copy_from_slice(&old[..len]);
            filled += len;
            if filled == out.len() {
                break;
            }
        }
        filled
    }

    /// The byte at `at`.
    pub(super) fn byte(&self, at: u64) -> Option<u8> {
        self.slices(at).next()?.first().copied()
    }

    /// The spans of `len` bytes from `from` on, with their bytes, and whether they may be named again.
    pub(super) fn spans(&self, from: u64, len: u64) -> impl Iterator<Item = (Span, &'a [u8], bool)> {
        let end = from + len;
        self.parts_at(from).iter().take_while(move |part| part.start < end).map(move |part| {
            let (skip, upto) = (from.saturating_sub(part.start), (end - part.start).min(part.span.len));
            let span = Span { file: part.span.file, at: part.span.at + skip, len: upto - skip };
            (span, &part.bytes[skip as usize..upto as usize], part.stays)
        })
    }
}

impl std::fmt::Debug for Earlier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Earlier").field("parts", &self.parts.len()).field("len", &self.len).finish()
    }
}

/// How many bytes both begin with; they are of one length.
fn common(one: &[u8], other: &[u8]) -> usize {
    /// So many are compared at once.
    const BLOCK: usize = 64;
    let blocks = one.chunks_exact(BLOCK).zip(other.chunks_exact(BLOCK)).take_while(|(one, other)| one == other).count();
    let same = blocks * BLOCK;
    same + one[same..].iter().zip(&other[same..]).take_while(|(one, other)| one == other).count()
}
