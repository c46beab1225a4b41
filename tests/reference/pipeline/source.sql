-- The source database of pipeline.sql and the table that the sink fills.
CREATE DATABASE source;
CREATE DATABASE sink;
\c source
CREATE TABLE orders (
  order_id BIGINT PRIMARY KEY, customer_id BIGINT NOT NULL, region TEXT NOT NULL, status TEXT NOT NULL,
  amount NUMERIC(12, 2) NOT NULL, updated_at TIMESTAMP(3) NOT NULL);
-- The connector needs old values to retract them.
ALTER TABLE orders REPLICA IDENTITY FULL;
INSERT INTO orders
  SELECT i, i % 500, 'region-' || i % 20, CASE i % 3 WHEN 0 THEN 'new' WHEN 1 THEN 'paid' ELSE 'done' END,
         (i % 1000) + 0.25, TIMESTAMP '2026-01-01' + i * INTERVAL '1 second'
  FROM generate_series(1, 1000) i;
\c sink
CREATE TABLE region_report (region TEXT PRIMARY KEY, orders BIGINT, amount NUMERIC(20, 2), paid_share DOUBLE PRECISION);
