-- 在源库中由源表重新计算每张大屏表与各层行数，用于核对。
-- Every board and the rows of every layer, computed anew from the source's tables, for the check.

-- board: live_board
WITH unit AS (
  SELECT e.*, v.load_limit, EXTRACT(YEAR FROM age(DATE '2026-07-01', e.commissioned_on))::int AS age_years
  FROM equipment e LEFT JOIN voltage_classes v USING (voltage_kv) WHERE e.equipment_status <> 'retired'
), newest AS (
  SELECT DISTINCT ON (equipment_id) equipment_id, load_kw, temperature_c FROM monitoring ORDER BY equipment_id, measured_at DESC,
    point
), alarm AS (
  SELECT a.*, COALESCE(e.region, '未知') AS region, a.cleared_at IS NULL AS is_open,
         floor(EXTRACT(EPOCH FROM a.cleared_at - a.raised_at) / 60)::int AS clear_minutes
  FROM equipment_alarms a LEFT JOIN equipment e USING (equipment_id)
), loads AS (
  SELECT SUM(n.load_kw)::numeric(20, 2) AS load_kw, COUNT(*) FILTER (WHERE n.load_kw > u.capacity_kva * u.load_limit) AS overloaded,
         MAX(n.temperature_c) AS hottest_c
  FROM unit u JOIN newest n USING (equipment_id)
), register AS (
  SELECT COUNT(*) AS units, COUNT(*) FILTER (WHERE equipment_status = 'running') AS running_units,
    SUM(capacity_kva)::numeric(20, 2) AS capacity_kva FROM unit
)
SELECT 1 AS board_id, units, running_units, running_units::float8 / NULLIF(units::float8, 0) AS running_rate, capacity_kva, load_kw,
       load_kw::float8 / NULLIF(capacity_kva::float8, 0) AS load_rate, overloaded, hottest_c,
       (SELECT COUNT(*) FROM alarm WHERE is_open) AS open_alarms,
         (SELECT COUNT(*) FROM alarm WHERE is_open AND alarm_level = 1) AS critical_alarms,
       (SELECT COUNT(*) FROM customers) AS customers,
       (SELECT SUM(u.peak_kwh + u.flat_kwh + u.valley_kwh)::numeric(20, 2) FROM customer_usage u
         JOIN customers c USING (customer_id)) AS kwh,
       (SELECT region FROM alarm GROUP BY region ORDER BY COUNT(*) FILTER (WHERE is_open) DESC,
         region COLLATE "C" LIMIT 1) AS worst_region
FROM register, loads;

-- board: capacity_board
WITH unit AS (
  SELECT e.*, v.load_limit, EXTRACT(YEAR FROM age(DATE '2026-07-01', e.commissioned_on))::int AS age_years
  FROM equipment e LEFT JOIN voltage_classes v USING (voltage_kv) WHERE e.equipment_status <> 'retired'
), summed AS (
  SELECT equipment_type, region, COUNT(*) AS units, COUNT(*) FILTER (WHERE equipment_status = 'running') AS running_units,
         SUM(capacity_kva)::numeric(20, 2) AS capacity_kva, SUM(age_years) AS age_years, MIN(commissioned_on) AS oldest_on
  FROM unit GROUP BY equipment_type, region
)
SELECT equipment_type, region, units, running_units, capacity_kva,
       capacity_kva::float8 / NULLIF((SUM(capacity_kva) OVER (PARTITION BY equipment_type))::float8, 0) AS type_share,
       age_years::float8 / units::float8 AS mean_age_years, oldest_on
FROM summed;

-- board: equipment_health
WITH unit AS (
  SELECT e.*, v.load_limit, EXTRACT(YEAR FROM age(DATE '2026-07-01', e.commissioned_on))::int AS age_years
  FROM equipment e LEFT JOIN voltage_classes v USING (voltage_kv) WHERE e.equipment_status <> 'retired'
), newest AS (
  SELECT DISTINCT ON (equipment_id) equipment_id, load_kw, temperature_c FROM monitoring ORDER BY equipment_id, measured_at DESC,
    point
), counted AS (
  SELECT u.*, n.load_kw, l.hottest_c, COALESCE(l.overloads, 0) AS overloads, COALESCE(a.open_alarms, 0) AS open_alarms,
         COALESCE(a.critical_alarms, 0) AS critical_alarms,
         COALESCE(c.customers, 0) AS customers
  FROM unit u LEFT JOIN newest n USING (equipment_id)
  LEFT JOIN (
    SELECT m.equipment_id, MAX(m.temperature_c) AS hottest_c, COUNT(*) FILTER (WHERE m.load_kw > e.capacity_kva * 0.9) AS overloads
    FROM monitoring m JOIN equipment e USING (equipment_id) GROUP BY 1) l USING (equipment_id)
  LEFT JOIN (
    SELECT equipment_id, COUNT(*) FILTER (WHERE cleared_at IS NULL) AS open_alarms,
           COUNT(*) FILTER (WHERE cleared_at IS NULL AND alarm_level = 1) AS critical_alarms
    FROM equipment_alarms GROUP BY 1) a USING (equipment_id)
  LEFT JOIN (SELECT equipment_id, COUNT(*) AS customers FROM customers GROUP BY 1) c USING (equipment_id)
), scored AS (
  SELECT *, GREATEST(0, 100 - 8 * overloads - 5 * open_alarms - 20 * critical_alarms
              - CASE WHEN hottest_c > 90 THEN 25 WHEN hottest_c > 75 THEN 8 ELSE 0 END
              - CASE WHEN age_years > 20 THEN 10 WHEN age_years > 12 THEN 4 ELSE 0 END) AS score
  FROM counted
), graded AS (
  SELECT *, CASE WHEN score >= 85 THEN '健康' WHEN score >= 70 THEN '良好' WHEN score >= 50 THEN '注意' ELSE '危险' END AS grade FROM scored
)
SELECT equipment_id, equipment_name, equipment_type, region, load_kw::float8 / NULLIF(capacity_kva::float8, 0) AS load_rate,
  hottest_c, overloads,
       open_alarms, critical_alarms, score, grade
FROM graded;

-- board: health_summary
WITH unit AS (
  SELECT e.*, v.load_limit, EXTRACT(YEAR FROM age(DATE '2026-07-01', e.commissioned_on))::int AS age_years
  FROM equipment e LEFT JOIN voltage_classes v USING (voltage_kv) WHERE e.equipment_status <> 'retired'
), newest AS (
  SELECT DISTINCT ON (equipment_id) equipment_id, load_kw, temperature_c FROM monitoring ORDER BY equipment_id, measured_at DESC,
    point
), counted AS (
  SELECT u.*, n.load_kw, l.hottest_c, COALESCE(l.overloads, 0) AS overloads, COALESCE(a.open_alarms, 0) AS open_alarms,
         COALESCE(a.critical_alarms, 0) AS critical_alarms,
         COALESCE(c.customers, 0) AS customers
  FROM unit u LEFT JOIN newest n USING (equipment_id)
  LEFT JOIN (
    SELECT m.equipment_id, MAX(m.temperature_c) AS hottest_c, COUNT(*) FILTER (WHERE m.load_kw > e.capacity_kva * 0.9) AS overloads
    FROM monitoring m JOIN equipment e USING (equipment_id) GROUP BY 1) l USING (equipment_id)
  LEFT JOIN (
    SELECT equipment_id, COUNT(*) FILTER (WHERE cleared_at IS NULL) AS open_alarms,
           COUNT(*) FILTER (WHERE cleared_at IS NULL AND alarm_level = 1) AS critical_alarms
    FROM equipment_alarms GROUP BY 1) a USING (equipment_id)
  LEFT JOIN (SELECT equipment_id, COUNT(*) AS customers FROM customers GROUP BY 1) c USING (equipment_id)
), scored AS (
  SELECT *, GREATEST(0, 100 - 8 * overloads - 5 * open_alarms - 20 * critical_alarms
              - CASE WHEN hottest_c > 90 THEN 25 WHEN hottest_c > 75 THEN 8 ELSE 0 END
              - CASE WHEN age_years > 20 THEN 10 WHEN age_years > 12 THEN 4 ELSE 0 END) AS score
  FROM counted
), graded AS (
  SELECT *, CASE WHEN score >= 85 THEN '健康' WHEN score >= 70 THEN '良好' WHEN score >= 50 THEN '注意' ELSE '危险' END AS grade FROM scored
)
SELECT region, grade, COUNT(*) AS units, SUM(score)::float8 / COUNT(*)::float8 AS mean_score,
  SUM(capacity_kva)::numeric(20, 2) AS capacity_kva
FROM graded GROUP BY region, grade;

-- board: risk_ranking
WITH unit AS (
  SELECT e.*, v.load_limit, EXTRACT(YEAR FROM age(DATE '2026-07-01', e.commissioned_on))::int AS age_years
  FROM equipment e LEFT JOIN voltage_classes v USING (voltage_kv) WHERE e.equipment_status <> 'retired'
), newest AS (
  SELECT DISTINCT ON (equipment_id) equipment_id, load_kw, temperature_c FROM monitoring ORDER BY equipment_id, measured_at DESC,
    point
), counted AS (
  SELECT u.*, n.load_kw, l.hottest_c, COALESCE(l.overloads, 0) AS overloads, COALESCE(a.open_alarms, 0) AS open_alarms,
         COALESCE(a.critical_alarms, 0) AS critical_alarms,
         COALESCE(c.customers, 0) AS customers
  FROM unit u LEFT JOIN newest n USING (equipment_id)
  LEFT JOIN (
    SELECT m.equipment_id, MAX(m.temperature_c) AS hottest_c, COUNT(*) FILTER (WHERE m.load_kw > e.capacity_kva * 0.9) AS overloads
    FROM monitoring m JOIN equipment e USING (equipment_id) GROUP BY 1) l USING (equipment_id)
  LEFT JOIN (
    SELECT equipment_id, COUNT(*) FILTER (WHERE cleared_at IS NULL) AS open_alarms,
           COUNT(*) FILTER (WHERE cleared_at IS NULL AND alarm_level = 1) AS critical_alarms
    FROM equipment_alarms GROUP BY 1) a USING (equipment_id)
  LEFT JOIN (SELECT equipment_id, COUNT(*) AS customers FROM customers GROUP BY 1) c USING (equipment_id)
), scored AS (
  SELECT *, GREATEST(0, 100 - 8 * overloads - 5 * open_alarms - 20 * critical_alarms
              - CASE WHEN hottest_c > 90 THEN 25 WHEN hottest_c > 75 THEN 8 ELSE 0 END
              - CASE WHEN age_years > 20 THEN 10 WHEN age_years > 12 THEN 4 ELSE 0 END) AS score
  FROM counted
), graded AS (
  SELECT *, CASE WHEN score >= 85 THEN '健康' WHEN score >= 70 THEN '良好' WHEN score >= 50 THEN '注意' ELSE '危险' END AS grade FROM scored
), placed AS (
  SELECT region, ROW_NUMBER() OVER (PARTITION BY region ORDER BY score, open_alarms DESC, equipment_id) AS place, equipment_id,
    equipment_name,
         score, open_alarms, customers
  FROM scored
)
SELECT * FROM placed WHERE place <= 5;

-- board: alarm_board
WITH alarm AS (
  SELECT a.*, COALESCE(e.region, '未知') AS region, a.cleared_at IS NULL AS is_open,
         floor(EXTRACT(EPOCH FROM a.cleared_at - a.raised_at) / 60)::int AS clear_minutes
  FROM equipment_alarms a LEFT JOIN equipment e USING (equipment_id)
)
SELECT region, alarm_type, COUNT(*) AS alarms, COUNT(*) FILTER (WHERE is_open) AS open_alarms,
       COUNT(*) FILTER (WHERE is_open AND alarm_level = 1) AS critical_alarms,
       SUM(clear_minutes)::float8 / NULLIF(COUNT(clear_minutes)::float8, 0) AS clear_minutes,
       COUNT(cleared_at)::float8 / COUNT(*)::float8 AS cleared_share
FROM alarm GROUP BY region, alarm_type;

-- board: load_curve
SELECT EXTRACT(HOUR FROM m.measured_at)::int AS measured_hour,
       MAX(CASE WHEN EXTRACT(HOUR FROM m.measured_at) IN (9, 10, 11, 17, 18, 19, 20) THEN '峰'
                WHEN EXTRACT(HOUR FROM m.measured_at) BETWEEN 0 AND 6 OR EXTRACT(HOUR FROM m.measured_at) = 23 THEN '谷'
                  ELSE '平' END) AS tariff,
       COUNT(*) AS readings, SUM(m.load_kw)::numeric(20, 2) AS load_kw,
       SUM(m.load_kw)::float8 / NULLIF(SUM(e.capacity_kva)::float8, 0) AS load_rate
FROM monitoring m JOIN equipment e USING (equipment_id) WHERE e.equipment_status <> 'retired' GROUP BY 1;

-- board: usage_tiers
WITH priced AS (
  SELECT u.*, c.region, c.customer_type, u.peak_kwh + u.flat_kwh + u.valley_kwh AS kwh,
         (u.peak_kwh * CASE c.customer_type WHEN '居民' THEN 0.62 WHEN '一般工商业' THEN 1.12 WHEN '大工业' THEN 1.05 ELSE 0.50 END
          + u.flat_kwh * CASE c.customer_type WHEN '居民' THEN 0.56 WHEN '一般工商业' THEN 0.78 WHEN '大工业' THEN 0.66 ELSE 0.50 END
          + u.valley_kwh * CASE c.customer_type WHEN '居民' THEN 0.36 WHEN '一般工商业' THEN 0.41 WHEN '大工业' THEN 0.32 ELSE 0.30 END
         )::numeric(14, 2) AS amount
  FROM customer_usage u JOIN customers c USING (customer_id)
), used AS (
  SELECT customer_id, COUNT(*) AS days, SUM(kwh) AS kwh, SUM(peak_kwh) AS peak_kwh, SUM(valley_kwh) AS valley_kwh,
    SUM(amount) AS amount,
         MAX(kwh) AS largest_kwh
  FROM priced GROUP BY customer_id
), daily AS (
  SELECT COALESCE(u.kwh, 0) AS kwh, COALESCE(u.peak_kwh, 0) AS peak_kwh, COALESCE(u.amount, 0) AS amount,
         CASE WHEN u.kwh IS NULL OR u.kwh = 0 THEN '零用电' WHEN u.kwh >= 50000 * u.days THEN '特大' WHEN u.kwh >= 2000 * u.days THEN '大'
              WHEN u.kwh >= 200 * u.days THEN '中' ELSE '小' END AS tier
  FROM customers c LEFT JOIN used u USING (customer_id)
)
SELECT tier, COUNT(*) AS customers, SUM(kwh)::numeric(20, 2) AS kwh, SUM(amount)::numeric(20, 2) AS amount,
       SUM(kwh)::float8 / COUNT(*)::float8 AS kwh_per_customer, SUM(peak_kwh)::float8 / NULLIF(SUM(kwh)::float8, 0) AS peak_share
FROM daily GROUP BY tier;

-- board: usage_by_type
WITH priced AS (
  SELECT u.*, c.region, c.customer_type, u.peak_kwh + u.flat_kwh + u.valley_kwh AS kwh,
         (u.peak_kwh * CASE c.customer_type WHEN '居民' THEN 0.62 WHEN '一般工商业' THEN 1.12 WHEN '大工业' THEN 1.05 ELSE 0.50 END
          + u.flat_kwh * CASE c.customer_type WHEN '居民' THEN 0.56 WHEN '一般工商业' THEN 0.78 WHEN '大工业' THEN 0.66 ELSE 0.50 END
          + u.valley_kwh * CASE c.customer_type WHEN '居民' THEN 0.36 WHEN '一般工商业' THEN 0.41 WHEN '大工业' THEN 0.32 ELSE 0.30 END
         )::numeric(14, 2) AS amount
  FROM customer_usage u JOIN customers c USING (customer_id)
), used AS (
  SELECT customer_id, COUNT(*) AS days, SUM(kwh) AS kwh, SUM(peak_kwh) AS peak_kwh, SUM(valley_kwh) AS valley_kwh,
    SUM(amount) AS amount,
         MAX(kwh) AS largest_kwh
  FROM priced GROUP BY customer_id
)
SELECT c.region, c.customer_type, COUNT(*) AS customers, SUM(c.contract_kva)::numeric(20, 2) AS contract_kva,
       SUM(COALESCE(u.kwh, 0))::numeric(20, 2) AS kwh,
       SUM(COALESCE(u.peak_kwh, 0))::float8 / NULLIF(SUM(COALESCE(u.kwh, 0))::float8, 0) AS peak_share,
       SUM(COALESCE(u.valley_kwh, 0))::float8 / NULLIF(SUM(COALESCE(u.kwh, 0))::float8, 0) AS valley_share,
       SUM(COALESCE(u.amount, 0))::numeric(20, 2) AS amount
FROM customers c LEFT JOIN used u USING (customer_id) GROUP BY c.region, c.customer_type;

-- board: attention
WITH reasons AS (
  SELECT '过载告警' AS reason, equipment_id AS object_id, NULL AS note FROM (
    SELECT m.equipment_id FROM monitoring m JOIN equipment e USING (equipment_id)
    WHERE e.equipment_status <> 'retired' AND m.load_kw > e.capacity_kva * 0.9
    INTERSECT SELECT equipment_id FROM equipment_alarms WHERE cleared_at IS NULL) b
  UNION ALL
  SELECT '无监测', equipment_id, equipment_name FROM equipment e
  WHERE equipment_status = 'running' AND NOT EXISTS (SELECT FROM monitoring m WHERE m.equipment_id = e.equipment_id)
  UNION ALL
  SELECT '停运供电', equipment_id, equipment_status FROM equipment e
  WHERE equipment_status IN ('maintenance', 'retired') AND EXISTS (SELECT FROM customers c WHERE c.equipment_id = e.equipment_id)
  UNION ALL
  SELECT '超容用户', customer_id, customer_name FROM customers c
  WHERE EXISTS (SELECT FROM customer_usage u WHERE u.customer_id = c.customer_id
    AND peak_kwh + flat_kwh + valley_kwh > c.contract_kva * 12)
)
SELECT * FROM reasons;

-- layer: fluss.power_equipment.ods_equipment
SELECT COUNT(*) FROM equipment;

-- layer: fluss.power_equipment.ods_monitoring
SELECT COUNT(*) FROM monitoring;

-- layer: fluss.power_equipment.ods_equipment_alarms
SELECT COUNT(*) FROM equipment_alarms;

-- layer: fluss.power_equipment.ods_customers
SELECT COUNT(*) FROM customers;

-- layer: fluss.power_equipment.ods_customer_usage
SELECT COUNT(*) FROM customer_usage;

-- layer: fluss.power_equipment.dwd_equipment
SELECT COUNT(*) FROM equipment WHERE equipment_status <> 'retired';

-- layer: fluss.power_equipment.dwd_monitoring
SELECT COUNT(*) FROM monitoring m JOIN equipment e USING (equipment_id) WHERE e.equipment_status <> 'retired';

-- layer: fluss.power_equipment.dwd_latest_loads
SELECT COUNT(DISTINCT equipment_id) FROM monitoring;

-- layer: fluss.power_equipment.dwd_alarms
SELECT COUNT(*) FROM equipment_alarms;

-- layer: fluss.power_equipment.dwd_usage
SELECT COUNT(*) FROM customer_usage JOIN customers USING (customer_id);

-- layer: fluss.power_equipment.dws_type_region
SELECT COUNT(DISTINCT (equipment_type, region)) FROM equipment WHERE equipment_status <> 'retired';

-- layer: fluss.power_equipment.dws_equipment_loads
SELECT COUNT(DISTINCT equipment_id) FROM monitoring m JOIN equipment e USING (equipment_id) WHERE e.equipment_status <> 'retired';

-- layer: fluss.power_equipment.dws_equipment_alarms
SELECT COUNT(DISTINCT equipment_id) FROM equipment_alarms;

-- layer: fluss.power_equipment.dws_equipment_customers
SELECT COUNT(DISTINCT equipment_id) FROM customers;

-- layer: fluss.power_equipment.dws_region_alarms
SELECT COUNT(DISTINCT (COALESCE(e.region, '未知'), a.alarm_type)) FROM equipment_alarms a LEFT JOIN equipment e USING (equipment_id);

-- layer: fluss.power_equipment.dws_customers
SELECT COUNT(DISTINCT customer_id) FROM customer_usage JOIN customers USING (customer_id);

-- layer: fluss.power_equipment.dws_hours
SELECT COUNT(DISTINCT EXTRACT(HOUR FROM m.measured_at)) FROM monitoring m JOIN equipment e USING (equipment_id)
  WHERE e.equipment_status <> 'retired';

-- layer: fluss.power_equipment.ads_live_board
SELECT 1;

-- layer: fluss.power_equipment.ads_capacity_board
SELECT COUNT(DISTINCT (equipment_type, region)) FROM equipment WHERE equipment_status <> 'retired';

-- layer: fluss.power_equipment.ads_equipment_health
SELECT COUNT(*) FROM equipment WHERE equipment_status <> 'retired';

-- layer: fluss.power_equipment.ads_health_summary
WITH unit AS (
  SELECT e.*, v.load_limit, EXTRACT(YEAR FROM age(DATE '2026-07-01', e.commissioned_on))::int AS age_years
  FROM equipment e LEFT JOIN voltage_classes v USING (voltage_kv) WHERE e.equipment_status <> 'retired'
), newest AS (
  SELECT DISTINCT ON (equipment_id) equipment_id, load_kw, temperature_c FROM monitoring ORDER BY equipment_id, measured_at DESC,
    point
), counted AS (
  SELECT u.*, n.load_kw, l.hottest_c, COALESCE(l.overloads, 0) AS overloads, COALESCE(a.open_alarms, 0) AS open_alarms,
         COALESCE(a.critical_alarms, 0) AS critical_alarms,
         COALESCE(c.customers, 0) AS customers
  FROM unit u LEFT JOIN newest n USING (equipment_id)
  LEFT JOIN (
    SELECT m.equipment_id, MAX(m.temperature_c) AS hottest_c, COUNT(*) FILTER (WHERE m.load_kw > e.capacity_kva * 0.9) AS overloads
    FROM monitoring m JOIN equipment e USING (equipment_id) GROUP BY 1) l USING (equipment_id)
  LEFT JOIN (
    SELECT equipment_id, COUNT(*) FILTER (WHERE cleared_at IS NULL) AS open_alarms,
           COUNT(*) FILTER (WHERE cleared_at IS NULL AND alarm_level = 1) AS critical_alarms
    FROM equipment_alarms GROUP BY 1) a USING (equipment_id)
  LEFT JOIN (SELECT equipment_id, COUNT(*) AS customers FROM customers GROUP BY 1) c USING (equipment_id)
), scored AS (
  SELECT *, GREATEST(0, 100 - 8 * overloads - 5 * open_alarms - 20 * critical_alarms
              - CASE WHEN hottest_c > 90 THEN 25 WHEN hottest_c > 75 THEN 8 ELSE 0 END
              - CASE WHEN age_years > 20 THEN 10 WHEN age_years > 12 THEN 4 ELSE 0 END) AS score
  FROM counted
), graded AS (
  SELECT *, CASE WHEN score >= 85 THEN '健康' WHEN score >= 70 THEN '良好' WHEN score >= 50 THEN '注意' ELSE '危险' END AS grade FROM scored
)
SELECT COUNT(DISTINCT (region, grade)) FROM graded;

-- layer: fluss.power_equipment.ads_risk_ranking
SELECT COALESCE(SUM(LEAST(units, 5)), 0) FROM (SELECT COUNT(*) AS units FROM equipment WHERE equipment_status <> 'retired'
  GROUP BY region) t;

-- layer: fluss.power_equipment.ads_alarm_board
SELECT COUNT(DISTINCT (COALESCE(e.region, '未知'), a.alarm_type)) FROM equipment_alarms a LEFT JOIN equipment e USING (equipment_id);

-- layer: fluss.power_equipment.ads_load_curve
SELECT COUNT(DISTINCT EXTRACT(HOUR FROM m.measured_at)) FROM monitoring m JOIN equipment e USING (equipment_id)
  WHERE e.equipment_status <> 'retired';

-- layer: fluss.power_equipment.ads_usage_tiers
WITH priced AS (
  SELECT u.*, c.region, c.customer_type, u.peak_kwh + u.flat_kwh + u.valley_kwh AS kwh,
         (u.peak_kwh * CASE c.customer_type WHEN '居民' THEN 0.62 WHEN '一般工商业' THEN 1.12 WHEN '大工业' THEN 1.05 ELSE 0.50 END
          + u.flat_kwh * CASE c.customer_type WHEN '居民' THEN 0.56 WHEN '一般工商业' THEN 0.78 WHEN '大工业' THEN 0.66 ELSE 0.50 END
          + u.valley_kwh * CASE c.customer_type WHEN '居民' THEN 0.36 WHEN '一般工商业' THEN 0.41 WHEN '大工业' THEN 0.32 ELSE 0.30 END
         )::numeric(14, 2) AS amount
  FROM customer_usage u JOIN customers c USING (customer_id)
), used AS (
  SELECT customer_id, COUNT(*) AS days, SUM(kwh) AS kwh, SUM(peak_kwh) AS peak_kwh, SUM(valley_kwh) AS valley_kwh,
    SUM(amount) AS amount,
         MAX(kwh) AS largest_kwh
  FROM priced GROUP BY customer_id
)
SELECT COUNT(DISTINCT CASE WHEN u.kwh IS NULL OR u.kwh = 0 THEN '零用电' WHEN u.kwh >= 50000 * u.days THEN '特大'
  WHEN u.kwh >= 2000 * u.days THEN '大'
              WHEN u.kwh >= 200 * u.days THEN '中' ELSE '小' END)
FROM customers c LEFT JOIN used u USING (customer_id);

-- layer: fluss.power_equipment.ads_usage_by_type
SELECT COUNT(DISTINCT (region, customer_type)) FROM customers;

-- layer: fluss.power_equipment.ads_attention
WITH reasons AS (
  SELECT '过载告警' AS reason, equipment_id AS object_id, NULL AS note FROM (
    SELECT m.equipment_id FROM monitoring m JOIN equipment e USING (equipment_id)
    WHERE e.equipment_status <> 'retired' AND m.load_kw > e.capacity_kva * 0.9
    INTERSECT SELECT equipment_id FROM equipment_alarms WHERE cleared_at IS NULL) b
  UNION ALL
  SELECT '无监测', equipment_id, equipment_name FROM equipment e
  WHERE equipment_status = 'running' AND NOT EXISTS (SELECT FROM monitoring m WHERE m.equipment_id = e.equipment_id)
  UNION ALL
  SELECT '停运供电', equipment_id, equipment_status FROM equipment e
  WHERE equipment_status IN ('maintenance', 'retired') AND EXISTS (SELECT FROM customers c WHERE c.equipment_id = e.equipment_id)
  UNION ALL
  SELECT '超容用户', customer_id, customer_name FROM customers c
  WHERE EXISTS (SELECT FROM customer_usage u WHERE u.customer_id = c.customer_id
    AND peak_kwh + flat_kwh + valley_kwh > c.contract_kva * 12)
)
SELECT COUNT(*) FROM reasons;

-- 原样落地的行。The rows of the layer that is as it comes.

-- rows: fluss.power_equipment.ods_equipment
SELECT * FROM equipment;

-- rows: fluss.power_equipment.ods_monitoring
SELECT * FROM monitoring;

-- rows: fluss.power_equipment.ods_equipment_alarms
SELECT * FROM equipment_alarms;

-- rows: fluss.power_equipment.ods_customers
SELECT * FROM customers;

-- rows: fluss.power_equipment.ods_customer_usage
SELECT * FROM customer_usage;
