-- Messages that could not be sent, and whether an alert was ever heard firing.

ALTER TABLE episodes ADD COLUMN over INTEGER NOT NULL DEFAULT 0; -- it had resolved before it was first heard of

CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they were to be sent
  channel TEXT NOT NULL,           -- within which that order holds
  due_at REAL NOT NULL,            -- of the first of a channel: when it is tried again
  worker TEXT,                     -- who is sending it, until then
  body TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_by_channel ON outbox (channel, seq);
