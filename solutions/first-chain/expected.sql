-- 在源库中重新计算两张大屏表，用于核对。The two board tables, computed anew in the source database, for the check.
-- 每个查询返回一张表的所有行。Each query gives all rows of one table.

-- region_board
WITH counted AS (
  SELECT r.device_id, d.region, d.rated_kw, r.active_kw, r.temperature_c, r.active_kw > d.rated_kw * 0.9 AS is_overload
  FROM readings r JOIN devices d ON r.device_id = d.device_id
  WHERE d.status <> 'retired'
), load AS (
  SELECT region, COUNT(DISTINCT device_id) AS devices, COUNT(*) AS readings, SUM(active_kw)::numeric(20, 2) AS active_kw,
         SUM(rated_kw)::numeric(20, 2) AS rated_kw, COUNT(*) FILTER (WHERE is_overload) AS overloads,
         MAX(temperature_c)::numeric(5, 1) AS max_temperature_c
  FROM counted GROUP BY region
), alarm AS (
  SELECT COALESCE(d.region, '未知') AS region, COUNT(*) FILTER (WHERE NOT a.cleared) AS open_alarms,
         COUNT(*) FILTER (WHERE NOT a.cleared AND a.alarm_level = 1) AS severe_alarms
  FROM alarms a LEFT JOIN devices d ON a.device_id = d.device_id GROUP BY 1
)
SELECT l.region, l.devices, l.readings, l.active_kw, l.active_kw::float8 / l.rated_kw::float8 AS load_rate, l.overloads,
       l.max_temperature_c, COALESCE(a.open_alarms, 0) AS open_alarms, COALESCE(a.severe_alarms, 0) AS severe_alarms,
       CASE WHEN COALESCE(a.severe_alarms, 0) > 0 OR l.max_temperature_c > 95 THEN '紧急'
            WHEN l.overloads > 0 THEN '关注' ELSE '正常' END AS grade
FROM load l LEFT JOIN alarm a ON l.region = a.region
ORDER BY l.region;

-- type_board
SELECT d.device_type, COUNT(DISTINCT r.device_id) AS devices, SUM(r.active_kw)::numeric(20, 2) AS active_kw,
       SUM(r.active_kw)::float8 / SUM(d.rated_kw)::float8 AS load_rate
FROM readings r JOIN devices d ON r.device_id = d.device_id
WHERE d.status <> 'retired'
GROUP BY d.device_type ORDER BY d.device_type;
