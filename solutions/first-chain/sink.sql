-- 目标库：大屏读取的两张表。The target database: the two tables that the boards read.
CREATE TABLE IF NOT EXISTS region_board (
  region TEXT PRIMARY KEY,
  devices BIGINT,
  readings BIGINT,
  active_kw NUMERIC(20, 2),
  load_rate DOUBLE PRECISION,
  overloads BIGINT,
  max_temperature_c NUMERIC(5, 1),
  open_alarms BIGINT,
  severe_alarms BIGINT,
  grade TEXT);

CREATE TABLE IF NOT EXISTS type_board (
  device_type TEXT PRIMARY KEY,
  devices BIGINT,
  active_kw NUMERIC(20, 2),
  load_rate DOUBLE PRECISION);
