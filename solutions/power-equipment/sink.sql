-- 目标库：设备大屏读取的表。The target database: the tables that the equipment's boards read.
-- 可重复执行。Can be run again.

-- 实时看板：一行关键指标 the live board: one row of key figures
CREATE TABLE IF NOT EXISTS live_board (
  board_id INTEGER,
  units BIGINT,
  running_units BIGINT,
  running_rate DOUBLE PRECISION,
  capacity_kva NUMERIC(20, 2),
  load_kw NUMERIC(20, 2),
  load_rate DOUBLE PRECISION,
  overloaded BIGINT,
  hottest_c NUMERIC(5, 1),
  open_alarms BIGINT,
  critical_alarms BIGINT,
  customers BIGINT,
  kwh NUMERIC(20, 2),
  worst_region TEXT,
  PRIMARY KEY (board_id));
COMMENT ON TABLE live_board IS '实时看板：一行关键指标 the live board: one row of key figures';
COMMENT ON COLUMN live_board.load_kw IS '各设备最近一次监测的负荷之和 the newest measured load of each unit, added up';
COMMENT ON COLUMN live_board.overloaded IS '最近负荷超过允许负载率的设备 units whose newest load is above the limit of their voltage';
COMMENT ON COLUMN live_board.worst_region IS '未消除告警最多的区域 the region with most open alarms';

-- 容量：按类型与区域 capacity by type and region
CREATE TABLE IF NOT EXISTS capacity_board (
  equipment_type TEXT,
  region TEXT,
  units BIGINT,
  running_units BIGINT,
  capacity_kva NUMERIC(20, 2),
  type_share DOUBLE PRECISION,
  mean_age_years DOUBLE PRECISION,
  oldest_on DATE,
  PRIMARY KEY (equipment_type, region));
COMMENT ON TABLE capacity_board IS '容量：按类型与区域 capacity by type and region';
COMMENT ON COLUMN capacity_board.type_share IS '占同类容量的比例 share of the capacity of the type';

-- 设备健康 health of each unit
CREATE TABLE IF NOT EXISTS equipment_health (
  equipment_id BIGINT,
  equipment_name TEXT,
  equipment_type TEXT,
  region TEXT,
  load_rate DOUBLE PRECISION,
  hottest_c NUMERIC(5, 1),
  overloads BIGINT,
  open_alarms BIGINT,
  critical_alarms BIGINT,
  score INTEGER,
  grade TEXT,
  PRIMARY KEY (equipment_id));
COMMENT ON TABLE equipment_health IS '设备健康 health of each unit';
COMMENT ON COLUMN equipment_health.load_rate IS '最近负荷 / 容量 newest load / capacity';
COMMENT ON COLUMN equipment_health.overloads IS '超过容量 90 % 的监测点数 measurements above 90 % of the capacity';
COMMENT ON COLUMN equipment_health.score IS '0 – 100，由过载、温度、告警、年限扣分';
COMMENT ON COLUMN equipment_health.grade IS '健康 ≥ 85、良好 ≥ 70、注意 ≥ 50、危险';

-- 区域健康分布 grades by region
CREATE TABLE IF NOT EXISTS health_summary (
  region TEXT,
  grade TEXT,
  units BIGINT,
  mean_score DOUBLE PRECISION,
  capacity_kva NUMERIC(20, 2),
  PRIMARY KEY (region, grade));
COMMENT ON TABLE health_summary IS '区域健康分布 grades by region';

-- 各区域风险最高的五台设备 the five units of each region at most risk
CREATE TABLE IF NOT EXISTS risk_ranking (
  region TEXT,
  place BIGINT,
  equipment_id BIGINT,
  equipment_name TEXT,
  score INTEGER,
  open_alarms BIGINT,
  customers BIGINT,
  PRIMARY KEY (region, place));
COMMENT ON TABLE risk_ranking IS '各区域风险最高的五台设备 the five units of each region at most risk';
COMMENT ON COLUMN risk_ranking.customers IS '由其供电的用户 customers that it supplies';

-- 告警：按区域与类型 alarms by region and type
CREATE TABLE IF NOT EXISTS alarm_board (
  region TEXT,
  alarm_type TEXT,
  alarms BIGINT,
  open_alarms BIGINT,
  critical_alarms BIGINT,
  clear_minutes DOUBLE PRECISION,
  cleared_share DOUBLE PRECISION,
  PRIMARY KEY (region, alarm_type));
COMMENT ON TABLE alarm_board IS '告警：按区域与类型 alarms by region and type';
COMMENT ON COLUMN alarm_board.clear_minutes IS '平均消除分钟数 mean minutes until cleared';
COMMENT ON COLUMN alarm_board.cleared_share IS '已消除的比例 share of the alarms that are cleared';

-- 日负荷曲线 load by the hour of the day
CREATE TABLE IF NOT EXISTS load_curve (
  measured_hour INTEGER,
  tariff TEXT,
  readings BIGINT,
  load_kw NUMERIC(20, 2),
  load_rate DOUBLE PRECISION,
  PRIMARY KEY (measured_hour));
COMMENT ON TABLE load_curve IS '日负荷曲线 load by the hour of the day';
COMMENT ON COLUMN load_curve.tariff IS '峰、平、谷 peak, flat, valley';
COMMENT ON COLUMN load_curve.load_rate IS '负荷 / 容量 load / capacity';

-- 用户用电分层 customers by what they use a day
CREATE TABLE IF NOT EXISTS usage_tiers (
  tier TEXT,
  customers BIGINT,
  kwh NUMERIC(20, 2),
  amount NUMERIC(20, 2),
  kwh_per_customer DOUBLE PRECISION,
  peak_share DOUBLE PRECISION,
  PRIMARY KEY (tier));
COMMENT ON TABLE usage_tiers IS '用户用电分层 customers by what they use a day';
COMMENT ON COLUMN usage_tiers.tier IS '日均用电：特大 ≥ 50,000 kWh、大 ≥ 2,000、中 ≥ 200、小 > 0、零用电';
COMMENT ON COLUMN usage_tiers.amount IS '电费，元 CNY, by time of use';

-- 区域与用户类型用电 use by region and type of customer
CREATE TABLE IF NOT EXISTS usage_by_type (
  region TEXT,
  customer_type TEXT,
  customers BIGINT,
  contract_kva NUMERIC(20, 2),
  kwh NUMERIC(20, 2),
  peak_share DOUBLE PRECISION,
  valley_share DOUBLE PRECISION,
  amount NUMERIC(20, 2),
  PRIMARY KEY (region, customer_type));
COMMENT ON TABLE usage_by_type IS '区域与用户类型用电 use by region and type of customer';

-- 待关注：过载且危急、无监测、停运仍供电、超容用户 what somebody should look at
CREATE TABLE IF NOT EXISTS attention (
  reason TEXT,
  object_id BIGINT,
  note TEXT,
  PRIMARY KEY (reason, object_id));
COMMENT ON TABLE attention IS '待关注：过载且危急、无监测、停运仍供电、超容用户 what somebody should look at';
COMMENT ON COLUMN attention.object_id IS '设备号或用户号 number of the unit or customer';
