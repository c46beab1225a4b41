-- 电力设备：PostgreSQL → ODS → DWD → DWS → ADS → PostgreSQL
-- Power equipment: units, measurements, alarms and customers become boards of capacity, health, alarms and use.
--
-- 同一文本可在 Gridhouse 与真实的 Fluss + Flink 上运行；@…@ 在运行前填写（见 solutions/README.md）。
-- The same text runs on Gridhouse and on a real Fluss + Flink; the @…@ are filled in first (see solutions/README.md).
-- 每层一个作业（语句集）。One job (statement set) for each layer.

-- ── 源表 Sources ─────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TEMPORARY TABLE power_equipment_source (
  equipment_id BIGINT, equipment_name STRING, equipment_type STRING, region STRING, substation STRING, voltage_kv INT,
  capacity_kva DECIMAL(12, 2), equipment_status STRING, commissioned_on DATE, PRIMARY KEY (equipment_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'equipment', 'slot.name' = 'power_equipment', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE power_monitoring_source (
  equipment_id BIGINT, point INT, load_kw DECIMAL(12, 2), voltage_pu DECIMAL(6, 3), temperature_c DECIMAL(5, 1),
  measured_at TIMESTAMP(3), PRIMARY KEY (equipment_id, point) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'monitoring', 'slot.name' = 'power_monitoring', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE power_equipment_alarms_source (
  alarm_id BIGINT, equipment_id BIGINT, alarm_type STRING, alarm_level INT, raised_at TIMESTAMP(3),
  cleared_at TIMESTAMP(3), PRIMARY KEY (alarm_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'equipment_alarms', 'slot.name' = 'power_equipment_alarms', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE power_customers_source (
  customer_id BIGINT, customer_name STRING, region STRING, customer_type STRING, contract_kva DECIMAL(10, 2),
  equipment_id BIGINT, PRIMARY KEY (customer_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'customers', 'slot.name' = 'power_customers', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE power_customer_usage_source (
  customer_id BIGINT, usage_day DATE, peak_kwh DECIMAL(12, 2), flat_kwh DECIMAL(12, 2), valley_kwh DECIMAL(12, 2),
  PRIMARY KEY (customer_id, usage_day) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'customer_usage', 'slot.name' = 'power_customer_usage', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

-- 电压等级是不变的维表，处理时逐行查询。The classes of voltage never change: each row looks its own one up.
CREATE TEMPORARY TABLE power_voltage_classes (
  voltage_kv INT, class_name STRING, load_limit DECIMAL(4, 2), PRIMARY KEY (voltage_kv) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SOURCE_HOST@:@SOURCE_PORT@/@SOURCE_DATABASE@',
  'table-name' = 'voltage_classes', 'username' = '@SOURCE_USER@', 'password' = '@SOURCE_PASSWORD@');

-- ── 目标表 Sinks ──────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TEMPORARY TABLE power_live_board_sink (
  board_id INT, units BIGINT, running_units BIGINT, running_rate DOUBLE, capacity_kva DECIMAL(20, 2),
  load_kw DECIMAL(20, 2), load_rate DOUBLE, overloaded BIGINT, hottest_c DECIMAL(5, 1), open_alarms BIGINT,
  critical_alarms BIGINT, customers BIGINT, kwh DECIMAL(20, 2), worst_region STRING,
  PRIMARY KEY (board_id) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'live_board', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE power_capacity_board_sink (
  equipment_type STRING, region STRING, units BIGINT, running_units BIGINT, capacity_kva DECIMAL(20, 2),
  type_share DOUBLE, mean_age_years DOUBLE, oldest_on DATE, PRIMARY KEY (equipment_type, region) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'capacity_board', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE power_equipment_health_sink (
  equipment_id BIGINT, equipment_name STRING, equipment_type STRING, region STRING, load_rate DOUBLE,
  hottest_c DECIMAL(5, 1), overloads BIGINT, open_alarms BIGINT, critical_alarms BIGINT, score INT, grade STRING,
  PRIMARY KEY (equipment_id) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'equipment_health', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE power_health_summary_sink (
  region STRING, grade STRING, units BIGINT, mean_score DOUBLE, capacity_kva DECIMAL(20, 2),
  PRIMARY KEY (region, grade) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'health_summary', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE power_risk_ranking_sink (
  region STRING, place BIGINT, equipment_id BIGINT, equipment_name STRING, score INT, open_alarms BIGINT,
  customers BIGINT, PRIMARY KEY (region, place) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'risk_ranking', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE power_alarm_board_sink (
  region STRING, alarm_type STRING, alarms BIGINT, open_alarms BIGINT, critical_alarms BIGINT, clear_minutes DOUBLE,
  cleared_share DOUBLE, PRIMARY KEY (region, alarm_type) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'alarm_board', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE power_load_curve_sink (
  measured_hour INT, tariff STRING, readings BIGINT, load_kw DECIMAL(20, 2), load_rate DOUBLE,
  PRIMARY KEY (measured_hour) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'load_curve', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE power_usage_tiers_sink (
  tier STRING, customers BIGINT, kwh DECIMAL(20, 2), amount DECIMAL(20, 2), kwh_per_customer DOUBLE,
  peak_share DOUBLE, PRIMARY KEY (tier) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'usage_tiers', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE power_usage_by_type_sink (
  region STRING, customer_type STRING, customers BIGINT, contract_kva DECIMAL(20, 2), kwh DECIMAL(20, 2),
  peak_share DOUBLE, valley_share DOUBLE, amount DECIMAL(20, 2), PRIMARY KEY (region, customer_type) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'usage_by_type', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE power_attention_sink (
  reason STRING, object_id BIGINT, note STRING, PRIMARY KEY (reason, object_id) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'attention', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = '@FLUSS@');
CREATE DATABASE IF NOT EXISTS fluss.power_equipment;

SET 'execution.runtime-mode' = 'streaming';
SET 'execution.checkpointing.interval' = '1s';
SET 'parallelism.default' = '1';

-- ── ODS：原样落地 as it comes ───────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.power_equipment.ods_equipment (
  equipment_id BIGINT, equipment_name STRING, equipment_type STRING, region STRING, substation STRING, voltage_kv INT,
  capacity_kva DECIMAL(12, 2), equipment_status STRING, commissioned_on DATE, PRIMARY KEY (equipment_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ods_monitoring (
  equipment_id BIGINT, point INT, load_kw DECIMAL(12, 2), voltage_pu DECIMAL(6, 3), temperature_c DECIMAL(5, 1),
  measured_at TIMESTAMP(3), PRIMARY KEY (equipment_id, point) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ods_equipment_alarms (
  alarm_id BIGINT, equipment_id BIGINT, alarm_type STRING, alarm_level INT, raised_at TIMESTAMP(3),
  cleared_at TIMESTAMP(3), PRIMARY KEY (alarm_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ods_customers (
  customer_id BIGINT, customer_name STRING, region STRING, customer_type STRING, contract_kva DECIMAL(10, 2),
  equipment_id BIGINT, PRIMARY KEY (customer_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ods_customer_usage (
  customer_id BIGINT, usage_day DATE, peak_kwh DECIMAL(12, 2), flat_kwh DECIMAL(12, 2), valley_kwh DECIMAL(12, 2),
  PRIMARY KEY (customer_id, usage_day) NOT ENFORCED
) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'power-ods';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.power_equipment.ods_equipment SELECT * FROM power_equipment_source;
INSERT INTO fluss.power_equipment.ods_monitoring SELECT * FROM power_monitoring_source;
INSERT INTO fluss.power_equipment.ods_equipment_alarms SELECT * FROM power_equipment_alarms_source;
INSERT INTO fluss.power_equipment.ods_customers SELECT * FROM power_customers_source;
INSERT INTO fluss.power_equipment.ods_customer_usage SELECT * FROM power_customer_usage_source;
END;

-- ── DWD：电压等级、台账、负载、时段 voltage classes, register, load, tariff ──────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.power_equipment.dwd_equipment (
  equipment_id BIGINT, equipment_name STRING, equipment_type STRING, region STRING, voltage_class STRING,
  load_limit DECIMAL(4, 2), capacity_kva DECIMAL(12, 2), is_running BOOLEAN, commissioned_on DATE, age_years INT,
  PRIMARY KEY (equipment_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.dwd_monitoring (
  equipment_id BIGINT, point INT, equipment_type STRING, region STRING, capacity_kva DECIMAL(12, 2),
  load_kw DECIMAL(12, 2), temperature_c DECIMAL(5, 1), is_overload BOOLEAN, measured_hour INT, tariff STRING,
  PRIMARY KEY (equipment_id, point) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.dwd_latest_loads (
  equipment_id BIGINT, load_kw DECIMAL(12, 2), temperature_c DECIMAL(5, 1), measured_at TIMESTAMP(3),
  PRIMARY KEY (equipment_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.dwd_alarms (
  alarm_id BIGINT, equipment_id BIGINT, region STRING, alarm_type STRING, alarm_level INT, is_open BOOLEAN,
  clear_minutes INT, PRIMARY KEY (alarm_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.dwd_usage (
  customer_id BIGINT, usage_day DATE, region STRING, customer_type STRING, peak_kwh DECIMAL(12, 2),
  valley_kwh DECIMAL(12, 2), kwh DECIMAL(14, 2), amount DECIMAL(14, 2),
  PRIMARY KEY (customer_id, usage_day) NOT ENFORCED
) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'power-dwd';
EXECUTE STATEMENT SET BEGIN
-- 退役设备不计入；电压等级经维表关联取得。Retired units do not count; the class of voltage is looked up.
INSERT INTO fluss.power_equipment.dwd_equipment
  SELECT e.equipment_id, e.equipment_name, e.equipment_type, e.region, v.class_name, v.load_limit, e.capacity_kva,
         e.equipment_status = 'running', e.commissioned_on, TIMESTAMPDIFF(YEAR, e.commissioned_on, DATE '2026-07-01')
  FROM (
    SELECT *, PROCTIME() AS looked_up_at FROM fluss.power_equipment.ods_equipment WHERE equipment_status <> 'retired') AS e
  LEFT JOIN power_voltage_classes FOR SYSTEM_TIME AS OF e.looked_up_at AS v ON e.voltage_kv = v.voltage_kv;

-- 峰谷时段由小时决定。The tariff follows from the hour.
INSERT INTO fluss.power_equipment.dwd_monitoring
  SELECT m.equipment_id, m.point, e.equipment_type, e.region, e.capacity_kva, m.load_kw, m.temperature_c,
         m.load_kw > e.capacity_kva * CAST(0.9 AS DECIMAL(4, 2)), CAST(HOUR(m.measured_at) AS INT),
         CASE WHEN HOUR(m.measured_at) IN (9, 10, 11, 17, 18, 19, 20) THEN '峰'
              WHEN HOUR(m.measured_at) BETWEEN 0 AND 6 OR HOUR(m.measured_at) = 23 THEN '谷'
              ELSE '平' END
  FROM fluss.power_equipment.ods_monitoring AS m
  JOIN fluss.power_equipment.ods_equipment AS e ON m.equipment_id = e.equipment_id
  WHERE e.equipment_status <> 'retired';

-- 每台设备最近一次监测（去重取最新）。The newest measurement of each unit.
INSERT INTO fluss.power_equipment.dwd_latest_loads
  SELECT equipment_id, load_kw, temperature_c, measured_at
  FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY equipment_id ORDER BY measured_at DESC, point) AS place
    FROM fluss.power_equipment.ods_monitoring)
  WHERE place = 1;

-- 设备可能已拆除，告警仍保留。An alarm stays although its unit may be gone.
INSERT INTO fluss.power_equipment.dwd_alarms
  SELECT a.alarm_id, a.equipment_id, COALESCE(e.region, '未知'), a.alarm_type, a.alarm_level, a.cleared_at IS NULL,
         TIMESTAMPDIFF(MINUTE, a.raised_at, a.cleared_at)
  FROM fluss.power_equipment.ods_equipment_alarms AS a
  LEFT JOIN fluss.power_equipment.ods_equipment AS e ON a.equipment_id = e.equipment_id;

-- 电费：分时电价因用户类型而异。The amount: prices by time of use and type of customer.
INSERT INTO fluss.power_equipment.dwd_usage
  WITH prices AS (
    SELECT customer_type, peak_price, flat_price, valley_price
    FROM (VALUES ('居民', 0.62, 0.56, 0.36), ('一般工商业', 1.12, 0.78, 0.41), ('大工业', 1.05, 0.66, 0.32), ('农业', 0.50, 0.50, 0.30))
      AS v (customer_type, peak_price, flat_price, valley_price))
  SELECT u.customer_id, u.usage_day, c.region, c.customer_type, u.peak_kwh, u.valley_kwh,
         CAST(u.peak_kwh + u.flat_kwh + u.valley_kwh AS DECIMAL(14, 2)),
         CAST(u.peak_kwh * p.peak_price + u.flat_kwh * p.flat_price + u.valley_kwh * p.valley_price AS DECIMAL(14, 2))
  FROM fluss.power_equipment.ods_customer_usage AS u
  JOIN fluss.power_equipment.ods_customers AS c ON u.customer_id = c.customer_id
  JOIN prices AS p ON c.customer_type = p.customer_type;
END;

-- ── DWS：按类型与区域、设备、告警、用户、小时汇总 per type and region, unit, alarm, customer, hour ──────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.power_equipment.dws_type_region (
  equipment_type STRING, region STRING, units BIGINT, running_units BIGINT, capacity_kva DECIMAL(20, 2),
  age_years BIGINT, oldest_on DATE, PRIMARY KEY (equipment_type, region) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.dws_equipment_loads (
  equipment_id BIGINT, readings BIGINT, hottest_c DECIMAL(5, 1), overloads BIGINT,
  PRIMARY KEY (equipment_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.dws_equipment_alarms (
  equipment_id BIGINT, alarms BIGINT, open_alarms BIGINT, critical_alarms BIGINT,
  PRIMARY KEY (equipment_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.dws_equipment_customers (
  equipment_id BIGINT, customers BIGINT, contract_kva DECIMAL(20, 2), PRIMARY KEY (equipment_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.dws_region_alarms (
  region STRING, alarm_type STRING, alarms BIGINT, open_alarms BIGINT, critical_alarms BIGINT, cleared BIGINT,
  clear_minutes BIGINT, PRIMARY KEY (region, alarm_type) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.dws_customers (
  customer_id BIGINT, days BIGINT, kwh DECIMAL(20, 2), peak_kwh DECIMAL(20, 2), valley_kwh DECIMAL(20, 2),
  amount DECIMAL(20, 2), largest_kwh DECIMAL(14, 2), PRIMARY KEY (customer_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.dws_hours (
  measured_hour INT, tariff STRING, readings BIGINT, load_kw DECIMAL(20, 2), capacity_kva DECIMAL(20, 2),
  PRIMARY KEY (measured_hour) NOT ENFORCED
) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'power-dws';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.power_equipment.dws_type_region
  SELECT equipment_type, region, COUNT(*), COUNT(*) FILTER (WHERE is_running), CAST(SUM(capacity_kva) AS DECIMAL(20, 2)),
         SUM(CAST(age_years AS BIGINT)), MIN(commissioned_on)
  FROM fluss.power_equipment.dwd_equipment GROUP BY equipment_type, region;

INSERT INTO fluss.power_equipment.dws_equipment_loads
  SELECT equipment_id, COUNT(*), MAX(temperature_c), COUNT(*) FILTER (WHERE is_overload)
  FROM fluss.power_equipment.dwd_monitoring GROUP BY equipment_id;

INSERT INTO fluss.power_equipment.dws_equipment_alarms
  SELECT equipment_id, COUNT(*), COUNT(*) FILTER (WHERE is_open), COUNT(*) FILTER (WHERE is_open AND alarm_level = 1)
  FROM fluss.power_equipment.dwd_alarms GROUP BY equipment_id;

INSERT INTO fluss.power_equipment.dws_equipment_customers
  SELECT equipment_id, COUNT(*), CAST(SUM(contract_kva) AS DECIMAL(20, 2))
  FROM fluss.power_equipment.ods_customers GROUP BY equipment_id;

INSERT INTO fluss.power_equipment.dws_region_alarms
  SELECT region, alarm_type, COUNT(*), COUNT(*) FILTER (WHERE is_open), COUNT(*) FILTER (WHERE is_open AND alarm_level = 1),
         COUNT(clear_minutes), COALESCE(SUM(CAST(clear_minutes AS BIGINT)), CAST(0 AS BIGINT))
  FROM fluss.power_equipment.dwd_alarms GROUP BY region, alarm_type;

INSERT INTO fluss.power_equipment.dws_customers
  SELECT customer_id, COUNT(*), CAST(SUM(kwh) AS DECIMAL(20, 2)), CAST(SUM(peak_kwh) AS DECIMAL(20, 2)),
         CAST(SUM(valley_kwh) AS DECIMAL(20, 2)), CAST(SUM(amount) AS DECIMAL(20, 2)), MAX(kwh)
  FROM fluss.power_equipment.dwd_usage GROUP BY customer_id;

INSERT INTO fluss.power_equipment.dws_hours
  SELECT measured_hour, MAX(tariff), COUNT(*), CAST(SUM(load_kw) AS DECIMAL(20, 2)), CAST(SUM(capacity_kva) AS DECIMAL(20, 2))
  FROM fluss.power_equipment.dwd_monitoring GROUP BY measured_hour;
END;

-- ── ADS：大屏指标 the figures of the boards ─────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.power_equipment.ads_live_board (
  board_id INT, units BIGINT, running_units BIGINT, running_rate DOUBLE, capacity_kva DECIMAL(20, 2),
  load_kw DECIMAL(20, 2), load_rate DOUBLE, overloaded BIGINT, hottest_c DECIMAL(5, 1), open_alarms BIGINT,
  critical_alarms BIGINT, customers BIGINT, kwh DECIMAL(20, 2), worst_region STRING,
  PRIMARY KEY (board_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ads_capacity_board (
  equipment_type STRING, region STRING, units BIGINT, running_units BIGINT, capacity_kva DECIMAL(20, 2),
  type_share DOUBLE, mean_age_years DOUBLE, oldest_on DATE, PRIMARY KEY (equipment_type, region) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ads_equipment_health (
  equipment_id BIGINT, equipment_name STRING, equipment_type STRING, region STRING, load_rate DOUBLE,
  hottest_c DECIMAL(5, 1), overloads BIGINT, open_alarms BIGINT, critical_alarms BIGINT, score INT, grade STRING,
  PRIMARY KEY (equipment_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ads_health_summary (
  region STRING, grade STRING, units BIGINT, mean_score DOUBLE, capacity_kva DECIMAL(20, 2),
  PRIMARY KEY (region, grade) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ads_risk_ranking (
  region STRING, place BIGINT, equipment_id BIGINT, equipment_name STRING, score INT, open_alarms BIGINT,
  customers BIGINT, PRIMARY KEY (region, place) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ads_alarm_board (
  region STRING, alarm_type STRING, alarms BIGINT, open_alarms BIGINT, critical_alarms BIGINT, clear_minutes DOUBLE,
  cleared_share DOUBLE, PRIMARY KEY (region, alarm_type) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ads_load_curve (
  measured_hour INT, tariff STRING, readings BIGINT, load_kw DECIMAL(20, 2), load_rate DOUBLE,
  PRIMARY KEY (measured_hour) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ads_usage_tiers (
  tier STRING, customers BIGINT, kwh DECIMAL(20, 2), amount DECIMAL(20, 2), kwh_per_customer DOUBLE,
  peak_share DOUBLE, PRIMARY KEY (tier) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ads_usage_by_type (
  region STRING, customer_type STRING, customers BIGINT, contract_kva DECIMAL(20, 2), kwh DECIMAL(20, 2),
  peak_share DOUBLE, valley_share DOUBLE, amount DECIMAL(20, 2), PRIMARY KEY (region, customer_type) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.power_equipment.ads_attention (
  reason STRING, object_id BIGINT, note STRING, PRIMARY KEY (reason, object_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

-- 健康得分：从一百分起，按过载、温度、告警、年限扣分；整数运算。
-- The score of a unit: from a hundred down, for overloads, heat, alarms and age, in whole numbers.
CREATE TEMPORARY VIEW power_device_health AS
  SELECT equipment_id, equipment_name, equipment_type, region, capacity_kva, load_kw, hottest_c, overloads,
         open_alarms, critical_alarms, customers,
         GREATEST(0, 100 - 8 * CAST(overloads AS INT) - 5 * CAST(open_alarms AS INT) - 20 * CAST(critical_alarms AS INT)
           - CASE WHEN hottest_c > 90 THEN 25 WHEN hottest_c > 75 THEN 8 ELSE 0 END
           - CASE WHEN age_years > 20 THEN 10 WHEN age_years > 12 THEN 4 ELSE 0 END) AS score
  FROM (
    SELECT e.equipment_id, e.equipment_name, e.equipment_type, e.region, e.capacity_kva, e.age_years, n.load_kw,
           l.hottest_c, COALESCE(l.overloads, CAST(0 AS BIGINT)) AS overloads,
           COALESCE(a.open_alarms, CAST(0 AS BIGINT)) AS open_alarms,
           COALESCE(a.critical_alarms, CAST(0 AS BIGINT)) AS critical_alarms,
           COALESCE(c.customers, CAST(0 AS BIGINT)) AS customers
    FROM fluss.power_equipment.dwd_equipment AS e
    LEFT JOIN fluss.power_equipment.dwd_latest_loads AS n ON e.equipment_id = n.equipment_id
    LEFT JOIN fluss.power_equipment.dws_equipment_loads AS l ON e.equipment_id = l.equipment_id
    LEFT JOIN fluss.power_equipment.dws_equipment_alarms AS a ON e.equipment_id = a.equipment_id
    LEFT JOIN fluss.power_equipment.dws_equipment_customers AS c ON e.equipment_id = c.equipment_id);

CREATE TEMPORARY VIEW power_graded AS
  SELECT *, CASE WHEN score >= 85 THEN '健康' WHEN score >= 70 THEN '良好' WHEN score >= 50 THEN '注意' ELSE '危险' END AS grade
  FROM power_device_health;

SET 'pipeline.name' = 'power-ads';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.power_equipment.ads_live_board
  WITH register AS (
    SELECT SUM(units) AS units, SUM(running_units) AS running_units, SUM(capacity_kva) AS capacity_kva
    FROM fluss.power_equipment.dws_type_region),
  loads AS (
    SELECT SUM(n.load_kw) AS load_kw, COUNT(*) FILTER (WHERE n.load_kw > e.capacity_kva * e.load_limit) AS overloaded,
           MAX(n.temperature_c) AS hottest_c
    FROM fluss.power_equipment.dwd_equipment AS e
    JOIN fluss.power_equipment.dwd_latest_loads AS n ON e.equipment_id = n.equipment_id)
  SELECT 1, r.units, r.running_units, CAST(r.running_units AS DOUBLE) / NULLIF(CAST(r.units AS DOUBLE), 0),
         CAST(r.capacity_kva AS DECIMAL(20, 2)), CAST(l.load_kw AS DECIMAL(20, 2)),
         CAST(l.load_kw AS DOUBLE) / NULLIF(CAST(r.capacity_kva AS DOUBLE), 0), l.overloaded, l.hottest_c,
         (SELECT COUNT(*) FROM fluss.power_equipment.dwd_alarms WHERE is_open),
         (SELECT COUNT(*) FROM fluss.power_equipment.dwd_alarms WHERE is_open AND alarm_level = 1),
         (SELECT COUNT(*) FROM fluss.power_equipment.ods_customers),
         (SELECT CAST(SUM(kwh) AS DECIMAL(20, 2)) FROM fluss.power_equipment.dws_customers), w.region
  FROM register AS r
  CROSS JOIN loads AS l
  LEFT JOIN (
    SELECT region
    FROM (SELECT region, SUM(open_alarms) AS open_alarms FROM fluss.power_equipment.dws_region_alarms GROUP BY region)
    ORDER BY open_alarms DESC, region LIMIT 1) AS w ON TRUE;

INSERT INTO fluss.power_equipment.ads_capacity_board
  SELECT t.equipment_type, t.region, t.units, t.running_units, t.capacity_kva,
         CAST(t.capacity_kva AS DOUBLE) / NULLIF(CAST(s.capacity_kva AS DOUBLE), 0),
         CAST(t.age_years AS DOUBLE) / CAST(t.units AS DOUBLE), t.oldest_on
  FROM fluss.power_equipment.dws_type_region AS t
  JOIN (
    SELECT equipment_type, SUM(capacity_kva) AS capacity_kva
    FROM fluss.power_equipment.dws_type_region GROUP BY equipment_type) AS s ON t.equipment_type = s.equipment_type;

INSERT INTO fluss.power_equipment.ads_equipment_health
  SELECT equipment_id, equipment_name, equipment_type, region, CAST(load_kw AS DOUBLE) / NULLIF(CAST(capacity_kva AS DOUBLE), 0),
         hottest_c, overloads, open_alarms, critical_alarms, score, grade
  FROM power_graded;

INSERT INTO fluss.power_equipment.ads_health_summary
  SELECT region, grade, COUNT(*), CAST(SUM(CAST(score AS BIGINT)) AS DOUBLE) / CAST(COUNT(*) AS DOUBLE),
         CAST(SUM(capacity_kva) AS DECIMAL(20, 2))
  FROM power_graded GROUP BY region, grade;

INSERT INTO fluss.power_equipment.ads_risk_ranking
  SELECT region, place, equipment_id, equipment_name, score, open_alarms, customers
  FROM (
    SELECT region, equipment_id, equipment_name, score, open_alarms, customers,
           ROW_NUMBER() OVER (PARTITION BY region ORDER BY score, open_alarms DESC, equipment_id) AS place
    FROM power_device_health)
  WHERE place <= 5;

INSERT INTO fluss.power_equipment.ads_alarm_board
  SELECT region, alarm_type, alarms, open_alarms, critical_alarms,
         CAST(clear_minutes AS DOUBLE) / NULLIF(CAST(cleared AS DOUBLE), 0),
         CAST(cleared AS DOUBLE) / CAST(alarms AS DOUBLE)
  FROM fluss.power_equipment.dws_region_alarms;

INSERT INTO fluss.power_equipment.ads_load_curve
  SELECT measured_hour, tariff, readings, load_kw, CAST(load_kw AS DOUBLE) / NULLIF(CAST(capacity_kva AS DOUBLE), 0)
  FROM fluss.power_equipment.dws_hours;

-- 没有用电量的用户为“零用电”。Customers without any use are a tier of their own.
INSERT INTO fluss.power_equipment.ads_usage_tiers
  WITH daily AS (
    SELECT c.customer_id, COALESCE(u.kwh, 0) AS kwh, COALESCE(u.peak_kwh, 0) AS peak_kwh, COALESCE(u.amount, 0) AS amount,
           CASE WHEN u.kwh IS NULL OR u.kwh = 0 THEN '零用电'
                WHEN u.kwh >= 50000 * u.days THEN '特大'
                WHEN u.kwh >= 2000 * u.days THEN '大'
                WHEN u.kwh >= 200 * u.days THEN '中'
                ELSE '小' END AS tier
    FROM fluss.power_equipment.ods_customers AS c
    LEFT JOIN fluss.power_equipment.dws_customers AS u ON c.customer_id = u.customer_id)
  SELECT tier, COUNT(*), CAST(SUM(kwh) AS DECIMAL(20, 2)), CAST(SUM(amount) AS DECIMAL(20, 2)),
         CAST(SUM(kwh) AS DOUBLE) / CAST(COUNT(*) AS DOUBLE), CAST(SUM(peak_kwh) AS DOUBLE) / NULLIF(CAST(SUM(kwh) AS DOUBLE), 0)
  FROM daily GROUP BY tier;

-- 右外连接：没有用电量的用户也计入户数与容量。A right join: customers without use count with their contract.
INSERT INTO fluss.power_equipment.ads_usage_by_type
  SELECT c.region, c.customer_type, COUNT(*), CAST(SUM(c.contract_kva) AS DECIMAL(20, 2)),
         CAST(SUM(COALESCE(u.kwh, 0)) AS DECIMAL(20, 2)),
         CAST(SUM(COALESCE(u.peak_kwh, 0)) AS DOUBLE) / NULLIF(CAST(SUM(COALESCE(u.kwh, 0)) AS DOUBLE), 0),
         CAST(SUM(COALESCE(u.valley_kwh, 0)) AS DOUBLE) / NULLIF(CAST(SUM(COALESCE(u.kwh, 0)) AS DOUBLE), 0),
         CAST(SUM(COALESCE(u.amount, 0)) AS DECIMAL(20, 2))
  FROM fluss.power_equipment.dws_customers AS u
  RIGHT JOIN fluss.power_equipment.ods_customers AS c ON u.customer_id = c.customer_id
  GROUP BY c.region, c.customer_type;

INSERT INTO fluss.power_equipment.ads_attention
  -- 既有超限监测又有未消除告警的设备（交集）。Units with both an overload and an open alarm.
  SELECT '过载告警', equipment_id, CAST(NULL AS STRING)
  FROM (
    SELECT equipment_id FROM fluss.power_equipment.dws_equipment_loads WHERE overloads > 0
    INTERSECT
    SELECT equipment_id FROM fluss.power_equipment.dws_equipment_alarms WHERE open_alarms > 0)
  UNION ALL
  -- 运行中却没有监测的设备（反连接）。Running, but nobody measures them.
  SELECT '无监测', e.equipment_id, e.equipment_name
  FROM fluss.power_equipment.dwd_equipment AS e
  WHERE e.is_running AND NOT EXISTS (SELECT 1 FROM fluss.power_equipment.dwd_monitoring AS m WHERE m.equipment_id = e.equipment_id)
  UNION ALL
  -- 检修或退役的设备名下仍有用户（半连接）。Not running, but customers are said to be supplied by them.
  SELECT '停运供电', equipment_id, equipment_status
  FROM fluss.power_equipment.ods_equipment
  WHERE equipment_status IN ('maintenance', 'retired')
    AND equipment_id IN (SELECT equipment_id FROM fluss.power_equipment.ods_customers)
  UNION ALL
  -- 单日用电超过合同容量满载十二小时的用户（任意条件的半连接）。A day with more than twelve hours of the whole contract.
  SELECT '超容用户', c.customer_id, c.customer_name
  FROM fluss.power_equipment.ods_customers AS c
  WHERE EXISTS (
    SELECT 1 FROM fluss.power_equipment.dws_customers AS u
    WHERE u.customer_id = c.customer_id AND u.largest_kwh > c.contract_kva * 12);
END;

-- ── 写出 into PostgreSQL ─────────────────────────────────────────────────────────────────────────────────────────────
SET 'pipeline.name' = 'power-sink';
EXECUTE STATEMENT SET BEGIN
INSERT INTO power_live_board_sink SELECT * FROM fluss.power_equipment.ads_live_board;
INSERT INTO power_capacity_board_sink SELECT * FROM fluss.power_equipment.ads_capacity_board;
INSERT INTO power_equipment_health_sink SELECT * FROM fluss.power_equipment.ads_equipment_health;
INSERT INTO power_health_summary_sink SELECT * FROM fluss.power_equipment.ads_health_summary;
INSERT INTO power_risk_ranking_sink SELECT * FROM fluss.power_equipment.ads_risk_ranking;
INSERT INTO power_alarm_board_sink SELECT * FROM fluss.power_equipment.ads_alarm_board;
INSERT INTO power_load_curve_sink SELECT * FROM fluss.power_equipment.ads_load_curve;
INSERT INTO power_usage_tiers_sink SELECT * FROM fluss.power_equipment.ads_usage_tiers;
INSERT INTO power_usage_by_type_sink SELECT * FROM fluss.power_equipment.ads_usage_by_type;
INSERT INTO power_attention_sink SELECT * FROM fluss.power_equipment.ads_attention;
END;
