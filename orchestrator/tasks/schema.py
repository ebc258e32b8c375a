"""The task store's tables, and how a store of an earlier version becomes one of this version."""

from __future__ import annotations

import sqlite3

_VERSION_1 = """
CREATE TABLE tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    steps INTEGER NOT NULL,
    guidance REAL NOT NULL,
    seed INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    created_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    frames_total INTEGER NOT NULL,
    frames_generated INTEGER NOT NULL,
    frames_played INTEGER NOT NULL,
    failure_code TEXT,
    failure_message TEXT,
    stamps TEXT NOT NULL
) STRICT;
CREATE INDEX tasks_by_state ON tasks (state, number);
"""

# Frames that an overloaded encoder didn't show.
_VERSION_2 = "ALTER TABLE tasks ADD COLUMN frames_dropped INTEGER NOT NULL DEFAULT 0;"

# The name of the file that was uploaded; tasks of earlier versions have none.
_VERSION_3 = "ALTER TABLE tasks ADD COLUMN file_name TEXT;"

# Live speech: where its sound comes from, and no duration while its end isn't known. SQLite can't take a NOT NULL away,
# so the table is copied; the counter of AUTOINCREMENT goes with it, which else would give out the numbers of deleted
# tasks again.
_VERSION_4 = """
CREATE TABLE tasks_4 (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    steps INTEGER NOT NULL,
    guidance REAL NOT NULL,
    seed INTEGER NOT NULL,
    duration_s REAL,
    created_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    frames_total INTEGER NOT NULL,
    frames_generated INTEGER NOT NULL,
    frames_played INTEGER NOT NULL,
    failure_code TEXT,
    failure_message TEXT,
    stamps TEXT NOT NULL,
    frames_dropped INTEGER NOT NULL DEFAULT 0,
    file_name TEXT,
    source TEXT NOT NULL DEFAULT 'upload',
    frames_heard INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO tasks_4 SELECT
    number, id, channel, state, steps, guidance, seed, duration_s, created_at, attempts, frames_total,
    frames_generated, frames_played, failure_code, failure_message, stamps, frames_dropped, file_name, 'upload', 0
FROM tasks;
DELETE FROM sqlite_sequence WHERE name = 'tasks_4';
UPDATE sqlite_sequence SET name = 'tasks_4' WHERE name = 'tasks';
DROP TABLE tasks;
ALTER TABLE tasks_4 RENAME TO tasks;
CREATE INDEX tasks_by_state ON tasks (state, number);
"""

# Step n brings a store of version n to version n + 1; an empty file has version 0. A released step is never changed:
# append another one, and add a file of the version before it to tests/orchestrator/tasks/versions.
STEPS: tuple[str, ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4)


class UnknownVersion(RuntimeError):
    """The store was written by a newer version of this program."""


def migrate(db: sqlite3.Connection) -> None:
    """Bring a store to the newest version, each step whole or not at all; raises UnknownVersion and sqlite3.Error."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise UnknownVersion(f"it has version {version}, and this server reads up to version {len(STEPS)}")
    for number, step in enumerate(STEPS[version:], start=version + 1):
        try:
            db.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
