CREATE TABLE region_report (region TEXT PRIMARY KEY, orders BIGINT, amount NUMERIC(20, 2), paid_share DOUBLE PRECISION);
