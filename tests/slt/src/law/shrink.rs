//! A failure made smaller: first the query, then the history.

use super::{History, Verdict, run};
use crate::draws::{Draws, shrink};
use crate::generate;
use crate::ways::After;

/// How many smaller queries are tried; each takes some 20 ms.
const QUERY_TRIES: u32 = 400;

/// How many smaller histories are tried.
const HISTORY_TRIES: u32 = 200;

/// Whether the query of `sql` alone breaks the law; how.
fn broken(sql: &str, history: &History) -> Option<String> {
    match run(&[sql.to_owned()], history) {
        Ok(verdicts) => match verdicts.into_iter().next() {
            Some(Verdict::Broken(difference)) => Some(difference),
            _ => None,
        },
        Err(error) => Some(error),
    }
}

/// The smallest query and history that were found to fail, and how they do.
pub(super) fn smallest(tape: &[u32], history: &History, difference: String) -> (String, History, String) {
    let text = |tape: &[u32]| generate::query(&mut Draws::replay(tape.to_vec()));
    let mut history = history.clone();
    // Alone, a query begins with the first tick; where it must begin late to fail, every tick that it may miss is tried.
    let whole = text(tape);
    if broken(&whole, &history).is_none() {
        return (whole, history, format!("{difference}\n(only beside other queries, or when it begins late)"));
    }
    let tape = shrink(tape.to_vec(), QUERY_TRIES, |tape| broken(&text(tape), &history).is_some());
    let sql = text(&tape);
    let mut tries = HISTORY_TRIES;
    let mut attempt = |history: &mut History, smaller: History| {
        let better = tries > 0 && broken(&sql, &smaller).is_some();
        tries = tries.saturating_sub(1);
        if better {
            *history = smaller;
        }
        better
    };
    for step in (0..history.steps.len()).rev() {
        let mut smaller = history.clone();
        smaller.steps.remove(step);
        if attempt(&mut history, smaller) {
            continue;
        }
        let mut smaller = history.clone();
        smaller.steps[step].after = After::Nothing;
        attempt(&mut history, smaller);
        for change in (0..history.steps[step].changes.len()).rev() {
            let mut smaller = history.clone();
            smaller.steps[step].changes.remove(change);
            attempt(&mut history, smaller);
        }
    }
    let difference = broken(&sql, &history).unwrap_or(difference);
    (sql, history, difference)
}
