//! The outside as a source of changes.

use super::*;

/// What names the stream of a table at the outside.
fn slot_of(definition: &TableDef) -> String {
    definition.options.get("slot").cloned().unwrap_or_else(|| "tap".into())
}

impl SourceConnector for Outside {
    fn describe(&self, definition: &TableDef) -> Result<SourceDescription> {
        if definition.schema.len() != 2 {
            return Err(Error::invalid("a tap has two columns"));
        }
        Ok(SourceDescription {
            stream_key: definition.options.get("stream").cloned().unwrap_or_else(|| "tap".into()),
            table_key: definition.options.get("shift").cloned().unwrap_or_else(|| "only".into()),
            shared: !definition.options.contains_key("own"),
            bounded: false,
            mode: if definition.primary_key.is_empty() { ChangelogMode::InsertOnly } else { ChangelogMode::Upsert },
            notices: vec![],
        })
    }

    fn choosing_options(&self) -> &'static [(&'static str, &'static str)] {
        &[("scan.startup.mode", "initial")]
    }

    fn start(
        &self,
        source: SourceId,
        stream: StreamPlace<'_>,
        tables: Vec<SourceTable>,
        position: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>> {
        let tap = Tap { outside: self.clone(), source, events: events.clone() };
        {
            let mut inner = self.lock();
            let password = tables.first().and_then(|table| table.definition.options.get("password").cloned());
            inner.password = password.unwrap_or_default();
            inner.slot = slot_of(stream.definition);
            inner.starts += 1;
            inner.streams.retain(|stream| stream.source != source);
            let ids = tables.iter().map(|table| (table.id, shift_of(&table.definition))).collect();
            inner.streams.push(Running { source, events: events.clone(), tables: ids });
        }
        let from = position.map_or(0, |position| decode(&position) as usize);
        let (log, outside) = (self.lock().log.clone(), self.clone());
        self.lock().joining += 1;
        std::thread::spawn(move || {
            for table in &tables {
                if table.snapshot.is_none() {
                    outside.snapshot(source, table, &events);
                }
            }
            for (i, changes) in log.iter().enumerate().skip(from) {
                for table in tables.iter().filter(|table| table.snapshot.is_some()) {
                    let batch = batch_of(&shifted(changes, shift_of(&table.definition)));
                    let rows = SourceEvent::Rows { table: table.id, columns: None, batch };
                    let _ = events.send((source, rows));
                }
                let commit =
                    SourceEvent::Commit { position: encode(i as u64 + 1), event_time_micros: 1, received_micros: 1 };
                let _ = events.send((source, commit));
            }
            outside.lock().joining -= 1;
        });
        Ok(Box::new(tap))
    }

    fn stream_options(&self) -> &'static [&'static str] {
        &["slot"]
    }

    /// A slot is one for all streams of a database, whatever way they call it.
    fn place_name(&self, stream: StreamPlace<'_>) -> Result<String> {
        let database = stream.key.split('/').next().unwrap_or_default();
        Ok(format!("{database}/{}", slot_of(stream.definition)))
    }

    fn forget(&self, stream: StreamPlace<'_>) -> Result<()> {
        let mut inner = self.lock();
        inner.asked_to_forget.push(slot_of(stream.definition));
        let password = stream.definition.options.get("password");
        if password.is_some_and(|password| !inner.needed_password.is_empty() && *password != inner.needed_password) {
            return Err(Error::invalid("the tap refuses the password").hint("run the script with another"));
        }
        if inner.absent {
            return Err(Error::unavailable("the tap does not answer").hint("it is tried again; or turn it off by hand"));
        }
        inner.forgotten.push(slot_of(stream.definition));
        Ok(())
    }
}
