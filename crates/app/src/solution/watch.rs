//! The solutions at a glance: for every layer its rows, changes and delay, and the key figures as the sink has them.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use gridhouse_base::{Error, Result};
use gridhouse_serve::{Client as House, ResultColumn};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::cli::nobody;
use crate::exit::{Exit, Failure};
use crate::language::Language;
use crate::script::duration;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::solution::database::Databases;
use crate::solution::definition::LAYERS;
use crate::solution::figures;
use crate::solution::folder::Solution;
use crate::solution::stages::{STAGES, Share, Stage, Status, rates};
use crate::status::thousands;
use crate::table::TablePrinter;
use crate::terminal;

/// How it is shown, and for how long.
pub struct Watch<'a> {
    /// The time between two looks.
    pub interval: Duration,
    /// The end.
    pub duration: Option<Duration>,
    /// A line for each solution each time instead of a screen.
    pub plain: bool,
    /// Shown below the screen, or once in front of the lines.
    pub notes: &'a str,
    /// The language of titles.
    pub language: Language,
}

/// A solution with what was seen of it.
struct Watched {
    solution: Solution,
    databases: Databases,
    sink: Option<Client>,
    share: Share,
    before: Option<(Duration, [Stage; STAGES])>,
}

/// One look at a solution.
struct Look {
    stages: [Stage; STAGES],
    rates: [Option<f64>; STAGES],
    figures: Vec<String>,
    /// Its boards as tables; only where it is watched alone.
    boards: String,
    /// What keeps its figures from being read.
    trouble: Option<String>,
}

impl Watched {
    async fn look(&mut self, status: &Status, now: Duration, whole: bool, language: Language) -> Look {
        let (figures, boards, trouble) = match self.ask(whole, language).await {
            Ok((figures, boards)) => (figures, boards, None),
            Err(error) => {
                // Another connection may do better at the next look.
                self.sink = None;
                let mut text = error.to_string();
                text.extend(error.remedy().map(|hint| format!(" ({hint})")));
                (Vec::new(), String::new(), Some(crate::redact::redacted(&text)))
            }
        };
        let stages = status.stages(&self.solution.definition, &self.share);
        let before = self.before.replace((now, stages.clone()));
        let (then, old) = before.unzip();
        let rates = rates(&stages, old.as_ref(), now.saturating_sub(then.unwrap_or_default()));
        Look { stages, rates, figures, boards, trouble }
    }

    /// The key figures and, for `whole`, the boards; also finds out what of the process is this solution's.
    async fn ask(&mut self, whole: bool, language: Language) -> Result<(Vec<String>, String)> {
        let Databases { source, sink } = &self.databases;
        if self.share.stream.is_none() {
            let client = source.connect().await?;
            let key =
                "SELECT 'postgres-cdc/' || system_identifier || '/' || current_database() FROM pg_control_system()";
            self.share.stream = source.value(&client, key).await?;
        }
        let client = match self.sink.take() {
            Some(client) if !client.is_closed() => client,
            _ => sink.connect().await?,
        };
        // The sinks keep books beside the boards; before the first of them has begun there are none.
        let books = "SELECT to_regclass('gridhouse_sink')";
        if sink.value(&client, books).await?.is_some() {
            let (_, rows) = sink.rows(&client, "SELECT DISTINCT sink FROM gridhouse_sink").await?;
            self.share.sinks = rows.into_iter().flatten().flatten().collect();
        }
        let figures = figures::figures(&self.solution, sink, &client, language).await?;
        let boards =
            if whole { figures::boards(&self.solution, sink, &client, language).await? } else { String::new() };
        self.sink = Some(client);
        Ok((figures, boards))
    }
}

impl Watch<'_> {
    /// Shows `solutions` until a signal comes or the time is over. What does not run as it should is shown below.
    ///
    /// # Errors
    /// Exit code 4 where no process holds the directory.
    pub async fn show(
        &self,
        solutions: Vec<(Solution, Databases)>,
        settings: &Settings,
        signals: &Signals,
    ) -> Result<Exit, Failure> {
        let mut house = House::connect(&settings.data_dir)?.ok_or_else(|| nobody(settings))?;
        let started = Instant::now();
        let watched =
            |(solution, databases)| Watched { solution, databases, sink: None, share: Share::default(), before: None };
        let mut watched: Vec<Watched> = solutions.into_iter().map(watched).collect();
        if self.plain && !self.notes.is_empty() {
            write(self.notes, false)?;
        }
        loop {
            let now = started.elapsed();
            let status = Status::ask(&mut house)?;
            let whole = !self.plain && watched.len() == 1;
            let mut looks = Vec::new();
            for one in &mut watched {
                looks.push(one.look(&status, now, whole, self.language).await);
            }
            let mut troubles = status.troubles();
            for (one, look) in watched.iter().zip(&looks) {
                troubles.extend(look.trouble.as_ref().map(|trouble| format!("{}: {trouble}", one.solution.name())));
            }
            let seen: Vec<(&Solution, &Look)> = watched.iter().map(|one| &one.solution).zip(&looks).collect();
            if self.plain {
                let lines = seen.iter().map(|(solution, look)| line(now, solution.name(), look));
                write(&lines.chain(troubles).collect::<Vec<_>>().join("\n"), false)?;
            } else {
                write(&self.picture(now, &seen, &troubles), true)?;
            }
            let left = self.duration.map(|limit| limit.saturating_sub(now));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Exit::Done);
            }
            // Stays exact to the end: the last look is at the end of the time.
            let pause = left.map_or(self.interval, |left| left.min(self.interval));
            if signals.wait(pause) {
                return Ok(Exit::Done);
            }
        }
    }

    fn picture(&self, now: Duration, seen: &[(&Solution, &Look)], troubles: &[String]) -> String {
        let mut text = format!("Gridhouse · {} s\n", now.as_secs());
        text.push_str(&match seen {
            [(solution, look)] => one_table(solution, look, self.language),
            _ => all_table(seen, self.language),
        });
        text.push('\n');
        for (solution, look) in seen {
            text.push_str(&wrapped(solution.definition.title(self.language), &look.figures, terminal::width()));
        }
        for trouble in troubles {
            text.push_str(&format!("! {trouble}\n"));
        }
        for (_, look) in seen.iter().filter(|(_, look)| !look.boards.is_empty()) {
            text.push_str(&format!("\n{}\n", look.boards.trim_end()));
        }
        format!("{text}\n{}", self.notes)
    }
}

fn write(text: &str, screen: bool) -> Result<()> {
    let mut out = std::io::stdout();
    let refresh = screen && out.is_terminal();
    let text = if refresh {
        // A picture higher than the screen would scroll; what matters stands above.
        let height = terminal::height().unwrap_or(usize::MAX).saturating_sub(1);
        let lines: Vec<&str> = text.lines().take(height).collect();
        format!("\x1b[H{}\x1b[K\n\x1b[J", lines.join("\x1b[K\n"))
    } else {
        format!("{text}\n")
    };
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::unavailable("the picture cannot be written").caused_by(error))
}

/// The names of the stages.
fn names(language: Language) -> [&'static str; STAGES] {
    let [ods, dwd, dws, ads] = LAYERS;
    [language.pick("source", "源库"), ods, dwd, dws, ads, language.pick("sink", "目标库")]
}

fn delay(stage: &Stage) -> Option<String> {
    stage.delay_ms.map(|ms| duration(Duration::from_secs_f64(ms.max(0.0) / 1_000.0)))
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or_else(String::new, |rate| thousands(&format!("{rate:.0}")))
}

fn print(columns: &[(&str, bool)], rows: Vec<Vec<String>>) -> String {
    let column = |&(name, is_number): &(&str, bool)| ResultColumn { name: name.into(), is_number };
    let mut table = TablePrinter::new(columns.iter().map(column).collect(), terminal::width());
    let (mut out, in_memory) = (Vec::new(), "memory takes every byte");
    for row in rows {
        table.row(row.into_iter().map(Some).collect(), &mut out).expect(in_memory);
    }
    table.finish(&mut out).expect(in_memory);
    String::from_utf8_lossy(&out).into_owned()
}

/// One solution: a line for each stage.
fn one_table(solution: &Solution, look: &Look, language: Language) -> String {
    let columns = [
        (language.pick("layer", "层"), false),
        (language.pick("rows", "行数"), true),
        (language.pick("changes", "变更"), true),
        (language.pick("per second", "每秒"), true),
        (language.pick("delay", "延迟"), true),
    ];
    let count = |number: u64| thousands(&number.to_string());
    let row = |(name, (stage, rate)): (&str, (&Stage, &Option<f64>))| {
        vec![
            name.to_owned(),
            stage.rows.map_or_else(String::new, count),
            count(stage.changes),
            per_second(*rate),
            delay(stage).unwrap_or_default(),
        ]
    };
    let rows = names(language).into_iter().zip(look.stages.iter().zip(&look.rates)).map(row).collect();
    format!("{} · {}\n{}", solution.name(), solution.definition.title(language), print(&columns, rows))
}

/// Several solutions: a line for each, its stages side by side.
fn all_table(seen: &[(&Solution, &Look)], language: Language) -> String {
    let [source, ods, dwd, dws, ads, sink] = names(language);
    let per_second_of = |name: &str| format!("{name}/{}", language.pick("s", "秒"));
    let columns = [
        (language.pick("solution", "方案"), false),
        (&per_second_of(source), true),
        (ods, true),
        (dwd, true),
        (dws, true),
        (ads, true),
        (&per_second_of(sink), true),
        (language.pick("delay ADS", "ADS 延迟"), true),
        (language.pick("delay sink", "目标库延迟"), true),
    ];
    let rows = seen.iter().map(|(solution, Look { stages, rates, .. })| {
        let rows = |i: usize| stages[i].rows.map_or_else(|| "–".into(), |rows| thousands(&rows.to_string()));
        vec![
            solution.name().to_owned(),
            per_second(rates[0]),
            rows(1),
            rows(2),
            rows(3),
            rows(4),
            per_second(rates[5]),
            delay(&stages[4]).unwrap_or_default(),
            delay(&stages[5]).unwrap_or_default(),
        ]
    });
    print(&columns, rows.collect())
}

/// `title: figure · figure · …`, broken between two figures where the line is full.
fn wrapped(title: &str, figures: &[String], width: Option<usize>) -> String {
    let (indent, mut text) = (" ".repeat(2), format!("{title}: "));
    let mut used = terminal::cells(&text);
    for (i, figure) in figures.iter().enumerate() {
        let piece = if i == 0 { figure.clone() } else { format!(" · {figure}") };
        if i > 0 && width.is_some_and(|width| used + terminal::cells(&piece) > width) {
            text.push_str(&format!("\n{indent}{figure}"));
            used = indent.len() + terminal::cells(figure);
        } else {
            used += terminal::cells(&piece);
            text.push_str(&piece);
        }
    }
    text.push('\n');
    text
}

/// `   12 s  first-chain  source 4,321 (+200/s)  ODS 9,002 rows (+200/s) 12 ms  …  sink 77 (+3/s) 20 ms  load 61 %, …`
fn line(now: Duration, name: &str, look: &Look) -> String {
    let mut parts = vec![format!("{:>5} s  {name}", now.as_secs())];
    for (name, (stage, rate)) in names(Language::English).into_iter().zip(look.stages.iter().zip(&look.rates)) {
        let mut part = match stage.rows {
            Some(rows) => format!("{name} {} rows", thousands(&rows.to_string())),
            None => format!("{name} {}", thousands(&stage.changes.to_string())),
        };
        part.extend(rate.map(|rate| format!(" (+{rate:.0}/s)")));
        part.extend(delay(stage).map(|delay| format!(" {delay}")));
        parts.push(part);
    }
    parts.push(look.figures.join(", "));
    parts.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_holds_every_stage_with_its_rate_and_the_figures() {
        let mut stages: [Stage; STAGES] = Default::default();
        stages[1] = Stage { rows: Some(1_500), changes: 500, delay_ms: Some(12.0) };
        let mut before = stages.clone();
        before[1].changes = 100;
        let rates = rates(&stages, Some(&before), Duration::from_secs(2));
        let look = Look { stages, rates, figures: vec!["负载率 61 %".into()], boards: String::new(), trouble: None };
        let shown = line(Duration::from_secs(12), "first-chain", &look);
        assert_eq!(
            shown,
            "   12 s  first-chain  source 0 (+0/s)  ODS 1,500 rows (+200/s) 12 ms  DWD 0 (+0/s)  DWS 0 (+0/s)  \
             ADS 0 (+0/s)  sink 0 (+0/s)  负载率 61 %"
        );
    }

    #[test]
    fn figures_are_broken_between_two_of_them() {
        let figures = ["有功功率 61 MW", "过载 1 次"].map(str::to_owned);
        assert_eq!(wrapped("链路", &figures, Some(80)), "链路: 有功功率 61 MW · 过载 1 次\n");
        assert_eq!(wrapped("链路", &figures, Some(24)), "链路: 有功功率 61 MW\n  过载 1 次\n");
    }
}
