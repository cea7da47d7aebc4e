-- Runs that no alert opened, drills in books of their own, changes that are taken back, and times that belong to no run.

-- The table is built anew: `book` stands in the place of `dry`. (To drop a column rewrites every row as well.)
CREATE TABLE runs_2 (
  id TEXT PRIMARY KEY,
  rule TEXT NOT NULL,
  target TEXT,
  state TEXT NOT NULL,
  reason TEXT,
  book TEXT NOT NULL,              -- live, dry, drill
  origin TEXT NOT NULL,
  priority TEXT NOT NULL,
  rung INTEGER NOT NULL,
  admitted_at REAL,                -- NULL on reverts and notices: they use nothing up
  started_at REAL,
  ended_at REAL,
  failed_at REAL,
  storm_at REAL,                   -- refused by a storm then, and its alerts were not taken up anew since; else NULL
  lock TEXT,
  reverts TEXT,
  worker TEXT,                     -- who holds the lease; its end is then `due_at`
  due_at REAL,
  fence INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
INSERT INTO runs_2
  SELECT
    id, rule, target, state, reason, iif(dry, 'dry', 'live'), 'alert', priority, coalesce(body ->> 'rung', 0),
    admitted_at, started_at, ended_at, iif(state = 'failed', ended_at, NULL), NULL, lock, NULL, worker, due_at, fence, body
  FROM runs;
DROP TABLE runs;
ALTER TABLE runs_2 RENAME TO runs;

-- Promises. What is a drill never meets what isn't; live and dry runs do, as the mode of a run that waits may change.
CREATE UNIQUE INDEX one_open_run ON runs (rule, target, book = 'drill')
  WHERE ended_at IS NULL AND target IS NOT NULL AND origin NOT IN ('revert', 'notice');
CREATE UNIQUE INDEX one_waiting_revert ON runs (rule, target, book = 'drill') WHERE origin = 'revert' AND state = 'waiting';
CREATE UNIQUE INDEX one_holder_of_a_lock ON runs (lock, book) WHERE ended_at IS NULL AND lock IS NOT NULL;

CREATE INDEX due_runs ON runs (priority, due_at) WHERE ended_at IS NULL AND due_at IS NOT NULL;
CREATE INDEX open_runs ON runs (state, reason) WHERE ended_at IS NULL;
CREATE INDEX open_reverts ON runs (reverts) WHERE ended_at IS NULL AND reverts IS NOT NULL;
CREATE INDEX ended_runs ON runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX refused_by_storm ON runs (storm_at) WHERE storm_at IS NOT NULL;

-- The books. `book` leads, so that a live run doesn't wade through years of dry ones.
CREATE INDEX admissions_by_target ON runs (rule, target, book, admitted_at, failed_at) WHERE admitted_at IS NOT NULL;
CREATE INDEX admissions_by_rule ON runs (rule, book, admitted_at) WHERE admitted_at IS NOT NULL;
CREATE INDEX admissions ON runs (book, admitted_at) WHERE admitted_at IS NOT NULL;
CREATE INDEX failures ON runs (book, failed_at, rule) WHERE failed_at IS NOT NULL AND origin NOT IN ('revert', 'notice');
CREATE INDEX decisions_by_target ON decisions (rule, target) WHERE target IS NOT NULL; -- and by episode, its key's rest

ALTER TABLE controls ADD COLUMN rule TEXT;
ALTER TABLE controls ADD COLUMN book TEXT NOT NULL DEFAULT 'live';
UPDATE controls SET rule = body ->> 'rule';
CREATE INDEX lifted_controls ON controls (kind, book, rule, lifted_at) WHERE lifted_at IS NOT NULL AND run IS NULL;

CREATE TABLE timers (
  name TEXT PRIMARY KEY,
  due_at REAL NOT NULL,
  about TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX timers_by_due ON timers (due_at);
