//! Scans with conditions: whatever a table has been through, they give the rows that a plain look at all of them gives.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Int32Array, Int64Array, StringArray};
use arrow_select::take::take;
use gridhouse_base::Result;

use super::*;
use crate::{CompareOp, Conjunct, ScanRequest};

/// A condition, and the same as a test of a row.
type Condition = (Conjunct, fn(&Row) -> bool);

fn conditions() -> Vec<Condition> {
    let compare = |column, op, value: ArrayRef| Conjunct::Compare { column, op, value };
    let id = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let load = |values: Vec<i32>| Arc::new(Int32Array::from(values)) as ArrayRef;
    let text = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    vec![
        (compare(0, CompareOp::Less, id(700)), |row| row.0 < 700),
        (compare(0, CompareOp::GreaterEq, id(11_000)), |row| row.0 >= 11_000),
        (compare(0, CompareOp::Eq, id(-1)), |row| row.0 == -1),
        (compare(1, CompareOp::Eq, text("b")), |row| row.1 == "b"),
        (compare(1, CompareOp::Greater, text("b")), |row| row.1 > "b"),
        (compare(2, CompareOp::NotEq, load(vec![3])), |row| row.2.is_some_and(|load| load != 3)),
        (Conjunct::InList { column: 2, values: load(vec![1, 5]) }, |row| matches!(row.2, Some(1 | 5))),
        (Conjunct::IsNull(2), |row| row.2.is_none()),
        (Conjunct::IsNotNull(2), |row| row.2.is_some()),
    ]
}

fn row(id: i64, salt: i64) -> Row {
    let mixed = (id ^ salt).wrapping_mul(0x9e37_79b9).rem_euclid(1_000);
    (id, ["a", "b", "馈线"][(mixed % 3) as usize], (mixed % 7 > 0).then_some(mixed % 7))
}

fn text_of(row: &Row) -> String {
    format!("+1 {} {} {}", row.0, row.1, row.2.map_or_else(|| "NULL".into(), |load| load.to_string()))
}

fn found(scans: impl IntoIterator<Item = crate::Scan>) -> Vec<String> {
    let batches: Vec<ChangeBatch> = scans.into_iter().flatten().map(Result::unwrap).collect();
    assert!(batches.iter().all(|batch| (1..=8_192).contains(&batch.len())), "batches are small and never empty");
    let mut rows: Vec<String> = batches.iter().map(plain).flat_map(|batch| shown(&batch)).collect();
    rows.sort();
    rows
}

/// A batch with codes of texts replaced by what they stand for.
fn plain(batch: &ChangeBatch) -> ChangeBatch {
    let column = |column: &ArrayRef| match column.as_dictionary_opt::<Int32Type>() {
        Some(coded) => take(coded.values(), coded.keys(), None).unwrap(),
        None => column.clone(),
    };
    ChangeBatch::insertions(batch.columns().iter().map(column).collect(), batch.len())
}

/// Writes rows, some of them again, and takes some away; `model` follows.
fn write(store: &mut Store, id: TableId, rounds: &[(i64, i64, i64)], model: &mut BTreeMap<i64, Row>) {
    for &(from, to, step) in rounds {
        let rows: Vec<(i32, Row)> = (from..to).step_by(step as usize).map(|id| (1, row(id, from + step))).collect();
        model.extend(rows.iter().map(|(_, row)| (row.0, *row)));
        let mut tick = store.tick().unwrap();
        tick.write(id, &change(&rows)).unwrap();
        tick.publish().unwrap();
    }
    let gone: Vec<i64> = model.range(500..900).map(|(id, _)| *id).step_by(2).collect();
    let gone: Vec<(i32, Row)> = gone.iter().map(|id| (-1, model.remove(id).unwrap())).collect();
    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&gone)).unwrap();
    tick.publish().unwrap();
    store.sync().unwrap();
}

fn compare(table: &TableSnapshot, model: &BTreeMap<i64, Row>) {
    let conditions = conditions();
    for (i, (first, passes)) in conditions.iter().enumerate() {
        for (second, also) in &conditions[i..] {
            let mut expected: Vec<String> =
                model.values().filter(|row| passes(row) && also(row)).map(text_of).collect();
            expected.sort();
            let conjuncts = vec![first.clone(), second.clone()];
            let mut request = ScanRequest { conjuncts, ..ScanRequest::default() };
            assert_eq!(found([table.scan_where(&request).unwrap()]), expected, "{first:?} and {second:?}");
            request.coded = vec![1];
            assert_eq!(found([table.scan_where(&request).unwrap()]), expected, "{first:?} and {second:?} by codes");
            let parts = table.partitions(&request, 3).unwrap();
            assert!(parts.len() <= 3);
            assert_eq!(found(parts), expected, "{first:?} and {second:?} in parts");
        }
    }
}

#[test]
fn scans_with_conditions_give_exactly_the_rows_that_meet_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    let mut model = BTreeMap::new();
    // Enough for batches of the largest size in one of the buckets, then updates and deletions across them.
    write(&mut store, id, &[(0, 40_000, 1), (100, 12_000, 3), (11_000, 40_000, 2), (39_000, 41_000, 1)], &mut model);
    let table = store.reader().snapshot().table(id).unwrap();
    compare(&table, &model);

    let first = &conditions()[0].0;
    let request =
        ScanRequest { projection: Some(vec![2, 0]), conjuncts: vec![first.clone()], ..ScanRequest::default() };
    let width = |batch: Result<ChangeBatch>| {
        let batch = batch.unwrap();
        assert_eq!((batch.columns().len(), batch.column(0).len()), (2, batch.len()));
        batch.len()
    };
    let rows: usize = table.scan_where(&request).unwrap().map(width).sum();
    assert_eq!(rows, model.range(..700).count());
    let counted = ScanRequest { projection: Some(vec![]), ..ScanRequest::default() };
    assert_eq!(table.scan_where(&counted).unwrap().map(|batch| batch.unwrap().len()).sum::<usize>(), model.len());
    let wrong = ScanRequest { projection: Some(vec![7]), ..ScanRequest::default() };
    let error = table.scan_where(&wrong).unwrap_err();
    assert_eq!(error.message(), "table t has 3 columns, number 7 is asked for");

    // The same rows in segments, then with a tail behind them that kills some of theirs.
    store.checkpoint(&mut || None).unwrap();
    let table = store.ordered_snapshot().table(id).unwrap();
    assert_eq!(table.bytes(), 0, "nothing is left in memory");
    compare(&table, &model);
    let coded = ScanRequest { projection: Some(vec![1]), coded: vec![1], ..ScanRequest::default() };
    let mut texts: Vec<ArrayRef> = Vec::new();
    for batch in table.scan_where(&coded).unwrap() {
        let batch = batch.unwrap();
        let column = batch.column(0).as_dictionary_opt::<Int32Type>().expect("three texts are kept as codes").clone();
        if !texts.iter().any(|known| Arc::ptr_eq(known, column.values())) {
            texts.push(column.values().clone());
        }
    }
    let groups = table.view.groups().count();
    assert_eq!(texts.len(), groups, "all chunks of a group share their texts");
    write(&mut store, id, &[(0, 40_000, 7), (20_000, 26_000, 1)], &mut model);
    compare(&store.reader().snapshot().table(id).unwrap(), &model);
}

#[test]
fn a_table_knows_what_its_columns_hold_and_by_which_it_ascends() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, TableSpec::log("readings", schema()));
    for start in [0, 3_000] {
        let rows: Vec<(i32, Row)> = (start..start + 3_000).map(|id| (1, row(id, 7))).collect();
        let mut tick = store.tick().unwrap();
        tick.write(id, &change(&rows)).unwrap();
        tick.publish().unwrap();
    }
    store.sync().unwrap();
    let table = store.reader().snapshot().table(id).unwrap();
    let statistics = table.column_statistics(0);
    let value = |bound: Option<ArrayRef>| Value::from_array(&bound.unwrap(), 0, &TypeKind::BigInt);
    assert_eq!((statistics.rows, statistics.nulls), (6_000, 0));
    assert_eq!((value(statistics.min), value(statistics.max)), (Value::Integer(0), Value::Integer(5_999)));
    assert_eq!(table.ordering(), [0]);
    let loads = table.column_statistics(2);
    assert_eq!(loads.nulls, (0..6_000).filter(|&id| row(id, 7).2.is_none()).count());
    assert!(table.column_statistics(1).min.is_none(), "nothing is known of texts");
}
