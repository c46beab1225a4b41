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

-- ── 数据生成 The living grid ────────────────────────────────────────────────────────────────────────────────────
-- 由 (seed, n, i) 决定的数，0 … below - 1；在任何机器、任何版本上都相同。
-- A number from 0 to below - 1 that follows from (seed, n, i): the same on every machine and version.
CREATE OR REPLACE FUNCTION solution_draw(seed INTEGER, n BIGINT, i INTEGER, below BIGINT) RETURNS BIGINT
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ('x' || substr(md5(seed || ':' || n || ':' || i), 1, 12))::bit(48)::bigint % below
$$;

CREATE OR REPLACE FUNCTION solution_regions() RETURNS TEXT[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ARRAY['华东', '华北', '华中', '华南', '西北', '东北', '西南']
$$;

CREATE OR REPLACE FUNCTION solution_types() RETURNS TEXT[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ARRAY['变压器', '输电线路', '断路器', '发电机组', '储能站']
$$;

-- 初始数据：size 台设备，每台 4 个量测点；返回新增行数，已有数据时为 0。
-- The first contents: size devices with 4 readings each; the rows added, 0 where there are rows already.
CREATE OR REPLACE FUNCTION solution_fill(size INTEGER, seed INTEGER) RETURNS BIGINT LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM devices) THEN
    RETURN 0;
  END IF;
  -- 7919、104729 是质数，相邻设备的取值看起来互不相关。
  -- 7919 and 104729 are primes: neighbouring devices get values that look unrelated.
  INSERT INTO devices
    SELECT i, t.name || '-' || lpad(i::text, 6, '0'), (solution_regions())[1 + (i * 7919 + seed) % 7], t.name,
           100 + ((i + seed) * 104729) % 9000 / 10.0, 'online', TIMESTAMP '2026-01-01'
    FROM generate_series(1::bigint, size) AS i, LATERAL (SELECT (solution_types())[1 + (i * 31 + seed) % 5]) AS t (name);
  INSERT INTO readings
    SELECT d.device_id, s, round(d.rated_kw * (30 + (d.device_id * 13 + s * 7919 + seed) % 55) / 100.0, 2),
           220 + (d.device_id * 17 + s) % 20 / 10.0, 20 + (d.device_id * 7 + s * 11) % 500 / 10.0,
           TIMESTAMP '2026-01-01' + s * INTERVAL '15 minutes'
    FROM devices AS d, generate_series(0, 3) AS s;
  RETURN 5 * size::bigint;
END
$$;

-- 第 n 个变化：一个事务，返回变更的行数。业务时间每步前进一秒。
-- The n-th change: one transaction; the rows it changed. Business time goes on by a second with each.
CREATE OR REPLACE FUNCTION solution_step(seed INTEGER, n BIGINT) RETURNS INTEGER LANGUAGE plpgsql AS $$
DECLARE
  business_time CONSTANT TIMESTAMP(3) := TIMESTAMP '2026-01-01 01:00:00' + n * INTERVAL '1 second';
  -- 日负荷曲线（额定功率的百分比）：上午与傍晚两个高峰。
  -- The load of a day in per cent of the rating: two peaks, in the late morning and in the evening.
  load_of_hour CONSTANT INTEGER[] :=
    ARRAY[46, 43, 41, 40, 41, 45, 53, 62, 71, 77, 80, 78, 72, 67, 65, 66, 70, 76, 81, 82, 77, 68, 58, 51];
  daily CONSTANT INTEGER := load_of_hour[1 + EXTRACT(HOUR FROM business_time)::int];
  kind CONSTANT BIGINT := solution_draw(seed, n, 0, 100);
  newest_device BIGINT;
  device BIGINT;
  alarm BIGINT;
  device_type_now TEXT;
  rated NUMERIC(10, 2);
  changed INTEGER := 0;
  more INTEGER;
BEGIN
  -- 独占此锁者（例如核对程序）使源库静止。Whoever holds this lock exclusively, as the check does, makes the source stand still.
  PERFORM pg_advisory_xact_lock_shared(47110001);
  SELECT MAX(device_id) INTO newest_device FROM devices;
  IF newest_device IS NULL THEN
    RETURN 0;
  END IF;
  device := 1 + solution_draw(seed, n, 1, newest_device);

  IF n % 300 = 0 THEN
    -- 突发：一个区域的设备同时上报（最多 400 台）。A burst: the devices of a region report at once, 400 at most.
    INSERT INTO readings
      SELECT d.device_id, 0, round(d.rated_kw * (daily + d.device_id % 17) / 100.0, 2), 219.5, 20 + daily / 2.0, business_time
      FROM devices AS d
      WHERE d.region = (solution_regions())[1 + solution_draw(seed, n, 2, 7)]
      ORDER BY d.device_id LIMIT 400
    ON CONFLICT (device_id, slot) DO UPDATE SET active_kw = excluded.active_kw, voltage_v = excluded.voltage_v,
      temperature_c = excluded.temperature_c, read_at = excluded.read_at;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF kind < 70 THEN
    -- 量测到达，循环使用量测点；偶有过温。Readings come in and take their slots in turn; now and then one is too hot.
    INSERT INTO readings
      SELECT v.device_id, v.slot, round(d.rated_kw * v.share / 100, 2), v.voltage, 20 + v.share / 2 + v.warmth, business_time
      FROM (
        SELECT DISTINCT ON (1, 2)
               1 + solution_draw(seed, n, 10 * i, newest_device) AS device_id, solution_draw(seed, n, 10 * i + 1, 4)::int AS slot,
               LEAST(120, daily - 10 + solution_draw(seed, n, 10 * i + 2, 3000) / 100.0) AS share,
               219 + solution_draw(seed, n, 10 * i + 3, 400) / 100.0 AS voltage,
               solution_draw(seed, n, 10 * i + 4, 100) / 10.0
                 + CASE WHEN solution_draw(seed, n, 10 * i + 5, 2000) = 0 THEN 30 ELSE 0 END AS warmth
        FROM generate_series(1, 1 + solution_draw(seed, n, 2, 20)::int) AS i
        ORDER BY 1, 2, i) AS v
      JOIN devices AS d ON d.device_id = v.device_id
    ON CONFLICT (device_id, slot) DO UPDATE SET active_kw = excluded.active_kw, voltage_v = excluded.voltage_v,
      temperature_c = excluded.temperature_c, read_at = excluded.read_at;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF kind < 76 THEN
    -- 错误的量测被删除。Readings that turn out to be wrong are removed.
    DELETE FROM readings WHERE device_id = device AND slot <= solution_draw(seed, n, 2, 4);
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF kind < 86 THEN
    -- 告警产生，设备状态随之改变，最旧的告警离开：一个事务涉及两张表。
    -- An alarm rises, the device's state follows, the oldest alarms go: two tables in one transaction.
    SELECT COALESCE(MAX(alarm_id), 0) + 1 INTO alarm FROM alarms;
    INSERT INTO alarms VALUES (
      alarm, device, CASE WHEN solution_draw(seed, n, 2, 100) = 0 THEN 1 ELSE 2 + solution_draw(seed, n, 3, 2) END,
      (ARRAY['过温', '过载', '电压越限', '通信中断', '局部放电'])[1 + solution_draw(seed, n, 4, 5)], FALSE, business_time);
    UPDATE devices SET status = 'alarm', updated_at = business_time WHERE device_id = device AND status <> 'retired';
    GET DIAGNOSTICS changed = ROW_COUNT;
    DELETE FROM alarms WHERE alarm_id <= alarm - GREATEST(50, newest_device / 5);
    GET DIAGNOSTICS more = ROW_COUNT;
    changed := changed + more + 1;

  ELSIF kind < 93 THEN
    -- 一段告警被消除，设备恢复在线。Alarms of a stretch are cleared and their devices are on line again.
    SELECT COALESCE(MAX(alarm_id), 0) - solution_draw(seed, n, 2, 50) INTO alarm FROM alarms;
    UPDATE devices SET status = 'online', updated_at = business_time
      WHERE status = 'alarm' AND device_id IN (
        SELECT a.device_id FROM alarms AS a WHERE a.alarm_id BETWEEN alarm - 10 AND alarm AND NOT a.cleared);
    GET DIAGNOSTICS changed = ROW_COUNT;
    UPDATE alarms SET cleared = TRUE WHERE alarm_id BETWEEN alarm - 10 AND alarm AND NOT cleared;
    GET DIAGNOSTICS more = ROW_COUNT;
    changed := changed + more;

  ELSIF kind < 98 THEN
    -- 台账更正：额定功率、区域、退役或恢复、名称。The register is corrected: rating, region, retired or back again, name.
    UPDATE devices SET
      rated_kw = CASE WHEN kind = 93 THEN 100 + solution_draw(seed, n, 2, 900) ELSE rated_kw END,
      region = CASE WHEN kind IN (94, 95) THEN (solution_regions())[1 + solution_draw(seed, n, 2, 7)] ELSE region END,
      status = CASE WHEN kind <> 96 THEN status WHEN status = 'retired' THEN 'online' ELSE 'retired' END,
      device_name = CASE WHEN kind = 97 THEN device_type || '-' || lpad(device::text, 6, '0') || '-' || n % 100 ELSE device_name END,
      updated_at = business_time
      WHERE device_id = device;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSE
    -- 设备更换为另一类型：设备与量测在同一事务中删除后重新写入。
    -- A device is replaced by one of another type: it and its readings go and come again in one transaction.
    device_type_now := (solution_types())[1 + solution_draw(seed, n, 2, 5)];
    rated := 100 + solution_draw(seed, n, 3, 900);
    DELETE FROM readings WHERE device_id = device;
    GET DIAGNOSTICS changed = ROW_COUNT;
    DELETE FROM devices WHERE device_id = device;
    GET DIAGNOSTICS more = ROW_COUNT;
    INSERT INTO devices VALUES (
      device, device_type_now || '-' || lpad(device::text, 6, '0'), (solution_regions())[1 + solution_draw(seed, n, 4, 7)],
      device_type_now, rated, 'online', business_time);
    INSERT INTO readings VALUES (device, 0, rated * 0.5, 220, 45.5, business_time);
    changed := changed + more + 2;
  END IF;
  RETURN changed;
END
$$;
