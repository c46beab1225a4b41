-- 源库：电力设备、监测、告警、用户与用电量。The source database: equipment, monitoring, alarms, customers and what they use.
-- 可重复执行。Can be run again.
CREATE TABLE IF NOT EXISTS voltage_classes (
  voltage_kv INTEGER PRIMARY KEY,
  class_name TEXT NOT NULL,
  load_limit NUMERIC(4, 2) NOT NULL);
COMMENT ON TABLE voltage_classes IS '电压等级：不变的维表，经 jdbc 维表关联读取 a fixed table, read by look-up';
COMMENT ON COLUMN voltage_classes.load_limit IS '允许的负载率 share of the capacity that may be used for long';

CREATE TABLE IF NOT EXISTS equipment (
  equipment_id BIGINT PRIMARY KEY,
  equipment_name TEXT NOT NULL,
  equipment_type TEXT NOT NULL,
  region TEXT NOT NULL,
  substation TEXT NOT NULL,
  voltage_kv INTEGER NOT NULL,
  capacity_kva NUMERIC(12, 2) NOT NULL,
  equipment_status TEXT NOT NULL,
  commissioned_on DATE NOT NULL);
COMMENT ON TABLE equipment IS '设备台账 register of equipment';
COMMENT ON COLUMN equipment.equipment_type IS '主变压器、配电变压器、输电线路、断路器、电抗器、储能站';
COMMENT ON COLUMN equipment.equipment_status IS 'running 运行、standby 备用、maintenance 检修、retired 退役';

-- 每台设备保留最近四个监测点，point 循环使用。Each unit keeps its newest four measurements; points are used in turn.
CREATE TABLE IF NOT EXISTS monitoring (
  equipment_id BIGINT NOT NULL,
  point INTEGER NOT NULL,
  load_kw NUMERIC(12, 2) NOT NULL,
  voltage_pu NUMERIC(6, 3),
  temperature_c NUMERIC(5, 1) NOT NULL,
  measured_at TIMESTAMP(3) NOT NULL,
  PRIMARY KEY (equipment_id, point));
COMMENT ON TABLE monitoring IS '监测 measurements';
COMMENT ON COLUMN monitoring.voltage_pu IS '电压标幺值，1.000 为额定 voltage per unit';

CREATE TABLE IF NOT EXISTS equipment_alarms (
  alarm_id BIGINT PRIMARY KEY,
  equipment_id BIGINT NOT NULL,
  alarm_type TEXT NOT NULL,
  alarm_level INTEGER NOT NULL,
  raised_at TIMESTAMP(3) NOT NULL,
  cleared_at TIMESTAMP(3));
COMMENT ON TABLE equipment_alarms IS '告警 alarms';
COMMENT ON COLUMN equipment_alarms.alarm_level IS '1 危急、2 严重、3 一般、4 提示';

CREATE TABLE IF NOT EXISTS customers (
  customer_id BIGINT PRIMARY KEY,
  customer_name TEXT NOT NULL,
  region TEXT NOT NULL,
  customer_type TEXT NOT NULL,
  contract_kva NUMERIC(10, 2) NOT NULL,
  equipment_id BIGINT NOT NULL);
COMMENT ON TABLE customers IS '用电客户 customers';
COMMENT ON COLUMN customers.customer_type IS '居民、一般工商业、大工业、农业';
COMMENT ON COLUMN customers.equipment_id IS '供电设备 the unit that supplies them';

CREATE TABLE IF NOT EXISTS customer_usage (
  customer_id BIGINT NOT NULL,
  usage_day DATE NOT NULL,
  peak_kwh NUMERIC(12, 2) NOT NULL,
  flat_kwh NUMERIC(12, 2) NOT NULL,
  valley_kwh NUMERIC(12, 2) NOT NULL,
  PRIMARY KEY (customer_id, usage_day));
COMMENT ON TABLE customer_usage IS '日用电量，分峰、平、谷，每户保留七天 daily use by peak, flat and valley hours, seven days of each customer';

-- Flink 的 postgres-cdc 需要旧值。Flink's postgres-cdc needs the old values.
ALTER TABLE equipment REPLICA IDENTITY FULL;
ALTER TABLE monitoring REPLICA IDENTITY FULL;
ALTER TABLE equipment_alarms REPLICA IDENTITY FULL;
ALTER TABLE customers REPLICA IDENTITY FULL;
ALTER TABLE customer_usage REPLICA IDENTITY FULL;

-- ── 数据生成 The living grid ────────────────────────────────────────────────────────────────────────────────────
-- 由 (seed, n, i) 决定的数，0 … below - 1。A number from 0 to below - 1 that follows from (seed, n, i).
CREATE OR REPLACE FUNCTION solution_draw(seed INTEGER, n BIGINT, i INTEGER, below BIGINT) RETURNS BIGINT
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (hashint8extended(n, seed::bigint * 1000 + i) & 9223372036854775807) % below
$$;

CREATE OR REPLACE FUNCTION solution_region(draw BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY['华东', '华北', '华中', '华南', '西北', '东北', '西南'])[1 + draw % 7]
$$;

-- 日负荷曲线与季节：额定容量的百分比；夏冬高，春秋低；上午与傍晚两峰。
-- The load in per cent of the capacity: two peaks a day; high in summer and winter, low in spring and autumn.
CREATE OR REPLACE FUNCTION solution_load(moment TIMESTAMP) RETURNS NUMERIC LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY[44,41,39,38,39,43,51,60,69,75,78,77,71,66,64,66,70,77,82,83,78,68,57,49])[1 + EXTRACT(HOUR FROM moment)::int]
       * (ARRAY[106,102,92,86,88,100,112,114,98,86,92,104])[EXTRACT(MONTH FROM moment)::int] / 100.0
$$;

-- 一台设备：由编号决定。A unit: everything follows from its number.
CREATE OR REPLACE FUNCTION solution_equipment(seed INTEGER, id BIGINT) RETURNS SETOF equipment LANGUAGE sql STABLE AS $$
  SELECT id, region || substation || kind || '#' || lpad(id::text, 6, '0'), kind, region, region || substation, voltage,
         round(base * (60 + solution_draw(seed, id, 104, 90)) / 100.0, 0), 'running',
           DATE '2026-06-01' - solution_draw(seed, id, 105, 9000)::int
  FROM (SELECT (ARRAY['主变压器', '配电变压器', '配电变压器', '输电线路', '断路器', '电抗器', '储能站'])[1 + t] AS kind,
               (ARRAY[220, 10, 10, 500, 110, 220, 35])[1 + t] AS voltage,
                 (ARRAY[180000, 630, 1000, 800000, 60000, 50000, 20000])[1 + t] AS base,
               solution_region(solution_draw(seed, id, 101, 7)) AS region
        FROM (SELECT solution_draw(seed, id, 100, 7)::int AS t) x) k,
       LATERAL (SELECT (ARRAY['东郊', '西郊', '南湖', '北山', '新城', '开发区', '滨江', '工业园'])[1 + solution_draw(seed, id, 102, 8)]
         || '站' AS substation) s
$$;

-- 一户的日用电量：由用户类型、容量、季节决定。What a customer uses in a day follows from type, contract and season.
CREATE OR REPLACE FUNCTION solution_usage(seed INTEGER, customer customers,
  usage_day DATE) RETURNS SETOF customer_usage LANGUAGE sql STABLE AS $$
  SELECT customer.customer_id, usage_day, round(kwh * peak / 100, 2), round(kwh * (75 - peak) / 100, 2), round(kwh * 25 / 100, 2)
  FROM (SELECT customer.contract_kva * solution_load(usage_day::timestamp + INTERVAL '12 hours') / 100
                 * (20 + solution_draw(seed, customer.customer_id * 400 + EXTRACT(DOY FROM usage_day)::bigint, 120, 80)) / 20 AS kwh,
               (CASE customer.customer_type WHEN '居民' THEN 45 WHEN '大工业' THEN 28 WHEN '农业' THEN 30 ELSE 40 END)::numeric AS peak) t
$$;

CREATE OR REPLACE FUNCTION solution_customer(seed INTEGER, id BIGINT,
  equipment_max BIGINT) RETURNS SETOF customers LANGUAGE sql STABLE AS $$
  SELECT id, (ARRAY['阳光', '锦绣', '金桥', '龙湖', '泰和', '恒源', '盛达', '宏远', '绿洲', '明珠'])[1 + solution_draw(seed, id, 110, 10)]
           || (CASE kind WHEN '居民' THEN '小区住户' WHEN '一般工商业' THEN '商贸公司' WHEN '大工业' THEN '制造厂' ELSE '农场' END)
           || '-' || lpad(id::text, 6, '0'),
         solution_region(solution_draw(seed, id, 111, 7)), kind,
         CASE kind WHEN '居民' THEN 8 + solution_draw(seed, id, 112, 8) WHEN '一般工商业' THEN 50 + solution_draw(seed, id, 112, 200)
                   WHEN '大工业' THEN 2000 + solution_draw(seed, id, 112, 20000) ELSE 30 + solution_draw(seed, id, 112, 100) END,
         1 + solution_draw(seed, id, 113, equipment_max)
  FROM (SELECT (ARRAY['居民', '居民', '居民', '居民', '居民', '一般工商业', '一般工商业', '一般工商业', '大工业', '农业'])[
                  1 + solution_draw(seed, id, 114, 10)] AS kind) t
$$;

-- 初始数据：size 台设备，四个监测点，两倍的用户，七天用电量。
-- First contents: size units with four measurements each, twice as many customers, seven days of use.
CREATE OR REPLACE FUNCTION solution_fill(size INTEGER, seed INTEGER) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
  total BIGINT;
  added BIGINT;
BEGIN
  IF EXISTS (SELECT FROM equipment) THEN
    RETURN 0;
  END IF;
  INSERT INTO voltage_classes VALUES (1000, '特高压', 0.70), (500, '超高压', 0.75), (220, '高压', 0.80), (110, '高压', 0.80), (35, '中压', 0.85),
    (10, '配电', 0.90);
  INSERT INTO equipment
    SELECT e.equipment_id, e.equipment_name, e.equipment_type, e.region, e.substation, e.voltage_kv, e.capacity_kva,
           (ARRAY['running', 'running', 'running', 'running', 'running', 'running', 'running', 'standby', 'maintenance',
             'retired'])[1 + solution_draw(seed, i, 1, 10)],
           e.commissioned_on
    FROM generate_series(1::bigint, size) i, LATERAL solution_equipment(seed, i) e;
  GET DIAGNOSTICS total = ROW_COUNT;
  INSERT INTO monitoring
    SELECT equipment_id, point, round(capacity_kva * 0.95 * solution_load(moment) * (85 + solution_draw(seed,
      equipment_id * 4 + point, 2, 30)) / 10000, 2),
           0.95 + solution_draw(seed, equipment_id * 4 + point, 3, 100) / 1000.0,
           30 + round(solution_load(moment) / 2.5, 1) + solution_draw(seed, equipment_id * 4 + point, 4, 150) / 10.0, moment
    FROM equipment, generate_series(0, 3) point,
         LATERAL (SELECT TIMESTAMP '2026-06-30' + (point * 6 + equipment_id % 6) * INTERVAL '1 hour' AS moment) t
    WHERE equipment_status <> 'retired';
  GET DIAGNOSTICS added = ROW_COUNT;
  total := total + added;
  INSERT INTO equipment_alarms
    SELECT i, 1 + solution_draw(seed, i, 5, size),
           (ARRAY['过载', '油温过高', '绝缘劣化', '局部放电', '电压越限', '通信中断'])[1 + solution_draw(seed, i, 6, 6)],
           (ARRAY[1, 2, 2, 3, 3, 3, 3, 4, 4, 4])[1 + solution_draw(seed, i, 7, 10)], raised,
           CASE WHEN solution_draw(seed, i, 8, 5) > 0 THEN raised + (5 + solution_draw(seed, i, 9, 600)) * INTERVAL '1 minute' END
    FROM generate_series(1::bigint, GREATEST(size / 4, 20)) i,
         LATERAL (SELECT TIMESTAMP '2026-06-30' + solution_draw(seed, i, 10, 86400) * INTERVAL '1 second' AS raised) t;
  GET DIAGNOSTICS added = ROW_COUNT;
  total := total + added;
  INSERT INTO customers SELECT c.* FROM generate_series(1::bigint, 2 * size) i, LATERAL solution_customer(seed, i, size) c;
  GET DIAGNOSTICS added = ROW_COUNT;
  total := total + added;
  INSERT INTO customer_usage
    SELECT u.* FROM customers c, generate_series(0, 6) d, LATERAL solution_usage(seed, c, DATE '2026-06-24' + d) u;
  GET DIAGNOSTICS added = ROW_COUNT;
  RETURN total + added + 6;
END $$;

-- 第 n 次变更；一次调用即一个事务，业务时间每步前进一分钟。
-- The n-th change; one transaction; business time goes on by a minute with each.
CREATE OR REPLACE FUNCTION solution_step(seed INTEGER, n BIGINT) RETURNS INTEGER LANGUAGE plpgsql AS $$
DECLARE
  moment CONSTANT TIMESTAMP(3) := TIMESTAMP '2026-07-01' + n * INTERVAL '1 minute';
  what CONSTANT BIGINT := solution_draw(seed, n, 20, 100);
  equipment_max BIGINT;
  customers_max BIGINT;
  unit BIGINT;
  customer BIGINT;
  alarm BIGINT;
  station TEXT;
  changed INTEGER := 0;
  part INTEGER := 0;
BEGIN
  -- 独占此锁者（例如核对程序）使源库静止。Whoever holds this lock exclusively, as the check does, makes the source stand still.
  PERFORM pg_advisory_xact_lock_shared(47110001);
  SELECT MAX(equipment_id) INTO equipment_max FROM equipment;
  SELECT MAX(customer_id) INTO customers_max FROM customers;
  IF equipment_max IS NULL OR customers_max IS NULL THEN
    RETURN 0;
  END IF;
  unit := 1 + solution_draw(seed, n, 21, equipment_max);
  customer := 1 + solution_draw(seed, n, 22, customers_max);
  SELECT COALESCE(MAX(alarm_id), 0) INTO alarm FROM equipment_alarms;

  IF n % 200 = 0 THEN
    -- 故障：一座变电站的设备同时失去负荷并告警（至多三十台）。A fault: the units of a substation lose their load and raise alarms, thirty at most.
    SELECT substation INTO station FROM equipment WHERE equipment_id >= unit ORDER BY equipment_id LIMIT 1;
    INSERT INTO equipment_alarms
      SELECT alarm + ROW_NUMBER() OVER (ORDER BY equipment_id), equipment_id, '保护跳闸', 1, moment, NULL
      FROM (SELECT equipment_id FROM equipment WHERE substation = station AND equipment_status = 'running'
        ORDER BY equipment_id LIMIT 30) f;
    GET DIAGNOSTICS changed = ROW_COUNT;
    UPDATE monitoring SET load_kw = 0, voltage_pu = NULL, measured_at = moment
      WHERE point = 0 AND equipment_id IN (SELECT a.equipment_id FROM equipment_alarms a WHERE a.alarm_id > alarm);
    GET DIAGNOSTICS part = ROW_COUNT;

  ELSIF what < 45 THEN
    -- 监测到达：负荷随时刻与季节变化，偶有过热。Measurements come in: the load follows hour and season; now and then a unit is too hot.
    INSERT INTO monitoring
      SELECT e.equipment_id, v.point, round(e.capacity_kva * 0.95 * solution_load(moment) * v.share / 10000, 2), v.voltage,
             30 + round(solution_load(moment) / 2.5, 1) + v.warmth, moment
      FROM (SELECT DISTINCT ON (1, 2) 1 + solution_draw(seed, n * 32 + i, 23, equipment_max) AS equipment_id,
                   solution_draw(seed, n * 32 + i, 24, 4)::int AS point, 80 + solution_draw(seed, n * 32 + i, 25, 40) AS share,
                   0.95 + solution_draw(seed, n * 32 + i, 26, 100) / 1000.0 AS voltage,
                   solution_draw(seed, n * 32 + i, 27, 150) / 10.0 + CASE WHEN solution_draw(seed, n * 32 + i, 28, 400) = 0 THEN 35
                     ELSE 0 END AS warmth
            FROM generate_series(0, solution_draw(seed, n, 29, 30)) i ORDER BY 1, 2, i) v
      JOIN equipment e USING (equipment_id)
      WHERE e.equipment_status <> 'retired'
    ON CONFLICT (equipment_id, point) DO UPDATE SET load_kw = excluded.load_kw, voltage_pu = excluded.voltage_pu,
      temperature_c = excluded.temperature_c, measured_at = excluded.measured_at;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF what < 50 THEN
    -- 错误的监测被删除。Measurements that turn out to be wrong are removed.
    DELETE FROM monitoring WHERE equipment_id = unit AND point >= solution_draw(seed, n, 30, 4);
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF what < 60 THEN
    -- 告警产生，最旧的告警离开。An alarm rises, the oldest ones go.
    INSERT INTO equipment_alarms VALUES (alarm + 1, unit,
      (ARRAY['过载', '油温过高', '绝缘劣化', '局部放电', '电压越限', '通信中断'])[1 + solution_draw(seed, n, 31, 6)],
      (ARRAY[1, 2, 2, 3, 3, 3, 3, 4, 4, 4])[1 + solution_draw(seed, n, 32, 10)], moment, NULL);
    DELETE FROM equipment_alarms WHERE alarm_id <= alarm - GREATEST(equipment_max / 2, 100);
    GET DIAGNOSTICS changed = ROW_COUNT;
    part := 1;

  ELSIF what < 68 THEN
    -- 一段告警被消除。Alarms of a stretch are cleared.
    alarm := alarm - solution_draw(seed, n, 33, 60);
    UPDATE equipment_alarms SET cleared_at = GREATEST(moment, raised_at) WHERE alarm_id BETWEEN alarm - 8 AND alarm
      AND cleared_at IS NULL;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF what < 78 THEN
    -- 抄表：一批用户的当日用电量，七天前的离开。Meters are read: a batch of customers; what is older than seven days goes.
    INSERT INTO customer_usage
      SELECT u.* FROM customers c, LATERAL solution_usage(seed, c, moment::date) u
      WHERE c.customer_id BETWEEN customer AND customer + 19
    ON CONFLICT (customer_id, usage_day) DO UPDATE SET peak_kwh = excluded.peak_kwh + 0.5, flat_kwh = excluded.flat_kwh,
      valley_kwh = excluded.valley_kwh;
    GET DIAGNOSTICS changed = ROW_COUNT;
    DELETE FROM customer_usage WHERE customer_id BETWEEN customer AND customer + 19 AND usage_day <= moment::date - 7;
    GET DIAGNOSTICS part = ROW_COUNT;

  ELSIF what < 83 THEN
    -- 电量更正：表计换算错误，或一条误抄删除。Use is corrected: a wrong factor, or a reading that never was.
    IF what < 81 THEN
      UPDATE customer_usage SET peak_kwh = round(peak_kwh * 1.05, 2), valley_kwh = round(valley_kwh * 0.9, 2)
        WHERE customer_id = customer AND peak_kwh < 1000000;
    ELSE
      DELETE FROM customer_usage WHERE customer_id = customer
        AND usage_day = (SELECT MIN(usage_day) FROM customer_usage WHERE customer_id = customer);
    END IF;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF what < 88 THEN
    -- 用户：增容、改接、迁址。Customers: another contract, another supplying unit, another region.
    UPDATE customers SET
      contract_kva = CASE WHEN what < 85 THEN GREATEST(8, round(contract_kva * (70 + solution_draw(seed, n, 34, 61)) / 100, 0))
        ELSE contract_kva END,
      equipment_id = CASE WHEN what IN (85, 86) THEN unit ELSE equipment_id END,
      region = CASE WHEN what = 87 THEN solution_region(solution_draw(seed, n, 34, 7)) ELSE region END
      WHERE customer_id = customer;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF what < 91 THEN
    -- 销户与立户。A customer leaves with all that was recorded, another takes the number.
    IF what = 88 AND customer < customers_max THEN
      DELETE FROM customer_usage WHERE customer_id = customer;
      GET DIAGNOSTICS changed = ROW_COUNT;
      DELETE FROM customers WHERE customer_id = customer;
      GET DIAGNOSTICS part = ROW_COUNT;
    ELSE
      INSERT INTO customers SELECT * FROM solution_customer((seed + n)::int, customer, equipment_max) ON CONFLICT DO NOTHING;
      GET DIAGNOSTICS changed = ROW_COUNT;
    END IF;

  ELSIF what < 97 THEN
    -- 台账更正：检修、投运、退役、扩容、划归另一区域。The register: maintenance, running, retired, more capacity, another region.
    UPDATE equipment SET
      equipment_status = CASE WHEN what < 94 THEN (ARRAY['running', 'running', 'maintenance', 'standby',
        'retired'])[1 + solution_draw(seed, n, 35, 5)] ELSE equipment_status END,
      capacity_kva = CASE WHEN what IN (94, 95) THEN round(capacity_kva * (80 + solution_draw(seed, n, 35, 41)) / 100, 0)
        ELSE capacity_kva END,
      region = CASE WHEN what = 96 THEN solution_region(solution_draw(seed, n, 35, 7)) ELSE region END
      WHERE equipment_id = unit;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSE
    -- 设备更换：台账、监测、告警在同一事务中删除，新设备同号投运；偶尔只拆除不更换，号码留空。
    -- A unit is replaced: register, measurements and alarms go and come again in one transaction; now and then it only goes.
    DELETE FROM monitoring WHERE equipment_id = unit;
    GET DIAGNOSTICS changed = ROW_COUNT;
    DELETE FROM equipment_alarms WHERE equipment_id = unit AND cleared_at IS NOT NULL;
    GET DIAGNOSTICS part = ROW_COUNT;
    changed := changed + part;
    DELETE FROM equipment WHERE equipment_id = unit AND (what < 99 OR unit < equipment_max);
    GET DIAGNOSTICS part = ROW_COUNT;
    IF what < 99 THEN
      INSERT INTO equipment SELECT * FROM solution_equipment((seed + n)::int, unit);
      INSERT INTO monitoring SELECT equipment_id, 0, round(capacity_kva * 0.4, 2), 1.000, 42.0, moment FROM equipment
        WHERE equipment_id = unit;
      part := part + 2;
    END IF;
  END IF;
  RETURN changed + part;
END $$;
