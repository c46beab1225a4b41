//! Ticks of random contents, published, dropped or refused.

use std::sync::Arc;

use arrow_array::Int32Array;
use gridhouse_base::batch::KindBatch;
use gridhouse_base::{ChangeBatch, CommitId, ErrorKind, RowKind, TableId};
use gridhouse_store::{Store, TableKind, Tick};

use super::sources::Steps;
use super::{Simulation, Step};
use crate::model::{Entry, Model, ModelTable, QUEUE, Row, SPACE, TABLES, assert_rows, check_table, columns, spec};

/// Those who read logs.
const CONSUMERS: [&str; 2] = ["replica", "tier"];

/// Who reads the queue.
const WORKER: &str = "worker";

impl Simulation {
    pub(super) fn tick(&mut self) -> Step {
        let mut store = self.store.take().expect("the store is open");
        let (before, ordered) = (store.ordered_snapshot().commit().0, store.reader().ordered());
        let result = self.tick_on(&mut store);
        if store.reader().durable() >= ordered {
            // A tick that seals ahead first lets a checkpoint be finished, which makes all before it durable.
            self.durable_tick = self.durable_tick.max(before);
            self.durable_positions = self.positions.clone();
        }
        self.store = Some(store);
        self.observe();
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.refused(&error),
        }
    }

    fn tick_on(&mut self, store: &mut Store) -> gridhouse_base::Result<()> {
        let mut model = Model::clone(self.latest());
        let mut tick = store.tick()?;
        let commit = tick.commit().0;
        self.tell(|| format!("tick {commit}"));
        let all = TABLES.len() + 1;
        if model.tables.len() < all && self.random.chance(0.8) {
            self.create_table(&mut tick, &mut model)?;
        }
        if self.random.chance(0.8) && !self.apply_pending(&mut tick, &mut model)? {
            self.tell(|| "  is given up halfway".into());
            return Ok(());
        }
        for _ in 0..self.random.below(4) {
            self.write(&mut tick, &mut model)?;
        }
        while self.random.chance(0.3) {
            let key = self.random.below(5).to_string();
            let value = self.random.chance(0.7).then(|| format!("{{\"n\":{}}}", self.random.below(1000)));
            tick.put(SPACE, &key, value.as_deref());
            match value {
                Some(value) => drop(model.meta.insert(key, value)),
                None => drop(model.meta.remove(&key)),
            }
        }
        if self.random.chance(0.3) {
            self.move_cursor(&mut tick, &mut model)?;
        }
        if self.random.chance(0.03) && !model.tables.is_empty() {
            self.drop_table(&mut tick, &mut model)?;
        }
        if self.random.chance(0.1) {
            self.tell(|| "  is given up".into());
            return Ok(());
        }
        self.publish(tick, model)
    }

    fn publish(&mut self, tick: Tick<'_>, mut model: Model) -> gridhouse_base::Result<()> {
        let commit = tick.commit().0;
        let before = self.history.last_key_value().map(|(commit, model)| (*commit, model.clone()));
        let unchanged = Arc::new(model.clone());
        model.time_micros = tick.time_micros();
        self.history.insert(commit, Arc::new(model));
        match tick.publish() {
            Ok(published) => {
                if published.0 != commit {
                    // Nothing had changed, so there is no such tick.
                    self.history.remove(&commit);
                    let now = Some((published.0, unchanged));
                    assert_eq!(before, now, "a tick without effect changes nothing");
                }
                Ok(())
            }
            Err(error) => {
                // The frame of a tick in which the machine stopped may be on the disk.
                if !self.fs.is_crashed() {
                    self.history.remove(&commit);
                }
                Err(error)
            }
        }
    }

    fn create_table(&mut self, tick: &mut Tick<'_>, model: &mut Model) -> gridhouse_base::Result<()> {
        let names = TABLES.into_iter().chain([QUEUE]);
        let missing: Vec<&str> = names.filter(|name| !model.tables.contains_key(*name)).collect();
        let name = *self.random.pick(&missing);
        let id = tick.create_table(spec(name))?;
        self.tell(|| format!("  create table {name} as {id}"));
        let consumer = match name {
            QUEUE => Some(WORKER),
            _ => self.keeps_log.then_some(CONSUMERS[0]),
        };
        if let Some(consumer) = consumer {
            tick.set_cursor(consumer, id, CommitId(0))?;
            model.cursors.insert((consumer.to_string(), id), 0);
        }
        model.tables.insert(name.to_string(), Arc::new(ModelTable::new(name, id)));
        Ok(())
    }

    fn drop_table(&mut self, tick: &mut Tick<'_>, model: &mut Model) -> gridhouse_base::Result<()> {
        let (name, id) = self.table_of(model);
        self.tell(|| format!("  drop table {name}"));
        tick.drop_table(id)?;
        model.tables.remove(&name);
        model.cursors.retain(|(_, table), _| *table != id);
        Ok(())
    }

    /// Some table of `model`, which has one.
    fn table_of(&mut self, model: &Model) -> (String, TableId) {
        let tables: Vec<(String, TableId)> =
            model.tables.iter().map(|(name, table)| (name.clone(), table.id)).collect();
        self.random.pick(&tables).clone()
    }

    /// A consumer begins, moves on or ends.
    fn move_cursor(&mut self, tick: &mut Tick<'_>, model: &mut Model) -> gridhouse_base::Result<()> {
        if model.tables.is_empty() {
            return Ok(());
        }
        let (name, id) = self.table_of(model);
        let consumer = if name == QUEUE { WORKER } else { *self.random.pick(&CONSUMERS) };
        if name != QUEUE && self.random.chance(0.3) {
            let table = self.random.chance(0.7).then_some(id);
            self.tell(|| format!("  forget the cursor of {consumer} on {table:?}"));
            tick.forget_cursor(consumer, table)?;
            model.cursors.retain(|(name, id), _| name != consumer || table.is_some_and(|table| table != *id));
            return Ok(());
        }
        let key = (consumer.to_string(), id);
        let known = model.cursors.get(&key).copied().filter(|_| self.random.chance(0.9)).unwrap_or_default();
        let newest = tick.commit().0 - 1;
        let upto = known + self.random.below(newest.saturating_sub(known) + 1);
        let kept = tick.set_cursor(consumer, id, CommitId(upto))?.0;
        self.tell(|| format!("  the cursor of {consumer} on {name} is to be {upto}, and is {kept}"));
        assert_eq!(kept, upto.max(self.log_floor(&model.tables[&name])), "the log of {name} is kept from there on");
        model.cursors.insert(key, kept);
        Ok(())
    }

    /// From where on the log of `table` is kept for one more consumer.
    fn log_floor(&self, table: &ModelTable) -> u64 {
        let (last, before) = self.history.last_key_value().expect("there is a model");
        let is_old = before.tables.values().any(|old| old.id == table.id);
        if is_old && (table.kind == TableKind::PrimaryKey || table.is_queue) {
            return before.slowest(table.id).unwrap_or(*last).max(table.begins);
        }
        table.begins
    }

    /// Rows of a log expire.
    fn expire(&mut self, tick: &mut Tick<'_>, model: &mut Model, name: &str) -> gridhouse_base::Result<()> {
        let table = Arc::make_mut(model.tables.get_mut(name).expect("the table has just been found"));
        let newest = tick.commit().0 - 1;
        let upto = table.begins.min(newest) + self.random.below(newest.saturating_sub(table.begins) + 1);
        self.tell(|| format!("  what {name} has of commits up to {upto} expires"));
        let (found, expected) = (tick.trim_log(table.id, CommitId(upto))?, table.trim(upto));
        // A queue may have forgotten some of it by itself.
        assert!(found == expected || (table.is_queue && found < expected), "{found} rows of {name}, not {expected}");
        Ok(())
    }

    /// Applies what waits, in steps; false if not to the end.
    fn apply_pending(&mut self, tick: &mut Tick<'_>, model: &mut Model) -> gridhouse_base::Result<bool> {
        let before = model.clone();
        let commit = tick.commit().0;
        let waiting: Vec<u64> = self.commits.range(model.as_of + 1..commit).map(|(commit, _)| *commit).collect();
        let acts: Vec<_> = waiting.iter().map(|commit| self.commits[commit].acts.clone()).collect();
        let exists = |id: TableId| model.tables.values().any(|table| table.id == id);
        // Rows of a table that has been dropped may count or not.
        let scale = if self.is_wide() { 1_000 } else { 1 };
        let is_plain = acts.iter().flat_map(|acts| acts.iter()).all(|act| exists(act.table()));
        let limit =
            if is_plain && self.random.chance(0.5) { (1 + self.random.below(12) as usize) * scale } else { usize::MAX };
        self.tell(|| format!("  apply {waiting:?}, {limit} rows at a time"));
        let gives_up = self.random.chance(0.1);
        let mut changes = Vec::new();
        while let Some(step) = tick.apply_step(limit)? {
            changes.extend(step.changes);
            if gives_up && self.random.chance(0.3) {
                return Ok(false);
            }
        }
        let mut steps = Steps::new(limit);
        for (source_commit, acts) in waiting.into_iter().zip(acts) {
            acts.iter().for_each(|act| act.apply(commit, model, &mut steps));
            model.as_of = source_commit;
        }
        assert_eq!(tick.as_of().0, model.as_of);
        for (name, table) in &model.tables {
            let mut followed = ModelTable::clone(&before.tables[name]);
            changes.iter().filter(|c| c.table == table.id).for_each(|c| followed.follow(commit, &c.rows));
            assert_effect(&followed, table, name);
        }
        Ok(true)
    }

    /// Writes random rows to a random table, and checks what it is said to have come to.
    fn write(&mut self, tick: &mut Tick<'_>, model: &mut Model) -> gridhouse_base::Result<()> {
        if model.tables.is_empty() {
            return Ok(());
        }
        let (name, id) = self.table_of(model);
        let commit = tick.commit().0;
        if self.random.chance(0.05) {
            return self.restore(tick, model, &name);
        }
        if model.tables[&name].kind == TableKind::Log && self.random.chance(0.15) {
            return self.expire(tick, model, &name);
        }
        let table = model.table_mut(id).expect("the table has just been found");
        let mut followed = table.clone();
        let rows = self.rows();
        let choice = self.random.below(20);
        let effect = if choice == 0 && name != QUEUE {
            self.tell(|| format!("  truncate {name}"));
            table.truncate(commit);
            tick.truncate(id)?
        } else if choice < 6 && name == "keyed" {
            self.tell(|| format!("  upsert columns of {} rows in {name}", rows.len()));
            let part: Vec<Entry> = rows.iter().map(|row| (RowKind::Insert, row.clone())).collect();
            table.apply(commit, &part, Some(&[0, 2]));
            let batch = KindBatch::new(columns(&rows, Some(&[0, 2])), vec![RowKind::Insert; rows.len()]);
            tick.upsert_columns(id, &[0, 2], &batch)?
        } else {
            let is_log = name == "events" || name == QUEUE;
            let weight = |_| if is_log { self.random.below(3) as i32 } else { self.random.between(-1, 1) as i32 };
            let weights: Vec<i32> = rows.iter().map(weight).collect();
            let change: Vec<(i32, Row)> = weights.into_iter().zip(rows).filter(|change| change.0 != 0).collect();
            self.tell(|| format!("  write {} rows to {name}", change.len()));
            table.write(commit, &change);
            let rows: Vec<Row> = change.iter().map(|change| change.1.clone()).collect();
            let diff: Int32Array = change.iter().map(|change| change.0).collect();
            tick.write(id, &ChangeBatch::new(columns(&rows, None), rows.len(), Some(diff)))?
        };
        followed.follow(commit, &effect);
        assert_effect(&followed, table, &name);
        if self.random.chance(0.1) {
            check_table(&tick.table(id)?, table, &mut self.random)?;
        }
        Ok(())
    }
}

impl Simulation {
    /// Takes back what the tick has done to a table.
    fn restore(&mut self, tick: &mut Tick<'_>, model: &mut Model, name: &str) -> gridhouse_base::Result<()> {
        let id = model.tables[name].id;
        let before = self.latest().tables.get(name).filter(|table| table.id == id).cloned();
        self.tell(|| format!("  take back what was done to {name}"));
        match (tick.restore(id), before) {
            (Err(error), None) if error.kind() == ErrorKind::Invalid => Ok(()),
            (restored, Some(before)) => {
                model.tables.insert(name.to_string(), before);
                restored
            }
            (restored, None) => panic!("a table that the tick has made cannot be taken back, but: {restored:?}"),
        }
    }
}

fn assert_effect(followed: &ModelTable, table: &ModelTable, name: &str) {
    let what = format!("the effective change of {name} leads to its rows");
    assert_rows(&followed.sorted(), &table.sorted(), &what);
}
