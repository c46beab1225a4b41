//! The settings: one table yields the parsing of file, environment and flags, the listing and the reference page.
//!
//! Later sources win: default, file, environment, flags. An unknown key is an error that names the nearest one. Parsed once,
//! at the edge; the rest of the program sees only [`Settings`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use gridhouse_base::error::nearest;
use gridhouse_base::quantity::{bytes, duration};
use gridhouse_base::{Error, Position, Result};
use toml::de::{DeTable, DeValue};
use tracing_subscriber::filter::LevelFilter;

use crate::language::Language;
use crate::redact::redacted;

/// The file that is read where none is named.
const DEFAULT_FILE: &str = "gridhouse.toml";

/// All settings with their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory that holds tables and jobs.
    pub data_dir: PathBuf,
    /// Where the hosts that scripts name really are: `name:port` or `name` → `host:port` or `host`.
    pub hosts: BTreeMap<String, String>,
    /// What is written to the log.
    pub log: LevelFilter,
    /// The seed of everything random; `None`: the machine draws one.
    pub seed: Option<u64>,
    /// The language of boards and checks; `None`: the locale's.
    pub language: Option<Language>,
    /// Where the solutions' source databases are: a URL; empty: nowhere.
    pub solution_source: String,
    /// Where the solutions' sink databases are.
    pub solution_sink: String,
    /// How many bytes the log grows by before a checkpoint is made.
    pub checkpoint_log_bytes: u64,
    /// How many bytes of memory the key indexes may take.
    pub index_bytes: usize,
    /// How many bytes of memory the rows of one tick may take.
    pub tick_bytes: usize,
    /// How many bytes a second compaction may write; 0: as many as it can.
    pub compaction_bytes_per_second: u64,
    /// How many bytes of memory the state of jobs may take.
    pub state_bytes: usize,
    /// How many unread bytes of a log are kept for a consumer.
    pub consumer_cap_bytes: u64,
    /// How long unread rows of a log are kept for a consumer.
    pub consumer_cap_age: Duration,
}

/// Where each setting's value comes from, in the order of [`TABLE`].
pub type Origins = Vec<String>;

/// One row of the table of settings.
struct Setting {
    key: &'static str,
    environment: &'static str,
    default: &'static str,
    unit: &'static str,
    doc: &'static str,
    /// Takes a value as text; the path is the directory that relative paths start from.
    take: fn(&mut Settings, &str, &Path) -> Result<()>,
    show: fn(&Settings) -> String,
}

const TABLE: [Setting; 14] = [
    Setting {
        key: "data_dir",
        environment: "GRIDHOUSE_DATA_DIR",
        default: "gridhouse-data",
        unit: "path",
        doc: "The directory that holds the tables and jobs. It is created where it is missing. A relative path in the file \
              starts from the file's directory, elsewhere from the current one. Also the flag `--data-dir`.",
        take: |settings, value, base| {
            if value.is_empty() {
                return Err(Error::invalid("is empty"));
            }
            settings.data_dir = base.join(value);
            Ok(())
        },
        show: |settings| settings.data_dir.display().to_string(),
    },
    Setting {
        key: "hosts",
        environment: "GRIDHOUSE_HOSTS",
        default: "",
        unit: "name[:port] = host[:port], …",
        doc: "Where the hosts that scripts name really are, so that a script written for containers runs unchanged. In the \
              file a table: `hosts = { \"postgres-source:5432\" = \"127.0.0.1:15432\" }`; elsewhere \
              `postgres-source:5432=127.0.0.1:15432,other=10.0.0.7`. A name with a port is looked up first, then the name \
              alone, which keeps the port.",
        take: |settings, value, _| {
            settings.hosts.clear();
            for pair in value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
                let (name, address) = pair
                    .split_once('=')
                    .map(|(name, address)| (name.trim(), address.trim()))
                    .filter(|(name, address)| !name.is_empty() && !address.is_empty())
                    .ok_or_else(|| Error::invalid(format!("`{pair}` is not of the form name:port=host:port")))?;
                settings.hosts.insert(name.into(), address.into());
            }
            Ok(())
        },
        show: |settings| {
            settings.hosts.iter().map(|(name, address)| format!("{name}={address}")).collect::<Vec<_>>().join(",")
        },
    },
    Setting {
        key: "log",
        environment: "GRIDHOUSE_LOG",
        default: "warn",
        unit: "off, error, warn, info, debug or trace",
        doc: "What is written to standard error besides results; a process started by `--detach` writes to \
              `gridhouse.log` in the data directory.",
        take: |settings, value, _| {
            settings.log = value.parse().map_err(|_| {
                Error::invalid(format!("`{value}` is not one of off, error, warn, info, debug and trace"))
            })?;
            Ok(())
        },
        show: |settings| settings.log.to_string(),
    },
    Setting {
        key: "seed",
        environment: "GRIDHOUSE_SEED",
        default: "",
        unit: "whole number",
        doc: "The seed of everything random, for runs that should repeat. Without one the machine draws it.",
        take: |settings, value, _| {
            settings.seed = match value {
                "" => None,
                value => {
                    Some(value.parse().map_err(|_| Error::invalid(format!("`{value}` is not a whole number ≥ 0")))?)
                }
            };
            Ok(())
        },
        show: |settings| settings.seed.map_or_else(String::new, |seed| seed.to_string()),
    },
    Setting {
        key: "language",
        environment: "GRIDHOUSE_LANGUAGE",
        default: "auto",
        unit: "auto, en or zh",
        doc: "The language in which boards and checks are shown; `auto` takes it from the locale (`LC_ALL`, `LC_MESSAGES`, \
              `LANG`). Also the flag `--lang`.",
        take: |settings, value, _| {
            settings.language = match value {
                "auto" => None,
                value => Some(
                    Language::from_str(value, false)
                        .map_err(|_| Error::invalid(format!("`{value}` is not one of auto, en and zh")))?,
                ),
            };
            Ok(())
        },
        show: |settings| settings.language.map_or("auto", |language| language.pick("en", "zh")).into(),
    },
    Setting {
        key: "solution_source",
        environment: "GRIDHOUSE_SOLUTION_SOURCE",
        default: "",
        unit: "URL",
        doc: "Where the source databases of the solutions are: `postgres://user:password@host:port/database`. `{database}` in it \
              stands for the database that a solution names, so that one URL serves all of them. Also the flag `--source`.",
        take: |settings, value, _| {
            settings.solution_source = value.into();
            Ok(())
        },
        show: |settings| redacted(&settings.solution_source),
    },
    Setting {
        key: "solution_sink",
        environment: "GRIDHOUSE_SOLUTION_SINK",
        default: "",
        unit: "URL",
        doc: "Where the boards of the solutions are, in the same form. Also the flag `--sink`.",
        take: |settings, value, _| {
            settings.solution_sink = value.into();
            Ok(())
        },
        show: |settings| redacted(&settings.solution_sink),
    },
    Setting {
        key: "checkpoint_log_size",
        environment: "GRIDHOUSE_CHECKPOINT_LOG_SIZE",
        default: "64 mb",
        unit: "bytes, with a unit: kb, mb, gb",
        doc: "A checkpoint is made when the log has grown by this much since the last one. A restart reads that \
              much mostly (up to four times of it where the disk did not keep up; then writing waits), and some two to four \
              times as much is held in memory until then.",
        take: |settings, value, _| {
            settings.checkpoint_log_bytes = size(value)?;
            Ok(())
        },
        show: |settings| shown_size(settings.checkpoint_log_bytes),
    },
    Setting {
        key: "index_memory",
        environment: "GRIDHOUSE_INDEX_MEMORY",
        default: "512 mb",
        unit: "bytes, with a unit: kb, mb, gb",
        doc: "The memory that the key indexes of all tables may take: some 32 bytes a key. Keys beyond that are looked up in \
              segments, which costs an upsert some microseconds. Keys of rows that are still in memory are always there: where \
              they alone take more, these rows are sealed once the log has grown by an eighth of `checkpoint_log_size`, and \
              what is in excess is the keys of so many rows and of those that are written meanwhile.",
        take: |settings, value, _| {
            settings.index_bytes = usize::try_from(size(value)?).map_err(|_| Error::invalid("is too large"))?;
            Ok(())
        },
        show: |settings| shown_size(settings.index_bytes as u64),
    },
    Setting {
        key: "tick_memory",
        environment: "GRIDHOUSE_TICK_MEMORY",
        default: "64 mb",
        unit: "bytes, with a unit: kb, mb, gb",
        doc: "The memory that the rows may take which a tick leaves in tables before it is published. What is more of a large \
              transaction is sealed into segments meanwhile.",
        take: |settings, value, _| {
            settings.tick_bytes = usize::try_from(size(value)?).map_err(|_| Error::invalid("is too large"))?;
            Ok(())
        },
        show: |settings| shown_size(settings.tick_bytes as u64),
    },
    Setting {
        key: "compaction_rate",
        environment: "GRIDHOUSE_COMPACTION_RATE",
        default: "0",
        unit: "bytes a second, with a unit: kb, mb, gb; 0: no limit",
        doc: "How much compaction may write a second, so that it leaves the disk to others.",
        take: |settings, value, _| {
            settings.compaction_bytes_per_second = size(value)?;
            Ok(())
        },
        show: |settings| shown_size(settings.compaction_bytes_per_second),
    },
    Setting {
        key: "job_state_memory",
        environment: "GRIDHOUSE_JOB_STATE_MEMORY",
        default: "1 gb",
        unit: "bytes, with a unit: kb, mb, gb",
        doc: "The memory that the state of all jobs may take together. What is more goes to disk, and is read back where a \
              change needs it. What has no key stays in memory; where that alone is more, the job that still grows fails.",
        take: |settings, value, _| {
            settings.state_bytes = usize::try_from(size(value)?).map_err(|_| Error::invalid("is too large"))?;
            Ok(())
        },
        show: |settings| shown_size(settings.state_bytes as u64),
    },
    Setting {
        key: "consumer_cap_size",
        environment: "GRIDHOUSE_CONSUMER_CAP_SIZE",
        default: "16 gb",
        unit: "bytes, with a unit: kb, mb, gb",
        doc: "How much of a log is kept for a consumer that has not read it. One that is further behind is lost: \
              `gridhouse status` says so, its log may go, and it has to begin anew.",
        take: |settings, value, _| {
            settings.consumer_cap_bytes = size(value)?;
            Ok(())
        },
        show: |settings| shown_size(settings.consumer_cap_bytes),
    },
    Setting {
        key: "consumer_cap_age",
        environment: "GRIDHOUSE_CONSUMER_CAP_AGE",
        default: "7 d",
        unit: "duration: ms, s, min, h, d",
        doc: "How long a log is kept for a consumer that has not read it, as above.",
        take: |settings, value, _| {
            settings.consumer_cap_age = duration(value)
                .ok_or_else(|| Error::invalid(format!("`{value}` is not a duration, as in `12 h` or `7 d`")))?;
            Ok(())
        },
        show: |settings| format!("{} s", settings.consumer_cap_age.as_secs()),
    },
];

/// A number of bytes as text.
fn size(value: &str) -> Result<u64> {
    bytes(value).ok_or_else(|| Error::invalid(format!("`{value}` is not a number of bytes, as in `64 mb`")))
}

/// The number of bytes in the largest unit that leaves no fraction.
fn shown_size(bytes: u64) -> String {
    let units = [(40, "tb"), (30, "gb"), (20, "mb"), (10, "kb")];
    let unit = units.into_iter().find(|(bits, _)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    unit.map_or_else(|| bytes.to_string(), |(bits, unit)| format!("{} {unit}", bytes >> bits))
}

impl Settings {
    /// The settings from the file at `file` (or [`DEFAULT_FILE`] where it exists), the environment and `flags`
    /// (`key=value`), with their origins.
    ///
    /// # Errors
    /// `Invalid` with the place for an unknown key or a value that does not fit; `NotFound` where the named file is missing.
    pub fn gather(
        file: Option<&Path>,
        environment: &dyn Fn(&str) -> Option<String>,
        flags: &[String],
    ) -> Result<(Self, Origins)> {
        let mut settings = Self {
            data_dir: PathBuf::new(),
            hosts: BTreeMap::new(),
            log: LevelFilter::WARN,
            seed: None,
            language: None,
            solution_source: String::new(),
            solution_sink: String::new(),
            checkpoint_log_bytes: 0,
            index_bytes: 0,
            tick_bytes: 0,
            compaction_bytes_per_second: 0,
            state_bytes: 0,
            consumer_cap_bytes: 0,
            consumer_cap_age: Duration::ZERO,
        };
        for setting in &TABLE {
            (setting.take)(&mut settings, setting.default, Path::new(""))?;
        }
        let mut origins = vec!["default".to_owned(); TABLE.len()];
        if let Some(file) = file.or_else(|| Some(Path::new(DEFAULT_FILE)).filter(|path| path.exists())) {
            settings.take_file(file, &mut origins)?;
        }
        for (setting, origin) in TABLE.iter().zip(&mut origins) {
            let Some(value) = environment(setting.environment) else { continue };
            (setting.take)(&mut settings, &value, Path::new(""))
                .map_err(|error| error.context(format!("environment variable {}", setting.environment)))?;
            *origin = setting.environment.into();
        }
        for flag in flags {
            let (key, value) = flag
                .split_once('=')
                .ok_or_else(|| Error::invalid(format!("`--set {flag}` is not of the form KEY=VALUE")))?;
            let index = find(key.trim())?;
            (TABLE[index].take)(&mut settings, value.trim(), Path::new(""))
                .map_err(|error| error.context(format!("flag {}", key.trim())))?;
            origins[index] = "flag".into();
        }
        Ok((settings, origins))
    }

    fn take_file(&mut self, file: &Path, origins: &mut Origins) -> Result<()> {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Error::not_found(format!("the settings file {shown} cannot be read")).caused_by(error))?;
        let table = DeTable::parse(&text).map_err(|error| {
            let place = position(&text, error.span().map_or(0, |span| span.start));
            Error::invalid(format!("{shown}:{place}: {}", error.message()))
        })?;
        let base = file.parent().unwrap_or(Path::new(""));
        for (key, value) in table.get_ref() {
            let place = position(&text, key.span().start);
            let in_file = |error: Error| error.context(format!("{shown}:{place}"));
            let index = find(key.get_ref()).map_err(in_file)?;
            let value = as_text(value.get_ref()).ok_or_else(|| {
                in_file(Error::invalid(format!("`{}` should be {}", key.get_ref(), TABLE[index].unit)))
            })?;
            (TABLE[index].take)(self, &value, base)
                .map_err(|error| in_file(error.context(format!("`{}`", key.get_ref()))))?;
            origins[index] = shown.to_string();
        }
        Ok(())
    }

    /// The language of what people at a board or a check read.
    pub fn shown_language(&self) -> Language {
        self.language.unwrap_or_else(|| Language::of_locale(&|name| std::env::var(name).ok()))
    }

    /// One line per setting: key, value, origin.
    pub fn listing(&self, origins: &Origins) -> String {
        let mut listing = String::new();
        for (setting, origin) in TABLE.iter().zip(origins) {
            let value = (setting.show)(self);
            listing.push_str(&format!("{:<19} = {value:<40} ({origin})\n", setting.key));
        }
        listing
    }
}

/// The index of the setting called `key`; a dash may stand for an underscore.
fn find(key: &str) -> Result<usize> {
    let wanted = key.replace('-', "_");
    TABLE.iter().position(|setting| setting.key == wanted).ok_or_else(|| {
        let error = Error::invalid(format!("`{key}` is not a setting"));
        match nearest(&wanted, TABLE.iter().map(|setting| setting.key)) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None => error.hint("`gridhouse settings` lists them"),
        }
    })
}

/// A value of the file as the text that a flag would have; a table of plain values as its pairs.
fn as_text(value: &DeValue<'_>) -> Option<String> {
    let DeValue::Table(pairs) = value else { return plain(value) };
    let pair = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        plain(value.get_ref()).map(|value| format!("{name}={value}"))
    };
    pairs.iter().map(pair).collect::<Option<Vec<_>>>().map(|pairs| pairs.join(","))
}

fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn position(text: &str, at: usize) -> Position {
    let before = &text[..text.floor_char_boundary(at)];
    let column = before.chars().rev().take_while(|&c| c != '\n').count() as u32 + 1;
    Position { line: before.matches('\n').count() as u32 + 1, column }
}

/// The reference page, `docs/settings.md`.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Later sources win: default, file (`gridhouse.toml` in the current directory, or `--config FILE`, or the\n\
         environment variable `GRIDHOUSE_CONFIG`), environment, flags (`--set KEY=VALUE`). An unknown key is an error.\n\
         `gridhouse settings` shows the values in force and where they come from.\n\n\
         This page is made by `gridhouse settings --markdown`; a test keeps it up to date.\n",
    );
    for setting in &TABLE {
        let default = if setting.default.is_empty() { "none".into() } else { format!("`{}`", setting.default) };
        page.push_str(&format!(
            "\n## `{}`\n\n{}\n\n- Value: {}\n- Default: {default}\n- Environment: `{}`\n",
            setting.key, setting.doc, setting.unit, setting.environment
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(file: Option<&str>, environment: &[(&str, &str)], flags: &[&str]) -> Result<(Settings, Origins)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.toml");
        std::fs::write(&path, file.unwrap_or("")).unwrap();
        let flags: Vec<String> = flags.iter().map(|&flag| flag.into()).collect();
        let look_up =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::gather(Some(&path), &look_up, &flags)
    }

    #[test]
    fn later_sources_win() {
        let file = "data_dir = \"/a\"\nlog = \"info\"\nhosts = { \"pg:5432\" = \"127.0.0.1:15432\" }\n";
        let (settings, _) = gather(Some(file), &[], &[]).unwrap();
        assert_eq!(settings.data_dir, Path::new("/a"));
        assert_eq!(settings.hosts.get("pg:5432").map(String::as_str), Some("127.0.0.1:15432"));
        let (settings, origins) = gather(
            Some(file),
            &[("GRIDHOUSE_DATA_DIR", "/b"), ("GRIDHOUSE_HOSTS", "x=y, p:1=q:2")],
            &["data-dir=/c", "seed=7"],
        )
        .unwrap();
        assert_eq!(
            (settings.data_dir.as_path(), settings.log, settings.seed),
            (Path::new("/c"), LevelFilter::INFO, Some(7))
        );
        assert_eq!(settings.hosts.len(), 2, "a whole value replaces a whole value");
        assert_eq!([origins[0].as_str(), origins[1].as_str()], ["flag", "GRIDHOUSE_HOSTS"]);
    }

    #[test]
    fn wrong_settings_name_place_value_and_nearest_key() {
        let error = gather(Some("\n data_dri = \"x\"\n"), &[], &[]).unwrap_err();
        assert!(error.message().contains("g.toml:2:2: `data_dri` is not a setting"), "{error}");
        assert_eq!(error.remedy(), Some("did you mean `data_dir`?"));
        let error = gather(Some("log = \"loud\""), &[], &[]).unwrap_err();
        assert!(error.message().contains("`loud` is not one of"), "{error}");
        assert!(gather(Some("data_dir = "), &[], &[]).unwrap_err().message().contains("g.toml:1:"), "unfinished file");
        assert!(gather(None, &[("GRIDHOUSE_SEED", "-1")], &[]).unwrap_err().message().contains("GRIDHOUSE_SEED"));
        assert!(gather(None, &[], &["hosts=nonsense"]).unwrap_err().message().contains("nonsense"));
        assert!(gather(None, &[], &["data_dir"]).unwrap_err().message().contains("KEY=VALUE"));
    }

    #[test]
    fn sizes_and_durations_have_units() {
        let flags = ["index_memory=64MB", "consumer-cap-age=90 min", "compaction_rate=1536 kb"];
        let (settings, origins) = gather(None, &[], &flags).unwrap();
        assert_eq!((settings.index_bytes, settings.consumer_cap_age.as_secs()), (64 << 20, 5_400));
        let listing = settings.listing(&origins);
        assert!(listing.contains("index_memory        = 64 mb") && listing.contains("= 1536 kb"), "{listing}");
        assert_eq!(settings.checkpoint_log_bytes, 64 << 20);
        let error = gather(None, &[], &["index_memory=much"]).unwrap_err();
        assert!(error.message().contains("`much` is not a number of bytes"), "{error}");
    }

    #[test]
    fn whatever_stands_in_the_file_is_taken_or_refused() {
        let file = "data_dir = \"/a\"\nlog = \"info\" # 中文\nhosts = { \"pg:5432\" = \"127.0.0.1:15432\", b = \"c\" }\n\
                    seed = 7\nindex_memory = '64 mb'\nconsumer_cap_age = \"7 d\"\nlanguage = \"zh\"\n";
        let words = [
            "\"",
            "'",
            "\"\"\"",
            "{",
            "}",
            "[",
            "]",
            "[[",
            "=",
            ".",
            "\n",
            "\\u",
            "#",
            "中",
            "-",
            "1e999",
            "99999999999999999999",
            "hosts.a.b = 1\n",
            "18446744073709551615 tb",
            "1979-05-27T07:32:00Z",
            "\u{feff}",
            "\0",
        ];
        let mut random = gridhouse_base::random::Random::new(9);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..4_000 {
            let mut text: Vec<char> = file.chars().collect();
            for _ in 0..random.below(4) {
                let at = random.below(text.len() as u64) as usize;
                match random.below(4) {
                    0 => drop(text.remove(at)),
                    1 => drop(text.splice(at..at, random.pick(&words).chars())),
                    2 => drop(text.drain(at..(at + 12).min(text.len()))),
                    _ => text[at] = char::from(random.below(128) as u8),
                }
            }
            match gather(Some(&text.iter().collect::<String>()), &[], &[]) {
                Ok(_) => taken += 1,
                Err(error) => {
                    assert!(error.message().contains("g.toml:"), "the place is told: {error}");
                    refused += 1;
                }
            }
        }
        assert!(taken > 200 && refused > 200, "{taken} taken, {refused} refused");
        for deep in [
            format!("log = {}{}", "[".repeat(50_000), "]".repeat(50_000)),
            format!("hosts = {}1{}", "{a=".repeat(50_000), "}".repeat(50_000)),
            format!("hosts{} = 1", ".a".repeat(50_000)),
            format!("[hosts{}]", ".a".repeat(50_000)),
        ] {
            assert!(gather(Some(&deep), &[], &[]).is_err(), "{}", &deep[..20]);
        }
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"))
            .join("../../docs/settings.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == markdown(), "run: cargo run -- settings --markdown > docs/settings.md");
    }
}
