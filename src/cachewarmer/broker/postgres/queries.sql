-- All the SQL of the PostgreSQL broker. "-- name: x" begins a statement; the lines below it say what it is for.
-- Times are Unix seconds by the server's clock, so a worker's clock never matters: NOW stands for
-- extract(epoch FROM clock_timestamp())::float8. SCHEMA stands for the schema that holds the tables. Nothing depends on
-- the state of a session, so that a pooler in transaction mode may be used; LISTEN is only for connections without one.
-- LONGEST, LONGEST_FLEET and AHEAD are seconds: a time further in the future was not written by this program, and is
-- ignored.
-- A transaction that locks several rows locks a job first, then items, then tallies, so that there are no deadlocks.

-- name: listen
LISTEN SCHEMA;

-- name: notify
-- Tells processes without work that there may be some. The notice is sent when the transaction ends.
SELECT pg_notify('SCHEMA', '');

-- name: lock_tables
-- One process at a time creates or migrates the tables.
SELECT pg_advisory_xact_lock(hashtextextended('cachewarmer SCHEMA', 0));

-- name: has_tables
-- Reads the catalog, because to_regclass could return a result that was cached before the lock was acquired.
SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'SCHEMA' AND tablename = 'version');

-- name: version
SELECT * FROM SCHEMA.version;

-- name: tables_1
-- Version 1. A released version never changes: anything new gets a version of its own.
-- jobs: one row for each job. off_queue: settled, so that no manager is needed. published_items counts distinct ids.
CREATE SCHEMA IF NOT EXISTS SCHEMA;
CREATE TABLE SCHEMA.version (version integer NOT NULL);
CREATE TABLE SCHEMA.jobs (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id text NOT NULL UNIQUE,
  message text NOT NULL,
  state text NOT NULL,
  reason text NOT NULL DEFAULT '',
  submitted_at float8 NOT NULL,
  started_at float8 NOT NULL DEFAULT 0,
  finished_at float8 NOT NULL DEFAULT 0,
  scan text NOT NULL DEFAULT '',
  scan_finished boolean NOT NULL DEFAULT false,
  published_items bigint NOT NULL DEFAULT 0,
  poisoned_items bigint NOT NULL DEFAULT 0,
  poisoned_files bigint NOT NULL DEFAULT 0,
  poison_errors text NOT NULL DEFAULT '[]',
  off_queue boolean NOT NULL DEFAULT false,
  deliveries integer NOT NULL DEFAULT 0,
  begun_again boolean NOT NULL DEFAULT false,
  token text,
  lease_until float8 NOT NULL DEFAULT 0
);
CREATE INDEX managed_jobs ON SCHEMA.jobs (seq) WHERE NOT off_queue;
-- file_chunks: the list of a --files-from job.
CREATE TABLE SCHEMA.file_chunks (
  job_id text NOT NULL,
  number integer NOT NULL,
  chunk bytea NOT NULL,
  PRIMARY KEY (job_id, number)
);
-- items: one row for each item id while its job exists. A settled row proves that the item was counted; its message is
-- dropped. visible_at is the end of a lease, or of a delay. Leases change only visible_at and token, which are in no
-- index: room is left on each page so that such an update stays on the page (a HOT update).
CREATE TABLE SCHEMA.items (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id text NOT NULL,
  item_id text NOT NULL,
  message text NOT NULL,
  settled boolean NOT NULL DEFAULT false,
  deliveries integer NOT NULL DEFAULT 0,
  last_error text NOT NULL DEFAULT '',
  visible_at float8 NOT NULL DEFAULT 0,
  token text,
  UNIQUE (job_id, item_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
CREATE INDEX open_items ON SCHEMA.items (job_id, seq) WHERE NOT settled;
-- tallies: the sum of a worker's receipts for a job; status reads these, not the items.
CREATE TABLE SCHEMA.tallies (
  job_id text NOT NULL,
  worker text NOT NULL,
  items bigint NOT NULL,
  tally text NOT NULL,
  PRIMARY KEY (job_id, worker)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
-- poison: the items that were given up, with the reason, for people to look at.
CREATE TABLE SCHEMA.poison (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id text NOT NULL,
  item_id text NOT NULL,
  reason text NOT NULL,
  message text NOT NULL,
  poisoned_at float8 NOT NULL
);
-- managers: when each was last seen, for users who wait for a manager.
CREATE TABLE SCHEMA.managers (name text PRIMARY KEY, seen_at float8 NOT NULL);
INSERT INTO SCHEMA.version VALUES (1);

-- name: tables_2
-- Version 2. oldest: the earliest version of a program that may use the tables; programs before it do not check it.
ALTER TABLE SCHEMA.version ADD COLUMN oldest integer NOT NULL DEFAULT 1;
-- workers: the last report of each worker process, for monitoring. What changes is in no index, so that an update stays
-- on its page.
CREATE TABLE IF NOT EXISTS SCHEMA.workers (key text PRIMARY KEY, report text NOT NULL, seen_at float8 NOT NULL)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
-- fleets: which manager drives a fleet, and until when.
CREATE TABLE SCHEMA.fleets (fleet text PRIMARY KEY, manager text NOT NULL, lease_until float8 NOT NULL);
UPDATE SCHEMA.version SET version = 2;

-- name: tables_3
-- Version 3. priority: its rank. Earlier programs submit normal jobs, and claim regardless of the priority.
ALTER TABLE SCHEMA.jobs ADD COLUMN priority smallint NOT NULL DEFAULT 1;
UPDATE SCHEMA.version SET version = 3;

-- name: tables_4
-- Version 4. bandwidth: the one that was set while the job runs; empty: the one in its items holds.
ALTER TABLE SCHEMA.jobs ADD COLUMN bandwidth text NOT NULL DEFAULT '';
UPDATE SCHEMA.version SET version = 4;

-- name: tables_5
-- Version 5. ledger: the pieces of jobs that keep a record of each file. Workers of earlier versions write none.
CREATE TABLE SCHEMA.ledger (
  job_id text NOT NULL, key text COLLATE "C" NOT NULL, piece bytea NOT NULL, PRIMARY KEY (job_id, key)
);
ALTER TABLE SCHEMA.ledger ALTER COLUMN piece SET STORAGE EXTERNAL;
UPDATE SCHEMA.version SET version = 5;

-- name: tables_6
-- Version 6. learnt: what is known about the job's addresses, for later workers, and when it was written; empty: nothing.
ALTER TABLE SCHEMA.jobs ADD COLUMN learnt text NOT NULL DEFAULT '', ADD COLUMN learnt_at float8 NOT NULL DEFAULT 0;
UPDATE SCHEMA.version SET version = 6;

-- name: keep_learnt
UPDATE SCHEMA.jobs SET learnt = %(learnt)s, learnt_at = NOW WHERE job_id = %(job_id)s;

-- name: add_pieces
-- The pieces are sent in binary: as text they would be twice as long, and take four times as long.
INSERT INTO SCHEMA.ledger (job_id, key, piece)
SELECT %(job_id)s, key, piece FROM unnest(%(keys)s::text[], %(pieces)b::bytea[]) AS new (key, piece)
ON CONFLICT (job_id, key) DO UPDATE SET piece = excluded.piece;

-- name: pieces
-- Returns some thousand short pieces or some hundred long ones; the length of a piece is known without reading it.
SELECT key, piece FROM (
  SELECT key, piece, sum(octet_length(piece)) OVER (ORDER BY key ROWS UNBOUNDED PRECEDING) - octet_length(piece) AS before
  FROM (
    SELECT key, piece FROM SCHEMA.ledger WHERE job_id = %(job_id)s AND key > %(after)s ORDER BY key LIMIT %(most)s
  ) AS following
) AS page
WHERE before < %(most_bytes)s
ORDER BY key;

-- name: drop_scanned
-- The pieces that a scan wrote, but not those of items.
DELETE FROM SCHEMA.ledger
WHERE job_id = %(job_id)s AND (starts_with(key, 's' || %(part)s) OR starts_with(key, 'k' || %(part)s));

-- name: drop_told
-- All pieces except those that the job was submitted with.
DELETE FROM SCHEMA.ledger WHERE job_id = %(job_id)s AND NOT starts_with(key, 'b');

-- name: drop_ledger
DELETE FROM SCHEMA.ledger WHERE job_id = %(job_id)s;

-- name: limit
UPDATE SCHEMA.jobs SET message = %(message)s, bandwidth = %(bandwidth)s WHERE job_id = %(job_id)s;

-- name: fleet
SELECT lease_until, NOW AS now FROM SCHEMA.fleets WHERE fleet = %(fleet)s;

-- name: take_fleet
-- Returns a row if the manager has the fleet.
INSERT INTO SCHEMA.fleets (fleet, manager, lease_until) VALUES (%(fleet)s, %(manager)s, NOW + %(seconds)s)
ON CONFLICT (fleet) DO UPDATE SET manager = excluded.manager, lease_until = excluded.lease_until
WHERE fleets.manager = excluded.manager OR NOT (fleets.lease_until > NOW AND fleets.lease_until <= NOW + LONGEST_FLEET)
RETURNING fleet;

-- name: note_worker
INSERT INTO SCHEMA.workers (key, report, seen_at) VALUES (%(key)s, %(report)s, NOW)
ON CONFLICT (key) DO UPDATE SET report = excluded.report, seen_at = excluded.seen_at;

-- name: workers
SELECT key, report, greatest(0, NOW - seen_at) AS seconds FROM SCHEMA.workers
WHERE seen_at <= NOW + AHEAD;

-- name: old_workers
DELETE FROM SCHEMA.workers WHERE seen_at < NOW - %(seconds)s OR seen_at > NOW + AHEAD;

-- name: add_job
-- Also notifies the processes that wait for work.
INSERT INTO SCHEMA.jobs (job_id, message, state, submitted_at, priority)
VALUES (%(job_id)s, %(message)s, %(state)s, %(submitted_at)s, %(priority)s)
ON CONFLICT (job_id) DO NOTHING
RETURNING pg_notify('SCHEMA', '');

-- name: now
SELECT NOW AS now;

-- name: job
SELECT *, NOW AS now FROM SCHEMA.jobs WHERE job_id = %(job_id)s;

-- name: job_locked
SELECT *, NOW AS now FROM SCHEMA.jobs WHERE job_id = %(job_id)s FOR UPDATE;

-- name: all_jobs
SELECT * FROM SCHEMA.jobs ORDER BY seq DESC;

-- name: drop_chunks
DELETE FROM SCHEMA.file_chunks WHERE job_id = %(job_id)s;

-- name: copy_chunks
COPY SCHEMA.file_chunks (job_id, number, chunk) FROM STDIN (FORMAT BINARY);

-- name: copy_out_chunks
COPY (
  SELECT chunk FROM SCHEMA.file_chunks WHERE job_id = %(job_id)s AND number >= %(first)s AND number < %(end)s ORDER BY number
) TO STDOUT (FORMAT BINARY);

-- name: free_jobs
-- Jobs that nobody manages: new ones, and those whose manager's lease has expired or was given back. First those of the
-- priority whose turn it is, then the most urgent, each oldest first; a job that another manager is taking is skipped.
SELECT *, NOW AS now FROM SCHEMA.jobs
WHERE NOT off_queue AND NOT (lease_until > NOW AND lease_until <= NOW + LONGEST) AND (%(job_id)s = '' OR job_id = %(job_id)s) AND priority <= %(least)s
ORDER BY priority <> %(turn)s, priority, seq
FOR UPDATE SKIP LOCKED;

-- name: lease_job
UPDATE SCHEMA.jobs SET token = %(token)s, lease_until = NOW + %(seconds)s, deliveries = deliveries + 1
WHERE job_id = %(job_id)s
RETURNING lease_until, deliveries;

-- name: renew_job
UPDATE SCHEMA.jobs SET lease_until = NOW + %(seconds)s WHERE job_id = %(job_id)s AND token = %(token)s
RETURNING lease_until;

-- name: release_job
UPDATE SCHEMA.jobs SET token = NULL, lease_until = 0, deliveries = deliveries - 1
WHERE job_id = %(job_id)s AND token = %(token)s;

-- name: settle_job
UPDATE SCHEMA.jobs SET off_queue = true, token = NULL, lease_until = 0
WHERE job_id = %(job_id)s AND (token = %(token)s OR %(token)s = '')
RETURNING state;

-- name: back_on_queue
-- Continues a job that has failed.
UPDATE SCHEMA.jobs SET off_queue = false, token = NULL, lease_until = 0, deliveries = 0 WHERE job_id = %(job_id)s;

-- name: forget_items
-- Nothing of a job that has ended is published again, so the rows that identify repeats are no longer needed. Items that
-- a worker still reads stay, so that their results count, and so do those that are being settled in another transaction.
DELETE FROM SCHEMA.items WHERE seq IN (
  SELECT seq FROM SCHEMA.items
  WHERE job_id = %(job_id)s AND NOT (
    NOT settled AND token IS NOT NULL AND visible_at > NOW AND visible_at <= NOW + LONGEST
  )
  FOR UPDATE SKIP LOCKED
);

-- name: old_jobs
SELECT job_id FROM SCHEMA.jobs WHERE finished_at > 0 AND finished_at <= NOW - %(seconds)s FOR UPDATE SKIP LOCKED;

-- name: drop_items
DELETE FROM SCHEMA.items WHERE job_id = %(job_id)s;

-- name: drop_tallies
DELETE FROM SCHEMA.tallies WHERE job_id = %(job_id)s;

-- name: drop_poison
DELETE FROM SCHEMA.poison WHERE job_id = %(job_id)s;

-- name: drop_job
DELETE FROM SCHEMA.jobs WHERE job_id = %(job_id)s;

-- name: set_state
UPDATE SCHEMA.jobs
SET state = %(state)s, reason = %(reason)s, started_at = %(started_at)s, finished_at = %(finished_at)s
WHERE job_id = %(job_id)s;

-- name: set_scan
UPDATE SCHEMA.jobs SET scan = %(scan)s, scan_finished = %(finished)s
WHERE job_id = %(job_id)s;

-- name: begin_again
UPDATE SCHEMA.jobs SET state = %(state)s, scan = '', scan_finished = false, published_items = 0, poisoned_items = 0,
  poisoned_files = 0, poison_errors = '[]', begun_again = true
WHERE job_id = %(job_id)s;

-- name: any_open_item
SELECT 1 FROM SCHEMA.items WHERE job_id = %(job_id)s AND NOT settled LIMIT 1;

-- name: note_manager
INSERT INTO SCHEMA.managers (name, seen_at) VALUES (%(name)s, NOW)
ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at;

-- name: manager_seen
SELECT CASE WHEN max(seen_at) IS NOT NULL THEN greatest(0, NOW - max(seen_at)) END AS seconds FROM SCHEMA.managers
WHERE seen_at <= NOW + AHEAD;

-- name: old_managers
DELETE FROM SCHEMA.managers WHERE seen_at < NOW - %(seconds)s OR seen_at > NOW + AHEAD;

-- name: add_items
-- Ids and messages are separated by newlines, which they never contain. This takes a third of the time of two arrays,
-- whose elements the client would have to quote, and less than COPY into a temporary table, which leaves rows in the
-- catalog.
INSERT INTO SCHEMA.items (job_id, item_id, message)
SELECT %(job_id)s, one.item_id, one.message
FROM unnest(string_to_array(%(item_ids)s, E'\n'), string_to_array(%(messages)s, E'\n'))
  WITH ORDINALITY AS one (item_id, message, place)
ORDER BY one.place
ON CONFLICT (job_id, item_id) DO NOTHING;

-- name: count_published
-- Also notifies the processes that wait for work.
UPDATE SCHEMA.jobs SET published_items = published_items + %(count)s WHERE job_id = %(job_id)s
RETURNING pg_notify('SCHEMA', '');

-- name: claim
-- As many items of each priority as it has turns, oldest first over all jobs at work; the rest are of the most urgent
-- priority. An item that another worker is taking is skipped.
-- MATERIALIZED: a subquery that locks rows must be run only once. BETWEEN, and the order by job: with =, the planner may
-- scan the primary key instead of open_items, and so all settled items, until statistics show how many there are.
WITH found AS MATERIALIZED (
  SELECT seq, priority, visible_at
  FROM (
    SELECT items.seq, items.visible_at, jobs.priority, row_number() OVER (PARTITION BY jobs.priority ORDER BY items.seq) AS place
    FROM SCHEMA.jobs
    CROSS JOIN LATERAL (
      SELECT seq, visible_at FROM SCHEMA.items
      WHERE items.job_id BETWEEN jobs.job_id AND jobs.job_id
        AND NOT settled AND NOT (visible_at > NOW AND visible_at <= NOW + LONGEST)
      ORDER BY items.job_id, seq LIMIT %(most)s
      FOR UPDATE SKIP LOCKED
    ) AS items
    WHERE NOT jobs.off_queue AND jobs.state IN ('queued', 'scanning', 'warming')
      AND (%(job_id)s = '' OR jobs.job_id = %(job_id)s) AND jobs.priority <= %(least)s
  ) AS waiting
  ORDER BY place > (%(turns)s::integer[])[priority + 1], priority, seq LIMIT %(most)s
)
UPDATE SCHEMA.items
SET token = %(token)s, visible_at = NOW + %(seconds)s, deliveries = deliveries + 1
FROM found WHERE items.seq = found.seq
RETURNING items.seq, found.priority, job_id, item_id, message, deliveries, last_error, items.visible_at,
  found.visible_at AS was_until;

-- name: renew_item
UPDATE SCHEMA.items SET visible_at = NOW + %(seconds)s
WHERE job_id = %(job_id)s AND item_id = %(item_id)s AND token = %(token)s AND NOT settled
RETURNING visible_at;

-- name: settle_items
-- The receipts: each changes a row only once, and only under the lease with which the item was read.
UPDATE SCHEMA.items SET settled = true, token = NULL, message = ''
FROM unnest(%(job_ids)s::text[], %(item_ids)s::text[], %(tokens)s::text[]) AS one (job_id, item_id, token)
WHERE items.job_id = one.job_id AND items.item_id = one.item_id AND items.token = one.token AND NOT items.settled
RETURNING items.job_id, items.item_id;

-- name: hand_back
UPDATE SCHEMA.items
SET token = NULL, visible_at = CASE WHEN %(delay)s::float8 > 0 THEN NOW + %(delay)s ELSE 0 END,
  deliveries = deliveries - %(forgiven)s,
  last_error = CASE WHEN %(reason)s = '' THEN last_error ELSE %(reason)s END,
  message = CASE WHEN %(message)s = '' THEN message ELSE %(message)s END
WHERE job_id = %(job_id)s AND item_id = %(item_id)s AND token = %(token)s AND NOT settled;

-- name: held_item
SELECT seq, job_id, item_id, message, deliveries, last_error FROM SCHEMA.items
WHERE job_id = %(job_id)s AND item_id = %(item_id)s AND token = %(token)s AND NOT settled
FOR UPDATE;

-- name: poison_item
UPDATE SCHEMA.items SET settled = true, token = NULL, message = '', last_error = %(reason)s
WHERE seq = %(seq)s AND NOT settled;

-- name: add_poison
INSERT INTO SCHEMA.poison (job_id, item_id, reason, message, poisoned_at)
VALUES (%(job_id)s, %(item_id)s, %(reason)s, %(message)s, NOW);

-- name: count_poison
UPDATE SCHEMA.jobs
SET poisoned_items = poisoned_items + 1, poisoned_files = poisoned_files + %(files)s, poison_errors = %(errors)s
WHERE job_id = %(job_id)s;

-- name: tally
SELECT tally FROM SCHEMA.tallies WHERE job_id = %(job_id)s AND worker = %(worker)s FOR UPDATE;

-- name: tallies
SELECT tally FROM SCHEMA.tallies WHERE job_id = %(job_id)s ORDER BY worker;

-- name: tallies_of
SELECT job_id, tally FROM SCHEMA.tallies WHERE job_id = ANY(%(job_ids)s) ORDER BY job_id, worker;

-- name: all_tallies
SELECT job_id, tally FROM SCHEMA.tallies ORDER BY job_id, worker;

-- name: active_tallies
SELECT job_id, tally FROM SCHEMA.tallies
WHERE job_id IN (SELECT job_id FROM SCHEMA.jobs WHERE state IN ('queued', 'scanning', 'warming', 'paused'))
ORDER BY job_id, worker;

-- name: put_tally
INSERT INTO SCHEMA.tallies (job_id, worker, items, tally)
VALUES (%(job_id)s, %(worker)s, %(items)s, %(tally)s)
ON CONFLICT (job_id, worker) DO UPDATE SET items = excluded.items, tally = excluded.tally;

-- name: settled_count
-- Whether all items that a finished scan has published are settled, in O(workers).
SELECT jobs.scan_finished AND jobs.published_items <=
  jobs.poisoned_items + (SELECT coalesce(sum(items), 0) FROM SCHEMA.tallies WHERE tallies.job_id = jobs.job_id) AS settled
FROM SCHEMA.jobs WHERE jobs.job_id = %(job_id)s;

-- name: backlog
SELECT
  count(*) FILTER (WHERE items.token IS NULL OR NOT (items.visible_at > NOW AND items.visible_at <= NOW + LONGEST)) AS waiting,
  count(*) FILTER (WHERE items.token IS NOT NULL AND items.visible_at > NOW AND items.visible_at <= NOW + LONGEST) AS leased
FROM SCHEMA.jobs JOIN SCHEMA.items ON items.job_id = jobs.job_id AND NOT items.settled
WHERE jobs.state IN ('queued', 'scanning', 'warming', 'paused');

-- name: active_jobs
SELECT * FROM SCHEMA.jobs WHERE state IN ('queued', 'scanning', 'warming', 'paused');
