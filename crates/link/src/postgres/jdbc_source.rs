//! A `jdbc` table as the source of a continuous job: its contents once, then the end.
//!
//! The contents are one statement's snapshot, delivered as such: the engine puts them in place whole, when the last row is
//! there, and remembers that they are. So a restart before that reads anew, and one after it reads nothing.

use std::thread::JoinHandle;
use std::time::Duration;

use gridhouse_base::{Error, ErrorKind, Result, SourceId};
use gridhouse_flow::connector::{ScanRequest, SourceEvent, SourceEvents, SourcePosition, SourceStream, SourceTable};

use super::jdbc_options::ReadOptions;
use super::scan::{Reader, runtime};
use crate::hosts::HostMap;
use crate::stop::Stop;

/// How long a source waits before it tries again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The one position: everything was delivered.
const END: &[u8] = &[1];

pub(crate) fn start(
    source: SourceId,
    tables: Vec<SourceTable>,
    hosts: &HostMap,
    events: SourceEvents,
) -> Result<Box<dyn SourceStream>> {
    let [table] = <[SourceTable; 1]>::try_from(tables)
        .map_err(|_| Error::invalid("tables of connector 'jdbc' do not share a stream").hint("start each by itself"))?;
    let options = ReadOptions::read(&table.definition, hosts, &mut Vec::new())?;
    let stop = Stop::default();
    let worker = Worker { source, table, options, events, stop: stop.clone() };
    let thread = std::thread::Builder::new().name(format!("jdbc-{}", source.0)).spawn(move || worker.run());
    let thread =
        thread.map_err(|error| Error::unavailable("the thread of a source could not start").caused_by(error))?;
    Ok(Box::new(JdbcStream { stop, thread: Some(thread) }))
}

struct Worker {
    source: SourceId,
    table: SourceTable,
    options: ReadOptions,
    events: SourceEvents,
    stop: Stop,
}

/// Why a delivery ended before its time.
enum End {
    /// Nobody listens any more.
    Stopped,
    /// The outside failed.
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Worker {
    fn send(&self, event: SourceEvent) -> Result<(), End> {
        if self.stop.stopped() {
            return Err(End::Stopped);
        }
        self.events.send((self.source, event)).map_err(|_| End::Stopped)
    }

    fn run(self) {
        let mut wait = RETRY.0;
        loop {
            let error = match self.deliver() {
                Ok(()) | Err(End::Stopped) => return,
                Err(End::Failed(error)) => error,
            };
            let table = self.table.id;
            if error.kind() != ErrorKind::Unavailable {
                let _ = self.send(SourceEvent::Failed { error });
                return;
            }
            let told = self
                .send(SourceEvent::SnapshotAborted { table })
                .and_then(|()| self.send(SourceEvent::Waiting { error }));
            if told.is_err() || self.stop.wait(wait) {
                return;
            }
            wait = (wait * 2).min(RETRY.1);
        }
    }

    fn deliver(&self) -> Result<(), End> {
        let table = self.table.id;
        if self.table.snapshot.is_none() {
            let definition = &self.table.definition;
            let runtime = runtime()?;
            let all = ScanRequest { columns: definition.physical().collect(), ..Default::default() };
            let mut reader = runtime.block_on(Reader::open(definition, &self.options, &all))?;
            self.send(SourceEvent::Connected)?;
            while let Some(batch) = runtime.block_on(reader.next())? {
                self.send(SourceEvent::SnapshotRows { table, batch })?;
            }
            self.send(SourceEvent::SnapshotDone { table, position: END.to_vec() })?;
        } else {
            self.send(SourceEvent::Connected)?;
        }
        self.send(SourceEvent::Finished)
    }
}

struct JdbcStream {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl SourceStream for JdbcStream {
    fn add_table(&self, _: SourceTable) {}

    fn read_again(&self, _: u32) {}

    fn remove_table(&self, _: u32) {
        self.stop.signal();
    }

    fn acknowledge(&self, _: SourcePosition) {}

    fn stop(mut self: Box<Self>) {
        self.stop.signal();
        // A reader that waits for the server or for room in the queue ends by itself; it is not waited for.
        drop(self.thread.take());
    }
}

impl Drop for JdbcStream {
    fn drop(&mut self) {
        self.stop.signal();
    }
}
