//! Looks at the source beside the stream, every so often.
//!
//! A stream tells what its publication publishes, and is silent about the rest: a table that was taken out of the publication,
//! or another one that took its name, would never be missed. So the catalog is compared with what the stream was bound to.
//! The same look reads how much WAL the server has written and keeps for the slot, for whoever watches over its disk. A look
//! that fails is left out: the stream itself tells whether the server is there.

use std::time::Duration;

use gridhouse_base::{Error, Result};
use gridhouse_flow::connector::{SourceEvent, SourceLag};
use tokio_postgres::Client;

use super::bind::{Strayed, called_back};
use super::binding::{Binding, Change};
use super::catalog::{self, Listed, OutsideTable, Relations};
use super::client::outside;
use super::connection::Connection;
use super::describe;
use super::pgoutput::Lsn;
use super::publication::Publication;
use super::stream::{End, Worker};
use super::timeline::Place;

/// How often the source is looked at, unless the heartbeat is shorter: what is published by mistake, or no longer, is noticed
/// within this time; a look costs the server some queries on its catalog.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is kept between two looks.
#[derive(Default)]
pub(super) struct Watch {
    client: Option<Client>,
    looked: Option<Duration>,
    /// The oldest place of the WAL that was seen and is not acknowledged, and when it was seen.
    mark: Option<(Lsn, Duration)>,
    caught_up: Option<Duration>,
}

impl Watch {
    /// A stream begins: the first look comes at once.
    pub(super) fn begin(&mut self) {
        (self.client, self.looked) = (None, None);
    }

    /// Since when everything is acknowledged, by a look at `now` that saw the WAL written up to `current`.
    fn caught_up(&mut self, current: Lsn, acknowledged: Lsn, now: Duration) -> Duration {
        if let Some((_, seen)) = self.mark.take_if(|(place, _)| *place <= acknowledged) {
            self.caught_up = Some(seen);
        }
        if current <= acknowledged {
            (self.caught_up, self.mark) = (Some(now), None);
        } else if self.mark.is_none() {
            self.mark = Some((current, now));
        }
        // Nothing is known of the time before the first look.
        *self.caught_up.get_or_insert(now)
    }
}

/// What a look sees.
struct Look {
    current: Lsn,
    confirmed: Lsn,
    kept_from: Option<Lsn>,
    cap_bytes: Option<u64>,
    listed: Vec<Listed>,
    published: Option<Publication>,
    /// The tables that the stream is bound to, as they are now.
    outside: Vec<OutsideTable>,
}

impl Worker {
    /// Looks at the source if it is time. Only between two transactions.
    pub(super) async fn look_if_due(&mut self, connection: &mut Connection) -> Result<(), End> {
        let now = self.clock.monotonic();
        let every = self.heartbeat().min(LOOK_EVERY);
        if self.watch.looked.is_some_and(|looked| now.saturating_sub(looked) < every) {
            return Ok(());
        }
        self.watch.looked = Some(now);
        let target = self.options.target.clone();
        let mut running = Some(connection);
        let client = match self.watch.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => match self.meanwhile(&mut running, target.connect()).await? {
                Ok(client) => client,
                Err(_) => return Ok(()),
            },
        };
        let (slot, publication) = (self.options.slot.clone(), self.options.publication());
        let bound = self.decoder.tables.iter().flat_map(|table| &table.outside);
        let bound: Vec<u32> = bound.map(|outside| outside.oid).collect();
        let look = tokio::time::timeout(target.silence, look(&client, &slot, &publication, &bound));
        let Ok(Ok(Some(look))) = self.meanwhile(&mut running, look).await? else { return Ok(()) };
        self.watch.client = Some(client);
        let acknowledged = look.confirmed.max(self.durable());
        let lag = SourceLag {
            keeper: format!("replication slot '{slot}' of {}", target.place()).into(),
            behind_bytes: look.current.0.saturating_sub(acknowledged.0),
            kept_bytes: look.current.0.saturating_sub(look.kept_from.unwrap_or(acknowledged).0),
            cap_bytes: look.cap_bytes,
            caught_up: self.watch.caught_up(look.current, acknowledged, now),
        };
        self.emit(SourceEvent::Lag(lag), running.as_deref_mut()).await?;
        self.compare(&look, &publication, running).await
    }

    /// Compares the catalog with what the stream is bound to, and asks for the contents of what is another table now.
    async fn compare(
        &mut self,
        look: &Look,
        publication: &str,
        mut running: Option<&mut Connection>,
    ) -> Result<(), End> {
        let Some(published) = &look.published else {
            let gone = Error::unavailable(format!("publication '{publication}' is gone"));
            return Err(End::Lost(gone));
        };
        published.check(publication).map_err(End::Lost)?;
        let (mut strayed, mut unmarked) = (Strayed::default(), Vec::new());
        for index in 0..self.decoder.tables.len() {
            let table = &mut self.decoder.tables[index];
            // What wants its contents is looked up anew with them.
            if table.failed || table.wants_contents {
                continue;
            }
            let chosen = match describe::chosen(&look.listed, &table.options) {
                Ok(chosen) => chosen,
                Err(error) => {
                    let error = called_back(error, table, &look.listed);
                    self.decoder.fail_table(index, error);
                    continue;
                }
            };
            let name = table.names();
            let is_bound = |oid: &u32| table.outside.iter().any(|outside| outside.oid == *oid);
            let why = if chosen.len() != table.outside.len() || !chosen.iter().all(is_bound) {
                Change::Another.told(publication, &name)
            } else if chosen.iter().any(|oid| !published.tables.contains_key(oid)) {
                format!("publication '{publication}' does not hold table {name} any more")
            } else {
                let now: Vec<OutsideTable> =
                    look.outside.iter().filter(|outside| is_bound(&outside.oid)).cloned().collect();
                let fits = |outside| describe::check_columns(&table.definition, outside, &mut Vec::new()).is_ok();
                if now.len() < chosen.len() || !now.iter().all(fits) {
                    // Gone a moment ago; or the stream tells what does not fit, with the first row that it is to bring.
                    continue;
                }
                let now = Binding::of(&table.definition, &now, published);
                match table.outdated(&now, published) {
                    Some(change) => change.told(publication, &name),
                    None => {
                        let is_marked = table.contents_of.as_ref().is_some_and(|stored| stored.marks.is_some());
                        if table.has_contents && !is_marked {
                            unmarked.push((index, now));
                        }
                        continue;
                    }
                }
            };
            self.decoder.events.extend(strayed.take(table, why));
        }
        // What was gathered is whole transactions: they end before it is told that something waits, which voids what has no end.
        self.decoder.end_group();
        self.emit_events(&mut running).await?;
        if let Some(error) = strayed.error() {
            self.emit(SourceEvent::Waiting { error }, running.as_deref_mut()).await?;
            self.emit(SourceEvent::Connected, running.as_deref_mut()).await?;
        }
        for (index, now) in unmarked {
            self.mark_contents(index, now, &mut running).await?;
        }
        Ok(())
    }

    /// Puts on record what stored contents are of, which an earlier version has not: from now on it is compared.
    async fn mark_contents(
        &mut self,
        index: usize,
        now: Binding,
        running: &mut Option<&mut Connection>,
    ) -> Result<(), End> {
        let table = &self.decoder.tables[index];
        let from = Place { timeline: table.from.timeline.or(self.decoder.timeline), ..table.from };
        let (table, position) = (table.id, now.position(from));
        self.emit(SourceEvent::SnapshotLeftOut { table, position }, running.as_deref_mut()).await?;
        let table = &mut self.decoder.tables[index];
        (table.from, table.contents_of) = (from, Some(now));
        Ok(())
    }
}

/// Looks; `None` where the slot is gone.
async fn look(client: &Client, slot: &str, publication: &str, bound: &[u32]) -> Result<Option<Look>> {
    let sql = "SELECT pg_current_wal_lsn()::text, confirmed_flush_lsn::text, restart_lsn::text, \
               (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size') \
               FROM pg_replication_slots WHERE slot_name = $1";
    let found = client.query_opt(sql, &[&slot]).await.map_err(outside("the replication slots cannot be read"))?;
    let Some(row) = found else { return Ok(None) };
    let place = |i: usize| row.get::<_, Option<&str>>(i).and_then(Lsn::parse);
    let megabytes: Option<i64> = row.get(3);
    Ok(Some(Look {
        current: place(0).unwrap_or_default(),
        confirmed: place(1).unwrap_or_default(),
        kept_from: place(2),
        cap_bytes: megabytes.and_then(|megabytes| u64::try_from(megabytes).ok()).map(|megabytes| megabytes << 20),
        listed: catalog::list(client, Relations::Tables).await?,
        published: Publication::read(client, publication).await?,
        outside: catalog::describe(client, bound).await?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::{decoder, transaction};
    use super::super::publication::Entry;
    use super::super::stream::tests::{told, worker};
    use super::*;

    #[test]
    fn a_stream_has_caught_up_when_what_was_seen_is_acknowledged() {
        let second = Duration::from_secs;
        let mut watch = Watch::default();
        assert_eq!(watch.caught_up(Lsn(100), Lsn(50), second(10)), second(10), "nothing is known of before");
        assert_eq!(watch.caught_up(Lsn(200), Lsn(90), second(20)), second(10));
        assert_eq!(watch.caught_up(Lsn(300), Lsn(120), second(30)), second(10));
        assert_eq!(watch.caught_up(Lsn(400), Lsn(250), second(40)), second(10));
        assert_eq!(watch.caught_up(Lsn(500), Lsn(310), second(50)), second(30));
        assert_eq!(watch.caught_up(Lsn(500), Lsn(500), second(60)), second(60));
    }

    #[tokio::test]
    async fn a_look_voids_nothing_of_other_tables() {
        let mut both = decoder(vec![0]);
        let mut replaced = decoder(vec![0]).tables.remove(0);
        (replaced.id, replaced.outside[0].oid) = (2, 9);
        both.tables.push(replaced);
        let (mut worker, sent) = worker(both, 16);
        let [begin, relation, insert, _, _, truncate, commit] = transaction();
        for message in [begin, relation, insert, truncate, commit] {
            worker.decoder.message(&message).unwrap();
        }
        // All of the transaction but its end.
        worker.emit_events(&mut None).await.ok().unwrap();
        let listed = vec![Listed { oid: 7, root: 7, schema: "public".into(), name: "t".into() }];
        let look = Look {
            current: Lsn(120),
            confirmed: Lsn(0),
            kept_from: None,
            cap_bytes: None,
            listed,
            published: Some(Publication {
                tables: [7, 9].map(|oid| (oid, Entry { number: 1, ..Entry::default() })).into(),
                ..Publication::default()
            }),
            outside: Vec::new(),
        };
        worker.compare(&look, "own", None).await.ok().unwrap();
        let names: Vec<&str> = told(&sent)
            .iter()
            .map(|event| match event {
                SourceEvent::Rows { table: 1, .. } => "rows",
                SourceEvent::Truncate { table: 1 } => "truncate",
                SourceEvent::Commit { .. } => "commit",
                SourceEvent::Outdated { table: 2 } => "outdated",
                SourceEvent::Waiting { .. } => "waiting",
                SourceEvent::Connected => "connected",
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(names, ["rows", "truncate", "outdated", "commit", "waiting", "connected"]);
        assert_eq!(worker.position.map(|position| position.lsn), Some(Lsn(120)), "nothing of it comes again");
    }
}
