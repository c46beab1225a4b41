//! Texts and byte strings: their lengths, a start for every 32 of them, and their bytes; and dictionaries of such.
//!
//! Lengths pack far better than offsets, and the sum of at most 31 of them is quickly found. Starts lie close to a straight
//! line; where all lengths are the same they take no bits. A prefix that all share stands once; where pieces recur, texts
//! are codes of them.
//!
//! A dictionary is that of a chunk, or that of all chunks of a group where they repeat each other: it stands in the group's
//! first chunk, and the others have codes alone. Whoever groups by such a column looks at each text once per group.

use std::ops::Range;

use arrow_array::{Array, cast::AsArray};
use arrow_buffer::{BooleanBuffer, Buffer, OffsetBuffer};
use arrow_schema::DataType;
use bytes::Bytes;
use gridhouse_base::Result;
use hashbrown::{HashMap, HashSet};

use super::bits::width_of;
use super::choose::{Forms, encode};
use super::flat::{Flat, STEP};
use super::ints::Ints;
use super::reader::Reader;
use super::symbols::{Finder, Symbols};
use super::text_out::{TextOut, push, too_much_text};
use super::validity::Validity;
use super::write::Effort;
use super::{CHUNK_ROWS, kind};
use crate::codec::{damaged, put_u32};

/// Room for a text that is put together from its symbols; a longer one makes more.
const SINGLE_TEXT: usize = 128;

/// How many texts share a start.
const GROUP: usize = 32;
/// The longest shared prefix, and the longest value of a dictionary: what is written once per row when it is read must not
/// make much of few bytes. A chunk (8,192 rows) of them is 2 MiB and 32 MiB.
const LONGEST_PREFIX: usize = 255;
const LONGEST_IN_DICTIONARY: usize = 4_096;
/// How many texts of a chunk tell whether a dictionary can pay: not if hardly one comes twice.
const SAMPLE: usize = 512;
/// How many texts of a group do: of 8,192 values, the most, some 3,200 are among them.
const GROUP_SAMPLE: usize = 4_096;
/// A dictionary with a value for fewer rows than this is given up, if it has some values: symbols do as well then, and
/// neither finding nor sorting its values is cheap.
const ROWS_PER_VALUE: usize = 3;
const LEAST_TO_REFUSE: usize = 64;
/// The most room that is made for texts before they are read: a chunk of them rarely has more.
const MOST_BEFOREHAND: usize = 4 << 20;
/// Less text than this is written as it is: symbols take a few hundred bytes themselves.
const LEAST_FOR_SYMBOLS: usize = 2_048;

/// Appends `texts`, of which those that are values share `prefix` (the others are empty).
///
/// | bytes | what |
/// | --- | --- |
/// | 1 | length of the shared prefix, p |
/// | 1 | 1 if the texts are codes of symbols, else 0 |
/// | 2 | zero |
/// | 4 | bytes of all texts without the prefix, b |
/// | … | stream of lengths, without the prefix |
/// | … | stream of starts of every 32nd text |
/// | … | the symbols, if there are any |
/// | p + b | the prefix, the texts, then zeros to a multiple of 8 |
fn encode_texts(texts: &[&[u8]], prefix: &[u8], effort: Effort, out: &mut Vec<u8>) {
    let rest = |text: &&'_ [u8]| -> Range<usize> { prefix.len().min(text.len())..text.len() };
    let plain: usize = texts.iter().map(|text| rest(text).len()).sum();
    let can_pay = effort == Effort::Small && plain >= LEAST_FOR_SYMBOLS;
    let symbols = if can_pay { Finder::train(texts.iter().map(|text| &text[rest(text)]), plain) } else { None };
    let mut bytes = Vec::with_capacity(plain);
    let mut lengths: Vec<i64> = Vec::with_capacity(texts.len());
    let mut starts: Vec<i64> = Vec::with_capacity(texts.len().div_ceil(GROUP));
    for (row, text) in texts.iter().enumerate() {
        let start = bytes.len();
        if row.is_multiple_of(GROUP) {
            starts.push(start as i64);
        }
        match &symbols {
            Some(symbols) => symbols.compress(&text[rest(text)], &mut bytes),
            None => bytes.extend_from_slice(&text[rest(text)]),
        }
        lengths.push((bytes.len() - start) as i64);
    }
    out.extend_from_slice(&[prefix.len() as u8, symbols.is_some().into(), 0, 0]);
    put_u32(out, u32::try_from(bytes.len()).expect("an array has less than 2 GiB of text"));
    encode(&lengths, Forms::Direct, out);
    encode(&starts, Forms::Straight, out);
    if let Some(symbols) = symbols {
        symbols.write(out);
    }
    out.extend_from_slice(prefix);
    out.extend_from_slice(&bytes);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// What all `texts` begin with. It ends between characters: a row without a value is read as the prefix alone, and that must
/// be a text too.
fn shared_prefix<'a>(mut texts: impl Iterator<Item = &'a [u8]>) -> &'a [u8] {
    let first = texts.next().unwrap_or(&[]);
    let shared = texts.fold(&first[..first.len().min(LONGEST_PREFIX)], |prefix, text| {
        let same = prefix.iter().zip(text).take_while(|(a, b)| a == b).count();
        &prefix[..same]
    });
    let last = shared.iter().rposition(|byte| byte & 0xC0 != 0x80).unwrap_or(0);
    if std::str::from_utf8(&shared[last..]).is_ok() { shared } else { &shared[..last] }
}

/// When a dictionary is given up.
struct Rule {
    /// How many texts are looked at first.
    sample: usize,
    /// The share of them that may come once only is all but one of so many.
    spared: usize,
    /// The most values.
    most: usize,
}

/// The distinct texts in order, and each row's place among them, if that takes less than the texts themselves.
fn dictionary<'a>(
    texts: &[&'a [u8]],
    is_value: &dyn Fn(usize) -> bool,
    rule: &Rule,
) -> Option<(Vec<&'a [u8]>, Vec<i64>)> {
    let total: usize = texts.iter().map(|text| text.len()).sum();
    let step = texts.len().div_ceil(rule.sample).max(1);
    let sample: Vec<usize> = (0..texts.len()).step_by(step).filter(|row| is_value(*row)).collect();
    let distinct = sample.iter().map(|row| texts[*row]).collect::<HashSet<_>>().len();
    if texts.len() > rule.sample && distinct > sample.len() - sample.len() / rule.spared {
        return None;
    }
    let mut known: HashMap<&[u8], i64> = HashMap::new();
    let mut codes = Vec::with_capacity(texts.len());
    let mut bytes = 0;
    let mut last = 0;
    for (row, text) in texts.iter().enumerate() {
        if is_value(row) {
            let next = known.len() as i64;
            last = *known.entry(text).or_insert_with(|| {
                bytes += text.len();
                next
            });
            if known.len() > rule.most || text.len() > LONGEST_IN_DICTIONARY || bytes > total - total / 4 {
                return None;
            }
        }
        codes.push(last);
    }
    // Beside the bytes of a value there is its length; a length of half a byte is what each text has otherwise.
    let coded = bytes + known.len() + texts.len() * usize::from(width_of(known.len() as u64 - 1)) / 8;
    let plain = total + texts.len() / 2;
    if coded > plain - plain / 8 {
        return None;
    }
    let mut values: Vec<(&[u8], i64)> = known.into_iter().collect();
    values.sort_unstable();
    let mut place = vec![0; values.len()];
    for (new, (_, old)) in values.iter().enumerate() {
        place[*old as usize] = new as i64;
    }
    codes.iter_mut().for_each(|code| *code = place[*code as usize]);
    Some((values.into_iter().map(|(text, _)| text).collect(), codes))
}

/// The dictionary of a group.
pub struct GroupTexts<'a> {
    /// The texts, in order.
    values: Vec<&'a [u8]>,
    /// The code of every row of the group.
    codes: Vec<i64>,
}

impl<'a> GroupTexts<'a> {
    /// That of `column`, a group's, if it has several chunks and a dictionary for all of them pays. Of no more values than a
    /// chunk has rows: whoever reads one chunk alone has all of them to read.
    pub fn of(column: &'a dyn Array) -> Option<Self> {
        if !matches!(column.data_type(), DataType::Utf8 | DataType::Binary) || column.len() <= CHUNK_ROWS {
            return None;
        }
        let nulls = column.nulls();
        let is_value = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
        // The first chunk has a place for it only if it has values itself.
        if !(0..CHUNK_ROWS).any(is_value) {
            return None;
        }
        let texts = texts_of(column, &is_value);
        let rule = Rule { sample: GROUP_SAMPLE, spared: 8, most: CHUNK_ROWS };
        let (values, codes) = dictionary(&texts, &is_value, &rule)?;
        Some(Self { values, codes })
    }

    /// Appends the rows from `start` on, as many as a chunk has at most: for the first of them with the values in front. Gives
    /// the smallest and the largest of those that are values, and whether all codes ascend.
    pub(super) fn encode(
        &self,
        (start, rows): (usize, usize),
        is_value: &dyn Fn(usize) -> bool,
        effort: Effort,
        out: &mut Vec<u8>,
    ) -> (&'a [u8], &'a [u8], bool) {
        if start == 0 {
            encode_values(&self.values, effort, out);
        }
        let codes = &self.codes[start..start + rows];
        encode(codes, Forms::NoDictionary, out);
        let of_values = || (0..rows).filter(|&row| is_value(row)).map(|row| codes[row]);
        let value = |code: Option<i64>| self.values[code.expect("a row has a value") as usize];
        (value(of_values().min()), value(of_values().max()), codes.is_sorted())
    }
}

/// The texts of a column; those without `is_value` are empty.
pub(super) fn texts_of<'a>(column: &'a dyn Array, is_value: &dyn Fn(usize) -> bool) -> Vec<&'a [u8]> {
    let (offsets, bytes) = match column.as_string_opt::<i32>() {
        Some(texts) => (texts.value_offsets(), texts.value_data()),
        None => {
            let values = column.as_binary::<i32>();
            (values.value_offsets(), values.value_data())
        }
    };
    let text = |(row, pair): (usize, &[i32])| match is_value(row) {
        true => &bytes[pair[0] as usize..pair[1] as usize],
        false => &[],
    };
    offsets.windows(2).enumerate().map(text).collect()
}

/// Appends the values of a dictionary: how many there are, in 8 bytes, then the texts.
fn encode_values(values: &[&[u8]], effort: Effort, out: &mut Vec<u8>) {
    put_u32(out, values.len() as u32);
    put_u32(out, 0);
    encode_texts(values, shared_prefix(values.iter().copied()), effort, out);
}

/// What [`encode_column`] did.
pub(super) enum Written<'a> {
    /// A dictionary; its values in order. Every one is the value of some row.
    Dictionary(Vec<&'a [u8]>),
    /// The texts themselves.
    Texts,
}

/// Appends `texts`, those without `is_value` being empty, as a dictionary (number of values in 8 bytes, the values as texts,
/// a stream of codes) or as they are.
pub(super) fn encode_column<'a>(
    texts: &[&'a [u8]],
    is_value: &dyn Fn(usize) -> bool,
    effort: Effort,
    out: &mut Vec<u8>,
) -> Written<'a> {
    let rule = Rule { sample: SAMPLE, spared: 16, most: LEAST_TO_REFUSE.max(texts.len() / ROWS_PER_VALUE) };
    if let Some((values, codes)) = dictionary(texts, is_value, &rule) {
        encode_values(&values, effort, out);
        encode(&codes, Forms::NoDictionary, out);
        return Written::Dictionary(values);
    }
    let values = texts.iter().copied().enumerate().filter(|(row, _)| is_value(*row)).map(|(_, text)| text);
    encode_texts(texts, shared_prefix(values), effort, out);
    Written::Texts
}

/// Texts as they were written, over shared bytes.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    lengths: Ints,
    starts: Ints,
    symbols: Option<Symbols>,
    prefix: Bytes,
    bytes: Bytes,
}

impl Texts {
    /// Reads `rows` texts.
    pub fn parse(input: &mut Reader, rows: usize) -> Result<Self> {
        let [prefix, has_symbols, _, _] = input.array()?;
        let total = input.u32()? as usize;
        let lengths = Ints::parse(input, rows)?;
        let starts = Ints::parse(input, rows.div_ceil(GROUP))?;
        let symbols = if has_symbols == 1 { Some(Symbols::parse(input)?) } else { None };
        let (prefix, bytes) = (input.bytes(prefix.into())?, input.bytes(total)?);
        input.align()?;
        Ok(Self { lengths, starts, symbols, prefix, bytes })
    }

    /// What stands in the file for the text in `row`.
    fn written(&self, row: usize) -> Result<&[u8]> {
        let group = row / GROUP;
        let start = self.starts.get(group).wrapping_add(self.lengths.sum(group * GROUP, row));
        let end = start.wrapping_add(self.lengths.get(row));
        let range = usize::try_from(start).and_then(|start| Ok(start..usize::try_from(end)?));
        let text = range.ok().and_then(|range| self.bytes.get(range));
        text.ok_or_else(|| damaged("a text lies outside of its column's bytes"))
    }

    /// Reads a byte of what tells where the text in `row` is.
    fn touch(&self, row: usize) -> u8 {
        let group = row / GROUP;
        self.starts.touch(group) ^ self.lengths.touch(group * GROUP) ^ self.lengths.touch(row)
    }

    /// Reads a byte about where the text in `row` begins, as if all in its group were equally long.
    fn touch_bytes(&self, row: usize) -> u8 {
        let (group, within) = (row / GROUP, (row % GROUP) as i64);
        let start = self.starts.get(group);
        let end = if group + 1 < self.starts.len() { self.starts.get(group + 1) } else { self.bytes.len() as i64 };
        let about = start.wrapping_add(end.wrapping_sub(start).wrapping_mul(within) / GROUP as i64);
        usize::try_from(about).ok().and_then(|about| self.bytes.get(about)).copied().unwrap_or_default()
    }

    /// The values of a dictionary.
    fn known(&self) -> Result<RolledOut> {
        let known = self.roll_out(Rows::All(self.lengths.len()), |_| true)?;
        if known.offsets.windows(2).any(|text| (text[1] - text[0]) as usize > LONGEST_IN_DICTIONARY) {
            return Err(damaged("a text in a dictionary is longer than is ever written"));
        }
        Ok(known)
    }

    /// Appends the text in `row`, by way of `scratch`.
    fn append<T: TextOut>(&self, row: usize, scratch: &mut Vec<u8>, out: &mut T) -> Result<()> {
        let written = self.written(row)?;
        if self.prefix.is_empty() && self.symbols.is_none() {
            return push(out, T::check(written)?);
        }
        scratch.clear();
        scratch.extend_from_slice(&self.prefix);
        match &self.symbols {
            Some(symbols) => symbols.expand(written, scratch)?,
            None => scratch.extend_from_slice(written),
        }
        push(out, T::check(scratch)?)
    }

    /// Where each text ends in the bytes as they were written.
    fn ends(&self) -> Result<Vec<usize>> {
        let (mut lengths, mut starts) = (Vec::new(), Vec::new());
        self.lengths.decode(&mut lengths)?;
        self.starts.decode(&mut starts)?;
        let lies = || damaged("lengths of texts do not add up");
        let mut ends: Vec<usize> = Vec::with_capacity(lengths.len());
        let mut end = 0_usize;
        for (group, start) in lengths.chunks(GROUP).zip(starts) {
            if i64::try_from(end) != Ok(start) {
                return Err(lies());
            }
            for length in group {
                end = usize::try_from(*length).ok().and_then(|length| end.checked_add(length)).ok_or_else(lies)?;
                ends.push(end);
            }
        }
        if end == self.bytes.len() { Ok(ends) } else { Err(lies()) }
    }

    /// The texts in `rows` one behind the other, those without `is_valid` empty.
    fn roll_out(&self, rows: Rows<'_>, is_valid: impl Fn(usize) -> bool) -> Result<RolledOut> {
        let ends = self.ends()?;
        let layout = self.symbols.as_ref().map(Symbols::laid_out);
        let (count, prefix) = (rows.count(), self.prefix.len());
        // Codes stand for two bytes each, more or less.
        let expected = (2 * self.bytes.len()).saturating_mul(count) / ends.len().max(1) + count * prefix;
        let mut out = RolledOut::new(count, expected);
        // A step of it is copied at once.
        let mut shared = self.prefix.to_vec();
        shared.resize(prefix.next_multiple_of(STEP), 0);
        rows.each(
            #[inline(always)]
            |row| {
                if is_valid(row) {
                    let start = if row == 0 { 0 } else { ends[row - 1] };
                    out.flat.piece(&shared, prefix);
                    match &layout {
                        Some(layout) => layout.expand(&self.bytes[start..ends[row]], &mut out.flat)?,
                        None => out.flat.piece(&self.bytes[start..], ends[row] - start),
                    }
                }
                out.end_text()
            },
        )?;
        Ok(out)
    }
}

/// Rows of a column that are wanted.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    /// All, so many.
    All(usize),
    /// Those with 1.
    Some(&'a BooleanBuffer),
}

impl Rows<'_> {
    /// How many they are.
    pub fn count(self) -> usize {
        match self {
            Self::All(rows) => rows,
            Self::Some(rows) => rows.count_set_bits(),
        }
    }

    /// Calls `f` with each, in order, until one fails.
    #[inline(always)]
    fn each(self, mut f: impl FnMut(usize) -> Result<()>) -> Result<()> {
        match self {
            Self::All(rows) => {
                for row in 0..rows {
                    f(row)?;
                }
            }
            Self::Some(rows) => {
                for row in rows.set_indices() {
                    f(row)?;
                }
            }
        }
        Ok(())
    }
}

/// Texts one behind the other.
pub(super) struct RolledOut {
    flat: Flat,
    /// Where each begins, and the end.
    offsets: Vec<i32>,
}

impl RolledOut {
    fn new(count: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(count + 1);
        offsets.push(0);
        // What damaged bytes announce is not made room for beforehand.
        Self { flat: Flat::with_capacity(bytes.min(MOST_BEFOREHAND)), offsets }
    }

    #[inline]
    fn end_text(&mut self) -> Result<()> {
        self.offsets.push(i32::try_from(self.flat.len()).map_err(|_| too_much_text())?);
        Ok(())
    }

    fn range(&self, text: usize) -> Option<Range<usize>> {
        let [start, end] = self.offsets.get(text..)?.first_chunk::<2>()?;
        Some(*start as usize..*end as usize)
    }

    /// The offsets and the bytes of Arrow's arrays.
    pub fn into_parts(self) -> (OffsetBuffer<i32>, Buffer) {
        (OffsetBuffer::new(self.offsets.into()), self.flat.into_bytes().into())
    }
}

/// A column of texts as [`encode_column`] wrote it.
#[derive(Clone, Debug)]
pub(super) enum TextColumn {
    /// The texts themselves.
    Texts(Texts),
    /// Codes of texts; whether these stand in the group's first chunk.
    Dictionary { codes: Ints, values: Texts, is_shared: bool },
}

impl TextColumn {
    /// Reads a dictionary and its codes in `rows` rows.
    pub fn parse_dictionary(input: &mut Reader, rows: usize) -> Result<Self> {
        let values = Self::parse_values(input, rows)?;
        Ok(Self::Dictionary { values, codes: Ints::parse(input, rows)?, is_shared: false })
    }

    /// Reads the codes of `rows` rows, whose dictionary stands in `first`, the group's first chunk.
    pub fn parse_codes(input: &mut Reader, rows: usize, first: Bytes) -> Result<Self> {
        let codes = Ints::parse(input, rows)?;
        let mut input = Reader::new(first);
        let [first, nulls, ..] = input.array::<8>()?;
        if first != kind::TEXT_DICTIONARY {
            return Err(damaged("texts are codes of a dictionary that is not in the first chunk of their group"));
        }
        Validity::parse(nulls, &mut input, CHUNK_ROWS)?;
        Ok(Self::Dictionary { values: Self::parse_values(&mut input, CHUNK_ROWS)?, codes, is_shared: true })
    }

    /// Reads the values of a dictionary in front of the codes of `rows` rows.
    fn parse_values(input: &mut Reader, rows: usize) -> Result<Texts> {
        let count = input.u32()? as usize;
        input.u32()?;
        if count == 0 || count > rows {
            return Err(damaged("a dictionary of texts has no values, or more than rows"));
        }
        Texts::parse(input, count)
    }

    /// The form in a few words.
    pub fn form(&self) -> String {
        let of = |texts: &Texts| {
            let symbols = if texts.symbols.is_some() { "symbols" } else { "texts" };
            format!("{symbols}, lengths {}, prefix {}", texts.lengths.form(), texts.prefix.len())
        };
        match self {
            Self::Texts(texts) => of(texts),
            Self::Dictionary { codes, values, is_shared } => {
                let whose = if *is_shared { "the group's dictionary" } else { "dictionary" };
                format!("{whose} of {} {}; {}", values.lengths.len(), of(values), codes.form())
            }
        }
    }

    /// The codes of the rows, if they are kept so; a number that cannot be a code comes as -1.
    pub fn codes(&self) -> Result<Option<Vec<i32>>> {
        let Self::Dictionary { codes, .. } = self else { return Ok(None) };
        let mut decoded = Vec::new();
        codes.decode_as(|code| i32::try_from(code).unwrap_or(-1), &mut decoded)?;
        Ok(Some(decoded))
    }

    /// The texts that codes stand for.
    pub fn values(&self) -> Result<Option<RolledOut>> {
        match self {
            Self::Texts(_) => Ok(None),
            Self::Dictionary { values, .. } => values.known().map(Some),
        }
    }

    /// The texts in `rows`, those without `valid` empty.
    pub fn roll_out(&self, rows: Rows<'_>, valid: Option<&BooleanBuffer>) -> Result<RolledOut> {
        let is_valid = |row: usize| valid.is_none_or(|valid| valid.value(row));
        let (codes, values) = match self {
            Self::Texts(texts) => return texts.roll_out(rows, is_valid),
            Self::Dictionary { codes, values, .. } => (codes, values),
        };
        let known = values.known()?;
        let mut decoded = Vec::new();
        codes.decode(&mut decoded)?;
        let count = rows.count();
        let mut out = RolledOut::new(count, known.flat.len().saturating_mul(count) / values.lengths.len());
        rows.each(
            #[inline(always)]
            |row| {
                let text = usize::try_from(decoded[row]).ok().and_then(|code| known.range(code));
                let text = text.ok_or_else(|| damaged("a code is not in its dictionary"))?;
                if is_valid(row) {
                    out.flat.piece(&known.flat.as_slice()[text.start..], text.len());
                }
                out.end_text()
            },
        )?;
        Ok(out)
    }

    /// Reads a byte of the code of `row`, or of what tells where its text is.
    pub fn touch(&self, row: usize) -> u8 {
        match self {
            Self::Texts(texts) => texts.touch(row),
            Self::Dictionary { codes, .. } => codes.touch(row),
        }
    }

    /// Reads a byte of the text in `row`; for one of a dictionary, of what its code leads to.
    pub fn touch_bytes(&self, row: usize) -> u8 {
        match self {
            Self::Texts(texts) => texts.touch_bytes(row),
            Self::Dictionary { codes, values, .. } => {
                let code = usize::try_from(codes.get(row)).ok().filter(|code| *code < values.lengths.len());
                code.map_or(0, |code| values.touch(code) ^ values.touch_bytes(code))
            }
        }
    }

    /// Appends the rows at `positions`, those without `is_valid` as NULL.
    pub fn append_at<T: TextOut>(
        &self,
        positions: &[u32],
        is_valid: impl Fn(usize) -> bool,
        out: &mut T,
    ) -> Result<()> {
        let mut scratch = Vec::with_capacity(SINGLE_TEXT);
        for row in positions.iter().map(|row| *row as usize) {
            match self {
                _ if !is_valid(row) => out.append_null(),
                Self::Texts(texts) => texts.append(row, &mut scratch, out)?,
                Self::Dictionary { codes, values, .. } => {
                    let code = usize::try_from(codes.get(row)).ok().filter(|code| *code < values.lengths.len());
                    let code = code.ok_or_else(|| damaged("a code is not in its dictionary"))?;
                    values.append(code, &mut scratch, out)?;
                }
            }
        }
        Ok(())
    }
}
