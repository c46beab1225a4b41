-- PostgreSQL orders -> ODS -> DWD -> DWS -> ADS in Fluss -> PostgreSQL. Five streaming jobs.
-- As tests/reference/pipeline, with two servers; whoever runs it fills in @SOURCE_PORT@, @SINK_PORT@ and @FLUSS_PORT@.
CREATE TEMPORARY TABLE orders_source (
  order_id BIGINT, customer_id BIGINT, region STRING, status STRING, amount DECIMAL(12, 2), updated_at TIMESTAMP(3),
  PRIMARY KEY (order_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '127.0.0.1', 'port' = '@SOURCE_PORT@', 'username' = 'postgres', 'password' = 'postgres',
  'database-name' = 'source', 'schema-name' = 'public', 'table-name' = 'orders', 'slot.name' = 'orders_slot',
  'decoding.plugin.name' = 'pgoutput', 'scan.incremental.snapshot.enabled' = 'true');
CREATE TEMPORARY TABLE region_report_sink (
  region STRING, orders BIGINT, amount DECIMAL(20, 2), paid_share DOUBLE, PRIMARY KEY (region) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://127.0.0.1:@SINK_PORT@/sink', 'table-name' = 'region_report',
  'username' = 'postgres', 'password' = 'postgres');

CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = '127.0.0.1:@FLUSS_PORT@');
CREATE DATABASE IF NOT EXISTS fluss.shop;
CREATE TABLE fluss.shop.ods_orders (
  order_id BIGINT, customer_id BIGINT, region STRING, status STRING, amount DECIMAL(12, 2), updated_at TIMESTAMP(3),
  PRIMARY KEY (order_id) NOT ENFORCED) WITH ('bucket.num' = '1');
CREATE TABLE fluss.shop.dwd_orders (
  order_id BIGINT, region STRING, status STRING, amount DECIMAL(12, 2), order_day STRING, is_large BOOLEAN,
  PRIMARY KEY (order_id) NOT ENFORCED) WITH ('bucket.num' = '1');
CREATE TABLE fluss.shop.dws_region_status (
  region STRING, status STRING, orders BIGINT, amount DECIMAL(20, 2), large_orders BIGINT,
  PRIMARY KEY (region, status) NOT ENFORCED) WITH ('bucket.num' = '1');
CREATE TABLE fluss.shop.ads_region (
  region STRING, orders BIGINT, amount DECIMAL(20, 2), paid_share DOUBLE,
  PRIMARY KEY (region) NOT ENFORCED) WITH ('bucket.num' = '1');

SET 'execution.runtime-mode' = 'streaming';
SET 'execution.checkpointing.interval' = '1s';
SET 'parallelism.default' = '1';

SET 'pipeline.name' = 'ods';
INSERT INTO fluss.shop.ods_orders SELECT * FROM orders_source;
SET 'pipeline.name' = 'dwd';
INSERT INTO fluss.shop.dwd_orders
  SELECT order_id, region, status, amount, DATE_FORMAT(updated_at, 'yyyy-MM-dd'), amount > 500 FROM fluss.shop.ods_orders;
SET 'pipeline.name' = 'dws';
INSERT INTO fluss.shop.dws_region_status
  SELECT region, status, COUNT(*), CAST(SUM(amount) AS DECIMAL(20, 2)), SUM(CASE WHEN is_large THEN 1 ELSE 0 END)
  FROM fluss.shop.dwd_orders GROUP BY region, status;
SET 'pipeline.name' = 'ads';
INSERT INTO fluss.shop.ads_region
  SELECT region, SUM(orders), CAST(SUM(amount) AS DECIMAL(20, 2)),
         CAST(SUM(CASE WHEN status = 'paid' THEN orders ELSE 0 END) AS DOUBLE) / SUM(orders)
  FROM fluss.shop.dws_region_status GROUP BY region;
SET 'pipeline.name' = 'sink';
INSERT INTO region_report_sink SELECT * FROM fluss.shop.ads_region;
