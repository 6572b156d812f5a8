"""The journal's tables. A change here is a new `VERSION` and a migration, never an edit of a released one."""

VERSION = 1

# which attempt is an execution's record: an outcome of the algorithm before one of the machinery, then the latest
RANKING = "outcome IN ('ok', 'error', 'timeout', 'oom') DESC, number DESC"

TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- One TimeEval object that was run (or resumed) on this folder.
CREATE TABLE run (
    id TEXT PRIMARY KEY,
    number INTEGER NOT NULL,           -- the n-th TimeEval of the script; resume pairs by it and by the grid's digest
    grid_digest TEXT NOT NULL,
    limits TEXT NOT NULL,              -- JSON of Limits
    metrics TEXT NOT NULL,             -- JSON: column name -> [arguments, definition version]
    info TEXT NOT NULL,                -- JSON: provenance
    started REAL NOT NULL,
    ended REAL,
    reason TEXT
) STRICT;

-- Level 1: what is computed.
CREATE TABLE execution (
    key TEXT PRIMARY KEY,
    algorithm TEXT NOT NULL, collection TEXT NOT NULL, dataset TEXT NOT NULL,
    hyper_params_id TEXT NOT NULL, repetition INTEGER NOT NULL,
    details TEXT NOT NULL              -- JSON: what the results table says of it beside its outcome
) STRICT;

-- The grid of a run, in order. An execution is in as many runs as ask for it.
CREATE TABLE grid (
    run TEXT NOT NULL REFERENCES run, position INTEGER NOT NULL, execution TEXT NOT NULL REFERENCES execution,
    PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX grid_execution ON grid (execution);

-- Level 3: one try on one host. `ended_at` is null while it is out (or when the driver died meanwhile).
CREATE TABLE attempt (
    id TEXT PRIMARY KEY,
    run TEXT NOT NULL REFERENCES run,
    execution TEXT NOT NULL REFERENCES execution,
    number INTEGER NOT NULL, host TEXT NOT NULL, sent_at REAL NOT NULL,
    outcome TEXT, started_at REAL, ended_at REAL, error TEXT, traceback TEXT,
    hyper_params TEXT, times TEXT, cpu_seconds REAL, peak_memory INTEGER
) STRICT;
CREATE INDEX attempt_execution ON attempt (execution, number);

-- Level 2: a metric's value of an execution's scores, under one definition.
CREATE TABLE metric_value (
    execution TEXT NOT NULL REFERENCES execution,
    name TEXT NOT NULL, arguments TEXT NOT NULL, definition TEXT NOT NULL,
    value REAL,                        -- null: undefined for these labels and scores
    failed INTEGER NOT NULL,           -- 1: the metric raised an error, which the log of the execution has
    attempt TEXT NOT NULL REFERENCES attempt,  -- whose scores it was computed of
    PRIMARY KEY (execution, name, arguments, definition)
) STRICT, WITHOUT ROWID;

-- Second and late outcomes: kept, never counted.
CREATE TABLE superseded (id INTEGER PRIMARY KEY, attempt TEXT NOT NULL, report TEXT NOT NULL) STRICT;

CREATE TABLE host_event (id INTEGER PRIMARY KEY, run TEXT NOT NULL, host TEXT NOT NULL, reason TEXT NOT NULL,
    at REAL NOT NULL) STRICT;

CREATE VIEW record AS
SELECT * FROM (
    SELECT attempt.*, row_number() OVER (
        PARTITION BY execution
        ORDER BY {RANKING}
    ) AS rank
    FROM attempt WHERE outcome IS NOT NULL
) WHERE rank = 1;
"""  # noqa: S608 - nothing but constants
