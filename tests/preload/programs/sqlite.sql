-- SPDX-License-Identifier: MIT
-- An in-memory database: bulk inserts, indexes, joins, text search, json, windows, big blobs.
PRAGMA cache_size = -20000;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price REAL, data BLOB);
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO item
SELECT i, 'item ' || (i * 7919 % 60013), i * 17 % 1000 / 10.0, zeroblob(i % 300) FROM n;
CREATE INDEX item_name ON item(name);
CREATE TABLE sale(item INTEGER, day INTEGER, amount INTEGER);
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
INSERT INTO sale SELECT i * 31 % 60000 + 1, i % 365, i % 13 FROM n;
CREATE INDEX sale_item ON sale(item, day);
SELECT day % 7, count(*), sum(amount), round(avg(price), 3)
  FROM sale JOIN item ON item.id = sale.item GROUP BY 1 ORDER BY 1;
SELECT name, sum(amount) AS s FROM item JOIN sale ON item.id = sale.item
 GROUP BY name ORDER BY s DESC, name LIMIT 10;
SELECT id, price, rank() OVER (PARTITION BY id % 10 ORDER BY price, id) AS r
  FROM item WHERE id < 5000 ORDER BY r DESC, id LIMIT 10;
CREATE VIRTUAL TABLE words USING fts5(body);
INSERT INTO words SELECT group_concat(name, ' ') FROM item GROUP BY id / 20;
SELECT count(*), min(rowid) FROM words WHERE words MATCH '"item 4711" OR "item 42"';
SELECT sum(json_extract(value, '$.b[1]')), max(length(value))
  FROM (SELECT json_object('a', name, 'b', json_array(id, id * 2)) AS value FROM item);
UPDATE item SET data = zeroblob(length(data) * 9 % 5000) WHERE id % 3 = 0;
DELETE FROM item WHERE id % 7 = 0;
SELECT count(*), sum(length(data)), count(DISTINCT name) FROM item;
CREATE TABLE big(b BLOB);
INSERT INTO big SELECT zeroblob(1000000 * value) FROM json_each('[1,5,20,3]');
SELECT length(group_concat(hex(substr(b, 1, 100000)), '')) FROM big;
SELECT length(replace(hex(zeroblob(3000000)), '00', 'abc'));
VACUUM;
PRAGMA integrity_check;
