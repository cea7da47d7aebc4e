-- needs: 1 (the oldest version of this schema that a daemon may know, to work with this one)
-- Instants are seconds since the epoch, UTC. `body`, `told`, `line` and `definition` hold JSON as text, byte for byte: a line of
-- history is hashed, and jsonb would write it anew. Names sort by their bytes (COLLATE "C"), whatever the database's language.

-- One row. Whoever holds its lock decides.
CREATE TABLE head (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  seq bigint NOT NULL DEFAULT 0,       -- the newest line of history
  episode bigint NOT NULL DEFAULT 0,   -- the newest id given
  touched_at double precision
);
INSERT INTO head DEFAULT VALUES;

-- How far the chain of each daemon's history goes, and after which line it begins since older ones were pruned.
CREATE TABLE chains (
  chain text COLLATE "C" PRIMARY KEY,
  number bigint NOT NULL,
  hash text NOT NULL,
  base_number bigint NOT NULL DEFAULT 0,
  base_hash text NOT NULL DEFAULT repeat('0', 64)
);

-- Heads of chains that were told elsewhere, and may be asked for when their lines are pruned.
CREATE TABLE published (
  hash text COLLATE "C" PRIMARY KEY,
  chain text NOT NULL,
  number bigint NOT NULL
);

-- The newest transaction of each daemon that was kept: so that a lost answer to a commit is no riddle.
CREATE TABLE commits (
  daemon text COLLATE "C" PRIMARY KEY,
  name text NOT NULL,
  at double precision NOT NULL
);

-- The daemons that work here, as they tell of themselves.
CREATE TABLE replicas (
  worker text COLLATE "C" PRIMARY KEY,
  seen_at double precision NOT NULL,
  told text NOT NULL
);

CREATE TABLE notifications (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text NOT NULL,
  received_at double precision NOT NULL,
  body bytea NOT NULL
);

CREATE TABLE episodes (
  id bigint PRIMARY KEY,               -- they grow with first_seen
  fingerprint text COLLATE "C" NOT NULL,
  alertname text COLLATE "C" NOT NULL,
  starts_at double precision NOT NULL,
  first_seen double precision NOT NULL,
  last_seen double precision NOT NULL,
  ended_at double precision,
  lost boolean NOT NULL DEFAULT false, -- closed because nothing was heard of it for too long
  over boolean NOT NULL DEFAULT false, -- it had resolved before it was first heard of
  told text NOT NULL                   -- labels, annotations, group: as the opening notification told
);
CREATE INDEX episodes_by_fingerprint ON episodes (fingerprint, id);
CREATE UNIQUE INDEX one_open_episode ON episodes (fingerprint) WHERE ended_at IS NULL;
CREATE INDEX closed_episodes ON episodes (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX firing_by_name ON episodes (alertname) WHERE ended_at IS NULL;
CREATE INDEX episodes_by_time ON episodes (first_seen);

-- What became of an alert under a rule. The key makes the promise that a rule takes up an episode once.
CREATE TABLE decisions (
  episode bigint NOT NULL,
  rule text COLLATE "C" NOT NULL,
  run text COLLATE "C",                -- NULL: deferred until the open run of this rule and target closes
  target text COLLATE "C",
  at double precision NOT NULL,
  PRIMARY KEY (episode, rule)
);
CREATE INDEX decisions_by_run ON decisions (run) WHERE run IS NOT NULL;
CREATE INDEX deferred_decisions ON decisions (rule, target) WHERE run IS NULL;
CREATE INDEX decisions_by_target ON decisions (rule, target, episode) WHERE target IS NOT NULL;

CREATE TABLE runs (
  id text COLLATE "C" PRIMARY KEY,
  rule text COLLATE "C" NOT NULL,
  origin text COLLATE "C" NOT NULL,
  target text COLLATE "C",
  state text COLLATE "C" NOT NULL,
  reason text COLLATE "C",
  book text COLLATE "C" NOT NULL,      -- live, dry, drill
  priority text COLLATE "C" NOT NULL,
  rung integer NOT NULL,
  admitted_at double precision,        -- NULL on reverts and notices: they use nothing up
  started_at double precision,
  ended_at double precision,
  failed_at double precision,
  storm_at double precision,           -- refused by a storm then, and its alerts were not taken up anew since; else NULL
  lock text COLLATE "C",
  reverts text COLLATE "C",
  worker text COLLATE "C",             -- who holds the lease; its end is then `due_at`
  due_at double precision,
  fence bigint NOT NULL,
  body text NOT NULL
);

-- Promises. What is a drill never meets what isn't; live and dry runs do, as the mode of a run that waits may change.
CREATE UNIQUE INDEX one_open_run ON runs (rule, target, (book = 'drill'))
  WHERE ended_at IS NULL AND target IS NOT NULL AND origin NOT IN ('revert', 'notice');
CREATE UNIQUE INDEX one_waiting_revert ON runs (rule, target, (book = 'drill')) WHERE origin = 'revert' AND state = 'waiting';
CREATE UNIQUE INDEX one_holder_of_a_lock ON runs (lock, book) WHERE ended_at IS NULL AND lock IS NOT NULL;

CREATE INDEX due_runs ON runs (priority, due_at) WHERE ended_at IS NULL AND due_at IS NOT NULL;
CREATE INDEX open_runs ON runs (state, reason) WHERE ended_at IS NULL;
CREATE INDEX held_runs ON runs (worker) WHERE ended_at IS NULL AND worker IS NOT NULL;
CREATE INDEX open_reverts ON runs (reverts) WHERE ended_at IS NULL AND reverts IS NOT NULL;
CREATE INDEX ended_runs ON runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX refused_by_storm ON runs (storm_at) WHERE storm_at IS NOT NULL;

-- The books. `book` leads, so that a live run doesn't wade through years of dry ones.
CREATE INDEX admissions_by_target ON runs (rule, target, book, admitted_at, failed_at) WHERE admitted_at IS NOT NULL;
CREATE INDEX admissions_by_rule ON runs (rule, book, admitted_at) WHERE admitted_at IS NOT NULL;
CREATE INDEX admissions ON runs (book, admitted_at) WHERE admitted_at IS NOT NULL;
CREATE INDEX failures ON runs (book, failed_at, rule) WHERE failed_at IS NOT NULL AND origin NOT IN ('revert', 'notice');

CREATE TABLE steps (
  run text COLLATE "C" NOT NULL,
  rung integer NOT NULL,
  phase text COLLATE "C" NOT NULL,
  position integer NOT NULL,
  item integer NOT NULL,
  body text NOT NULL,
  PRIMARY KEY (run, rung, phase, position, item)
);

CREATE TABLE controls (
  id text COLLATE "C" PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  run text COLLATE "C",
  rule text COLLATE "C",
  book text COLLATE "C" NOT NULL,
  until double precision,
  lifted_at double precision,
  body text NOT NULL
);
CREATE INDEX controls_in_force ON controls (run) WHERE lifted_at IS NULL;
CREATE INDEX lifted_controls ON controls (kind, book, rule, lifted_at) WHERE lifted_at IS NOT NULL AND run IS NULL;

CREATE TABLE rules (
  hash text COLLATE "C" PRIMARY KEY,
  seen_at double precision NOT NULL,
  definition text NOT NULL
);

-- The chains: hash = sha256(hash before in the chain + line). No part of `line` stands in a column that isn't checked against it.
CREATE TABLE events (
  seq bigint PRIMARY KEY,              -- over all chains, in the order in which they were decided
  chain text COLLATE "C" NOT NULL,
  number bigint NOT NULL,              -- within the chain
  run text COLLATE "C",
  line text NOT NULL,                  -- JSON [at, kind, run, data]
  hash text NOT NULL,
  UNIQUE (chain, number)
);
CREATE INDEX events_by_run ON events (run, seq) WHERE run IS NOT NULL;

CREATE TABLE timers (
  name text COLLATE "C" PRIMARY KEY,
  due_at double precision NOT NULL,
  about text NOT NULL
);

CREATE TABLE outbox (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order in which they were to be sent
  channel text COLLATE "C" NOT NULL,   -- within which that order holds
  due_at double precision NOT NULL,    -- of the first of a channel: when it is tried again
  worker text COLLATE "C",             -- who is sending it, until then
  body text NOT NULL
);
CREATE INDEX outbox_by_channel ON outbox (channel, seq);
