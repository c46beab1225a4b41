//! What every layer and every outside table must show, computed at once from what the source holds, in plain Rust. Nothing
//! of the engine is used here: not its SQL, its operators or its arithmetic.

use std::collections::BTreeMap;

use crate::chain::Form;
use crate::outside::{NULL, Row, SourceTables, is_fit};

/// The rows of a table, in order.
pub type Rows = Vec<Row>;

/// What must stand in each table of ours, and in each outside.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// By the tables' names.
    pub layers: BTreeMap<&'static str, Rows>,
    /// By the outside tables' names.
    pub targets: BTreeMap<&'static str, Rows>,
}

/// A region's row before it is text.
#[derive(Clone, Debug, Default)]
struct Region {
    orders: i64,
    total: i64,
    top: i64,
}

impl Answer {
    /// The answer of a chain of this form over what a source holds.
    pub fn of(source: &SourceTables, form: Form) -> Self {
        let customers = source.rows("customers");
        let mut orders = source.rows("orders");
        orders.retain(|order| is_fit(order) && form.takes(order));
        let readings = source.rows("readings");

        let typed: Rows = orders
            .iter()
            .filter(|order| form.types_void || order[3] != "void")
            .map(|order| vec![order[0].clone(), order[1].clone(), order[2].clone(), order[3].to_uppercase()])
            .collect();

        let mut regions: BTreeMap<String, Region> = BTreeMap::new();
        for order in &typed {
            for customer in customers.iter().filter(|customer| customer[0] == order[1]) {
                let amount: i64 = order[2].parse().expect("amounts are numbers");
                let region = regions.entry(customer[1].clone()).or_default();
                region.orders += 1;
                region.total += amount;
                region.top = region.top.max(amount);
            }
        }
        let mut devices: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for reading in &readings {
            let number = |c: usize| reading[c].parse::<i64>().expect("readings are numbers");
            let device = devices.entry(number(0)).or_default();
            *device = (device.0 + 1, device.1 + number(1));
        }
        let board: Rows = regions
            .iter()
            .map(|(name, region)| {
                let seen = devices.get(&region.orders).map_or(NULL.to_owned(), |device| device.0.to_string());
                vec![name.clone(), region.orders.to_string(), region.total.to_string(), region.top.to_string(), seen]
            })
            .collect();
        let regions = regions.iter().map(|(name, region)| {
            vec![name.clone(), region.orders.to_string(), region.total.to_string(), region.top.to_string()]
        });
        let regions: Rows = regions.collect();
        let devices = devices
            .iter()
            .map(|(device, (count, total))| vec![device.to_string(), count.to_string(), total.to_string()])
            .collect();

        let is_shown = |row: &&Row| row[1].parse::<i64>().is_ok_and(|orders| orders >= form.shown_from);
        let shown = board.iter().filter(is_shown).cloned().collect();
        let counts = regions.iter().map(|row| vec![row[0].clone(), row[1].clone()]).collect();
        let sorted = |mut rows: Rows| {
            rows.sort();
            rows
        };
        let layers = [
            ("ods_customers", customers),
            ("ods_orders", orders),
            ("ods_readings", readings.clone()),
            ("dwd_orders", typed),
            ("dws_regions", regions),
            ("dws_devices", devices),
            ("ads_board", board),
        ];
        let targets = [("board", shown), ("counts", counts), ("trail", readings)];
        Self {
            layers: layers.into_iter().map(|(name, rows)| (name, sorted(rows))).collect(),
            targets: targets.into_iter().map(|(name, rows)| (name, sorted(rows))).collect(),
        }
    }
}
