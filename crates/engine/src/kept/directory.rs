//! Where the states of jobs stand in the files that are attached to a checkpoint.
//!
//! The file that a checkpoint adds holds what no earlier one held, then a directory: for every state the spans, here and in
//! earlier files, that its bytes stand in. So a restart needs the last directory only, and no file has to be read to know
//! which others are needed.
//!
//! Earlier files lose their worth as states change. One of which less than half is needed, and the smaller ones where they
//! become many, are not named again ([`Directory::worth_naming`]): what is needed of them is written anew. So all files
//! together have about twice the bytes of the states at most, and a byte is written anew only as often as others have died
//! beside it.

use std::collections::{BTreeMap, BTreeSet};

use gridhouse_base::{Error, JobId, Result};
use gridhouse_flow::Span;
use gridhouse_store::Attached;

/// What an attached file begins with.
const MAGIC: [u8; 8] = *b"GRIDJOB\0";

/// The version of the files.
const VERSION: u32 = 2;

/// Bytes of the beginning: magic and version.
const HEAD_BYTES: usize = 12;

/// Bytes of the end: where the directory begins.
const END_BYTES: usize = 8;

/// Where more files than this are named the smaller half of them is written anew: so many files are opened at a restart, and
/// each small one is written once more for every so many checkpoints.
const MOST_FILES: usize = 32;

/// The files that are attached to a checkpoint, by number; the last is its own.
pub(crate) type Files<'a> = BTreeMap<u64, &'a [u8]>;

/// The files of `attached`.
pub(crate) fn files(attached: &Attached) -> Files<'_> {
    attached.numbers().filter_map(|number| Some((number, attached.file(number)?))).collect()
}

/// Which `INSERT` of which job.
pub(crate) type InsertKey = (JobId, usize);

/// Where a state stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// How many bytes it has.
    pub(crate) len: u64,
    /// Where they stand, one after the other.
    pub(crate) spans: Vec<Span>,
}

impl Stored {
    /// Its bytes, in parts.
    pub(crate) fn parts<'a>(&self, files: &Files<'a>) -> Vec<&'a [u8]> {
        self.spans.iter().map(|span| &files[&span.file][span.at as usize..][..span.len as usize]).collect()
    }
}

/// The beginning of a file.
pub(crate) fn head() -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    head[8..].copy_from_slice(&VERSION.to_le_bytes());
    head
}

/// The directory of the file `number`, which begins at `at` in it, and the file's end.
pub(crate) fn put_directory(states: &BTreeMap<InsertKey, Stored>, number: u64, at: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, states.len() as u64);
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    for ((job, insert), state) in states {
        let figures = [u64::from(job.0), *insert as u64, state.len, state.spans.len() as u64];
        figures.into_iter().for_each(|figure| put(&mut out, figure));
        for span in &state.spans {
            let end = ends.entry(span.file).or_default();
            let ahead = span.at.wrapping_sub(*end) as i64;
            put(&mut out, number - span.file);
            put(&mut out, ((ahead << 1) ^ (ahead >> 63)) as u64);
            put(&mut out, span.len);
            *end = span.at + span.len;
        }
    }
    out.extend_from_slice(&at.to_le_bytes());
    out
}

/// Appends a number: seven bits a byte, the lowest first.
fn put(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The states that are attached to a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) states: BTreeMap<InsertKey, Stored>,
}

impl Directory {
    /// The directory of what is attached; empty where nothing is. Every span is within its file, and a state's length is that
    /// of its spans. All of them together are no longer than the files: what is read takes no more memory than these account
    /// for.
    ///
    /// # Errors
    /// `Corrupt` where it is none; `Conflict` where another version wrote it.
    pub(crate) fn read(files: &Files<'_>) -> Result<Self> {
        let Some((&number, own)) = files.last_key_value() else { return Ok(Self::default()) };
        let version = own.get(8..HEAD_BYTES).filter(|_| own[..8] == MAGIC).ok_or_else(|| damaged("their beginning"))?;
        let version = u32::from_le_bytes(version.try_into().expect("four bytes"));
        if version != VERSION {
            return Err(Error::conflict(format!(
                "the states of jobs are of version {version}, and this program reads version {VERSION}"
            )));
        }
        let (at, end) = directory_of(own).ok_or_else(|| damaged("where their directory begins"))?;
        let mut from = Numbers(&own[at..end]);
        let mut room: u64 = files.values().map(|file| file.len() as u64).sum();
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        let mut states = BTreeMap::new();
        for _ in 0..from.next()? {
            let job = u32::try_from(from.next()?).map_err(|_| damaged("the number of a job"))?;
            let (insert, len, count) = (from.next()? as usize, from.next()?, from.next()?);
            let (mut spans, mut rest) = (Vec::new(), len);
            for _ in 0..count {
                let span = from.span(number, &mut ends)?;
                let file = files.get(&span.file).ok_or_else(|| damaged("the number of a file"))?;
                let is_within = span.at.checked_add(span.len).is_some_and(|end| end <= file.len() as u64);
                if !is_within || span.len == 0 || span.len > rest.min(room) {
                    return Err(damaged("where a state stands"));
                }
                (rest, room) = (rest - span.len, room - span.len);
                spans.push(span);
            }
            if rest > 0 || states.insert((JobId(job), insert), Stored { len, spans }).is_some() {
                return Err(damaged("the length of a state"));
            }
        }
        if from.0.is_empty() { Ok(Self { states }) } else { Err(damaged("the end of their directory")) }
    }

    /// The files that a later checkpoint shall name again where it can.
    pub(crate) fn worth_naming(&self, files: &Files<'_>) -> BTreeSet<u64> {
        let mut needed: BTreeMap<u64, u64> = BTreeMap::new();
        for span in self.states.values().flat_map(|state| &state.spans) {
            *needed.entry(span.file).or_default() += span.len;
        }
        let held = |number: &u64| files.get(number).and_then(|file| directory_of(file)).map_or(0, |(at, _)| at as u64);
        let mut worth: Vec<(u64, u64)> = needed.into_iter().filter(|(file, bytes)| 2 * bytes >= held(file)).collect();
        if worth.len() > MOST_FILES {
            worth.sort_unstable_by_key(|(file, bytes)| (std::cmp::Reverse(*bytes), *file));
            worth.truncate(MOST_FILES / 2);
        }
        worth.into_iter().map(|(file, _)| file).collect()
    }
}

/// Where the directory of a file begins and ends.
fn directory_of(file: &[u8]) -> Option<(usize, usize)> {
    let end = file.len().checked_sub(END_BYTES)?;
    let at = u64::from_le_bytes(file[end..].try_into().expect("eight bytes"));
    let at = usize::try_from(at).ok().filter(|at| (HEAD_BYTES..=end).contains(at))?;
    Some((at, end))
}

fn damaged(what: &str) -> Error {
    Error::corrupt(format!("the states of jobs are damaged: {what} is not right"))
}

/// Numbers as [`put`] writes them.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or_else(|| damaged("the length of their directory"))?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if *byte < 0x80 {
                return Ok(number);
            }
        }
        Err(damaged("a number"))
    }

    /// A span of a directory in the file `number`; `ends` has where the last one of each file ends.
    fn span(&mut self, number: u64, ends: &mut BTreeMap<u64, u64>) -> Result<Span> {
        let (back, ahead, len) = (self.next()?, self.next()?, self.next()?);
        let file = number.checked_sub(back).ok_or_else(|| damaged("the number of a file"))?;
        let end = ends.entry(file).or_default();
        let at = end.wrapping_add((ahead >> 1) ^ (ahead & 1).wrapping_neg());
        *end = at.wrapping_add(len);
        Ok(Span { file, at, len })
    }
}

#[cfg(test)]
mod tests {
    use gridhouse_base::ErrorKind;
    use gridhouse_base::random::Random;

    use super::*;

    fn file(number: u64, data: usize, states: &BTreeMap<InsertKey, Stored>) -> Vec<u8> {
        let mut file = head().to_vec();
        file.resize(HEAD_BYTES + data, 7);
        file.extend(put_directory(states, number, file.len() as u64));
        file
    }

    fn state(spans: &[(u64, u64, u64)]) -> Stored {
        let spans: Vec<Span> = spans.iter().map(|&(file, at, len)| Span { file, at, len }).collect();
        Stored { len: spans.iter().map(|span| span.len).sum(), spans }
    }

    #[test]
    fn what_is_told_of_states_is_read_and_whatever_stands_there_nothing_impossible_is() {
        let states = BTreeMap::from([
            ((JobId(1), 0), state(&[(3, 12, 100), (9, 12, 5), (3, 117, 80), (7, 20, 30)])),
            ((JobId(1), 2), state(&[])),
            ((JobId(700), 1), state(&[(9, 17, 300), (3, 200, 800)])),
        ]);
        let all = [file(3, 1_000, &BTreeMap::new()), file(7, 100, &BTreeMap::new()), file(9, 400, &states)];
        let of = |own: &[u8]| {
            let files = Files::from([(3, &all[0][..]), (7, &all[1]), (9, own)]);
            Directory::read(&files).map(|read| (read.worth_naming(&files), read.states))
        };
        let (worth, read) = of(&all[2]).unwrap();
        assert_eq!(read, states);
        assert_eq!(worth, BTreeSet::from([3, 9]), "a third of file 7 is needed");
        let mut random = Random::new(1);
        let (mut refused, mut passed) = (0, 0);
        for _ in 0..20_000 {
            let mut own = all[2].clone();
            let at = own.len() - 1 - random.below(own.len() as u64 - 400) as usize;
            match random.below(4) {
                0 => own[at] ^= 1 << random.below(8),
                1 => own[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                2 => own.truncate(at),
                _ => own.insert(at, random.bits() as u8),
            }
            match of(&own) {
                Ok((_, states)) => {
                    passed += 1;
                    for span in states.values().flat_map(|state| &state.spans) {
                        let len = if span.file == 9 { own.len() } else { all[usize::from(span.file == 7)].len() };
                        assert!(span.at + span.len <= len as u64);
                    }
                }
                Err(error) => {
                    refused += 1;
                    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Conflict), "{error}");
                }
            }
        }
        assert!(refused > 5_000 && passed > 100, "{refused} refused, {passed} passed");
        assert!(Directory::read(&Files::new()).unwrap().states.is_empty());
    }

    #[test]
    fn no_few_bytes_stand_for_many() {
        let often = BTreeMap::from([((JobId(1), 0), state(&[(1, 12, 1_000); 500]))]);
        let own = file(1, 1_000, &often);
        let error = Directory::read(&Files::from([(1, &own[..])])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn many_files_become_fewer() {
        let spans: Vec<_> = (1..=40).map(|number| (number, 12, 100 + number)).collect();
        let states = BTreeMap::from([((JobId(1), 0), state(&spans))]);
        let nothing = BTreeMap::new();
        let states_in = |number| if number == 40 { &states } else { &nothing };
        let all: Vec<(u64, Vec<u8>)> = (1..=40).map(|number| (number, file(number, 150, states_in(number)))).collect();
        let files: Files<'_> = all.iter().map(|(number, file)| (*number, &file[..])).collect();
        let worth = Directory::read(&files).unwrap().worth_naming(&files);
        assert_eq!(worth, (25..=40).collect(), "the larger ones stay");
    }
}
