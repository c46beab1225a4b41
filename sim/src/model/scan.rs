//! Scans with a projection and drawn conditions: what they give against the rows that a whole scan has given.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, StringArray};
use gridhouse_base::Result;
use gridhouse_base::random::Random;
use gridhouse_store::{CompareOp, Conjunct, ScanRequest, TableSnapshot};

use super::check::assert_rows;
use super::rows::{NAMES, Projected, Row, SMALL_IDS, columns, project, projected};

/// Projections that are asked for; `None` is all columns.
pub(super) const PROJECTIONS: [Option<&[usize]>; 6] =
    [None, Some(&[0]), Some(&[1]), Some(&[2, 0]), Some(&[1, 2]), Some(&[2, 1, 0])];

const OPERATORS: [CompareOp; 6] =
    [CompareOp::Eq, CompareOp::NotEq, CompareOp::Less, CompareOp::LessEq, CompareOp::Greater, CompareOp::GreaterEq];

/// Checks drawn scans of `table`, whose rows are `all`.
///
/// # Errors
/// What the store gives.
///
/// # Panics
/// If a scan shows other rows or columns than it should.
pub(super) fn check_scans(table: &TableSnapshot, all: &[Row], random: &mut Random) -> Result<()> {
    let projection = *random.pick(&PROJECTIONS);
    let listed = projection.unwrap_or(&[0, 1, 2]);
    let (mut conjuncts, mut conditions) = (Vec::new(), Vec::new());
    while conjuncts.len() < 3 && random.chance(0.5) {
        let condition = Condition::draw(random);
        conjuncts.push(condition.conjunct());
        conditions.push(condition);
    }
    let coded = if random.chance(0.3) { vec![1] } else { Vec::new() };
    let request = ScanRequest { projection: projection.map(<[usize]>::to_vec), conjuncts, coded };
    let mut found: Vec<Projected> = Vec::new();
    for part in table.partitions(&request, 1 + random.below(4) as usize)? {
        for batch in part {
            let columns: Vec<ArrayRef> = batch?.columns().iter().map(plain).collect();
            found.extend(projected(&columns, listed));
        }
    }
    let passes = |row: &&Row| conditions.iter().all(|condition| condition.is_true(row));
    let expected: Vec<Projected> = all.iter().filter(passes).map(|row| project(row, listed)).collect();
    let what = format!("table {} shows columns {listed:?} where {conditions:?}", table.spec().name);
    assert_rows(&found, &expected, &what);
    Ok(())
}

/// A drawn scan of a table like ours.
pub(crate) fn drawn_request(random: &mut Random) -> ScanRequest {
    let projection = random.pick(&PROJECTIONS).map(<[usize]>::to_vec);
    let conjuncts = (0..random.below(3)).map(|_| Condition::draw(random).conjunct()).collect();
    let coded = if random.chance(0.3) { vec![1] } else { Vec::new() };
    ScanRequest { projection, conjuncts, coded }
}

/// A column with codes of texts replaced by what they stand for.
fn plain(column: &ArrayRef) -> ArrayRef {
    match column.as_dictionary_opt::<Int32Type>() {
        Some(coded) => {
            let texts = coded.downcast_dict::<StringArray>().expect("texts have codes");
            Arc::new(texts.into_iter().collect::<StringArray>())
        }
        None => column.clone(),
    }
}

/// A condition on column `column`, with constants from the columns of some rows.
#[derive(Debug)]
struct Condition {
    column: usize,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Compare(CompareOp, Row),
    InList(Vec<Row>),
    IsNull,
    IsNotNull,
}

impl Condition {
    fn draw(random: &mut Random) -> Self {
        let mut row = || {
            let name = random.chance(0.9).then(|| (*random.pick(&NAMES)).to_string());
            (random.below(SMALL_IDS) as i64, name, random.chance(0.9).then(|| random.below(4) as i32))
        };
        let rows = [row(), row(), row()];
        let test = match random.below(8) {
            0..=4 => Test::Compare(*random.pick(&OPERATORS), rows[0].clone()),
            5 => Test::InList(rows.to_vec()),
            6 => Test::IsNull,
            _ => Test::IsNotNull,
        };
        Self { column: random.below(3) as usize, test }
    }

    fn conjunct(&self) -> Conjunct {
        let column = self.column;
        let values = |rows: &[Row]| columns(rows, Some(&[column])).remove(0);
        match &self.test {
            Test::Compare(op, row) => Conjunct::Compare { column, op: *op, value: values(std::slice::from_ref(row)) },
            Test::InList(rows) => Conjunct::InList { column, values: values(rows) },
            Test::IsNull => Conjunct::IsNull(column),
            Test::IsNotNull => Conjunct::IsNotNull(column),
        }
    }

    fn is_true(&self, row: &Row) -> bool {
        let value = self.value(row);
        match &self.test {
            Test::IsNull => value.is_none(),
            Test::IsNotNull => value.is_some(),
            Test::InList(rows) => value.is_some() && rows.iter().any(|other| self.value(other) == value),
            Test::Compare(op, other) => {
                let (Some(value), Some(other)) = (value, self.value(other)) else { return false };
                let order = value.cmp(&other);
                match op {
                    CompareOp::Eq => order.is_eq(),
                    CompareOp::NotEq => order.is_ne(),
                    CompareOp::Less => order.is_lt(),
                    CompareOp::LessEq => order.is_le(),
                    CompareOp::Greater => order.is_gt(),
                    CompareOp::GreaterEq => order.is_ge(),
                }
            }
        }
    }

    /// The value of the condition's column in `row`: numbers compare as numbers, texts by their bytes.
    fn value(&self, row: &Row) -> Option<(i64, String)> {
        match self.column {
            0 => Some((row.0, String::new())),
            1 => row.1.clone().map(|name| (0, name)),
            _ => row.2.map(|load| (i64::from(load), String::new())),
        }
    }
}
