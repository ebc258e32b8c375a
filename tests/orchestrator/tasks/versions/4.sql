-- A store as version 4 wrote it. Never changed.
CREATE TABLE "tasks" (
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
CREATE INDEX tasks_by_state ON tasks (state, number);
INSERT INTO tasks VALUES (1, 'done', 'main', 'done', 20, 1.5, 7, 1.0, 999.0, 1, 35, 35, 35, NULL, NULL, '{"decoded": 999.1, "done": 1002.0}', 0, 'greeting.wav', 'upload', 0);
INSERT INTO tasks VALUES (2, 'failed', 'main', 'failed', 20, 1.5, 7, 1.0, 999.0, 3, 35, 0, 0, 'interrupted', 'Interrupted 3 times.', '{"decoded": 999.1}', 0, 'greeting.wav', 'upload', 0);
INSERT INTO tasks VALUES (4, 'playing', 'main', 'streaming', 2, 1.0, 8, 0.1, 999.5, 1, 13, 13, 2, NULL, NULL, '{"decoded": 999.6, "started": 999.7}', 0, NULL, 'microphone', 2);
INSERT INTO tasks VALUES (5, 'waiting', 'main', 'queued', 2, 1.0, 9, 0.1, 999.75, 0, 0, 0, 0, NULL, NULL, '{"decoded": 999.8}', 0, 'greeting.wav', 'upload', 0);
PRAGMA user_version = 4;
