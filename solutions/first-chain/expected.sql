-- 在源库中重新计算两张大屏表与各层行数，用于核对。
-- The two board tables and the rows of every layer, computed anew in the source database, for the check.

-- board: region_board
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

-- board: type_board
SELECT d.device_type, COUNT(DISTINCT r.device_id) AS devices, SUM(r.active_kw)::numeric(20, 2) AS active_kw,
       SUM(r.active_kw)::float8 / SUM(d.rated_kw)::float8 AS load_rate
FROM readings r JOIN devices d ON r.device_id = d.device_id
WHERE d.status <> 'retired'
GROUP BY d.device_type ORDER BY d.device_type;

-- layer: fluss.grid.ods_devices
SELECT COUNT(*) FROM devices;

-- layer: fluss.grid.ods_readings
SELECT COUNT(*) FROM readings;

-- layer: fluss.grid.ods_alarms
SELECT COUNT(*) FROM alarms;

-- layer: fluss.grid.dwd_readings
SELECT COUNT(*) FROM readings r JOIN devices d ON r.device_id = d.device_id WHERE d.status <> 'retired';

-- layer: fluss.grid.dwd_alarms
SELECT COUNT(*) FROM alarms;

-- layer: fluss.grid.dws_region_type
SELECT COUNT(DISTINCT (d.region, d.device_type)) FROM readings r JOIN devices d ON r.device_id = d.device_id WHERE d.status <> 'retired';

-- layer: fluss.grid.dws_region
SELECT COUNT(DISTINCT d.region) FROM readings r JOIN devices d ON r.device_id = d.device_id WHERE d.status <> 'retired';

-- layer: fluss.grid.dws_region_alarms
SELECT COUNT(DISTINCT COALESCE(d.region, '未知')) FROM alarms a LEFT JOIN devices d ON a.device_id = d.device_id;

-- layer: fluss.grid.ads_region_board
SELECT COUNT(DISTINCT d.region) FROM readings r JOIN devices d ON r.device_id = d.device_id WHERE d.status <> 'retired';

-- layer: fluss.grid.ads_type_board
SELECT COUNT(DISTINCT d.device_type) FROM readings r JOIN devices d ON r.device_id = d.device_id WHERE d.status <> 'retired';

-- 各层的行：原样落地与汇总。The rows of layers: as they come, and summed up.

-- rows: fluss.grid.ods_devices
SELECT * FROM devices;

-- rows: fluss.grid.ods_readings
SELECT * FROM readings;

-- rows: fluss.grid.ods_alarms
SELECT * FROM alarms;

-- rows: fluss.grid.dws_region_type
SELECT d.region, d.device_type, COUNT(DISTINCT r.device_id) AS devices, COUNT(*) AS readings,
       SUM(r.active_kw)::numeric(20, 2) AS active_kw, SUM(d.rated_kw)::numeric(20, 2) AS rated_kw,
       COUNT(*) FILTER (WHERE r.active_kw > d.rated_kw * 0.9) AS overloads, MAX(r.temperature_c) AS max_temperature_c
FROM readings r JOIN devices d ON r.device_id = d.device_id
WHERE d.status <> 'retired'
GROUP BY d.region, d.device_type;

-- rows: fluss.grid.dws_region_alarms
SELECT COALESCE(d.region, '未知') AS region, COUNT(*) FILTER (WHERE NOT a.cleared) AS open_alarms,
       COUNT(*) FILTER (WHERE NOT a.cleared AND a.alarm_level = 1) AS severe_alarms
FROM alarms a LEFT JOIN devices d ON a.device_id = d.device_id GROUP BY 1;
