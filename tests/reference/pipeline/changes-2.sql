-- One transaction of 200,000 rows.
INSERT INTO orders
  SELECT 10000 + i, i % 500, 'region-' || i % 20, CASE i % 3 WHEN 0 THEN 'new' WHEN 1 THEN 'paid' ELSE 'done' END,
         (i % 1000) + 0.25, TIMESTAMP '2026-02-01' + i * INTERVAL '1 second'
  FROM generate_series(1, 200000) i;
