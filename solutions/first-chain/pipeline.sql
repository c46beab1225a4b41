-- 第一条链路：PostgreSQL → ODS → DWD → DWS → ADS → PostgreSQL
-- The first chain: a change in the source database travels through four layers of tables into the board tables.
--
-- 同一文本可在 Gridhouse 与真实的 Fluss + Flink 上运行；@…@ 由 `gridhouse solution prepare` 填写。
-- The same text runs on Gridhouse and on a real Fluss + Flink; `gridhouse solution prepare` fills in the @…@.

-- ── 源表与目标表 Sources and sinks ──────────────────────────────────────────────────────────────────────────────
CREATE TEMPORARY TABLE devices_source (
  device_id BIGINT, device_name STRING, region STRING, device_type STRING, rated_kw DECIMAL(10, 2), status STRING,
  updated_at TIMESTAMP(3), PRIMARY KEY (device_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'devices', 'slot.name' = 'first_chain_devices', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE readings_source (
  device_id BIGINT, slot INT, active_kw DECIMAL(10, 2), voltage_v DECIMAL(8, 2), temperature_c DECIMAL(5, 1),
  read_at TIMESTAMP(3), PRIMARY KEY (device_id, slot) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'readings', 'slot.name' = 'first_chain_readings', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE alarms_source (
  alarm_id BIGINT, device_id BIGINT, alarm_level INT, alarm_type STRING, cleared BOOLEAN, raised_at TIMESTAMP(3),
  PRIMARY KEY (alarm_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'alarms', 'slot.name' = 'first_chain_alarms', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE region_board_sink (
  region STRING, devices BIGINT, readings BIGINT, active_kw DECIMAL(20, 2), load_rate DOUBLE, overloads BIGINT,
  max_temperature_c DECIMAL(5, 1), open_alarms BIGINT, severe_alarms BIGINT, grade STRING,
  PRIMARY KEY (region) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'region_board', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE type_board_sink (
  device_type STRING, devices BIGINT, active_kw DECIMAL(20, 2), load_rate DOUBLE,
  PRIMARY KEY (device_type) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'type_board', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = '@FLUSS@');
CREATE DATABASE IF NOT EXISTS fluss.grid;

SET 'execution.runtime-mode' = 'streaming';
SET 'execution.checkpointing.interval' = '1s';
SET 'parallelism.default' = '1';

-- ── ODS：原样落地 as it comes ─────────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.grid.ods_devices (
  device_id BIGINT, device_name STRING, region STRING, device_type STRING, rated_kw DECIMAL(10, 2), status STRING,
  updated_at TIMESTAMP(3), PRIMARY KEY (device_id) NOT ENFORCED) WITH ('bucket.num' = '1');
CREATE TABLE IF NOT EXISTS fluss.grid.ods_readings (
  device_id BIGINT, slot INT, active_kw DECIMAL(10, 2), voltage_v DECIMAL(8, 2), temperature_c DECIMAL(5, 1),
  read_at TIMESTAMP(3), PRIMARY KEY (device_id, slot) NOT ENFORCED) WITH ('bucket.num' = '1');
CREATE TABLE IF NOT EXISTS fluss.grid.ods_alarms (
  alarm_id BIGINT, device_id BIGINT, alarm_level INT, alarm_type STRING, cleared BOOLEAN, raised_at TIMESTAMP(3),
  PRIMARY KEY (alarm_id) NOT ENFORCED) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'first-chain-ods';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.grid.ods_devices SELECT * FROM devices_source;
INSERT INTO fluss.grid.ods_readings SELECT * FROM readings_source;
INSERT INTO fluss.grid.ods_alarms SELECT * FROM alarms_source;
END;

-- ── DWD：关联设备台账，补充派生列 joined with the register, derived columns ───────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.grid.dwd_readings (
  device_id BIGINT, slot INT, region STRING, device_type STRING, rated_kw DECIMAL(10, 2), active_kw DECIMAL(10, 2),
  temperature_c DECIMAL(5, 1), read_day STRING, is_overload BOOLEAN,
  PRIMARY KEY (device_id, slot) NOT ENFORCED) WITH ('bucket.num' = '1');
CREATE TABLE IF NOT EXISTS fluss.grid.dwd_alarms (
  alarm_id BIGINT, device_id BIGINT, region STRING, alarm_level INT, alarm_type STRING, is_open BOOLEAN,
  PRIMARY KEY (alarm_id) NOT ENFORCED) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'first-chain-dwd';
EXECUTE STATEMENT SET BEGIN
-- 退役设备不计入。Retired devices do not count.
INSERT INTO fluss.grid.dwd_readings
  SELECT r.device_id, r.slot, d.region, d.device_type, d.rated_kw, r.active_kw, r.temperature_c,
         DATE_FORMAT(r.read_at, 'yyyy-MM-dd'), r.active_kw > d.rated_kw * 0.9
  FROM fluss.grid.ods_readings AS r
  JOIN fluss.grid.ods_devices AS d ON r.device_id = d.device_id
  WHERE d.status <> 'retired';

-- 设备可能已注销，告警仍保留。An alarm stays although its device may be gone.
INSERT INTO fluss.grid.dwd_alarms
  SELECT a.alarm_id, a.device_id, COALESCE(d.region, '未知'), a.alarm_level, a.alarm_type, NOT a.cleared
  FROM fluss.grid.ods_alarms AS a
  LEFT JOIN fluss.grid.ods_devices AS d ON a.device_id = d.device_id;
END;

-- ── DWS：按区域、类型汇总 per region and type ────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.grid.dws_region_type (
  region STRING, device_type STRING, devices BIGINT, readings BIGINT, active_kw DECIMAL(20, 2), rated_kw DECIMAL(20, 2),
  overloads BIGINT, max_temperature_c DECIMAL(5, 1),
  PRIMARY KEY (region, device_type) NOT ENFORCED) WITH ('bucket.num' = '1');
CREATE TABLE IF NOT EXISTS fluss.grid.dws_region (
  region STRING, devices BIGINT, readings BIGINT, active_kw DECIMAL(20, 2), rated_kw DECIMAL(20, 2), overloads BIGINT,
  max_temperature_c DECIMAL(5, 1), PRIMARY KEY (region) NOT ENFORCED) WITH ('bucket.num' = '1');
CREATE TABLE IF NOT EXISTS fluss.grid.dws_region_alarms (
  region STRING, open_alarms BIGINT, severe_alarms BIGINT,
  PRIMARY KEY (region) NOT ENFORCED) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'first-chain-dws';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.grid.dws_region_type
  SELECT region, device_type, COUNT(DISTINCT device_id), COUNT(*), CAST(SUM(active_kw) AS DECIMAL(20, 2)),
         CAST(SUM(rated_kw) AS DECIMAL(20, 2)), SUM(CASE WHEN is_overload THEN 1 ELSE 0 END), MAX(temperature_c)
  FROM fluss.grid.dwd_readings GROUP BY region, device_type;

INSERT INTO fluss.grid.dws_region
  SELECT region, SUM(devices), SUM(readings), CAST(SUM(active_kw) AS DECIMAL(20, 2)),
         CAST(SUM(rated_kw) AS DECIMAL(20, 2)), SUM(overloads), MAX(max_temperature_c)
  FROM fluss.grid.dws_region_type GROUP BY region;

INSERT INTO fluss.grid.dws_region_alarms
  SELECT region, SUM(CASE WHEN is_open THEN 1 ELSE 0 END),
         SUM(CASE WHEN is_open AND alarm_level = 1 THEN 1 ELSE 0 END)
  FROM fluss.grid.dwd_alarms GROUP BY region;
END;

-- ── ADS：大屏指标 the figures of the boards ──────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.grid.ads_region_board (
  region STRING, devices BIGINT, readings BIGINT, active_kw DECIMAL(20, 2), load_rate DOUBLE, overloads BIGINT,
  max_temperature_c DECIMAL(5, 1), open_alarms BIGINT, severe_alarms BIGINT, grade STRING,
  PRIMARY KEY (region) NOT ENFORCED) WITH ('bucket.num' = '1');
CREATE TABLE IF NOT EXISTS fluss.grid.ads_type_board (
  device_type STRING, devices BIGINT, active_kw DECIMAL(20, 2), load_rate DOUBLE,
  PRIMARY KEY (device_type) NOT ENFORCED) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'first-chain-ads';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.grid.ads_region_board
  SELECT l.region, l.devices, l.readings, l.active_kw,
         CAST(l.active_kw AS DOUBLE) / CAST(l.rated_kw AS DOUBLE), l.overloads, l.max_temperature_c,
         COALESCE(a.open_alarms, CAST(0 AS BIGINT)), COALESCE(a.severe_alarms, CAST(0 AS BIGINT)),
         CASE WHEN COALESCE(a.severe_alarms, CAST(0 AS BIGINT)) > 0 OR l.max_temperature_c > 95 THEN '紧急'
              WHEN l.overloads > 0 THEN '关注'
              ELSE '正常' END
  FROM fluss.grid.dws_region AS l
  LEFT JOIN fluss.grid.dws_region_alarms AS a ON l.region = a.region;

INSERT INTO fluss.grid.ads_type_board
  SELECT device_type, SUM(devices), CAST(SUM(active_kw) AS DECIMAL(20, 2)),
         CAST(SUM(active_kw) AS DOUBLE) / CAST(SUM(rated_kw) AS DOUBLE)
  FROM fluss.grid.dws_region_type GROUP BY device_type;
END;

-- ── 写出 into PostgreSQL ─────────────────────────────────────────────────────────────────────────────────────
SET 'pipeline.name' = 'first-chain-sink';
EXECUTE STATEMENT SET BEGIN
INSERT INTO region_board_sink SELECT * FROM fluss.grid.ads_region_board;
INSERT INTO type_board_sink SELECT * FROM fluss.grid.ads_type_board;
END;
