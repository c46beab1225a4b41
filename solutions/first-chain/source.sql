-- 源库：设备台账、量测、告警。The source database: device register, readings, alarms.
-- 可重复执行。Can be run again.
CREATE TABLE IF NOT EXISTS devices (
  device_id BIGINT PRIMARY KEY,
  device_name TEXT NOT NULL,
  region TEXT NOT NULL,
  device_type TEXT NOT NULL,
  rated_kw NUMERIC(10, 2) NOT NULL,
  status TEXT NOT NULL,
  updated_at TIMESTAMP(3) NOT NULL);

-- 每台设备保留最近几个量测点，slot 循环使用，数据量有界。
-- Each device keeps its newest readings; slots are used in turn, so that the table stays bounded.
CREATE TABLE IF NOT EXISTS readings (
  device_id BIGINT NOT NULL,
  slot INT NOT NULL,
  active_kw NUMERIC(10, 2) NOT NULL,
  voltage_v NUMERIC(8, 2),
  temperature_c NUMERIC(5, 1) NOT NULL,
  read_at TIMESTAMP(3) NOT NULL,
  PRIMARY KEY (device_id, slot));

CREATE TABLE IF NOT EXISTS alarms (
  alarm_id BIGINT PRIMARY KEY,
  device_id BIGINT NOT NULL,
  alarm_level INT NOT NULL,
  alarm_type TEXT NOT NULL,
  cleared BOOLEAN NOT NULL,
  raised_at TIMESTAMP(3) NOT NULL);

-- Flink 的 postgres-cdc 需要旧值。Flink's postgres-cdc needs the old values.
ALTER TABLE devices REPLICA IDENTITY FULL;
ALTER TABLE readings REPLICA IDENTITY FULL;
ALTER TABLE alarms REPLICA IDENTITY FULL;
