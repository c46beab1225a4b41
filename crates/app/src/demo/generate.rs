//! Changes the source as a living grid would: readings come in, alarms rise and are cleared, devices are corrected,
//! replaced and moved. Inserts, updates, deletes and transactions over several tables; the number of rows stays bounded.
//!
//! The same seed over the same source gives the same changes. Each transaction holds a shared advisory lock, so that the
//! check can make the source stand still.

use std::time::Duration;

use gridhouse_base::Result;
use gridhouse_base::random::Random;
use tokio_postgres::Client;

use crate::demo::chain::{DEVICE_TYPES, Database, REGIONS, SLOTS};
use crate::signals::Signals;

/// The advisory lock that every transaction of the generator shares; any number that nobody else uses.
pub const LOCK: i64 = 47_110_001;

/// Alarms are kept to this share of the devices (and at least [`MIN_ALARMS`]): the oldest go.
const ALARMS_PER_DEVICE: f64 = 0.2;
const MIN_ALARMS: u64 = 50;

/// Readings in one transaction at most.
const MAX_READINGS: u64 = 20;

/// Rest between two bursts of transactions; short against the delay that people notice.
const REST: Duration = Duration::from_millis(20);

/// Rest before a database that went away is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How fast and how long.
pub struct Limits {
    /// Changed rows per second.
    pub rate: u32,
    /// The end by time.
    pub duration: Option<Duration>,
    /// The end by rows.
    pub rows: Option<u64>,
}

/// Changes the source until a limit is reached or a signal comes. A source that goes away is waited for.
///
/// # Errors
/// `Unavailable` where the source does not answer at the start.
pub async fn generate(source: &Database, limits: Limits, random: Random, signals: &Signals) -> Result<()> {
    let mut client = source.connect().await?;
    let mut grid = Grid::look(source, &client, random).await?;
    let started = tokio::time::Instant::now();
    let (mut done, mut reported) = (0_u64, 0_u64);
    while !signals.stop() {
        let passed = started.elapsed();
        if limits.duration.is_some_and(|limit| passed >= limit) || limits.rows.is_some_and(|limit| done >= limit) {
            break;
        }
        let due = (passed.as_secs_f64() * f64::from(limits.rate)) as u64;
        if done >= due.min(limits.rows.unwrap_or(u64::MAX)) {
            tokio::time::sleep(REST).await;
            continue;
        }
        let (sql, rows) = grid.transaction();
        let sql = format!("BEGIN; SELECT pg_advisory_xact_lock_shared({LOCK}); {sql} COMMIT;");
        match client.batch_execute(&sql).await {
            Ok(()) => done += rows,
            Err(error) if error.is_closed() || client.is_closed() => {
                eprintln!("{}; it is tried again", source.failed(error));
                client = reconnect(source, signals, client).await;
            }
            Err(error) => return Err(source.failed(error)),
        }
        if passed.as_secs() / 60 > reported {
            reported = passed.as_secs() / 60;
            println!("{done} rows changed in {reported} min");
        }
    }
    println!("{done} rows changed in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

async fn reconnect(source: &Database, signals: &Signals, old: Client) -> Client {
    while !signals.stop() {
        tokio::time::sleep(RETRY).await;
        if let Ok(client) = source.connect().await {
            return client;
        }
    }
    old
}

/// What the generator knows of the source.
struct Grid {
    random: Random,
    devices: u64,
    next_alarm: u64,
    /// Seconds since 2026-01-01 on the source's own clock; every transaction moves it on.
    seconds: u64,
}

impl Grid {
    async fn look(source: &Database, client: &Client, random: Random) -> Result<Self> {
        let number = async |sql: &str| -> Result<u64> {
            Ok(source.value(client, sql).await?.split('.').next().unwrap_or("").parse().unwrap_or(0))
        };
        let since = "EXTRACT(EPOCH FROM GREATEST((SELECT MAX(read_at) FROM readings), TIMESTAMP '2026-01-01 01:00:00') \
                     - TIMESTAMP '2026-01-01')";
        let grid = Self {
            devices: number("SELECT COALESCE(MAX(device_id), 1) FROM devices").await?,
            next_alarm: number("SELECT COALESCE(MAX(alarm_id), 0) + 1 FROM alarms").await?,
            seconds: number(&format!("SELECT {since}")).await?,
            random,
        };
        Ok(grid)
    }

    /// The statements of one transaction, and about how many rows it changes.
    fn transaction(&mut self) -> (String, u64) {
        self.seconds += 1;
        match self.random.below(100) {
            0..70 => self.readings(),
            70..76 => self.lost_readings(),
            76..86 => self.alarm(),
            86..93 => self.cleared(),
            93..98 => self.correction(),
            _ => self.replacement(),
        }
    }

    fn device(&mut self) -> u64 {
        1 + self.random.below(self.devices)
    }

    fn now(&self) -> String {
        format!("TIMESTAMP '2026-01-01' + {} * INTERVAL '1 second'", self.seconds)
    }

    /// Readings come in: the slots are used in turn; load follows the hour of the day.
    fn readings(&mut self) -> (String, u64) {
        let count = 1 + self.random.below(MAX_READINGS);
        let hour = (self.seconds / 3_600 % 24) as f64;
        // Two peaks a day, in the late morning and in the evening, around 60 % of what a device is rated for.
        let daily = 60.0 + 20.0 * ((hour - 4.0) / 24.0 * 4.0 * std::f64::consts::PI).sin();
        let mut rows = std::collections::BTreeMap::new();
        for _ in 0..count {
            let (device, slot) = (self.device(), self.random.below(u64::from(SLOTS)));
            let share = (daily + self.random.unit() * 30.0 - 10.0).clamp(1.0, 120.0);
            let voltage = 219.0 + self.random.unit() * 4.0;
            let hot = if self.random.chance(0.0005) { 30.0 } else { 0.0 };
            let temperature = 20.0 + share / 2.0 + self.random.unit() * 10.0 + hot;
            rows.insert((device, slot), format!("({device}, {slot}, {share:.2}, {voltage:.2}, {temperature:.1})"));
        }
        let values = rows.into_values().collect::<Vec<_>>().join(", ");
        let sql = format!(
            "INSERT INTO readings (device_id, slot, active_kw, voltage_v, temperature_c, read_at)
               SELECT v.id, v.slot, round(d.rated_kw * v.share / 100.0, 2), v.voltage, v.temperature, {}
               FROM (VALUES {values}) AS v (id, slot, share, voltage, temperature)
               JOIN devices d ON d.device_id = v.id
             ON CONFLICT (device_id, slot) DO UPDATE SET active_kw = excluded.active_kw, voltage_v = excluded.voltage_v,
               temperature_c = excluded.temperature_c, read_at = excluded.read_at;",
            self.now()
        );
        (sql, count)
    }

    /// Readings of a device turn out to be wrong and are removed; later ones take their slots again.
    fn lost_readings(&mut self) -> (String, u64) {
        let (device, slot) = (self.device(), self.random.below(u64::from(SLOTS)));
        (format!("DELETE FROM readings WHERE device_id = {device} AND slot <= {slot};"), slot + 1)
    }

    /// An alarm rises, the device's state follows, the oldest alarms go: two tables in one transaction.
    fn alarm(&mut self) -> (String, u64) {
        let (alarm, device, now) = (self.next_alarm, self.device(), self.now());
        self.next_alarm += 1;
        let level = if self.random.chance(0.01) { 1 } else { 2 + self.random.below(2) };
        let kind = *self.random.pick(&["过温", "过载", "电压越限", "通信中断", "局部放电"]);
        let kept = ((self.devices as f64 * ALARMS_PER_DEVICE) as u64).max(MIN_ALARMS);
        let oldest = alarm.saturating_sub(kept);
        let sql = format!(
            "INSERT INTO alarms VALUES ({alarm}, {device}, {level}, '{kind}', FALSE, {now});
             UPDATE devices SET status = 'alarm', updated_at = {now} WHERE device_id = {device} AND status <> 'retired';
             DELETE FROM alarms WHERE alarm_id <= {oldest};"
        );
        (sql, 3)
    }

    /// Alarms of a stretch are cleared and their devices are on line again.
    fn cleared(&mut self) -> (String, u64) {
        let back = self.random.below(MIN_ALARMS);
        let (newest, now) = (self.next_alarm.saturating_sub(back), self.now());
        let oldest = newest.saturating_sub(10);
        let sql = format!(
            "UPDATE devices SET status = 'online', updated_at = {now} WHERE status = 'alarm' AND device_id IN
               (SELECT device_id FROM alarms WHERE alarm_id BETWEEN {oldest} AND {newest} AND NOT cleared);
             UPDATE alarms SET cleared = TRUE WHERE alarm_id BETWEEN {oldest} AND {newest} AND NOT cleared;"
        );
        (sql, 6)
    }

    /// The register is corrected: another rating, another region, retired or back again.
    fn correction(&mut self) -> (String, u64) {
        let (device, now) = (self.device(), self.now());
        let change = match self.random.below(4) {
            0 => format!("rated_kw = {}", 100 + self.random.below(900)),
            1 => format!("region = '{}'", self.random.pick(&REGIONS)),
            2 => "status = CASE status WHEN 'retired' THEN 'online' ELSE 'retired' END".into(),
            _ => "device_name = device_name || '*'".into(),
        };
        // Names do not grow for ever.
        let bounded = "device_name = LEFT(device_name, 40)";
        let sql = format!(
            "UPDATE devices SET {change}, updated_at = {now} WHERE device_id = {device};
             UPDATE devices SET {bounded} WHERE device_id = {device} AND LENGTH(device_name) > 40;"
        );
        (sql, 1)
    }

    /// A device is replaced by one of another type: it and its readings are deleted and come again in one transaction.
    fn replacement(&mut self) -> (String, u64) {
        let (device, now) = (self.device(), self.now());
        let (kind, region) = (*self.random.pick(&DEVICE_TYPES), *self.random.pick(&REGIONS));
        let rated = 100 + self.random.below(900);
        let sql = format!(
            "DELETE FROM readings WHERE device_id = {device};
             DELETE FROM devices WHERE device_id = {device};
             INSERT INTO devices VALUES ({device}, '{kind}-{device:06}', '{region}', '{kind}', {rated}, 'online', {now});
             INSERT INTO readings VALUES ({device}, 0, {rated} * 0.5, 220, 45.5, {now});"
        );
        (sql, u64::from(SLOTS) + 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(seed: u64) -> Vec<String> {
        let mut grid = Grid { random: Random::new(seed), devices: 100, next_alarm: 1, seconds: 0 };
        (0..200).map(|_| grid.transaction().0).collect()
    }

    #[test]
    fn a_seed_gives_the_same_changes_again() {
        assert_eq!(changes(7), changes(7));
        assert_ne!(changes(7), changes(8));
    }
}
