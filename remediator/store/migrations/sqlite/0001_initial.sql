-- Instants are seconds since the epoch, UTC. JSON columns hold what no query asks for.

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE notifications (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  received_at REAL NOT NULL,
  body BLOB NOT NULL
) STRICT;

CREATE TABLE episodes (
  id INTEGER PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  alertname TEXT NOT NULL,
  starts_at REAL NOT NULL,
  first_seen REAL NOT NULL,
  last_seen REAL NOT NULL,
  ended_at REAL,
  lost INTEGER NOT NULL DEFAULT 0, -- closed because nothing was heard of it for too long
  told TEXT NOT NULL               -- labels, annotations, group: as the opening notification told
) STRICT;
CREATE INDEX episodes_by_fingerprint ON episodes (fingerprint, id);
CREATE UNIQUE INDEX one_open_episode ON episodes (fingerprint) WHERE ended_at IS NULL;
CREATE INDEX closed_episodes ON episodes (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX firing_by_name ON episodes (alertname) WHERE ended_at IS NULL;

-- What became of an alert under a rule. The key makes the promise that a rule takes up an episode once.
CREATE TABLE decisions (
  episode INTEGER NOT NULL,
  rule TEXT NOT NULL,
  run TEXT,                        -- NULL: deferred until the open run of this rule and target closes
  target TEXT,
  at REAL NOT NULL,
  PRIMARY KEY (episode, rule)
) STRICT, WITHOUT ROWID;
CREATE INDEX decisions_by_run ON decisions (run) WHERE run IS NOT NULL;
CREATE INDEX deferred_decisions ON decisions (rule, target) WHERE run IS NULL;

CREATE TABLE runs (
  id TEXT PRIMARY KEY,
  rule TEXT NOT NULL,
  target TEXT,
  state TEXT NOT NULL,
  reason TEXT,
  dry INTEGER NOT NULL,
  priority TEXT NOT NULL,
  admitted_at REAL,
  started_at REAL,
  ended_at REAL,
  lock TEXT,
  worker TEXT,                     -- who holds the lease; its end is then `due_at`
  due_at REAL,
  fence INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_open_run ON runs (rule, target) WHERE ended_at IS NULL AND target IS NOT NULL;
CREATE UNIQUE INDEX one_holder_of_a_lock ON runs (lock, dry) WHERE ended_at IS NULL AND lock IS NOT NULL;
CREATE INDEX due_runs ON runs (priority, due_at) WHERE ended_at IS NULL AND due_at IS NOT NULL;
CREATE INDEX open_runs ON runs (state, reason) WHERE ended_at IS NULL;
CREATE INDEX admissions_by_target ON runs (rule, target, admitted_at) WHERE admitted_at IS NOT NULL;
CREATE INDEX admissions_by_rule ON runs (rule, admitted_at) WHERE admitted_at IS NOT NULL;
CREATE INDEX admissions ON runs (admitted_at) WHERE admitted_at IS NOT NULL;

CREATE TABLE steps (
  run TEXT NOT NULL,
  rung INTEGER NOT NULL,
  phase TEXT NOT NULL,
  position INTEGER NOT NULL,
  item INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (run, rung, phase, position, item)
) STRICT, WITHOUT ROWID;

CREATE TABLE controls (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  run TEXT,
  until REAL,
  lifted_at REAL,
  body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX controls_in_force ON controls (run) WHERE lifted_at IS NULL;

CREATE TABLE rules (
  hash TEXT PRIMARY KEY,
  seen_at REAL NOT NULL,
  definition TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The chain: hash = sha256(hash before + line). Nothing of `line` stands in a column that isn't checked against it.
CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  run TEXT,
  line TEXT NOT NULL,              -- JSON [at, kind, run, data]
  hash TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_run ON events (run) WHERE run IS NOT NULL;
