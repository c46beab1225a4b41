//! `gridhouse status`, `jobs` and `tables`: the status tables of the running process, laid out for people.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use gridhouse_base::Result;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_serve::{Client, ResultColumn, RowText};

use crate::cli::nobody;
use crate::exit::{Exit, Failure};
use crate::language::Language;
use crate::script::duration;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::table::TablePrinter;
use crate::terminal;

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Show it again and again, with rates
    #[arg(long)]
    watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    interval: u64,
}

/// How a column's value is laid out for people.
#[derive(Clone, Copy)]
enum Form {
    Text,
    /// A count of rows; with its growth per second while it is watched.
    Count,
    Bytes,
    Millis,
    /// So many times as much.
    Times,
}

/// One status table; its first column names the row.
#[derive(Clone, Copy)]
pub struct Section {
    /// English, Chinese.
    title: [&'static str; 2],
    table: &'static str,
}

/// The streams that come in.
pub const SOURCES: Section = Section { title: ["Sources", "源数据流"], table: "sources" };

/// The tables of every layer.
pub const TABLES: Section = Section { title: ["Tables", "表"], table: "tables" };

/// The continuous jobs.
pub const JOBS: Section = Section { title: ["Jobs", "作业"], table: "jobs" };

/// The outside tables that are written.
pub const SINKS: Section = Section { title: ["Sinks", "写出端"], table: "sinks" };

/// The readers of logs.
pub const CONSUMERS: Section = Section { title: ["Consumers of logs", "日志消费者"], table: "consumers" };

/// What every table takes in memory and on disk.
pub const STORAGE: Section = Section { title: ["Storage", "存储"], table: "storage" };

/// What has been written to disk since the start, and what lies there.
pub const DISK: Section = Section { title: ["Disk", "磁盘写入"], table: "disk" };

/// How the columns of the status tables are laid out, with their titles in English and Chinese; a column without an entry is left out (`statement` is long).
const COLUMNS: &[(&str, [&str; 2], Form)] = &[
    ("job_id", ["job", "作业"], Form::Text),
    ("source_id", ["source", "源"], Form::Text),
    ("sink_id", ["sink", "写出端"], Form::Text),
    ("consumer", ["consumer", "消费者"], Form::Text),
    ("table_name", ["table", "表"], Form::Text),
    ("name", ["name", "名称"], Form::Text),
    ("kind", ["kind", "类型"], Form::Text),
    ("stream", ["stream", "源数据流"], Form::Text),
    ("target", ["target", "目标"], Form::Text),
    ("state", ["state", "状态"], Form::Text),
    ("row_count", ["rows", "行数"], Form::Count),
    ("changes", ["changes", "变更"], Form::Count),
    ("rows_in", ["rows in", "输入行"], Form::Count),
    ("rows_out", ["rows out", "输出行"], Form::Count),
    ("delay_ms", ["delay", "延迟"], Form::Millis),
    ("idle_ms", ["last change", "距上次变更"], Form::Millis),
    ("busy_ms", ["busy", "计算用时"], Form::Millis),
    ("bytes", ["size", "大小"], Form::Bytes),
    ("state_bytes", ["state size", "状态大小"], Form::Bytes),
    ("spilled_bytes", ["state on disk", "磁盘状态"], Form::Bytes),
    ("kept_bytes", ["kept", "保留"], Form::Bytes),
    ("kept_written_bytes", ["newly kept", "新写快照"], Form::Bytes),
    ("kept_ms", ["kept ago", "距上次快照"], Form::Millis),
    ("began", ["began", "启动方式"], Form::Text),
    ("live_rows", ["live rows", "有效行"], Form::Count),
    ("dead_rows", ["dead rows", "失效行"], Form::Count),
    ("memory_bytes", ["memory", "内存"], Form::Bytes),
    ("checkpoints", ["checkpoints", "检查点"], Form::Count),
    ("log_bytes", ["log written", "日志写入"], Form::Bytes),
    ("sealed_bytes", ["sealed", "封存写入"], Form::Bytes),
    ("compacted_bytes", ["merged", "合并写入"], Form::Bytes),
    ("write_amplification", ["write amplification", "写放大"], Form::Times),
    ("disk_bytes", ["disk", "磁盘"], Form::Bytes),
    ("live_bytes", ["of it live", "其中有效"], Form::Bytes),
    ("segments", ["segments", "段"], Form::Count),
    ("space_amplification", ["space amplification", "空间放大"], Form::Times),
    ("lag_rows", ["rows behind", "落后行"], Form::Count),
    ("lag_bytes", ["behind", "落后量"], Form::Bytes),
    ("lag_ms", ["for", "落后时长"], Form::Millis),
    ("cap_bytes", ["cap", "上限"], Form::Bytes),
    ("cap_ms", ["cap in time", "时限"], Form::Millis),
    ("position", ["position", "位点"], Form::Text),
    ("upto", ["up to", "已写到"], Form::Text),
    ("error", ["error", "错误"], Form::Text),
];

/// Everything.
pub const ALL: [Section; 6] = [SOURCES, TABLES, JOBS, SINKS, CONSUMERS, DISK];

/// Shows `sections`, once or again and again.
///
/// # Errors
/// Exit code 4 where no process holds the directory.
pub fn status(settings: &Settings, args: &WatchArgs, sections: &[Section]) -> Result<Exit, Failure> {
    let mut client = Client::connect(&settings.data_dir)?.ok_or_else(|| nobody(settings))?;
    let mut out = std::io::stdout();
    let language = settings.shown_language();
    let mut seen = Seen::new(language);
    if !args.watch {
        written(out.write_all(once(&mut client, sections, language)?.as_bytes()))?;
        return Ok(Exit::Done);
    }
    let signals = Signals::listen()?;
    let refresh = out.is_terminal();
    loop {
        let text = page(&mut client, sections, &mut seen)?;
        // Home, the page with every line cleared behind it, then the rest of the screen cleared: no flicker.
        let text = if refresh { format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")) } else { text };
        written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
        if signals.wait(Duration::from_secs(args.interval.max(1))) {
            return Ok(Exit::Done);
        }
    }
}

/// `sections` as text, once.
///
/// # Errors
/// What the status tables give.
pub fn once(client: &mut Client, sections: &[Section], language: Language) -> Result<String> {
    page(client, sections, &mut Seen::new(language))
}

fn written(result: std::io::Result<()>) -> Result<()> {
    result.map_err(|error| gridhouse_base::Error::unavailable("the status cannot be written").caused_by(error))
}

/// Counts at the last look, for rates, and the language of titles.
struct Seen {
    language: Language,
    clock: SystemClock,
    at: Option<Duration>,
    counts: HashMap<(&'static str, String, &'static str), f64>,
}

impl Seen {
    fn new(language: Language) -> Self {
        Self { language, clock: SystemClock::new(), at: None, counts: HashMap::new() }
    }
}

/// All sections as text.
fn page(client: &mut Client, sections: &[Section], seen: &mut Seen) -> Result<String> {
    let now = seen.clock.monotonic();
    let passed = seen.at.replace(now).map(|before| (now - before).as_secs_f64());
    let mut text = Vec::new();
    for section in sections {
        let (columns, rows) = client.table(&format!("SELECT * FROM system.status.{}", section.table))?;
        let mut rows: Vec<RowText> = rows;
        rows.sort_by_cached_key(order);
        let shown = Shown::of(&columns, &rows, seen.language);
        let in_memory = "memory takes every byte";
        let [english, chinese] = section.title;
        writeln!(text, "{}", seen.language.pick(english, chinese)).expect(in_memory);
        if rows.is_empty() {
            writeln!(text, " {}\n", seen.language.pick("none", "无")).expect(in_memory);
            continue;
        }
        let mut table = TablePrinter::new(shown.heads(), terminal::width());
        for row in rows {
            table.row(shown.lay_out(section.table, &row, passed, seen), &mut text).expect(in_memory);
        }
        table.finish(&mut text).expect(in_memory);
        text.push(b'\n');
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Numbers by value, then text.
fn order(row: &RowText) -> (Option<u64>, String) {
    let first = row.first().cloned().flatten().unwrap_or_default();
    (first.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse().ok(), first)
}

/// Which columns of a result are shown, and how: index in the row, title, form.
struct Shown(Vec<(usize, &'static str, Form)>);

impl Shown {
    /// The known columns of `columns` in the order of [`COLUMNS`]; errors only where there is one.
    fn of(columns: &[ResultColumn], rows: &[RowText], language: Language) -> Self {
        let place = |&(name, [english, chinese], form): &(&str, [&'static str; 2], Form)| {
            let index = columns.iter().position(|column| column.name == name)?;
            let useful = name != "error" || rows.iter().any(|row| row.get(index).is_some_and(Option::is_some));
            useful.then(|| (index, language.pick(english, chinese), form))
        };
        Self(COLUMNS.iter().filter_map(place).collect())
    }

    fn heads(&self) -> Vec<ResultColumn> {
        let head = |&(_, title, form): &(usize, &'static str, Form)| ResultColumn {
            name: title.into(),
            is_number: !matches!(form, Form::Text),
        };
        self.0.iter().map(head).collect()
    }

    fn lay_out(&self, table: &'static str, row: &RowText, passed: Option<f64>, seen: &mut Seen) -> RowText {
        let id = row.first().cloned().flatten().unwrap_or_default();
        let value = |&(index, title, form): &(usize, &'static str, Form)| {
            let value = row.get(index).cloned().flatten().unwrap_or_default();
            let number = value.parse::<f64>().ok();
            Some(match (form, number) {
                (Form::Count, Some(number)) => {
                    let before = seen.counts.insert((table, id.clone(), title), number);
                    let rate = passed.zip(before).map(|(passed, before)| (number - before) / passed.max(0.001));
                    match rate.map(f64::round).filter(|&rate| rate != 0.0) {
                        Some(rate) => format!("{} ({:+}/s)", thousands(&value), rate as i64),
                        None => thousands(&value),
                    }
                }
                (Form::Bytes, Some(number)) => bytes(number),
                (Form::Times, Some(number)) => format!("{number:.2}"),
                (Form::Millis, Some(number)) => duration(Duration::from_secs_f64(number.max(0.0) / 1e3)),
                _ => value,
            })
        };
        self.0.iter().map(value).collect()
    }
}

/// `1234567` as `1,234,567`.
pub fn thousands(digits: &str) -> String {
    let mut grouped = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    grouped
}

/// `5e9` as `4.7 GiB`.
pub fn bytes(number: f64) -> String {
    let mut number = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1_024.0 {
            return if unit == "B" { format!("{number} B") } else { format!("{number:.1} {unit}") };
        }
        number /= 1_024.0;
    }
    format!("{number:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_laid_out_for_people() {
        assert_eq!([thousands("7"), thousands("1234"), thousands("1234567")], ["7", "1,234", "1,234,567"]);
        assert_eq!([bytes(17.0), bytes(1_536.0), bytes(5e9)], ["17 B", "1.5 KiB", "4.7 GiB"]);
    }

    #[test]
    fn watched_counts_show_their_rate_and_unknown_columns_are_left_out() {
        let column = |name: &str| ResultColumn { name: name.into(), is_number: false };
        let columns = ["job_id", "statement", "rows_in", "busy_ms", "error"].map(column);
        let row = |rows_in: &str| {
            let text = [Some("1"), Some("INSERT …"), Some(rows_in), Some("1500"), None];
            text.map(|value| value.map(str::to_owned)).to_vec()
        };
        let titles = |shown: &Shown| shown.heads().into_iter().map(|head| head.name).collect::<Vec<_>>();
        let shown = Shown::of(&columns, &[row("0")], Language::Chinese);
        assert_eq!(titles(&shown), ["作业", "输入行", "计算用时"]);
        let shown = Shown::of(&columns, &[row("0")], Language::English);
        assert_eq!(titles(&shown), ["job", "rows in", "busy"], "there is no error to show");
        let mut seen = Seen::new(Language::English);
        let first = shown.lay_out("jobs", &row("1000"), None, &mut seen);
        assert_eq!((first[1].as_deref(), first[2].as_deref()), (Some("1,000"), Some("1.50 s")));
        let second = shown.lay_out("jobs", &row("3000"), Some(2.0), &mut seen);
        assert_eq!(second[1].as_deref(), Some("3,000 (+1000/s)"));
    }

    #[test]
    fn rows_are_ordered_by_number() {
        let mut rows: Vec<RowText> = ["j10", "j9", "fluss.a"].map(|id| vec![Some(id.to_owned())]).to_vec();
        rows.sort_by_cached_key(order);
        assert_eq!(rows.concat().into_iter().flatten().collect::<Vec<_>>(), ["fluss.a", "j9", "j10"]);
    }
}
