//! The chain as a user would write it: source tables, layers from ODS to ADS, jobs between them, outside tables.

use gridhouse_base::random::Random;

use crate::outside::{Row, World};

/// The forms in which the chain comes.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Readings are a log without a key, in which a row that is lost or comes twice stands out. It cannot be compared with the
    /// source anew, so it is left out where a source has to be.
    pub has_log: bool,
    /// The sums of readings are made from the source itself, not from the layer where it lands.
    pub is_direct: bool,
    /// Orders that cannot be read as they are declared are kept apart; otherwise there are none.
    pub keeps_letters: bool,
    /// Orders of some customers alone are taken in, so that an update may bring an order here that was not.
    pub is_filtered: bool,
    /// Orders that are void are typed as the others are.
    pub types_void: bool,
    /// The board shows regions with so many orders or more; from one on it is a plain copy.
    pub shown_from: i64,
}

/// The job that types orders: what it does comes through operators into a table.
pub(crate) const TYPED: u64 = 4;

/// The job that writes the board outside.
pub(crate) const BOARD: u64 = 8;

impl Form {
    /// A drawn form.
    pub fn draw(random: &mut Random) -> Self {
        let has_log = random.chance(0.7);
        let [is_direct, keeps_letters, is_filtered] = [0.3; 3].map(|probability| random.chance(probability));
        Self { has_log, is_direct, keeps_letters, is_filtered, types_void: false, shown_from: 2 }
    }

    /// A form in which the query of one job is another, and that job.
    pub(crate) fn replaced(self, random: &mut Random) -> (u64, Self) {
        if random.chance(0.4) {
            return (TYPED, Self { types_void: !self.types_void, ..self });
        }
        let others: Vec<i64> = (1..=3).filter(|from| *from != self.shown_from).collect();
        (BOARD, Self { shown_from: *random.pick(&others), ..self })
    }

    /// What a job that may be replaced does.
    pub(crate) fn query(self, job: u64) -> String {
        if job == TYPED {
            let which = if self.types_void { "" } else { " WHERE status <> 'void'" };
            return format!(
                "INSERT INTO dwd_orders SELECT id, customer, CAST(amount AS BIGINT), UPPER(status) FROM ods_orders{which}"
            );
        }
        let which = if self.shown_from == 1 { String::new() } else { format!(" WHERE n >= {}", self.shown_from) };
        format!("INSERT INTO board SELECT * FROM ads_board{which}")
    }

    /// Whether an order that can be read is taken in.
    pub(crate) fn takes(self, order: &Row) -> bool {
        !self.is_filtered || order[1].parse::<i64>().is_ok_and(|customer| customer < 4)
    }

    /// Has the source be as the chain expects it.
    pub(crate) fn shape(self, world: &mut World) {
        world.is_comparable = !self.has_log;
        world.database.has_unfit = self.keeps_letters;
    }

    fn key_of_readings(self) -> &'static str {
        if self.has_log { "" } else { ", PRIMARY KEY (n) NOT ENFORCED" }
    }

    /// The tables outside, which each session has to declare.
    pub(crate) fn outside(self) -> String {
        let key = self.key_of_readings();
        let grows = if self.has_log { ", 'grows' = 'true'" } else { "" };
        let on_error = if self.keeps_letters { ", 'on-error' = 'dead-letter'" } else { "" };
        format!(
            "CREATE TEMPORARY TABLE tap_customers (id BIGINT, region STRING, PRIMARY KEY (id) NOT ENFORCED)
               WITH ('connector' = 'tap', 'table' = 'customers');
             CREATE TEMPORARY TABLE tap_orders (id BIGINT, customer BIGINT, amount STRING, status STRING,
               PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap', 'table' = 'orders'{on_error});
             CREATE TEMPORARY TABLE tap_readings (device BIGINT, n BIGINT{key})
               WITH ('connector' = 'tap', 'table' = 'readings');
             CREATE TEMPORARY TABLE board (region STRING, n BIGINT, total BIGINT, top BIGINT, seen BIGINT,
               PRIMARY KEY (region) NOT ENFORCED) WITH ('connector' = 'drain', 'table' = 'board');
             CREATE TEMPORARY TABLE counts (region STRING, n BIGINT) WITH ('connector' = 'drain', 'table' = 'counts');
             CREATE TEMPORARY TABLE trail (device BIGINT, n BIGINT{key})
               WITH ('connector' = 'drain', 'table' = 'trail'{grows});"
        )
    }

    /// The script; running it again changes nothing.
    pub fn script(self) -> String {
        let key = self.key_of_readings();
        let of_some = if self.is_filtered { " WHERE customer < 4" } else { "" };
        let readings = if self.is_direct { "tap_readings" } else { "ods_readings" };
        let [typed, board] = [TYPED, BOARD].map(|job| self.query(job));
        let outside = self.outside();
        format!(
            "{outside}
             CREATE TABLE ods_customers (id BIGINT, region STRING, PRIMARY KEY (id) NOT ENFORCED);
             CREATE TABLE ods_orders (id BIGINT, customer BIGINT, amount STRING, status STRING,
               PRIMARY KEY (id) NOT ENFORCED) WITH ('bucket.num' = '2');
             CREATE TABLE ods_readings (device BIGINT, n BIGINT{key});
             CREATE TABLE dwd_orders (id BIGINT, customer BIGINT, amount BIGINT, status STRING,
               PRIMARY KEY (id) NOT ENFORCED);
             CREATE TABLE dws_regions (region STRING, n BIGINT, total BIGINT, top BIGINT,
               PRIMARY KEY (region) NOT ENFORCED);
             CREATE TABLE dws_devices (device BIGINT, n BIGINT, total BIGINT, PRIMARY KEY (device) NOT ENFORCED);
             CREATE TABLE ads_board (region STRING, n BIGINT, total BIGINT, top BIGINT, seen BIGINT,
               PRIMARY KEY (region) NOT ENFORCED);

             INSERT INTO ods_customers SELECT * FROM tap_customers;
             INSERT INTO ods_orders SELECT * FROM tap_orders{of_some};
             INSERT INTO ods_readings SELECT * FROM tap_readings;
             {typed};
             INSERT INTO dws_regions SELECT c.region, COUNT(*), SUM(o.amount), MAX(o.amount)
               FROM dwd_orders AS o JOIN ods_customers AS c ON o.customer = c.id GROUP BY c.region;
             INSERT INTO dws_devices SELECT device, COUNT(*), SUM(n) FROM {readings} GROUP BY device;
             INSERT INTO ads_board SELECT r.region, r.n, r.total, r.top, d.n
               FROM dws_regions AS r LEFT JOIN dws_devices AS d ON r.n = d.device;
             {board};
             INSERT INTO counts SELECT region, n FROM dws_regions;
             INSERT INTO trail SELECT * FROM ods_readings;"
        )
    }
}
