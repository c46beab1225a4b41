-- Records what a real PostgreSQL sends of a table with every type that is read: the messages of its stream and its rows as
-- COPY gives them. To be run in a database of a server with wal_level = logical, from this directory:
--   psql -XqAt -f record.sql > postgres.txt
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET timezone = 'UTC';
SET bytea_output = 'hex';
SET extra_float_digits = 1;
SET client_min_messages = 'error';
DROP TABLE IF EXISTS readings, notes;
CREATE TABLE readings (
  id bigint PRIMARY KEY, is_live boolean, small smallint, amount numeric(38, 10), load_mw double precision, share real,
  name text, code varchar(8), raw bytea, day date, clock time, at_time timestamp, seen timestamptz, age interval, lapse interval,
  tags text[], grid int[], extra jsonb, big text);
ALTER TABLE readings ALTER big SET STORAGE EXTERNAL;
CREATE TABLE notes (note text);
ALTER TABLE notes REPLICA IDENTITY FULL;
DROP PUBLICATION IF EXISTS recorded;
CREATE PUBLICATION recorded FOR TABLE readings, notes;
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'recorded' \g /dev/null
SELECT pg_create_logical_replication_slot('recorded', 'pgoutput') \g /dev/null

INSERT INTO readings VALUES
  (1, true, -32768, 1.5, 0.1, 1e-30, 'plain', 'a', '\x00ff', '2026-01-31', '23:59:59.999999', '2026-01-31 12:00:00.123456',
   '1969-12-31 23:59:59.5+00', '2 years 3 mons', '-1 days +02:03:04.5', '{a,NULL,"b,c","d\"e\\f",""}', '{{1,2},{3,NULL}}',
   '{"a": [1, {"b": null}]}', repeat('large ', 600)),
  (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (-9223372036854775808, false, 0, '9999999999999999999999999999.9999999999', 'NaN', '-Infinity', E'tab\t new\nline \\ 中文', '',
   '\x', '0044-03-15 BC', '00:00', 'infinity', '-infinity', '-1 year', '00:00:00', '{}', '[0:1]={7,8}', '[]', ''),
  (9223372036854775807, true, 32767, -0.0000000001, -1.7976931348623157e308, 3.4028235e38, repeat('long ', 40), 'abcdefgh',
   decode(repeat('0a', 40), 'hex'), '9999-12-31', '12:00', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:08+00', '0',
   '100 days 23:59:59.999999', ARRAY(SELECT i::text FROM generate_series(1, 30) i), ARRAY[[1], [2], [3]], 'null', 'x');
BEGIN;
UPDATE readings SET load_mw = load_mw + 1 WHERE id = 1;
UPDATE readings SET id = 5 WHERE id = 2;
INSERT INTO notes VALUES ('one'), (NULL), ('three');
UPDATE notes SET note = 'two' WHERE note IS NULL;
DELETE FROM notes WHERE note = 'one';
DELETE FROM readings WHERE id = 5;
COMMIT;
ALTER TABLE readings REPLICA IDENTITY FULL;
UPDATE readings SET share = 2 WHERE id = 1;
DELETE FROM readings WHERE small = 0;
ALTER TABLE readings ADD COLUMN added int DEFAULT 3, ALTER code TYPE text;
INSERT INTO readings (id, name) SELECT i, 'many ' || i FROM generate_series(100, 110) i;
ALTER TABLE readings REPLICA IDENTITY NOTHING;
BEGIN;
SELECT pg_logical_emit_message(true, 'said', 'by the way') \g /dev/null
TRUNCATE notes, readings;
COMMIT;
ALTER TABLE readings REPLICA IDENTITY DEFAULT, DROP COLUMN added;
INSERT INTO readings SELECT i, i % 2 = 0, i, i / 7.0, i / 3.0, i, 'n' || i, 'c' || i, decode(md5(i::text), 'hex'),
  date '2026-01-01' + i, time '00:00' + i * interval '1 minute', timestamp '2026-01-01' + i * interval '1 hour',
  timestamptz '2026-01-01 00:00:00+00' + i * interval '1 second', i * interval '1 month', i * interval '1 minute',
  ARRAY['t' || i], ARRAY[i, i + 1], jsonb_build_object('i', i), NULL
FROM generate_series(1, 8) i;
SELECT 'stream ' || encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('recorded', NULL, NULL,
  'proto_version', '1', 'publication_names', 'recorded', 'messages', 'true');
SELECT pg_drop_replication_slot('recorded') \g /dev/null
\echo rows
COPY (SELECT id, is_live, small, amount, load_mw, share, name, code, raw, day, clock, at_time, seen, age, lapse, tags, grid, extra, big
  FROM readings ORDER BY id) TO STDOUT;
COPY (SELECT 1, true, -1, 0.5, 'NaN'::float8, 1, E'tab\t new\nline \\ \b\f\r\v 中文', '\N', '\xdeadbeef'::bytea, date 'infinity', time '24:00',
  timestamp '-infinity', now(), interval '1 mon', interval '-5 days', ARRAY['\', E'\n', NULL], ARRAY[]::int[], '{}'::jsonb, '') TO STDOUT;
