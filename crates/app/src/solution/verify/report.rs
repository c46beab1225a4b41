//! What a check found, as tables for people.

use std::time::Duration;

use gridhouse_serve::ResultColumn;

use crate::language::Language;
use crate::script::duration;
use crate::solution::definition::LAYERS;
use crate::solution::folder::Solution;
use crate::solution::verify::check::Outcome;
use crate::solution::verify::compare::Difference;
use crate::solution::verify::mark::Timing;
use crate::solution::verify::{Findings, LayerFinding};
use crate::status::thousands;
use crate::table::TablePrinter;
use crate::terminal;

/// Differing rows that are shown of a table.
const SHOWN_DIFFERENCES: usize = 5;

/// Prints what was found of `solution`; `layers`: whether they were looked at.
pub fn print(solution: &Solution, findings: &Findings, layers: bool, language: Language) {
    print!("{}", text(solution, findings, layers, language));
}

fn text(solution: &Solution, findings: &Findings, layers: bool, language: Language) -> String {
    let definition = &solution.definition;
    let mut text = format!("{} · {}\n", solution.name(), definition.title(language));
    let heads = [
        (language.pick("layer", "层"), false),
        (language.pick("table", "表"), false),
        (language.pick("rows", "行数"), true),
        (language.pick("source says", "源库推算"), true),
        (language.pick("compared", "比较内容"), false),
        (language.pick("verdict", "结论"), false),
    ];
    let count = |number: u64| thousands(&number.to_string());
    let mut rows: Vec<[String; 6]> = Vec::new();
    for (table, number) in definition.source.iter().zip(&findings.source) {
        let none = String::new;
        rows.push([
            language.pick("source", "源库").into(),
            table.table.clone(),
            count(*number),
            none(),
            none(),
            none(),
        ]);
    }
    for LayerFinding { layer, table, wanted, found, rows: compared } in &findings.layers {
        let agrees = wanted == found && compared.as_ref().is_none_or(Outcome::agrees);
        let what =
            compared.as_ref().map_or_else(|| language.pick("count", "行数").into(), |o| compared_text(o, language));
        rows.push([layer.clone(), table.clone(), count(*found), count(*wanted), what, verdict(agrees, language)]);
    }
    for (table, outcome) in &findings.boards {
        rows.push([
            language.pick("sink", "目标库").into(),
            table.clone(),
            count(outcome.found as u64),
            count(outcome.wanted as u64),
            compared_text(outcome, language),
            verdict(outcome.agrees(), language),
        ]);
    }
    text.push_str(&table(&heads, rows));
    if !layers {
        text.push_str(language.pick("the layers were not compared\n", "未比较各层\n"));
    }
    for finding in &findings.layers {
        if let Some(outcome) = &finding.rows {
            text.push_str(&differences(&finding.table, outcome, &[], language));
        }
    }
    for (board, (name, outcome)) in definition.board.iter().zip(&findings.boards) {
        text.push_str(&differences(name, outcome, &board.key, language));
    }
    text.push_str(&conclusion(findings, language));
    if let (Some(timing), Some(mark)) = (&findings.timing, &definition.mark) {
        text.push_str(&way(timing, mark.title(language), language));
    }
    text.push('\n');
    text
}

fn verdict(agrees: bool, language: Language) -> String {
    if agrees { language.pick("ok", "一致") } else { language.pick("WRONG", "不一致") }.into()
}

/// `7 rows × 10 columns`
fn compared_text(outcome: &Outcome, language: Language) -> String {
    let (number, columns) = (outcome.wanted.max(outcome.found), outcome.columns.len());
    let rows = thousands(&number.to_string());
    let s = |number: usize| if number == 1 { "" } else { "s" };
    match language {
        Language::English => format!("{rows} row{} × {columns} column{}", s(number), s(columns)),
        Language::Chinese => format!("{rows} 行 × {columns} 列"),
    }
}

fn table(heads: &[(&str, bool)], rows: Vec<[String; 6]>) -> String {
    let column = |&(name, is_number): &(&str, bool)| ResultColumn { name: name.into(), is_number };
    let mut printer = TablePrinter::new(heads.iter().map(column).collect(), terminal::width());
    let (mut out, in_memory) = (Vec::new(), "memory takes every byte");
    for row in rows {
        printer.row(row.into_iter().map(Some).collect(), &mut out).expect(in_memory);
    }
    printer.finish(&mut out).expect(in_memory);
    String::from_utf8_lossy(&out).into_owned()
}

/// The first differing rows of a table: its key, then each differing column with both values.
fn differences(name: &str, outcome: &Outcome, key: &[String], language: Language) -> String {
    if outcome.agrees() {
        return String::new();
    }
    let number = outcome.differences.len();
    let mut text = match language {
        Language::English if number == 1 => format!("{name}: 1 row differs\n"),
        Language::English => format!("{name}: {number} rows differ\n"),
        Language::Chinese => format!("{name}：{number} 行不一致\n"),
    };
    for difference in outcome.differences.iter().take(SHOWN_DIFFERENCES) {
        text.push_str(&one(difference, outcome, key, language));
    }
    if number > SHOWN_DIFFERENCES {
        let more = number - SHOWN_DIFFERENCES;
        text.push_str(&match language {
            Language::English => format!("  … and {more} more\n"),
            Language::Chinese => format!("  …… 另有 {more} 行\n"),
        });
    }
    text
}

fn one(difference: &Difference, outcome: &Outcome, key: &[String], language: Language) -> String {
    let cells: Vec<_> = difference.cells(&outcome.columns).collect();
    let (source, here) = (language.pick("source", "源库"), language.pick("here", "实际"));
    match (&difference.wanted, &difference.found) {
        (Some(row), Some(_)) => {
            let names = outcome.columns.iter().zip(row).filter(|(column, _)| key.contains(&column.name));
            let name = |(column, value): (&_, &Option<String>)| -> String {
                let column: &super::compare::Column = column;
                format!("{} = {}", column.name, value.as_deref().unwrap_or("NULL"))
            };
            let key: Vec<String> = names.map(name).collect();
            let cell = |(name, wanted, found): &(&str, Option<&str>, Option<&str>)| {
                format!("{name}: {source} {}, {here} {}", wanted.unwrap_or("–"), found.unwrap_or("–"))
            };
            format!("  {} │ {}\n", key.join(", "), cells.iter().map(cell).collect::<Vec<_>>().join("; "))
        }
        (wanted, _) => {
            let what = match wanted {
                Some(_) => language.pick("missing here", "缺少"),
                None => language.pick("not in the source", "多出"),
            };
            let value = |(name, wanted, found): &(&str, Option<&str>, Option<&str>)| {
                format!("{name} = {}", wanted.or(*found).unwrap_or("NULL"))
            };
            format!("  {what} │ {}\n", cells.iter().map(value).collect::<Vec<_>>().join(", "))
        }
    }
}

fn conclusion(findings: &Findings, language: Language) -> String {
    let settled = duration(findings.settled);
    match (findings.agrees(), language) {
        (true, Language::English) => {
            format!("everything agrees; the boards did {settled} after the source stood still\n")
        }
        (true, Language::Chinese) => format!("全部一致；源库静止后 {settled} 大屏即一致\n"),
        (false, Language::English) => format!("not everything agrees; the boards were waited for {settled}\n"),
        (false, Language::Chinese) => format!("存在不一致；已等待大屏 {settled}\n"),
    }
}

/// `a change on its way (a reading is corrected): source commit 1.2 ms → ODS 4.0 ms → … → sink 9.1 ms`
fn way(timing: &Timing, title: &str, language: Language) -> String {
    let missing = language.pick("did not arrive", "未到达");
    let shown = |time: &Option<Duration>| time.map_or_else(|| missing.into(), duration);
    let mut stops = vec![format!("{} {}", language.pick("committed", "提交"), duration(timing.committed))];
    stops.extend(LAYERS.iter().zip(&timing.layers).map(|(layer, time)| format!("{layer} {}", shown(time))));
    stops.push(format!("{} {}", language.pick("sink", "目标库"), shown(&timing.sink)));
    let stops = stops.join(" → ");
    match language {
        Language::English => format!("a change on its way ({title}): {stops}\n"),
        Language::Chinese => format!("一次变更的用时（{title}）：{stops}\n"),
    }
}
