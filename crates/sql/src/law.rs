//! What a query's result may depend on besides its input: its class under the law of stream and batch.

use gridhouse_expr::Volatility;

use crate::plan::Plan;

/// The class of a query under the law, from the strictest to the loosest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LawClass {
    /// At every moment the result is the query over its tables as they stand.
    Exact,
    /// The same up to the watermark: rows that come too late are left out.
    Windowed,
    /// The result depends on when rows came; what was given out is kept.
    Recorded,
}

/// The class of `plan`, and what puts it there.
pub fn law_class(plan: &Plan) -> (LawClass, Vec<&'static str>) {
    let mut found: Vec<(LawClass, &'static str)> = Vec::new();
    plan.visit(&mut |node| match node {
        Plan::Probe(_) | Plan::Lookup(_) => found.push((LawClass::Recorded, "a look-up sees its table as a row comes")),
        Plan::Join(join) if join.time.is_some() => {
            found.push((LawClass::Windowed, "a join bounded in time forgets rows behind the watermark"));
        }
        _ => {}
    });
    plan.for_each_expr(&mut |expr| match expr.volatility() {
        Volatility::Pure => {}
        Volatility::Clock => found.push((LawClass::Recorded, "the clock is read as a row comes")),
        Volatility::Random => found.push((LawClass::Recorded, "random values are drawn as a row comes")),
    });
    let class = found.iter().map(|(class, _)| *class).max().unwrap_or(LawClass::Exact);
    let mut reasons: Vec<&'static str> = Vec::new();
    for (of, reason) in found {
        if of == class && !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    (class, reasons)
}

/// The line about it at the head of an `EXPLAIN`.
pub fn law_line(plan: &Plan) -> String {
    let (class, reasons) = law_class(plan);
    let meaning = match class {
        LawClass::Exact => {
            return "Class: exact (at every moment the answer of the query over its tables as they stand)".into();
        }
        LawClass::Windowed => "windowed",
        LawClass::Recorded => "recorded",
    };
    format!("Class: {meaning} ({})", reasons.join("; "))
}
