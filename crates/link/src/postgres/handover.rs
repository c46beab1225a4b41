//! From "nothing is known" to a running stream, and back after a loss.
//!
//! Order matters: the publication exists before the slot (the slot's history is read with the publication of that moment),
//! and a table is in the publication before its contents are copied. Contents are copied under the snapshot that a slot
//! exports when it is made, so that snapshot and stream meet exactly: at the consistent point of that slot. The first
//! tables use the main slot's own snapshot; tables that come later, or whose contents must be compared, use a temporary
//! slot while the stream stands between two transactions.
//!
//! A slot or publication that is gone, invalidated, or ahead of what the store holds means that changes were missed, and so
//! does a server whose history does not lead through what was read (`timeline.rs`): the slot is made anew and all contents are
//! delivered again; the engine lets only the differences flow.

use std::time::Duration;

use futures_util::StreamExt;
use gridhouse_base::batch::RowKind;
use gridhouse_base::{Error, Result};
use gridhouse_flow::connector::SourceEvent;
use tokio_postgres::Client;

use super::bind::published_name;
use super::catalog::{self, OutsideTable};
use super::cdc_options::{CdcOptions, Startup};
use super::client::{Fault, INSUFFICIENT_PRIVILEGE, Target, WITHOUT_LIMITS, always_quoted, ident, literal, outside};
use super::connection::Connection;
use super::copy::{CopyRow, lines};
use super::describe;
use super::gather::{Gather, Origin, RowMeta, RowText, misfit_error, origins, shown_row};
use super::identity;
use super::patience::{LOCK_WAIT, session_pid};
use super::pgoutput::Lsn;
use super::running;
use super::stream::{End, SESSIONS, Worker, lost};
use super::timeline::{History, Place};

/// How long a slot may take to be made before the user is told what it waits for.
const SLOT_PATIENCE: Duration = Duration::from_secs(3);

/// PostgreSQL's code where every replication slot is used.
const TOO_MANY_SLOTS: &str = "53400";

/// What is said where the copy cannot begin.
const SNAPSHOT: &str = "the exported snapshot cannot be used";

/// What is known of the stream's slot.
struct Slot {
    plugin: Option<String>,
    database: Option<String>,
    active_pid: Option<i32>,
    lost: bool,
    confirmed: Lsn,
    /// How the session that reads it is named, as far as the role may see that.
    reader: Option<String>,
}

/// A snapshot that a slot exported.
struct Exported {
    name: String,
    point: Lsn,
}

impl Worker {
    /// Connects, hands over, and starts the stream.
    pub(super) async fn connect(&mut self) -> Result<Connection, End> {
        let options = self.options.clone();
        let target = &options.target;
        let client = self.meanwhile(&mut None, target.connect()).await?.map_err(End::Lost)?;
        let (published, current, mut slot) = within(target, self.look_around(&client, &options)).await??;
        self.emit_events(&mut None).await?;
        let mut connection = self.open(target).await?;
        let history = History::read(&mut connection);
        let history = self.meanwhile(&mut None, within(target, history)).await??.map_err(lost)?;
        let contents = self.decoder.tables.iter().filter(|table| table.has_contents && !table.failed);
        let contents: Vec<Place> = contents.map(|table| table.from).collect();
        // Before the first commit the contents alone say what is stored.
        let stored = self.position.map(|position| position.lsn).or(contents.iter().map(|place| place.lsn).min());
        let elsewhere = self.position.iter().chain(&contents).find_map(|place| history.lacks(*place));
        self.decoder.timeline = Some(history.current);
        let broken = match (&slot, stored) {
            // Whatever has become of the slot, this is why.
            _ if elsewhere.is_some() => elsewhere,
            (None, None) => None,
            (None, Some(_)) => Some(format!("replication slot '{}' is gone", options.slot)),
            (Some(slot), _) if slot.lost => {
                Some(format!("replication slot '{}' was invalidated by the server", options.slot))
            }
            (Some(_), _) if self.unreadable.is_some() => {
                let why = self.unreadable.take().unwrap_or_default();
                Some(format!("replication slot '{}' cannot be read on: {why}", options.slot))
            }
            (Some(_), _) if !published => Some(format!("publication '{}' is gone", options.publication())),
            (Some(slot), Some(position)) if position < slot.confirmed => Some(format!(
                "replication slot '{}' is at {}, ahead of what is stored ({position})",
                options.slot, slot.confirmed
            )),
            (Some(_), Some(position)) if current < position => Some(format!(
                "the source is at {current}, behind what is stored ({position}): it was restored or failed over"
            )),
            (Some(_), _) => None,
        };
        if let Some(slot) = &slot {
            let (plugin, database) = (slot.plugin.as_deref(), slot.database.as_deref());
            describe::foreign_slot(&options.slot, plugin, database, &target.database, stored.is_some())
                .map_err(End::Failed)?;
            if let Some(pid) = slot.active_pid {
                let is_store = |reader: &String| reader.starts_with(SESSIONS) && *reader != self.name;
                self.is_others |= slot.reader.as_ref().is_some_and(is_store);
                return Err(End::Lost(in_use(&options.slot, pid, stored.is_some())));
            }
            if self.is_others && stored.is_none() {
                return Err(End::Lost(of_another(&options.slot)));
            }
        }
        // Before it is made: the server may go on making it for somebody who is gone.
        self.emit(SourceEvent::Placed, None).await?;
        if let Some(why) = broken {
            self.heal(&why).await?;
            if slot.take().is_some() {
                let drop = format!("DROP_REPLICATION_SLOT \"{}\" WAIT", options.slot);
                self.meanwhile(&mut None, within(target, connection.simple(&drop))).await??.map_err(lost)?;
            }
        }
        let (position, exported) = match &slot {
            Some(slot) => (self.position.map_or(slot.confirmed, |position| position.lsn), None),
            None => {
                let exported = self.make_slot(&client, &mut connection, &options.slot, false, &mut None).await?;
                (exported.point, Some(exported))
            }
        };
        self.position = Some(self.decoder.place(position));
        self.decoder.reset(position);
        if self.decoder.tables.iter().any(|table| table.wants_contents) {
            match exported {
                Some(exported) => self.copy_all(&client, &exported, &mut None).await?,
                None => self.copy_under_temporary_slot(&client, &options, &mut None).await?,
            }
        }
        let publication = options.publication();
        let started = connection.start_replication(&options.slot, &publication, position);
        self.meanwhile(&mut None, within(target, started)).await??.map_err(lost)?;
        Ok(connection)
    }

    async fn open(&self, target: &Target) -> Result<Connection, End> {
        let refused = |fault| End::Lost(target.connect_error(&fault));
        let mut connection = Connection::open(target, &self.name).await.map_err(refused)?;
        within(target, connection.simple(WITHOUT_LIMITS)).await?.map_err(refused)?;
        Ok(connection)
    }

    /// What the server, its catalog and the slot are like now, and whether the publication was there.
    async fn look_around(&mut self, client: &Client, options: &CdcOptions) -> Result<(bool, Lsn, Option<Slot>), End> {
        // Told by the server as what it is, before it could be taken for the server's silence.
        let limits = format!("SET lock_timeout = {}", LOCK_WAIT.min(options.target.silence / 2).as_millis());
        client.batch_execute(&limits).await.map_err(outside("the session cannot be set up")).map_err(End::Lost)?;
        self.check_server(client, options).await?;
        self.resolve(client).await?;
        let published = self.publish(client, options).await?;
        let current = current_lsn(client).await.map_err(End::Lost)?;
        Ok((published, current, slot(client, &options.slot).await.map_err(End::Lost)?))
    }

    /// Delivers contents that are asked for while the stream runs.
    pub(super) async fn deliver_contents(&mut self, connection: &mut Connection) -> Result<(), End> {
        if !self.decoder.tables.iter().any(|table| table.wants_contents) {
            return Ok(());
        }
        let options = self.options.clone();
        let mut running = Some(connection);
        let client = self.meanwhile(&mut running, options.target.connect()).await?.map_err(End::Lost)?;
        let target = &options.target;
        within(target, self.look_around(&client, &options)).await??;
        self.emit_events(&mut running).await?;
        self.copy_under_temporary_slot(&client, &options, &mut running).await?;
        self.decoder.rebind();
        Ok(())
    }

    /// The server must be the one that the stream is named after.
    async fn check_server(&mut self, client: &Client, options: &CdcOptions) -> Result<(), End> {
        let server = describe::server(client).await.map_err(End::Lost)?;
        if server.in_recovery {
            return Err(End::Lost(
                Error::unavailable(format!("{} is a standby, and changes are read from a primary", options.target.place()))
                    .hint("it is tried again until it is promoted; else name the primary in 'hostname' or in the setting `hosts`"),
            ));
        }
        let key = describe::stream_key(&server, options);
        if key == self.stream_key {
            // Settings and rights may have changed since the stream was described.
            return describe::check_server(&server, options, &mut Vec::new()).map_err(End::Lost);
        }
        Err(End::Lost(
            Error::unavailable(format!(
                "{} is another cluster than the one that this stream was read from ({key} instead of {})",
                options.target.place(),
                self.stream_key
            ))
            .hint("start the right server there; or DROP JOB for the jobs that read it (SHOW JOBS has their numbers), and run the script again"),
        ))
    }

    /// Changes were missed: everything is delivered again.
    async fn heal(&mut self, why: &str) -> Result<(), End> {
        let (mut tables, mut lacking) = (Vec::new(), Vec::new());
        for table in self.decoder.tables.iter_mut().filter(|table| !table.failed) {
            table.wants_contents = true;
            table.from = Place::default();
            match table.reads_contents() {
                true => tables.push(table.id),
                false => lacking.push(table.definition.path.to_string()),
            }
        }
        (self.position, self.unreadable) = (None, None);
        let again = if tables.is_empty() { "" } else { "; the contents of all tables are read again and compared" };
        let error = Error::unavailable(format!("{why}{again}"));
        self.emit(SourceEvent::Waiting { error: lost_for(error, &lacking) }, None).await?;
        self.emit(SourceEvent::Missed { tables }, None).await
    }

    /// Makes a slot and exports its snapshot. Waits until the transactions that run now have ended.
    async fn make_slot(
        &mut self,
        client: &Client,
        connection: &mut Connection,
        name: &str,
        temporary: bool,
        running: &mut Option<&mut Connection>,
    ) -> Result<Exported, End> {
        let temporary = if temporary { " TEMPORARY" } else { "" };
        let sql = format!("CREATE_REPLICATION_SLOT \"{name}\"{temporary} LOGICAL pgoutput EXPORT_SNAPSHOT");
        let mut made = std::pin::pin!(connection.simple(&sql));
        let target = self.options.target.clone();
        let mut told = false;
        let rows = loop {
            if let Ok(rows) = self.meanwhile(running, tokio::time::timeout(SLOT_PATIENCE, &mut made)).await? {
                break match rows {
                    Err(fault) if fault.code.as_deref() == Some(TOO_MANY_SLOTS) => {
                        return Err(End::Lost(describe::no_free_slot(client, &self.options).await));
                    }
                    rows => rows.map_err(lost)?,
                };
            }
            // Asking what it waits for also tells whether the server is still there.
            let error = within(&target, running::oldest(client, &target.username)).await?.map_err(End::Lost)?;
            if !std::mem::replace(&mut told, true) {
                self.emit(SourceEvent::Waiting { error }, running.as_deref_mut()).await?;
            }
        };
        if told {
            self.emit(SourceEvent::Connected, running.as_deref_mut()).await?;
        }
        let field = |i: usize| rows.first().and_then(|row| row.get(i)).and_then(|field| field.as_deref());
        match (field(1).and_then(Lsn::parse), field(2)) {
            (Some(point), Some(snapshot)) => Ok(Exported { name: snapshot.to_owned(), point }),
            _ => Err(End::Lost(Error::unavailable(format!(
                "the server made the slot '{name}' without telling where it begins"
            )))),
        }
    }

    async fn copy_under_temporary_slot(
        &mut self,
        client: &Client,
        options: &CdcOptions,
        running: &mut Option<&mut Connection>,
    ) -> Result<(), End> {
        let mut exporter = self.open(&options.target).await?;
        let history = History::read(&mut exporter);
        let history = self.meanwhile(running, within(&options.target, history)).await??.map_err(lost)?;
        if Some(history.current) != self.decoder.timeline {
            return Err(End::Lost(Error::unavailable(format!(
                "{} has just been failed over: the stream comes from another server than the contents",
                options.target.place()
            ))));
        }
        // Unique among temporary slots: no two are made in one microsecond by one stream.
        let base: String = options.slot.chars().take(40).collect();
        let name = format!("{base}_{:x}", self.clock.now_micros());
        let exported = self.make_slot(client, &mut exporter, &name, true, running).await?;
        let copied = self.copy_all(client, &exported, running).await;
        exporter.close().await;
        copied
    }

    /// Copies every table that wants it under one snapshot.
    async fn copy_all(
        &mut self,
        client: &Client,
        exported: &Exported,
        running: &mut Option<&mut Connection>,
    ) -> Result<(), End> {
        // A policy that comes meanwhile fails the copy, which else would lack what it hides.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; SET LOCAL row_security = off",
            literal(&exported.name)
        );
        let target = self.options.target.clone();
        let pid = self.meanwhile(running, within(&target, session_pid(client))).await??.map_err(End::Lost)?;
        self.meanwhile(running, within(&target, client.batch_execute(&begin)))
            .await??
            .map_err(outside(SNAPSHOT))
            .map_err(End::Lost)?;
        for index in 0..self.decoder.tables.len() {
            let table = &self.decoder.tables[index];
            if !table.wants_contents {
                continue;
            }
            let (id, startup) = (table.id, table.options.startup);
            if let Some(error) = self.hold_anew(client, index, running).await? {
                self.decoder.fail_table(index, error);
                self.emit_events(running).await?;
                continue;
            }
            let table = &self.decoder.tables[index];
            // Where contents are not read, the stream alone brings what it has not told yet.
            let reached = self.position.map_or(exported.point, |position| position.lsn.min(exported.point));
            let mut from = exported.point;
            match startup {
                _ if !table.reads_contents() && table.has_contents => from = reached.max(table.from.lsn),
                Startup::Initial => {
                    let readable =
                        table.outside.iter().map(|outside| describe::check_contents(outside, &target.username));
                    if let Some(error) = readable.into_iter().find_map(Result::err) {
                        self.decoder.fail_table(index, error);
                        self.emit_events(running).await?;
                        continue;
                    }
                    self.half_sent.push(id);
                    if let Some(error) = self.copy_table((client, pid), index, running).await? {
                        self.half_sent.retain(|half| *half != id);
                        self.decoder.fail_table(index, error);
                        self.emit_events(running).await?;
                        // What is left of its rows passes first; and where the server refused them, its transaction has failed.
                        let again = format!("ROLLBACK; {begin}");
                        let begun = target.patiently(pid, "the copy of the contents", client.batch_execute(&again));
                        let begun = self.meanwhile(running, begun).await?.map_err(End::Lost)?;
                        begun.map_err(outside(SNAPSHOT)).map_err(End::Lost)?;
                        continue;
                    }
                }
                Startup::Latest => {}
                Startup::Committed => from = reached,
            }
            let from = self.decoder.place(from);
            let binding = self.decoder.tables[index].binding(&self.published);
            let position = binding.position(from);
            let done = match startup {
                Startup::Initial => SourceEvent::SnapshotDone { table: id, position },
                Startup::Latest | Startup::Committed => SourceEvent::SnapshotLeftOut { table: id, position },
            };
            self.emit(done, running.as_deref_mut()).await?;
            self.half_sent.retain(|half| *half != id);
            let table = &mut self.decoder.tables[index];
            (table.from, table.wants_contents, table.has_contents, table.was_refused) = (from, false, true, false);
            table.contents_of = Some(binding);
            // What is told from another place on is known by what the stream has described since it began.
            if from.lsn == exported.point {
                table.read_at = from.lsn;
            }
        }
        let committed = within(&target, client.batch_execute("COMMIT")).await?;
        committed.map_err(outside("the copy of the contents")).map_err(End::Lost)
    }

    /// Looks in the snapshot which partitions there are, and what they tell of old rows; gives why that is too little. What the
    /// stream has described before the snapshot counts no more.
    async fn hold_anew(
        &mut self,
        client: &Client,
        index: usize,
        running: &mut Option<&mut Connection>,
    ) -> Result<Option<Error>, End> {
        let mut tables = self.decoder.tables[index].outside.clone();
        if !tables.iter().any(|outside| outside.partitioned) {
            return Ok(None);
        }
        let target = self.options.target.clone();
        let looked = self.meanwhile(running, within(&target, catalog::hold_anew(client, &mut tables))).await??;
        looked.map_err(End::Lost)?;
        let table = &mut self.decoder.tables[index];
        table.outside = tables;
        let check = |outside: &OutsideTable| identity::check(&table.definition, outside, outside.holders.iter());
        Ok(table.outside.iter().map(check).find_map(Result::err))
    }

    /// Copies one table; gives why it cannot, where a row or the table does not fit.
    async fn copy_table(
        &mut self,
        (client, pid): (&Client, i32),
        index: usize,
        running: &mut Option<&mut Connection>,
    ) -> Result<Option<Error>, End> {
        let target = self.options.target.clone();
        let (definition, outside_tables, id) = {
            let table = &self.decoder.tables[index];
            (table.definition.clone(), table.outside.clone(), table.id)
        };
        let database = self.decoder.tables[index].options.target.database.clone();
        let dead_letters = self.decoder.tables[index].options.dead_letters;
        let mut gather = Gather::new(&definition).map_err(End::Failed)?;
        let mut row = CopyRow::default();
        for table in &outside_tables {
            let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            let origins = match origins(&definition, &table.key(), &names) {
                Ok(origins) => origins,
                Err(error) => return Ok(Some(error)),
            };
            let (sql, origins) = copy_statement(table, &names, &origins);
            let meta = RowMeta { table: &table.name, schema: &table.schema, database: &database, commit_micros: 0 };
            let context = format!("the contents of {} cannot be copied", table.key());
            let begun = self.meanwhile(running, target.patiently(pid, &context, client.copy_out(&sql))).await?;
            let copy = match begun.map_err(End::Lost)? {
                Ok(copy) => copy,
                Err(error) => return self.refused(index, table, &sql, &Fault::of(&error)).map(Some),
            };
            let mut copy = std::pin::pin!(copy);
            loop {
                let next = self.meanwhile(running, target.patiently(pid, &context, copy.next())).await?;
                let Some(data) = next.map_err(End::Lost)? else { break };
                let data = match data {
                    Ok(data) => data,
                    Err(error) => return self.refused(index, table, &sql, &Fault::of(&error)).map(Some),
                };
                for line in lines(&data) {
                    row.read(line);
                    let text = RowText { bytes: &row.bytes, cells: &row.cells, fallback: None };
                    let Err(refused) = gather.push(RowKind::Insert, &origins, text, meta, None) else { continue };
                    let error = misfit_error(&definition, &table.key(), (refused.column, refused.misfit));
                    if !dead_letters {
                        return Ok(Some(error));
                    }
                    let event = SourceEvent::Rejected { table: id, row: shown_row(&definition, &origins, text), error };
                    self.emit(event, running.as_deref_mut()).await?;
                }
                if gather.is_full() {
                    self.send_contents(id, &mut gather, running).await?;
                }
            }
        }
        self.send_contents(id, &mut gather, running).await?;
        Ok(None)
    }

    /// What becomes of a table whose copy by `sql` the server refused. What passes is the connection's matter. Else it is tried once
    /// more, for which the table is looked at anew: it may just have been altered, or a right taken away, and then that is told. What
    /// is refused again is wrong in the table, and holds up no other.
    fn refused(&mut self, index: usize, outside: &OutsideTable, sql: &str, fault: &Fault) -> Result<Error, End> {
        let context = format!("the contents of {} cannot be copied", outside.key());
        let table = &mut self.decoder.tables[index];
        if fault.passes() || !std::mem::replace(&mut table.was_refused, true) {
            return Err(End::Lost(fault.error(&context)));
        }
        let remedy = match fault.code.as_deref().unwrap_or_default() {
            code if code.starts_with("XX") || code.starts_with("58") => {
                "its file is damaged there: restore the table from a back-up, or delete or update the damaged rows"
                    .to_owned()
            }
            "22021" | "22P05" => "update the row there: its text cannot be converted to UTF8".to_owned(),
            INSUFFICIENT_PRIVILEGE => {
                format!("grant role {} what the server names", ident(&self.options.target.username))
            }
            _ => fault.hint.clone().unwrap_or_else(|| "mend there what the server names".to_owned()),
        };
        let copy = sql.strip_suffix(" TO STDOUT").unwrap_or(sql);
        Ok(Error::invalid(format!("{context}: {}", fault.message)).hint(format!(
            "{remedy}, until psql can read all of it: \\{} TO /dev/null; then START JOB",
            copy.replacen("COPY", "copy", 1)
        )))
    }

    async fn send_contents(
        &mut self,
        table: u32,
        gather: &mut Gather,
        running: &mut Option<&mut Connection>,
    ) -> Result<(), End> {
        match gather.finish() {
            Some((_, batch)) => self.emit(SourceEvent::SnapshotRows { table, batch }, running.as_deref_mut()).await,
            None => Ok(()),
        }
    }
}

/// The error that contents are read again, with the tables of which they are not.
pub(super) fn lost_for(error: Error, tables: &[String]) -> Error {
    if tables.is_empty() {
        return error;
    }
    let tables = tables.join(", ");
    error.hint(format!("what changed meanwhile is lost for {tables}, whose 'scan.startup.mode' asks for no contents"))
}

/// What small questions take at most.
async fn within<T>(target: &Target, work: impl Future<Output = T>) -> Result<T, End> {
    tokio::time::timeout(target.silence, work).await.map_err(|_| End::Lost(target.silent()))
}

async fn current_lsn(client: &Client) -> Result<Lsn> {
    let row = client.query_one("SELECT pg_current_wal_lsn()::text", &[]).await;
    let row = row.map_err(outside("the server's WAL position cannot be read"))?;
    Lsn::parse(row.get(0)).ok_or_else(|| Error::corrupt("the server's WAL position cannot be read"))
}

async fn slot(client: &Client, name: &str) -> Result<Option<Slot>> {
    let sql = "SELECT plugin::text, database::text, active_pid, COALESCE(wal_status = 'lost', false), confirmed_flush_lsn::text, \
               (SELECT a.application_name::text FROM pg_stat_activity a WHERE a.pid = active_pid) \
               FROM pg_replication_slots WHERE slot_name = $1";
    let row = client.query_opt(sql, &[&name]).await.map_err(outside("the replication slots cannot be read"))?;
    Ok(row.map(|row| Slot {
        plugin: row.get(0),
        database: row.get(1),
        active_pid: row.get(2),
        lost: row.get(3),
        confirmed: row.get::<_, Option<&str>>(4).and_then(Lsn::parse).unwrap_or_default(),
        reader: row.get(5),
    }))
}

/// Another reader has the slot. A stream that has had it is bound to it.
fn in_use(slot: &str, pid: i32, is_bound: bool) -> Error {
    let otherwise = describe::another_slot(is_bound);
    Error::unavailable(format!("replication slot '{slot}' is in use by the server's process {pid}"))
        .hint(format!("stop the other reader, or end it there: SELECT pg_terminate_backend({pid}); or {otherwise}"))
}

/// Another data directory reads the slot, and is away.
fn of_another(slot: &str) -> Error {
    let otherwise = describe::another_slot(false);
    Error::unavailable(format!(
        "replication slot '{slot}' is another data directory's, which has just read it and is away"
    ))
    .hint(format!(
        "{otherwise}; or, where that directory is gone for good, type there SELECT pg_drop_replication_slot({})",
        literal(slot)
    ))
}

/// The statement that copies the wanted columns, and the origins in terms of its columns.
fn copy_statement(table: &OutsideTable, names: &[&str], origins: &[Origin]) -> (String, Vec<Origin>) {
    let (mut wanted, mut placed) = (Vec::new(), Vec::new());
    for origin in origins {
        placed.push(match origin {
            Origin::Attribute(attribute) => {
                wanted.push(always_quoted(names[*attribute]));
                Origin::Attribute(wanted.len() - 1)
            }
            other => *other,
        });
    }
    (format!("COPY (SELECT {} FROM {}) TO STDOUT", wanted.join(", "), published_name(table)), placed)
}
