-- Inserts, updates and deletes, alone and together in transactions; every kind of change that a row can see.
INSERT INTO orders SELECT i, i % 500, 'region-' || i % 20, 'new', (i % 900) + 0.75, TIMESTAMP '2026-01-03 00:00:00' + i * INTERVAL '1 minute'
  FROM generate_series(1001, 1200) i;
UPDATE orders SET amount = amount + 100.50, updated_at = updated_at + INTERVAL '1 day' WHERE order_id % 7 = 0;
UPDATE orders SET status = 'paid' WHERE order_id % 5 = 0;
UPDATE orders SET region = 'region-' || (order_id % 3) WHERE order_id % 13 = 0;
DELETE FROM orders WHERE order_id % 11 = 0;
BEGIN;
UPDATE orders SET amount = 0 WHERE order_id = 1;
DELETE FROM orders WHERE order_id = 2;
INSERT INTO orders VALUES (2, 7, 'region-2', 'done', 999999.99, '2026-02-28 23:59:59.999');
UPDATE orders SET order_id = 5003 WHERE order_id = 3;
COMMIT;
BEGIN;
DELETE FROM orders;
ROLLBACK;
-- A region that loses its last row, and one that is written in Chinese.
UPDATE orders SET region = '华北' WHERE region = 'region-19';
