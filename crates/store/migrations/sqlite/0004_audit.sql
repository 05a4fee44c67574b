-- What filters of the audit log and its pruning need. The rules of 0001 hold. Keep in step with ../postgres.

-- Times are only nearly in the order of the log, so that a span of time is looked up here. It is the one index that comes
-- for filters: each is paid for by every change, and what else is asked for is read within a span.
CREATE INDEX audit_event_at ON audit_event (at, seq);

-- At most one row: the last event that was pruned, under a seal, so that the chain goes on from there.
CREATE TABLE audit_anchor (
    one  BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    seq  BIGINT NOT NULL,
    mac  BLOB   NOT NULL,
    seal BLOB   NOT NULL
) WITHOUT ROWID;
