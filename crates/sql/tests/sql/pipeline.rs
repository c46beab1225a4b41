//! The scripts of the reference cluster, their text copied: every statement is read and bound here as there.

use crate::corpus::compare;
use crate::house::{Given, House, shown};

const PIPELINE: &str = include_str!("../../../../tests/reference/pipeline/pipeline.sql");
const SMOKE: &str = include_str!("smoke.sql");

fn plans(script: &str) -> Vec<String> {
    let mut house = House::empty();
    let mut plans = Vec::new();
    for given in house.run(script) {
        match given {
            Ok(Given::Insert(insert)) => plans.push(gridhouse_sql::explain_insert(&insert)),
            Ok(Given::Query(plan)) => plans.push(gridhouse_sql::explain(&plan)),
            Ok(Given::Text(text)) => plans.push(text),
            Ok(Given::Done) => {}
            Err(error) => panic!("{}", shown(&error)),
        }
    }
    plans
}

#[test]
fn the_pipeline_binds() {
    let plans = plans(PIPELINE);
    assert_eq!(plans.len(), 5);
    compare("pipeline.plans", &plans.join("\n"));
}

#[test]
fn the_smoke_script_binds() {
    let plans = plans(SMOKE);
    assert_eq!(plans.len(), 13);
    compare("smoke.plans", &plans.join("\n"));
}
