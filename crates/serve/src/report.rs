//! What Gridhouse's own commands learn of a statement beyond what other clients see.
//!
//! The client asks for it by a protocol option of its startup message; the server then sends, before each statement's
//! result, a notice of severity `REPORT`. The protocol reserves names that begin with `_pq_.` for such options.

use std::time::Duration;

use gridhouse_base::{JobId, Position};
use gridhouse_engine::{Outcome, StatementReport};

/// The startup option that asks for reports.
pub const OPTION: &str = "_pq_.gridhouse_reports";

/// The severity of a report's notice.
pub(crate) const SEVERITY: &str = "REPORT";

/// One statement: where it begins, what it says, how long it took, and the job that it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the statement begins in the script.
    pub position: Position,
    /// Its text, passwords redacted.
    pub text: String,
    /// How long it took.
    pub elapsed: Duration,
    /// The continuous job that it began or resumed.
    pub job: Option<JobReport>,
}

/// A continuous job as a statement gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobReport {
    /// The job.
    pub id: JobId,
    /// Whether it ran before.
    pub resumed: bool,
    /// Its label.
    pub name: String,
}

/// The fields of the notice that carries the report of `statement`: code, value.
pub(crate) fn encode(statement: &StatementReport) -> Vec<(u8, String)> {
    let Position { line, column } = statement.position;
    let mut detail = format!("{line} {column} {}", statement.elapsed.as_micros());
    if let Ok(Outcome::Job { id, name, resumed }) = &statement.outcome {
        detail.push_str(&format!(" {} {} {name}", id.0, u8::from(*resumed)));
    }
    let fields = [(b'S', SEVERITY.into()), (b'C', "00000".into()), (b'M', statement.text.clone()), (b'D', detail)];
    fields.map(|(code, value): (u8, String)| (code, crate::frame::without_zero(&value))).to_vec()
}

/// The report in the fields `text` and `detail` of a notice.
pub(crate) fn decode(text: &str, detail: &str) -> Option<Report> {
    let mut parts = detail.splitn(6, ' ');
    let position = Position { line: parts.next()?.parse().ok()?, column: parts.next()?.parse().ok()? };
    let elapsed = Duration::from_micros(parts.next()?.parse().ok()?);
    let job = match parts.next() {
        None => None,
        Some(id) => Some(JobReport {
            id: JobId(id.parse().ok()?),
            resumed: parts.next()? == "1",
            name: parts.next().unwrap_or_default().into(),
        }),
    };
    Some(Report { position, text: text.into(), elapsed, job })
}
