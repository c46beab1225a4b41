-- The source of tests/reference/pipeline. Orders with numbers up to 0 are marks: their amount is the number of a lane's newest transaction,
-- and each is alone in a region, so that one row of the sink tells which transactions of the lane have arrived.
CREATE TABLE orders (
  order_id BIGINT PRIMARY KEY, customer_id BIGINT NOT NULL, region TEXT NOT NULL, status TEXT NOT NULL,
  amount NUMERIC(12, 2) NOT NULL, updated_at TIMESTAMP(3) NOT NULL);
-- Flink's connector needs old values to retract them.
ALTER TABLE orders REPLICA IDENTITY FULL;
-- Adds orders behind those that are there.
CREATE FUNCTION add_orders(wanted BIGINT) RETURNS void LANGUAGE sql AS $$
  INSERT INTO orders
    SELECT start + i, i % 500, 'region-' || i % 20, CASE i % 3 WHEN 0 THEN 'new' WHEN 1 THEN 'paid' ELSE 'done' END,
           (i % 1000) + 0.25, TIMESTAMP '2026-01-01' + i * INTERVAL '1 second'
    FROM generate_series(1, wanted) i, (SELECT max(order_id) AS start FROM orders) newest
$$;
-- A transaction of a lane: these orders go on to their next status and get dearer, and the lane's mark says which one it was.
CREATE FUNCTION change_orders(lane BIGINT, number BIGINT, wanted BIGINT[]) RETURNS void LANGUAGE sql AS $$
  UPDATE orders SET
    status = CASE WHEN order_id <= 0 THEN status WHEN status = 'new' THEN 'paid' WHEN status = 'paid' THEN 'done' ELSE 'new' END,
    amount = CASE WHEN order_id <= 0 THEN number ELSE amount + 1 END
  WHERE order_id = ANY (wanted || -lane)
$$;
