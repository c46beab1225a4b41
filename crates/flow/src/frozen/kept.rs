//! Keeping a state again and again: only what differs from the state kept before is written, the rest is named where it stands.
//!
//! Law: the bytes that the named spans hold, one after the other, are those of the plain state ([`super::Frozen::write`]), to the
//! letter.
//!
//! The new bytes are laid along the earlier ones as they are made. Where both say the same, a span names the earlier place;
//! where they differ, the new bytes are written until both meet again: nearby, since most changes replace a value by one of
//! about the same length, else at the next place that a sample of the earlier bytes knows. So nothing has to be noted while
//! ticks run, no operator knows of it, and what is named has been compared byte by byte. A mistaken meeting costs bytes, never
//! truth.
//!
//! A file of spilled state never changes. Where it stood in the state before it is named again, without being read.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use gridhouse_base::{Error, Result};

use super::bytes::StateSink;
use super::earlier::Earlier;
use crate::hash::HashMode;
use crate::spill::SpillFile;

/// Fewer bytes than this are written anew, though they stand somewhere: naming them takes a quarter of that, in a file and in
/// memory, and makes whoever reads jump.
const LEAST_SPAN: u64 = 32;

/// A state may be in one span for this many bytes of it on average, so that the spans, 24 bytes each in memory, stay a small
/// part of it. Beyond that its rest is written anew, which puts it together again.
const BYTES_PER_SPAN: u64 = 256;

/// Spans that are always allowed.
const FEW_SPANS: u64 = 1024;

/// So many new bytes are looked at for a nearby meeting, and so far may both have moved against each other.
const NEAR: usize = 64;
const NEAR_SHIFT: usize = 9;

/// Both meet where this many bytes are the same.
const MEETING: usize = 16;

/// One of so many places of the earlier state is known to the sample: a power of two.
const SAMPLE: u64 = 64;

/// How far the sample reaches beyond what has been compared: at first, and at most. Between the two it grows with what has been
/// looked at in vain, so that looking takes no longer than a few times the bytes that are written.
const FIRST_REACH: u64 = 4 << 10;
const MOST_REACH: u64 = 16 << 20;

/// A jump over earlier bytes has to find one for every so many of them that are the same, or [`MOST_PROOF`]: what is skipped
/// cannot be named any more.
const SKIPPED_PER_SAME: u64 = 16;
const MOST_PROOF: u64 = 4 << 10;

/// So many bytes behind a difference are needed to decide on it.
const AHEAD: usize = MOST_PROOF as usize + LEAST_SPAN as usize + NEAR + MEETING;

/// So many new bytes are gathered before they are compared.
const GATHERED: usize = 128 << 10;

/// The seed of the sample's hashes.
const SAMPLE_SEED: u64 = 0x7361_6d70_6c65_6420;

/// A run of bytes in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The number of the file, as its owner numbers them.
    pub file: u64,
    /// Where the run begins.
    pub at: u64,
    /// How long it is, at least 1.
    pub len: u64,
}

/// Where the files of spilled state stand in a kept state, by their number.
pub type FilePlaces = BTreeMap<u64, u64>;

/// A state that has been kept.
#[derive(Debug, Default)]
pub struct KeptState {
    /// Where its bytes stand, one after the other.
    pub spans: Vec<Span>,
    /// How many bytes it has.
    pub len: u64,
    /// How many of them were written.
    pub written: u64,
    /// Where files of spilled state stand in it.
    pub files: FilePlaces,
}

/// Keeps a state. It is given to [`super::Frozen::keep`].
pub struct KeptWriter<'a> {
    earlier: Earlier<'a>,
    known: &'a FilePlaces,
    out: &'a mut dyn Write,
    /// The file that is written, and its length so far.
    file: (u64, u64),
    /// New bytes that have not been decided on.
    new: Vec<u8>,
    /// So much of the earlier state has been compared.
    old: u64,
    /// The last bytes of that are the same as the new ones before the undecided.
    same: u64,
    /// Bytes written since both were last the same.
    apart: u64,
    sample: Sample,
    kept: KeptState,
}

impl<'a> KeptWriter<'a> {
    /// Keeps a state beside an `earlier` one, in which files of spilled state stand where `known` says. What is written is
    /// appended to `out`, the file of this number, which is so long now.
    pub fn new(earlier: Earlier<'a>, known: &'a FilePlaces, out: &'a mut dyn Write, file: (u64, u64)) -> Self {
        let (new, sample, kept) = (Vec::new(), Sample::default(), KeptState::default());
        Self { earlier, known, out, file, new, old: 0, same: 0, apart: 0, sample, kept }
    }

    /// Writes what is left and tells what became of it.
    pub(super) fn finish(mut self) -> Result<KeptState> {
        self.decide(true)?;
        Ok(self.kept)
    }

    /// Decides on the new bytes; all of them at the end, else as long as enough stand behind them.
    fn decide(&mut self, is_end: bool) -> Result<()> {
        let new = std::mem::take(&mut self.new);
        let ahead = if is_end { 0 } else { AHEAD };
        let mut rest = &new[..];
        loop {
            let same = self.earlier.common(self.old, rest);
            (self.old, self.same) = (self.old + same as u64, self.same + same as u64);
            rest = &rest[same..];
            if rest.is_empty() || rest.len() < ahead {
                break;
            }
            self.end_same()?;
            let apart = if self.is_alone() { (rest.len(), self.old) } else { self.meet(rest, ahead) };
            self.write(&rest[..apart.0])?;
            self.old = apart.1;
            rest = &rest[apart.0..];
        }
        if is_end {
            self.end_same()?;
        }
        let undecided = new.len() - rest.len();
        self.new = new;
        self.new.drain(..undecided);
        Ok(())
    }

    /// Whether nothing can be named any more.
    fn is_alone(&self) -> bool {
        self.old >= self.earlier.len()
            || self.kept.spans.len() as u64 > FEW_SPANS + self.earlier.len().max(self.kept.len) / BYTES_PER_SPAN
    }

    /// How many new bytes stand alone, and where the earlier state goes on like the new one behind them. Where both do not meet
    /// within `rest`, all of it but `ahead` bytes stands alone.
    fn meet(&mut self, rest: &[u8], ahead: usize) -> (usize, u64) {
        if let Some((new, old)) = self.meet_near(rest) {
            return (new, self.old + old as u64);
        }
        let end = rest.len() - ahead.min(rest.len());
        for at in 0..end {
            let Some(bytes) = rest.get(at..at + MEETING) else { break };
            let apart = self.apart + at as u64;
            if at.is_multiple_of(4096) {
                let reach = (FIRST_REACH + 2 * apart).min(MOST_REACH);
                self.sample.extend(&self.earlier, self.old, self.old + reach);
            }
            let Some(old) = self.sample.find(bytes).filter(|old| *old >= self.old) else { continue };
            let same = self.earlier.common(old, &rest[at..]) as u64;
            if same < LEAST_SPAN + ((old - self.old) / SKIPPED_PER_SAME).min(MOST_PROOF) {
                continue;
            }
            let most = at.min((old - self.old) as usize);
            let before =
                (0..most).take_while(|i| self.earlier.byte(old - 1 - *i as u64) == Some(rest[at - 1 - i])).count();
            return (at - before, old - before as u64);
        }
        (end.max(1), self.old)
    }

    /// As [`KeptWriter::meet`], where both meet within a few bytes.
    fn meet_near(&self, rest: &[u8]) -> Option<(usize, usize)> {
        let mut window = [0; NEAR + NEAR_SHIFT + MEETING];
        let read = self.earlier.read(self.old, &mut window);
        let window = &window[..read];
        for new in 0..=NEAR {
            let bytes = rest.get(new..new + MEETING)?;
            let meets = |old: &usize| window.get(*old..*old + MEETING) == Some(bytes);
            // Values mostly keep their length.
            let shifts = (1..=NEAR_SHIFT).flat_map(|shift| [Some(new + shift), new.checked_sub(shift)]).flatten();
            if let Some(old) = std::iter::once(new).chain(shifts).find(meets) {
                return Some((new, old));
            }
        }
        None
    }

    /// Names the bytes that were the same, or writes them where they are few.
    fn end_same(&mut self) -> Result<()> {
        let (from, len) = (self.old - self.same, std::mem::take(&mut self.same));
        if len >= LEAST_SPAN {
            self.apart = 0;
        }
        self.take(from, len)
    }

    /// Takes `len` bytes of the earlier state, from `from` on.
    fn take(&mut self, from: u64, len: u64) -> Result<()> {
        let earlier = std::mem::take(&mut self.earlier);
        let taken = earlier.spans(from, len).try_for_each(|(span, bytes, stays)| {
            if stays && span.len >= LEAST_SPAN {
                self.name(span);
                Ok(())
            } else {
                self.write(bytes)
            }
        });
        self.earlier = earlier;
        taken
    }

    fn name(&mut self, span: Span) {
        self.kept.len += span.len;
        match self.kept.spans.last_mut() {
            Some(last) if last.file == span.file && last.at + last.len == span.at => last.len += span.len,
            _ => self.kept.spans.push(span),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let failed = |error| Error::unavailable("a state could not be written").caused_by(error);
        self.out.write_all(bytes).map_err(failed)?;
        let len = bytes.len() as u64;
        self.name(Span { file: self.file.0, at: self.file.1, len });
        self.file.1 += len;
        self.kept.written += len;
        self.apart += len;
        Ok(())
    }
}

impl StateSink for KeptWriter<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.new.extend_from_slice(bytes);
        if self.new.len() >= GATHERED { self.decide(false) } else { Ok(()) }
    }

    fn take_file(&mut self, file: &SpillFile) -> Result<bool> {
        self.decide(true)?;
        self.kept.files.insert(file.number(), self.kept.len);
        let Some(&from) = self.known.get(&file.number()) else { return Ok(false) };
        // No earlier byte is named twice, so that whoever reads can tell what is possible from what is not.
        if from < self.old || from + file.len() > self.earlier.len() {
            return Ok(false);
        }
        self.take(from, file.len())?;
        self.old = from + file.len();
        Ok(true)
    }
}

impl std::fmt::Debug for KeptWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptWriter").field("file", &self.file).field("kept", &self.kept.len).finish()
    }
}

/// Some places of the earlier state, by a hash of the bytes there. Which ones depends on these bytes alone.
#[derive(Default)]
struct Sample {
    places: HashMap<u64, u64>,
    /// The earlier state has been looked at up to here.
    upto: u64,
}

/// How much of the earlier state is looked at in one go.
const SAMPLED: u64 = 64 << 10;

impl Sample {
    fn hash(bytes: &[u8]) -> u64 {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        HashMode::Seeded(SAMPLE_SEED).words([word(0), word(8)])
    }

    /// Where such bytes are, if the place is known.
    fn find(&self, bytes: &[u8]) -> Option<u64> {
        let hash = Self::hash(bytes);
        if hash.is_multiple_of(SAMPLE) { self.places.get(&hash).copied() } else { None }
    }

    /// Takes in the places from `old` on, up to `upto`. Those before are forgotten in time.
    fn extend(&mut self, earlier: &Earlier<'_>, old: u64, upto: u64) {
        if self.places.len() as u64 > 2 * MOST_REACH / SAMPLE {
            self.places.retain(|_, place| *place >= old);
        }
        self.upto = self.upto.max(old);
        let mut bytes = Vec::new();
        while self.upto < upto.min(earlier.len()) {
            let len = SAMPLED.min(upto - self.upto);
            bytes.resize(len as usize + MEETING - 1, 0);
            let read = earlier.read(self.upto, &mut bytes);
            for (at, bytes) in bytes[..read].windows(MEETING).enumerate() {
                let (hash, place) = (Self::hash(bytes), self.upto + at as u64);
                if hash.is_multiple_of(SAMPLE) {
                    // The nearest one, of those that are still ahead.
                    let known = self.places.entry(hash).or_insert(place);
                    *known = if *known < old { place } else { *known };
                }
            }
            self.upto += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use gridhouse_base::random::Random;

    use super::*;

    /// Keeps `new` beside an earlier state; the file that was written, and what was kept.
    fn keep(earlier: Earlier<'_>, number: u64, new: &[u8], random: &mut Random) -> (Vec<u8>, KeptState) {
        let (mut file, known) = (b"head".to_vec(), FilePlaces::new());
        let mut writer = KeptWriter::new(earlier, &known, &mut file, (number, 4));
        let mut rest = new;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1 + random.below(200_000) as usize));
            writer.put(now).unwrap();
            rest = later;
        }
        let kept = writer.finish().unwrap();
        (file, kept)
    }

    /// Columns of numbers of varying length, as a state has them.
    fn columns(values: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        values.iter().enumerate().for_each(|(i, _)| bytes.extend_from_slice(&(i as u64).to_le_bytes()));
        for column in 0..3_u64 {
            values.iter().for_each(|value| {
                let text = (value.wrapping_mul(column + 3)).to_string();
                bytes.push(text.len() as u8);
                bytes.extend_from_slice(text.as_bytes());
            });
        }
        bytes
    }

    fn all(files: &[Vec<u8>], kept: &KeptState) -> Vec<u8> {
        let of = |span: &Span| &files[span.file as usize][span.at as usize..(span.at + span.len) as usize];
        kept.spans.iter().flat_map(of).copied().collect()
    }

    #[test]
    fn a_state_is_found_again_to_the_letter_and_little_is_written_where_little_has_changed() {
        for seed in 0..6 {
            let mut random = Random::new(seed);
            let mut values: Vec<u64> = (0..40_000).map(|_| random.bits() >> random.below(60)).collect();
            let (file, mut kept) = keep(Earlier::default(), 0, &columns(&values), &mut random);
            let mut files = vec![file];
            assert_eq!(kept.spans.len(), 1);
            for round in 1..10 {
                let (mut share, len) = (0.0, values.len());
                match random.below(7) {
                    // Some values, anywhere.
                    0 => (0..400)
                        .for_each(|_| values[random.below(len as u64) as usize] = random.bits() >> random.below(60)),
                    // Values side by side.
                    1 => values[len / 3..len / 3 + 400].fill(random.bits()),
                    // Keys come and go at the end, and in the middle.
                    2 => values.extend((0..2_000).map(|i| i * 977)),
                    3 => values.truncate(len - len / 20),
                    4 => drop(values.drain(len / 2..len / 2 + 50)),
                    5 => {}
                    // Another state altogether.
                    _ => {
                        values.iter_mut().for_each(|value| *value = random.bits());
                        share = 1.0;
                    }
                }
                share += 0.2;
                let state = columns(&values);
                let earlier = Earlier::of(&kept.spans, &|number| Some(&files[number as usize][..]), &|_| true).unwrap();
                let (file, now) = keep(earlier, round, &state, &mut random);
                files.push(file);
                assert!(all(&files, &now) == state, "seed {seed}, round {round}");
                assert_eq!((now.len, now.written), (state.len() as u64, files[round as usize].len() as u64 - 4));
                let most = share * state.len() as f64;
                assert!((now.written as f64) < most, "seed {seed}, round {round}: {} of {most}", now.written);
                kept = now;
            }
        }
    }

    #[test]
    fn files_that_shall_go_are_written_again_and_states_without_a_pattern_cost_what_they_are() {
        let mut random = Random::new(3);
        let state = columns(&(0..30_000).collect::<Vec<_>>());
        let (file, kept) = keep(Earlier::default(), 0, &state, &mut random);
        let mut files = vec![file];
        let earlier = Earlier::of(&kept.spans, &|number| Some(&files[number as usize][..]), &|_| false).unwrap();
        let (file, kept) = keep(earlier, 1, &state, &mut random);
        files.push(file);
        assert!(all(&files, &kept) == state && kept.spans.iter().all(|span| span.file == 1));
        // The same byte over and over, and none that was there before.
        for state in [vec![7; 300_000], (0..300_000).map(|_| random.bits() as u8).collect(), Vec::new()] {
            let earlier = Earlier::of(&kept.spans, &|number| Some(&files[number as usize][..]), &|_| true).unwrap();
            let (file, kept) = keep(earlier, 2, &state, &mut random);
            assert!(all(&[files[0].clone(), files[1].clone(), file], &kept) == state);
        }
        // Spans that lead nowhere.
        let bad = [Span { file: 1, at: files[1].len() as u64 - 3, len: 4 }];
        assert!(Earlier::of(&bad, &|number| files.get(number as usize).map(|file| &file[..]), &|_| true).is_none());
        let bad = [Span { file: 9, at: 0, len: 4 }];
        assert!(Earlier::of(&bad, &|number| files.get(number as usize).map(|file| &file[..]), &|_| true).is_none());
    }
}
