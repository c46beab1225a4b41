//! Bytes that were durable and are damaged or gone: what is refused names the file, the offset and the way back, and the way
//! back leads there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Program, await_equal, text};

/// The files of the data directory whose names begin so, in order.
pub fn files(program: &Program, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(program.data_dir()).expect("the data directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    paths.sort();
    paths
}

/// A script that fills `t` with so many rows.
fn fill(rows: u32) -> String {
    let rows: Vec<String> = (0..rows).map(|i| format!("({i}, 'row {i}')")).collect();
    format!("CREATE TABLE IF NOT EXISTS t (id BIGINT, v STRING); INSERT INTO t VALUES {};", rows.join(", "))
}

/// A directory whose rows are in a segment that its checkpoint names.
fn stopped() -> Program {
    let program = Program::new();
    let path = program.script("fill.sql", &fill(2_000));
    assert_eq!(program.run(&["run", "-f", &path.display().to_string()]).status.code(), Some(0));
    program
}

/// Turns the bits of one byte of a file.
pub fn change(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("the file can be read");
    bytes[at] ^= 0xff;
    std::fs::write(path, bytes).expect("the file can be damaged");
}

/// The number that follows ` at offset ` in what was said.
pub fn offset(said: &str) -> u64 {
    let (_, rest) = said.split_once(" at offset ").unwrap_or_else(|| panic!("no offset is told: {said}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("`{rest}` begins with no offset"))
}

/// What a query over all rows says, with the exit code.
fn asked(program: &Program) -> (Option<i32>, String) {
    let output = program.run(&["run", "-e", "SELECT MAX(v), COUNT(*) FROM t;"]);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_segment_that_is_cut_off_is_refused_at_the_start() {
    let program = &stopped();
    let segment = files(program, "seg-").pop().expect("a clean stop has sealed the rows");
    let length = std::fs::metadata(&segment).expect("the segment").len();
    let file = std::fs::OpenOptions::new().write(true).open(&segment).expect("the segment can be damaged");
    file.set_len(length - 9).expect("the segment can be damaged");
    // As long as the log holds the same rows still, they are taken from there.
    files(program, "wal-").iter().for_each(|log| std::fs::remove_file(log).expect("the log can be removed"));
    let (code, said) = asked(program);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains(&format!("segment {} is damaged at offset ", segment.display())), "{said}");
    assert!(offset(&said) < length, "{said}");
    assert!(said.contains("restore the data directory from a backup"), "{said}");
}

#[test]
fn a_checkpoint_that_is_damaged_is_refused_and_the_directory_can_be_filled_anew() {
    let program = &stopped();
    let checkpoints = files(program, "checkpoint-");
    let newest = checkpoints.last().expect("a clean stop writes a checkpoint");
    let sound = std::fs::read(newest).expect("the checkpoint can be read");
    // As long as an earlier one is there, or the log reaches back to the beginning, that will do.
    checkpoints.iter().rev().skip(1).for_each(|path| std::fs::remove_file(path).expect("it can be removed"));
    files(program, "wal-").iter().for_each(|log| std::fs::remove_file(log).expect("the log can be removed"));
    let cases = [
        (sound[..10].to_vec(), "at offset 10: it ends within its head"),
        (sound[..sound.len() - 3].to_vec(), "at offset 16: "),
        ([b"GARBAGE\0", &sound[8..]].concat(), "at offset 0: it does not begin as a checkpoint does"),
        ([&sound[..60], &[!sound[60]], &sound[61..]].concat(), "at offset 12: the checksum of the whole file"),
    ];
    for (bytes, what) in cases {
        std::fs::write(newest, bytes).expect("the checkpoint can be damaged");
        let (code, said) = asked(program);
        assert_eq!(code, Some(5), "{said}");
        assert!(said.contains(&format!("checkpoint {} is damaged: {what}", newest.display())), "{said}");
        assert!(
            said.contains("restore the data directory from a backup; or remove it and run the scripts again"),
            "{said}"
        );
    }
    std::fs::remove_dir_all(program.data_dir()).expect("it is removed as it is told");
    let path = program.script("anew.sql", &fill(300));
    assert_eq!(program.run(&["run", "-f", &path.display().to_string()]).status.code(), Some(0));
    let (code, said) = asked(program);
    assert!(code == Some(0) && said.contains("300"), "{said}");
}

#[test]
fn rows_that_are_damaged_fail_the_query_and_the_table_can_be_made_anew() {
    let program = &stopped();
    let segment = files(program, "seg-").pop().expect("a clean stop has sealed the rows");
    let length = std::fs::metadata(&segment).expect("the segment").len();
    change(&segment, length as usize / 3);
    let (code, said) = asked(program);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains(&format!("segment {} is damaged at offset ", segment.display())), "{said}");
    // A chunk begins at or before the byte that is wrong.
    assert!(offset(&said) <= length / 3, "{said}");
    assert!(said.contains("if the table can be filled again from its sources, drop it and create it anew"), "{said}");
    let check = program.run(&["check"]);
    assert_ne!(check.status.code(), Some(0), "a check finds it too");
    let path = program.script("anew.sql", &format!("DROP TABLE t; {}", fill(300)));
    let output = program.run(&["run", "-f", &path.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (code, said) = asked(program);
    assert!(code == Some(0) && said.contains("300"), "{said}");
}

#[test]
fn a_log_that_is_damaged_is_refused_and_can_be_given_up_from_there_on() {
    let program = &mut Program::new();
    program.serve();
    program.query("CREATE TABLE t (id BIGINT, v STRING)");
    for i in 0..6 {
        program.query(&format!("INSERT INTO t VALUES ({i}, 'row {i}')"));
    }
    await_equal("the rows", || program.query("SELECT COUNT(*) FROM t"), || vec!["6".to_owned()]);
    program.kill();
    // The value of the fourth row, which later frames prove to be durable.
    let log = files(program, "wal-").pop().expect("a log");
    let bytes = std::fs::read(&log).expect("the log can be read");
    let at = bytes.windows(5).position(|window| window == b"row 3").expect("the row is in the log");
    change(&log, at);
    let (code, said) = asked(program);
    assert_eq!(code, Some(5), "{said}");
    let found = offset(&said);
    assert!(said.contains(&format!("the log is damaged: {} at offset {found}: ", log.display())), "{said}");
    assert!(found as usize <= at, "the frame with the byte at {at}: {said}");
    assert!(said.contains("restore the data directory from a backup"), "{said}");
    // The other way back, typed as it is told.
    let command = format!("truncate -s {found} {}", log.display());
    assert!(said.contains(&format!("`{command}`")), "{said}");
    assert!(Command::new("sh").args(["-c", &command]).status().is_ok_and(|status| status.success()), "{command}");
    let (code, said) = asked(program);
    assert!(code == Some(0) && said.contains("row 2"), "what was before the damage is there: {said}");

    // Without its log a directory is no directory any more, whatever else is left.
    files(program, "wal-").iter().for_each(|path| std::fs::remove_file(path).expect("the log can be removed"));
    let (code, said) = asked(program);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("the log is damaged: ") && said.contains(" is missing"), "{said}");
    files(program, "checkpoint-").iter().for_each(|path| std::fs::remove_file(path).expect("it can be removed"));
    let (code, said) = asked(program);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("belongs to a store of which neither the log nor the checkpoint is there"), "{said}");
}
