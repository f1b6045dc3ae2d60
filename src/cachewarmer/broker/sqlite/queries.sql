-- All the SQL of the SQLite broker. "-- name: x" begins a statement; the lines below it say what it is for.
-- Times are Unix seconds by the broker's clock. Every statement runs inside one BEGIN IMMEDIATE … COMMIT of the
-- method that uses it, so what a comment calls a step is atomic among all processes that share the file.
-- LONGEST, LONGEST_FLEET and AHEAD are seconds: a time further in the future was not written by this program, and is
-- ignored.

-- name: schema
-- jobs: one row for each job. off_queue: settled, so that no manager is needed. published_items counts distinct ids: a
-- scan that was done twice over a changed tree still ends only when everything ever published is settled.
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT NOT NULL UNIQUE,
  message TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  submitted_at REAL NOT NULL,
  started_at REAL NOT NULL DEFAULT 0,
  finished_at REAL NOT NULL DEFAULT 0,
  scan TEXT NOT NULL DEFAULT '',
  scan_finished INTEGER NOT NULL DEFAULT 0,
  published_items INTEGER NOT NULL DEFAULT 0,
  poisoned_items INTEGER NOT NULL DEFAULT 0,
  poisoned_files INTEGER NOT NULL DEFAULT 0,
  poison_errors TEXT NOT NULL DEFAULT '[]',
  off_queue INTEGER NOT NULL DEFAULT 0,
  deliveries INTEGER NOT NULL DEFAULT 0,
  token TEXT,
  owner TEXT,
  lease_until REAL NOT NULL DEFAULT 0
);
-- file_chunks: the list of a --files-from job.
CREATE TABLE file_chunks (
  job_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  chunk BLOB NOT NULL,
  PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
-- items: one row for each item id while its job exists. A settled row (receipt or poison) proves that the item was
-- counted; its message is dropped. visible_at is the end of a lease, or of a delay. deliveries does not count those that
-- were handed back without a failure. item_id is called key since version 3.
CREATE TABLE items (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT NOT NULL,
  item_id TEXT NOT NULL,
  message TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  settled INTEGER NOT NULL DEFAULT 0,
  deliveries INTEGER NOT NULL DEFAULT 0,
  last_error TEXT NOT NULL DEFAULT '',
  visible_at REAL NOT NULL DEFAULT 0,
  token TEXT,
  owner TEXT,
  UNIQUE (job_id, item_id)
);
-- Claiming scans this index, oldest first; settled items are not in it.
CREATE INDEX open_items ON items (job_id, seq) WHERE settled = 0;
-- tallies: the sum of a worker's receipts for a job; status reads these, not the items. Each count is a column: those of
-- model.TALLY_COUNTS that are not here are added when the file is opened.
CREATE TABLE tallies (
  job_id TEXT NOT NULL,
  worker TEXT NOT NULL,
  items INTEGER NOT NULL,
  files INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  failed_files INTEGER NOT NULL,
  vanished_files INTEGER NOT NULL,
  excluded_files INTEGER NOT NULL,
  skipped_files INTEGER NOT NULL,
  changed_files INTEGER NOT NULL DEFAULT 0,
  calls INTEGER NOT NULL,
  errors TEXT NOT NULL,
  slowest TEXT NOT NULL,
  PRIMARY KEY (job_id, worker)
) WITHOUT ROWID;
-- poison: the items that were given up, with the reason, for people to look at.
CREATE TABLE poison (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT NOT NULL,
  item_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  poisoned_at REAL NOT NULL
);

-- name: upgrade_2
-- What version 2 adds to a file of version 1. begun_again: the job was found stranded once, and scanned again.
ALTER TABLE jobs ADD COLUMN begun_again INTEGER NOT NULL DEFAULT 0;
-- managers: when each was last seen, for users who wait for a manager.
CREATE TABLE managers (name TEXT PRIMARY KEY, seen_at REAL NOT NULL) WITHOUT ROWID;

-- name: upgrade_3
-- What version 3 changes. key: identifies an item of a job, made by keys.py. If the job has near_keys, neighbouring items
-- have neighbouring keys. Ids are hashes: in their order, each item of a large job would be written to another page of the
-- index. Jobs of earlier versions keep their keys, which are the ids.
ALTER TABLE items RENAME COLUMN item_id TO key;
ALTER TABLE jobs ADD COLUMN near_keys INTEGER NOT NULL DEFAULT 0;

-- name: add_priority
-- The rank of the job's priority. Added if it is missing, whatever the version: programs that do not know it submit
-- normal jobs, and ignore it.
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 1;

-- name: add_bandwidth
-- The bandwidth that was set while the job runs; empty: the one in its items holds. Added if it is missing, as above.
ALTER TABLE jobs ADD COLUMN bandwidth TEXT NOT NULL DEFAULT '';

-- name: add_learnt
-- What is known about the job's addresses, for later workers; empty: nothing. Added if it is missing, as above.
ALTER TABLE jobs ADD COLUMN learnt TEXT NOT NULL DEFAULT '';

-- name: add_learnt_at
-- When learnt was written.
ALTER TABLE jobs ADD COLUMN learnt_at REAL NOT NULL DEFAULT 0;

-- name: keep_learnt
UPDATE jobs SET learnt = :learnt, learnt_at = :now WHERE job_id = :job_id;

-- name: limit
UPDATE jobs SET message = :message, bandwidth = :bandwidth WHERE job_id = :job_id;

-- name: workers_table
-- workers: the last report of each worker process, for monitoring. Created if it is missing, whatever the version:
-- programs that do not know it ignore it.
CREATE TABLE IF NOT EXISTS workers (key TEXT PRIMARY KEY, report TEXT NOT NULL, seen_at REAL NOT NULL) WITHOUT ROWID;

-- name: fleets_table
-- fleets: which manager drives a fleet, and until when. Created if it is missing, as above.
CREATE TABLE IF NOT EXISTS fleets (fleet TEXT PRIMARY KEY, manager TEXT NOT NULL, lease_until REAL NOT NULL) WITHOUT ROWID;

-- name: ledger_table
-- ledger: the pieces of jobs that keep a record of each file. Created if it is missing, as above.
CREATE TABLE IF NOT EXISTS ledger (job_id TEXT NOT NULL, key TEXT NOT NULL, piece BLOB NOT NULL, UNIQUE (job_id, key));

-- name: add_piece
INSERT OR REPLACE INTO ledger (job_id, key, piece) VALUES (:job_id, :key, :piece);

-- name: pieces
SELECT key, piece FROM ledger WHERE job_id = :job_id AND key > :after ORDER BY key LIMIT :most;

-- name: drop_scanned
-- The pieces that a scan wrote, but not those of items.
DELETE FROM ledger WHERE job_id = :job_id AND (key GLOB 's' || :part || '*' OR key GLOB 'k' || :part || '*');

-- name: drop_told
-- All pieces except those that the job was submitted with.
DELETE FROM ledger WHERE job_id = :job_id AND NOT key GLOB 'b*';

-- name: drop_ledger
DELETE FROM ledger WHERE job_id = :job_id;

-- name: fleet
SELECT lease_until FROM fleets WHERE fleet = :fleet;

-- name: take_fleet
INSERT INTO fleets (fleet, manager, lease_until) VALUES (:fleet, :manager, :now + :seconds)
ON CONFLICT (fleet) DO UPDATE SET manager = excluded.manager, lease_until = excluded.lease_until
WHERE fleets.manager = excluded.manager OR NOT (fleets.lease_until > :now AND fleets.lease_until <= :now + LONGEST_FLEET);

-- name: note_worker
INSERT INTO workers (key, report, seen_at) VALUES (:key, :report, :now)
ON CONFLICT (key) DO UPDATE SET report = excluded.report, seen_at = excluded.seen_at;

-- name: workers
SELECT key, report, :now - seen_at AS seconds FROM workers WHERE seen_at <= :now + AHEAD;

-- name: old_workers
DELETE FROM workers WHERE seen_at < :before OR seen_at > :now + AHEAD;

-- name: add_job
INSERT INTO jobs (job_id, message, state, submitted_at, priority, near_keys)
VALUES (:job_id, :message, :state, :submitted_at, :priority, 1)
ON CONFLICT (job_id) DO NOTHING;

-- name: job
SELECT * FROM jobs WHERE job_id = :job_id;

-- name: all_jobs
SELECT * FROM jobs ORDER BY seq DESC;

-- name: drop_chunks
DELETE FROM file_chunks WHERE job_id = :job_id;

-- name: add_chunk
INSERT INTO file_chunks (job_id, number, chunk) VALUES (:job_id, :number, :chunk);

-- name: chunk
SELECT chunk FROM file_chunks WHERE job_id = :job_id AND number = :number;

-- name: free_jobs
-- Jobs that nobody manages: new ones, and those whose manager's lease has expired or was given back. First those of the
-- priority whose turn it is, then the most urgent, each oldest first.
SELECT * FROM jobs
WHERE off_queue = 0 AND NOT (lease_until > :now AND lease_until <= :now + LONGEST) AND (:job_id = '' OR job_id = :job_id) AND priority <= :least
ORDER BY priority <> :turn, priority, seq;

-- name: lease_job
UPDATE jobs SET token = :token, owner = :owner, lease_until = :until, deliveries = deliveries + 1
WHERE job_id = :job_id;

-- name: renew_job
UPDATE jobs SET lease_until = :until WHERE job_id = :job_id AND token = :token;

-- name: release_job
UPDATE jobs SET token = NULL, owner = NULL, lease_until = 0, deliveries = deliveries - 1
WHERE job_id = :job_id AND token = :token;

-- name: settle_job
UPDATE jobs SET off_queue = 1, token = NULL, owner = NULL, lease_until = 0
WHERE job_id = :job_id AND (token = :token OR :token = '');

-- name: back_on_queue
-- Continues a job that has failed.
UPDATE jobs SET off_queue = 0, token = NULL, owner = NULL, lease_until = 0, deliveries = 0 WHERE job_id = :job_id;

-- name: forget_items
-- Nothing of a job that has ended is published again, so the rows that identify repeats are no longer needed. Items that
-- a worker still reads stay, so that their results count.
DELETE FROM items WHERE job_id = :job_id AND NOT (
  settled = 0 AND token IS NOT NULL AND visible_at > :now AND visible_at <= :now + LONGEST
);

-- name: old_jobs
SELECT job_id FROM jobs WHERE finished_at > 0 AND finished_at <= :before;

-- name: drop_items
DELETE FROM items WHERE job_id = :job_id;

-- name: drop_tallies
DELETE FROM tallies WHERE job_id = :job_id;

-- name: drop_poison
DELETE FROM poison WHERE job_id = :job_id;

-- name: drop_job
DELETE FROM jobs WHERE job_id = :job_id;

-- name: set_state
UPDATE jobs SET state = :state, reason = :reason, started_at = :started_at, finished_at = :finished_at
WHERE job_id = :job_id;

-- name: set_scan
UPDATE jobs SET scan = :scan, scan_finished = :finished WHERE job_id = :job_id;

-- name: begin_again
UPDATE jobs SET state = :state, scan = '', scan_finished = 0, published_items = 0, poisoned_items = 0,
  poisoned_files = 0, poison_errors = '[]', begun_again = 1
WHERE job_id = :job_id;

-- name: any_open_item
SELECT 1 FROM items WHERE job_id = :job_id AND settled = 0 LIMIT 1;

-- name: note_manager
INSERT INTO managers (name, seen_at) VALUES (:name, :now) ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at;

-- name: manager_seen
SELECT max(seen_at) FROM managers WHERE typeof(seen_at) = 'real' AND seen_at <= :now + AHEAD;

-- name: old_managers
DELETE FROM managers WHERE seen_at < :before OR seen_at > :now + AHEAD;

-- name: add_item
INSERT INTO items (job_id, key, message, bytes) VALUES (?, ?, ?, ?) ON CONFLICT (job_id, key) DO NOTHING;

-- name: count_published
UPDATE jobs SET published_items = published_items + :count WHERE job_id = :job_id;

-- name: working_jobs
-- Jobs whose items may be claimed now: neither paused nor in a final state.
SELECT job_id, priority FROM jobs
WHERE state IN ('queued', 'scanning', 'warming') AND off_queue = 0 AND (:job_id = '' OR job_id = :job_id)
  AND priority <= :least
ORDER BY seq;

-- name: open_items
SELECT seq, job_id, key, message, deliveries, last_error, visible_at FROM items
WHERE job_id = :job_id AND settled = 0 AND NOT (visible_at > :now AND visible_at <= :now + LONGEST)
ORDER BY seq LIMIT :most;

-- name: lease_item
UPDATE items SET token = :token, owner = :owner, visible_at = :until, deliveries = deliveries + 1 WHERE seq = :seq;

-- name: renew_item
UPDATE items SET visible_at = :until WHERE seq = :seq AND token = :token AND settled = 0;

-- name: settle_item
-- The receipt: it changes a row only once, and only under the lease with which the item was read.
UPDATE items SET settled = 1, token = NULL, owner = NULL, message = ''
WHERE seq = :seq AND token = :token AND settled = 0;

-- name: hand_back
UPDATE items SET token = NULL, owner = NULL, visible_at = :until, deliveries = deliveries - :forgiven,
  last_error = CASE WHEN :reason = '' THEN last_error ELSE :reason END,
  message = CASE WHEN :message = '' THEN message ELSE :message END
WHERE seq = :seq AND token = :token AND settled = 0;

-- name: held_item
SELECT seq, job_id, key, message, deliveries, last_error FROM items
WHERE seq = :seq AND token = :token AND settled = 0;

-- name: poison_item
UPDATE items SET settled = 2, token = NULL, owner = NULL, message = '', last_error = :reason WHERE seq = :seq;

-- name: add_poison
INSERT INTO poison (job_id, item_id, reason, message, poisoned_at) VALUES (:job_id, :item_id, :reason, :message, :now);

-- name: count_poison
UPDATE jobs SET poisoned_items = poisoned_items + 1, poisoned_files = poisoned_files + :files, poison_errors = :errors
WHERE job_id = :job_id;

-- name: tally
SELECT * FROM tallies WHERE job_id = :job_id AND worker = :worker;

-- name: tallies
SELECT * FROM tallies WHERE job_id = :job_id ORDER BY worker;

-- name: settled_count
-- The sums of the tallies of a job and its poison, in O(workers).
SELECT poisoned_items + (SELECT coalesce(sum(items), 0) FROM tallies WHERE job_id = :job_id) AS settled,
  published_items, scan_finished
FROM jobs WHERE job_id = :job_id;

-- name: owners
-- Every process that holds a lease.
SELECT owner FROM items WHERE settled = 0 AND owner IS NOT NULL
UNION SELECT owner FROM jobs WHERE owner IS NOT NULL;

-- name: free_items_of
UPDATE items SET token = NULL, owner = NULL, visible_at = 0 WHERE owner = :owner AND settled = 0;

-- name: free_jobs_of
UPDATE jobs SET token = NULL, owner = NULL, lease_until = 0 WHERE owner = :owner;

-- name: backlog
SELECT
  coalesce(sum(token IS NULL OR NOT (visible_at > :now AND visible_at <= :now + LONGEST)), 0) AS waiting,
  coalesce(sum(token IS NOT NULL AND visible_at > :now AND visible_at <= :now + LONGEST), 0) AS leased
FROM items
WHERE settled = 0 AND job_id IN (SELECT job_id FROM jobs WHERE state IN ('queued', 'scanning', 'warming', 'paused'));

-- name: active_jobs
SELECT * FROM jobs WHERE state IN ('queued', 'scanning', 'warming', 'paused');
