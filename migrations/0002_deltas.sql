-- Deltas made by the server, uploads that can be resumed, and the phase in which a device tests an update.

-- ---------------------------------------------------------------- bytes

-- Bytes apart from their name: an upload fills a blob piece by piece, and when it was verified the blob becomes an object without
-- one byte being copied. Whoever deletes a blob deletes its chunks.
CREATE TABLE blob (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY
);

ALTER TABLE object ADD COLUMN blob bigint;
UPDATE object SET blob = nextval(pg_get_serial_sequence('blob', 'id'));
INSERT INTO blob (id) OVERRIDING SYSTEM VALUE SELECT blob FROM object;
ALTER TABLE object ALTER COLUMN blob SET NOT NULL, ADD UNIQUE (blob), ADD FOREIGN KEY (blob) REFERENCES blob;

-- The bytes themselves are not touched by this: PostgreSQL keeps them apart from the row.
ALTER TABLE object_chunk ADD COLUMN blob bigint;
UPDATE object_chunk c SET blob = o.blob FROM object o WHERE o.sha256 = c.sha256;
ALTER TABLE object_chunk DROP COLUMN sha256;
ALTER TABLE object_chunk ALTER COLUMN blob SET NOT NULL, ADD PRIMARY KEY (blob, n),
    ADD FOREIGN KEY (blob) REFERENCES blob ON DELETE CASCADE;

-- A bundle file on its way in. Every owner has their own, so that nobody can spoil another's.
CREATE TABLE upload (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner      text NOT NULL,                       -- "user:admin", "token:ci"
    sha256     text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),     -- of the whole file, by the client's word
    size       bigint NOT NULL CHECK (size > 0),
    received   bigint NOT NULL DEFAULT 0 CHECK (received BETWEEN 0 AND size),  -- bytes that are kept: whole chunks
    blob       bigint NOT NULL UNIQUE REFERENCES blob ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,                -- moves with every part
    UNIQUE (owner, sha256)
);

-- ---------------------------------------------------------------- deltas

-- A delta bundle: the bundle `to_bundle` for devices that have the files of `from_bundle`.
CREATE TABLE delta (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_bundle text NOT NULL REFERENCES bundle,
    to_bundle   text NOT NULL REFERENCES bundle,
    state       text NOT NULL CHECK (state IN ('wanted', 'making', 'ready', 'not_worth_it', 'failed')),
    asked_by    text,                               -- who asked for it by hand; null: the server itself
    full_size   bigint NOT NULL,                    -- of the bundle file
    size        bigint,                             -- of the delta bundle, once it was made, kept or not
    object_sha256 text REFERENCES object,           -- when it is ready
    -- Who makes it. An epoch that is over can write nothing: a server that froze and came back must not undo another's work.
    lease_owner text,
    lease_epoch bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    tries       integer NOT NULL DEFAULT 0,
    not_before  timestamptz NOT NULL DEFAULT now(), -- of the next try
    error       text,                               -- why the last try failed
    created_at  timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,                        -- of the last try
    finished_at timestamptz,
    UNIQUE (from_bundle, to_bundle),
    CHECK (from_bundle <> to_bundle),
    CHECK ((state = 'ready') = (object_sha256 IS NOT NULL)),
    CHECK (state <> 'making' OR (lease_owner IS NOT NULL AND lease_until IS NOT NULL))
);
CREATE INDEX delta_to ON delta (to_bundle);
CREATE INDEX delta_object ON delta (object_sha256) WHERE object_sha256 IS NOT NULL;
CREATE INDEX delta_open ON delta (id) WHERE state IN ('wanted', 'making');
CREATE INDEX bundle_object ON bundle (object_sha256);

-- ---------------------------------------------------------------- the phase "testing"

ALTER TABLE device_slot DROP CONSTRAINT device_slot_phase_check;
ALTER TABLE device_slot ADD CONSTRAINT device_slot_phase_check
    CHECK (phase IN ('empty', 'downloading', 'verifying', 'testing', 'staged', 'held', 'switching', 'probation', 'running', 'failed'));

-- The one place that says how a device is. `cause` is the first thing that holds, in order of weight; `status` follows from it.
-- OFFSET 0 keeps the planner from computing `cause` once for each time it is named.
CREATE OR REPLACE VIEW device_state AS
SELECT d.id AS device_id,
       CASE WHEN contact.state IN ('gone', 'silent') THEN 'lost' ELSE contact.state END AS liveness,
       found.cause,
       CASE
           WHEN found.cause IN ('never_seen', 'gone', 'silent') THEN 'offline'
           WHEN found.cause = 'critical_alert' THEN 'critical'
           WHEN found.cause IN ('held', 'updating', 'healthy') THEN found.cause
           ELSE 'degraded'
       END AS status
FROM device d
LEFT JOIN liveness l ON l.device_id = d.id
CROSS JOIN LATERAL (
    SELECT CASE
               WHEN l.last_seen IS NULL THEN 'never_seen'
               WHEN now() > l.gone_at + interval '10 s' THEN 'gone'
               WHEN now() > l.last_seen + 3 * make_interval(secs => l.beat_s) THEN 'silent'
               WHEN now() > l.last_seen + 1.5 * make_interval(secs => l.beat_s) THEN 'late'
               ELSE 'online'
           END AS state) contact
CROSS JOIN LATERAL (
    SELECT CASE
               WHEN contact.state IN ('never_seen', 'gone', 'silent') THEN contact.state
               WHEN EXISTS (SELECT 1 FROM alert a JOIN alert_rule r ON r.id = a.rule_id
                            WHERE a.device_id = d.id AND a.state = 'firing' AND r.severity = 'critical') THEN 'critical_alert'
               WHEN EXISTS (SELECT 1 FROM device_slot s WHERE s.device_id = d.id AND s.phase = 'held') THEN 'held'
               WHEN EXISTS (SELECT 1 FROM device_slot s WHERE s.device_id = d.id
                            AND s.phase IN ('downloading', 'verifying', 'testing', 'staged', 'switching', 'probation')) THEN 'updating'
               WHEN l.throttled THEN 'throttled'
               WHEN EXISTS (SELECT 1 FROM device_slot s WHERE s.device_id = d.id AND s.phase = 'failed') THEN 'update_failed'
               WHEN EXISTS (SELECT 1 FROM alert a WHERE a.device_id = d.id AND a.state = 'firing') THEN 'alert'
               WHEN contact.state = 'late' THEN 'late'
               ELSE 'healthy'
           END AS cause
    OFFSET 0) found
WHERE d.retired_at IS NULL;
