//! Look-ups in a PostgreSQL table: batches of keys against the rows that it holds now.
//!
//! The keys of a batch that are not remembered are joined with the table in one statement (several for a large batch), so
//! the round trip counts once. A lost connection is made anew as often as the options allow. What equals what is decided
//! here, see [`super::lookup_keys`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, UInt32Array};
use futures_util::StreamExt;
use gridhouse_base::clock::Clock;
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{Error, ErrorKind, Result, Value};
use gridhouse_flow::connector::{Found, Lookup, LookupRequest};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::client::outside;
use super::jdbc_options::ReadOptions;
use super::lookup_cache::{Answer, Cache};
use super::lookup_keys::{KeyColumn, encode, join};
use super::read_plan::{ReadColumn, ReadPlan};
use super::scan::{RowDecoder, cannot_be_read, copy_out, runtime};

/// Keys of one statement at most: some hundred kilobytes of text, which the server parses in milliseconds.
const STATEMENT_KEYS: usize = 8_192;

/// How much longer each further attempt waits before it connects, as in Flink.
const RETRY_STEP: Duration = Duration::from_secs(1);

/// The longest wait before an attempt.
const RETRY_LIMIT: Duration = Duration::from_secs(30);

/// How long one attempt may take from its connection to its last row. A server that is reached but does not answer (the table
/// is locked by a migration) would else hold up every job of the house; five seconds are many times what the keys of a chunk
/// take.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

pub(crate) struct JdbcLookup {
    definition: Arc<TableDef>,
    options: ReadOptions,
    request: LookupRequest,
    clock: Arc<dyn Clock>,
    cache: Option<Cache>,
    // Before the runtime: the connection must be gone when the runtime that drives it ends.
    open: Option<Open>,
    runtime: Runtime,
}

/// A connection, and how the table is read through it.
struct Open {
    client: Client,
    table: String,
    quoted: String,
    keys: Vec<KeyColumn>,
    /// The key columns, then the others that are wanted.
    read: Vec<ReadColumn>,
}

impl JdbcLookup {
    pub(crate) fn new(
        definition: Arc<TableDef>,
        options: ReadOptions,
        request: LookupRequest,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        if request.keys.is_empty() {
            return Err(Error::internal("a look-up has at least one key column"));
        }
        for &i in request.keys.iter().chain(&request.columns) {
            if definition.column_kinds.get(i) != Some(&ColumnKind::Physical) {
                return Err(Error::invalid(format!(
                    "column {i} of {} is not one of the outside table",
                    definition.path
                ))
                .hint("look up by the table's own columns"));
            }
        }
        let cache = options.lookup.cache.map(Cache::new);
        Ok(Self { definition, options, request, clock, cache, open: None, runtime: runtime()? })
    }

    /// The columns that are read: the keys, then what is wanted besides.
    fn read_indices(&self) -> Vec<usize> {
        let mut read = self.request.keys.clone();
        for &i in &self.request.columns {
            if !read.contains(&i) {
                read.push(i);
            }
        }
        read
    }

    async fn connect(definition: &TableDef, options: &ReadOptions, keys: usize, read: &[usize]) -> Result<Open> {
        // One key's rows come at once: what an administrator lets no statement take, none of these needs.
        let client = options.place.target.connect_within_limits().await?;
        let plan = ReadPlan::make(&client, definition, options, &mut Vec::new()).await?;
        let read = plan.select(read)?;
        let keys = read[..keys].iter().cloned().map(KeyColumn::new).collect::<Result<_>>()?;
        // A NULL in a column that is declared NOT NULL is told; in a key column it just never matches.
        Ok(Open { client, table: plan.key(), quoted: plan.quoted(), keys, read })
    }

    /// The rows of keys, asked of the server; tried again where it does not answer.
    fn ask(&mut self, keys: &[Vec<Value>]) -> Result<Vec<Vec<Vec<Value>>>> {
        let read = self.read_indices();
        let count = self.request.keys.len();
        let mut attempt = 0;
        loop {
            let (definition, options, open) = (&self.definition, &self.options, &mut self.open);
            let asking = async {
                if open.is_none() {
                    *open = Some(Self::connect(definition, options, count, &read).await?);
                }
                let Some(open) = open.as_ref() else { return Err(Error::internal("a look-up has no connection")) };
                let mut found = vec![Vec::new(); keys.len()];
                for (i, chunk) in keys.chunks(STATEMENT_KEYS).enumerate() {
                    open.find(definition, chunk, &mut found[i * STATEMENT_KEYS..]).await?;
                }
                Ok(found)
            };
            let asked = self.runtime.block_on(async {
                if attempt > 0 {
                    let step = u32::try_from(attempt).unwrap_or(u32::MAX);
                    tokio::time::sleep(RETRY_STEP.saturating_mul(step).min(RETRY_LIMIT)).await;
                }
                within_attempt(asking).await
            });
            match asked {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    self.open = None;
                    if attempt >= self.options.lookup.max_retries {
                        return Err(error);
                    }
                    attempt += 1;
                }
                Err(error) => {
                    // What is left of the answer is not to be taken for that to another question.
                    self.open = None;
                    return Err(error);
                }
                found => return found,
            }
        }
    }
}

impl Open {
    /// Adds the rows of each of `keys` to `found`.
    async fn find(&self, definition: &TableDef, keys: &[Vec<Value>], found: &mut [Vec<Vec<Value>>]) -> Result<()> {
        let numbered: Vec<(usize, &[Value])> = keys.iter().enumerate().map(|(n, key)| (n, key.as_slice())).collect();
        let Some(join) = join(&self.keys, &numbered, &self.quoted) else { return Ok(()) };
        let names: Vec<String> = self.read.iter().map(|column| format!("t.{}", column.quoted())).collect();
        let select = format!("SELECT {}, u.n {join}", names.join(", "));
        let mut copy = copy_out(&self.client, &select, &self.table).await?;
        let mut decoder = RowDecoder::new(definition, self.table.clone(), self.read.clone())?;
        let encoded: Vec<Vec<u8>> = keys.iter().map(|key| encode_all(key).unwrap_or_default()).collect();
        let mut numbers: Vec<usize> = Vec::new();
        loop {
            let data = copy.next().await.transpose().map_err(cannot_be_read(&self.table))?;
            let ended = data.is_none();
            if let Some(data) = data {
                decoder.read(&data, |number| {
                    let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
                    numbers.push(
                        number.filter(|n| *n < keys.len()).ok_or_else(|| Error::corrupt("a row answers no key"))?,
                    );
                    Ok(())
                })?;
            }
            if (ended || decoder.gather.is_full())
                && let Some(batch) = decoder.finish()
            {
                for (row, number) in numbers.drain(..).enumerate() {
                    let value = |(array, column): (&ArrayRef, &ReadColumn)| Value::from_array(array, row, &column.kind);
                    let values: Vec<Value> = batch.columns.iter().zip(&self.read).map(value).collect();
                    if encode_all(&values[..self.keys.len()]).is_some_and(|key| key == encoded[number]) {
                        found[number].push(values);
                    }
                }
            }
            if ended {
                return Ok(());
            }
        }
    }
}

/// The bytes of a key; `None` where it equals nothing.
fn encode_all(key: &[Value]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    key.iter().all(|value| encode(value, &mut bytes)).then_some(bytes)
}

impl Lookup for JdbcLookup {
    fn lookup(&mut self, keys: &[ArrayRef], len: usize) -> Result<Found> {
        let schema = &self.definition.schema.columns;
        let kinds: Vec<_> = self.request.keys.iter().map(|&i| schema[i].sql_type.kind.clone()).collect();
        // Which of the distinct keys each row asks for.
        let mut asks: Vec<Option<usize>> = Vec::with_capacity(len);
        let (mut distinct, mut numbers) = (Vec::new(), HashMap::new());
        for row in 0..len {
            let key: Vec<Value> =
                keys.iter().zip(&kinds).map(|(array, kind)| Value::from_array(array, row, kind)).collect();
            asks.push(encode_all(&key).map(|bytes| {
                *numbers.entry(bytes.clone()).or_insert_with(|| {
                    distinct.push((bytes, key));
                    distinct.len() - 1
                })
            }));
        }
        let now = self.clock.monotonic();
        let remembered =
            |bytes: &[u8], cache: &mut Option<Cache>| cache.as_mut().and_then(|cache| cache.get(bytes, now));
        let mut answers: Vec<Option<Answer>> =
            distinct.iter().map(|(bytes, _)| remembered(bytes, &mut self.cache)).collect();
        let missing: Vec<usize> = (0..distinct.len()).filter(|&i| answers[i].is_none()).collect();
        if !missing.is_empty() {
            let wanted: Vec<Vec<Value>> = missing.iter().map(|&i| distinct[i].1.clone()).collect();
            for (i, rows) in missing.into_iter().zip(self.ask(&wanted)?) {
                let answer: Answer = rows.into();
                if let Some(cache) = &mut self.cache {
                    cache.put(distinct[i].0.clone(), answer.clone(), now);
                }
                answers[i] = Some(answer);
            }
        }
        Ok(self.found(&asks, &answers))
    }

    fn check(&mut self) -> Result<()> {
        self.open = None;
        let (read, count) = (self.read_indices(), self.request.keys.len());
        let asking = async {
            let open = Self::connect(&self.definition, &self.options, count, &read).await?;
            // A table that is locked answers no look-up either.
            let one = format!("SELECT FROM {} LIMIT 1", open.quoted);
            open.client.batch_execute(&one).await.map_err(outside("the table cannot be read"))?;
            Ok(open)
        };
        self.open = Some(self.runtime.block_on(within_attempt(asking))?);
        Ok(())
    }
}

/// One attempt to get an answer, which may not last longer than one.
async fn within_attempt<T>(asking: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(ATTEMPT_LIMIT, asking).await.unwrap_or_else(|_| {
        Err(Error::unavailable(format!("it has not answered within {} s", ATTEMPT_LIMIT.as_secs()))
            .hint("see in pg_stat_activity what holds the table up"))
    })
}

impl JdbcLookup {
    fn found(&self, asks: &[Option<usize>], answers: &[Option<Answer>]) -> Found {
        let mut numbers = Vec::new();
        let mut rows: Vec<&Vec<Value>> = Vec::new();
        for (number, ask) in (0_u32..).zip(asks) {
            if let Some(answer) = ask.and_then(|ask| answers[ask].as_ref()) {
                numbers.extend(std::iter::repeat_n(number, answer.len()));
                rows.extend(answer.iter());
            }
        }
        let read = self.read_indices();
        let columns = self.request.columns.iter().map(|&i| {
            let at = read.iter().position(|&r| r == i).unwrap_or_default();
            let values: Vec<&Value> = rows.iter().map(|row| &row[at]).collect();
            Value::array_of(&values, &self.definition.schema.columns[i].sql_type.kind)
        });
        Found { keys: UInt32Array::from(numbers), columns: columns.collect() }
    }
}
