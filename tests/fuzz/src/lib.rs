//! Hostile bytes on the decoders of what comes from outside, beside the files of a data directory (those: `gridhouse-sim`, but for
//! the states of jobs in them): PostgreSQL's connection, stream and values, JSON and CSV, the books of sinks of files, kept
//! states, SQL, the options of outside tables, the socket.
//!
//! Inputs are valid ones, recorded or made, that are changed by chance: bytes, lengths, tokens, pieces of two of them put
//! together, nesting. Whatever comes of them, a decoder gives what it should or an error that says what is wrong. It does
//! not panic, and takes no more memory than it says here in proportion to its input. That it comes to an end is watched by
//! `bench/fuzz`. Every case is drawn from a seed and its number alone, so that each can be repeated.

mod books;
mod client;
mod corpus;
mod files;
mod lookups;
pub mod mutate;
mod options;
pub mod run;
mod server;
mod socket;
mod sql;
mod statements;
mod states;
mod stream;
mod values;

use gridhouse_base::random::Random;

/// What a decoder is given: one piece, or several one after the other.
pub type Input = Vec<Vec<u8>>;

/// How much memory a decoder may take for an input, on all threads together.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Whatever the input is.
    pub bytes: u64,
    /// For each byte of it.
    pub per_byte: u64,
}

/// Something that decodes, in the state that it has at the beginning of a batch of cases.
pub trait Decoder {
    /// An input, drawn from `random` alone.
    fn draw(&mut self, random: &mut Random) -> Input;

    /// Decodes `input`; whether it was taken, or refused.
    ///
    /// # Panics
    /// If the decoder does what it should not.
    fn decode(&mut self, input: &Input) -> bool;
}

/// A kind of decoder.
#[derive(Debug)]
pub struct Kind {
    /// What it is called on the command line.
    pub name: &'static str,
    /// How many cases `bench/fuzz` gives it, where nothing is said: a minute's on one core.
    pub cases: u64,
    /// How many `./test` gives it: a second's or two.
    pub few: u64,
    /// After so many cases it begins anew.
    pub batch: u64,
    /// How much memory it may take.
    pub memory: Memory,
    /// Makes it.
    pub begin: fn() -> Box<dyn Decoder>,
}

/// Every kind.
pub static KINDS: [&Kind; 13] = [
    &server::KIND,
    &stream::KIND,
    &values::VALUES,
    &values::COPY,
    &files::KIND,
    &sql::KIND,
    &statements::KIND,
    &lookups::KIND,
    &socket::KIND,
    &client::KIND,
    &options::KIND,
    &books::KIND,
    &states::KIND,
];

/// The kind that is called `name`.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}
