//! `gridhouse trace`: where the time of the newest change went, step by step, beside what is usual.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use gridhouse_base::{Error, Result};
use gridhouse_serve::{Client, ResultColumn, RowText};

use crate::cli::nobody;
use crate::exit::{Exit, Failure};
use crate::language::Language;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::table::TablePrinter;
use crate::terminal;

#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Show it again whenever there is a newer change
    #[arg(long)]
    watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    interval: u64,
}

/// Asked for by name, so that more columns there change nothing here.
const QUERY: &str = "SELECT commit_id, changed_at, number, step, what, took_us, after_us FROM system.status.trace";

/// The steps in both languages.
const STEPS: &[(&str, [&str; 2])] = &[
    ("received", ["received from the source", "收自源库"]),
    ("handed over", ["decoded, handed over", "解码并交付"]),
    ("logged", ["logged", "写入日志"]),
    ("tick begun", ["tick begun", "节拍开始"]),
    ("applied", ["landed", "落地"]),
    ("job", ["job", "作业"]),
    ("published", ["tick published", "节拍发布"]),
    ("durable", ["durable", "持久"]),
    ("sink awake", ["sink awake:", "写出端唤醒："]),
    ("sink read", ["read by sink", "写出端读取"]),
    ("sink written", ["committed by sink", "写出端提交"]),
];

/// One row of the trace.
#[derive(Clone, Debug)]
struct Step {
    commit: u64,
    changed: String,
    number: u64,
    /// Its name, and whose it is.
    name: (String, String),
    took_micros: i64,
    after_micros: i64,
}

impl Step {
    fn read(row: &RowText) -> Option<Self> {
        let text = |i: usize| row.get(i).cloned().flatten();
        Some(Self {
            commit: text(0)?.parse().ok()?,
            changed: text(1)?,
            number: text(2)?.parse().ok()?,
            name: (text(3)?, text(4).unwrap_or_default()),
            took_micros: text(5)?.parse().ok()?,
            after_micros: text(6)?.parse().ok()?,
        })
    }
}

/// Shows the trace of the newest change, once or again and again.
///
/// # Errors
/// Exit code 4 where no process holds the directory.
pub fn trace(settings: &Settings, args: &TraceArgs) -> Result<Exit, Failure> {
    let mut client = Client::connect(&settings.data_dir)?.ok_or_else(|| nobody(settings))?;
    let language = settings.shown_language();
    let signals = Signals::listen()?;
    // What was shown last, that nothing has come included.
    let mut shown: Option<Option<u64>> = None;
    loop {
        let (_, rows) = client.table(QUERY)?;
        let steps: Vec<Step> = rows.iter().filter_map(Step::read).collect();
        let newest = told(&steps);
        if shown != Some(newest) {
            let text = page(&steps, language);
            let written = std::io::stdout().write_all(text.as_bytes());
            written.map_err(|error| Error::unavailable("the trace cannot be written").caused_by(error))?;
            shown = Some(newest);
        }
        if !args.watch || signals.wait(Duration::from_secs(args.interval.max(1))) {
            return Ok(Exit::Done);
        }
    }
}

/// The newest change that has come to a sink. One that no sink has written yet is told only where there is no other.
fn told(steps: &[Step]) -> Option<u64> {
    steps.iter().max_by_key(|step| (step.name.0 == "sink written", step.commit)).map(|step| step.commit)
}

/// The steps of that change, with their median and 99 % over all that are told.
fn page(steps: &[Step], language: Language) -> String {
    let Some(commit) = told(steps) else {
        let nothing = "nothing has come from a source since the process began\n";
        return language.pick(nothing, "进程启动以来没有来自源库的变更\n").to_owned();
    };
    let mut usual: BTreeMap<&(String, String), Vec<i64>> = BTreeMap::new();
    for step in steps {
        usual.entry(&step.name).or_default().push(step.took_micros);
    }
    for took in usual.values_mut() {
        took.sort_unstable();
    }
    let mut own: Vec<&Step> = steps.iter().filter(|step| step.commit == commit).collect();
    own.sort_by_key(|step| step.number);
    let commits = steps.iter().map(|step| step.commit).collect::<std::collections::BTreeSet<_>>().len();
    let mut out = Vec::new();
    let in_memory = "memory takes every byte";
    let head = match language {
        Language::English => format!("commit {commit}, changed at the source at {}", own[0].changed),
        Language::Chinese => format!("提交 {commit}，源库变更时间 {}", own[0].changed),
    };
    writeln!(out, "{head}").expect(in_memory);
    let median = format!("{} {commits}", language.pick("median of", "中位数，共"));
    let titles =
        [language.pick("step", "步骤"), language.pick("took", "用时"), language.pick("after", "累计"), &median, "99 %"];
    let column = |(i, title): (usize, &&str)| ResultColumn { name: (*title).into(), is_number: i > 0 };
    let mut table = TablePrinter::new(titles.iter().enumerate().map(column).collect(), terminal::width());
    for step in own {
        let took = &usual[&step.name];
        let at = |share: f64| took[((took.len() as f64 * share) as usize).min(took.len() - 1)];
        let cells = [step.took_micros, step.after_micros, at(0.5), at(0.99)].map(|micros| Some(millis(micros)));
        let row: RowText = std::iter::once(Some(title(step, language))).chain(cells).collect();
        table.row(row, &mut out).expect(in_memory);
    }
    table.finish(&mut out).expect(in_memory);
    String::from_utf8_lossy(&out).into_owned()
}

fn title(step: &Step, language: Language) -> String {
    let (word, whose) = &step.name;
    let known = STEPS.iter().find(|(name, _)| name == word);
    let word = known.map_or(word.as_str(), |(_, [english, chinese])| language.pick(english, chinese));
    if whose.is_empty() { word.to_owned() } else { format!("{word} {whose}") }
}

fn millis(micros: i64) -> String {
    format!("{:.3} ms", micros as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(commit: u64, took: i64, with_sink: bool) -> Vec<Step> {
        let step = |number: u64, word: &str, whose: &str, after: i64| {
            let row = [
                commit.to_string(),
                "12:00".into(),
                number.to_string(),
                word.into(),
                whose.into(),
                took.to_string(),
                after.to_string(),
            ];
            Step::read(&row.map(Some).to_vec()).unwrap()
        };
        let mut steps = vec![step(2, "job", "dwd", 2 * took), step(1, "received", "", took)];
        steps.extend(with_sink.then(|| step(3, "sink written", "s", 3 * took)));
        steps
    }

    #[test]
    fn the_newest_whole_change_is_told_in_order_beside_what_is_usual() {
        let steps = [rows(7, 1_000, true), rows(8, 3_000, true), rows(9, 2_000, false)].concat();
        let text = page(&steps, Language::English);
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[0], "commit 8, changed at the source at 12:00");
        assert_eq!(lines[1], "step │ took │ after │ median of 3 │ 99 %");
        assert_eq!(lines[3], "received from the source │ 3.000 ms │ 3.000 ms │ 2.000 ms │ 3.000 ms");
        assert_eq!(lines[4], "job dwd │ 3.000 ms │ 6.000 ms │ 2.000 ms │ 3.000 ms");
        assert_eq!(lines[5], "committed by sink s │ 3.000 ms │ 9.000 ms │ 3.000 ms │ 3.000 ms");
    }

    #[test]
    fn where_nothing_came_that_is_said() {
        assert_eq!(page(&[], Language::Chinese), "进程启动以来没有来自源库的变更\n");
        assert!(page(&rows(3, 1, false), Language::English).starts_with("commit 3,"));
    }
}
