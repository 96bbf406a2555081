-- The whole first schema: identity, desired and reported state, bundles, rollouts, telemetry, alerts, people.
-- Times are timestamptz here and Unix milliseconds at every edge; ms() is the one conversion.

CREATE FUNCTION ms(timestamptz) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT (extract(epoch FROM $1) * 1000)::bigint $$;

CREATE FUNCTION from_ms(bigint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT to_timestamp($1 / 1000.0) $$;

-- ---------------------------------------------------------------- people and automation

CREATE TABLE account (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    password_hash text NOT NULL,                    -- argon2id, encoded form
    must_change   boolean NOT NULL DEFAULT false,   -- a one-time password: good only together with a new one
    role          text NOT NULL CHECK (role IN ('viewer', 'operator', 'releaser', 'admin')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    disabled_at   timestamptz
);

CREATE TABLE session (
    hash        bytea PRIMARY KEY,                  -- SHA-256 of the cookie's 256 random bits
    account_id  bigint NOT NULL REFERENCES account ON DELETE CASCADE,
    address     text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    used_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_token (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash       bytea NOT NULL UNIQUE,
    name       text NOT NULL,
    role       text NOT NULL CHECK (role IN ('viewer', 'operator', 'releaser', 'admin')),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    used_at    timestamptz,
    revoked_at timestamptz
);

CREATE TABLE audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    t          timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,                       -- "user:admin", "token:ci", "system"
    action     text NOT NULL,                       -- "rollout.pause"
    target     text NOT NULL,                       -- "rollout:42"
    address    text NOT NULL DEFAULT '',
    request_id text NOT NULL DEFAULT '',
    before     jsonb,
    after      jsonb
);

-- ---------------------------------------------------------------- identity

CREATE TABLE site (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE device (
    id               text PRIMARY KEY CHECK (id ~ '^[a-z2-7]{26}$'),   -- the common name of its certificate
    name             text NOT NULL UNIQUE,
    site_id          bigint NOT NULL REFERENCES site,
    hardware         text NOT NULL DEFAULT '',
    agent_version    text NOT NULL DEFAULT '',
    tags             text[] NOT NULL DEFAULT '{}',
    inventory        jsonb NOT NULL DEFAULT '{}',
    inventory_sha256 text NOT NULL DEFAULT '',
    enrolled_at      timestamptz NOT NULL DEFAULT now(),
    retired_at       timestamptz
);
CREATE INDEX device_site ON device (site_id);

CREATE TABLE device_certificate (
    fingerprint text PRIMARY KEY,                   -- SHA-256 of the DER, lower-case hex
    device_id   text NOT NULL REFERENCES device,
    public_key  text NOT NULL,                      -- SHA-256 of the SubjectPublicKeyInfo, lower-case hex
    pem         text NOT NULL,
    not_after   timestamptz NOT NULL,
    revoked_at  timestamptz
);
CREATE INDEX device_certificate_device ON device_certificate (device_id);

CREATE TABLE enrolment_token (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash       bytea NOT NULL UNIQUE,               -- SHA-256 of the token's text
    site_id    bigint NOT NULL REFERENCES site,
    uses_left  integer NOT NULL CHECK (uses_left >= 0),
    expires_at timestamptz NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

-- Enrolment is idempotent per (token, public key): a repeat after a lost answer gets the same device.
CREATE TABLE enrolment (
    token_id   bigint NOT NULL REFERENCES enrolment_token,
    public_key text NOT NULL,
    device_id  text NOT NULL REFERENCES device,
    t          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (token_id, public_key)
);

-- ---------------------------------------------------------------- bundles

-- Bytes by digest, in chunks of 1 MiB: one backup of PostgreSQL is the whole fleet.
CREATE TABLE object (
    sha256     text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size       bigint NOT NULL CHECK (size >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE object_chunk (
    sha256 text NOT NULL REFERENCES object ON DELETE CASCADE,
    n      integer NOT NULL CHECK (n >= 0),
    bytes  bytea NOT NULL,
    PRIMARY KEY (sha256, n)
);
ALTER TABLE object_chunk ALTER COLUMN bytes SET STORAGE EXTERNAL;   -- weights do not compress

CREATE TABLE bundle (
    id              text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{64}$'),  -- SHA-256 of manifest.json
    slot            text NOT NULL,
    version         text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('model', 'app', 'agent')),
    release_counter bigint NOT NULL,
    manifest        bytea NOT NULL,                 -- the signed bytes
    manifest_json   jsonb NOT NULL,                 -- the same, to query
    object_sha256   text NOT NULL REFERENCES object,
    key_ids         text[] NOT NULL,                -- trusted keys whose signature was verified
    uploaded_by     text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (slot, version)
);

-- ---------------------------------------------------------------- rollouts

CREATE TABLE rollout (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slot        text NOT NULL,
    bundle_id   text NOT NULL REFERENCES bundle,
    selector    text NOT NULL,                      -- as typed; "all" only when the creator said so in words
    plan        jsonb NOT NULL,                     -- waves, limits, probation: immutable
    state       text NOT NULL CHECK (state IN ('draft', 'awaiting_approval', 'scheduled', 'running', 'paused', 'completed',
                                               'aborted', 'rolling_back', 'rolled_back')),
    state_since timestamptz NOT NULL DEFAULT now(),
    reason      text NOT NULL DEFAULT '',           -- why it is in this state, for people
    superseded_by bigint REFERENCES rollout,        -- a newer one of the same slot
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX rollout_open ON rollout (slot, id) WHERE state IN ('running', 'paused', 'rolling_back');

CREATE TABLE wave (
    rollout_id   bigint NOT NULL REFERENCES rollout ON DELETE CASCADE,
    n            integer NOT NULL CHECK (n >= 1),
    state        text NOT NULL DEFAULT 'pending'
                 CHECK (state IN ('pending', 'running', 'soaking', 'passed', 'failed', 'inconclusive')),
    state_since  timestamptz NOT NULL DEFAULT now(),
    soak_s       integer NOT NULL CHECK (soak_s >= 0),
    max_failures integer NOT NULL CHECK (max_failures >= 0),
    accepted     integer NOT NULL DEFAULT 0,        -- failures that a person has seen and gone on from
    PRIMARY KEY (rollout_id, n)
);

CREATE TABLE assignment (
    rollout_id      bigint NOT NULL REFERENCES rollout ON DELETE CASCADE,
    device_id       text NOT NULL REFERENCES device,
    wave            integer NOT NULL,
    state           text NOT NULL DEFAULT 'waiting'
                    CHECK (state IN ('waiting', 'offered', 'downloading', 'staged', 'held', 'applying', 'probation',
                                     'succeeded', 'failed', 'rolled_back', 'rejected', 'cancelled', 'superseded',
                                     'timed_out', 'already_running')),
    state_since     timestamptz NOT NULL DEFAULT now(),
    stage           text,                           -- where it failed
    code            text,                           -- why, for programs
    detail          text,                           -- why, for people
    device_left     text CHECK (device_left IN ('no_change', 'rolled_back', 'unable_to_roll_back')),
    previous_bundle text REFERENCES bundle,         -- what the slot ran before: where a rollback goes
    generation      bigint,                         -- of the desired document that last changed for this assignment
    PRIMARY KEY (rollout_id, device_id),
    FOREIGN KEY (rollout_id, wave) REFERENCES wave
);
CREATE INDEX assignment_device ON assignment (device_id, rollout_id);
CREATE INDEX assignment_state ON assignment (rollout_id, state);

-- Who may decide: the holder of the advisory lock raises the epoch, every decision is fenced by it.
CREATE TABLE leader (
    name  text PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0
);
INSERT INTO leader (name) VALUES ('orchestrator');

-- ---------------------------------------------------------------- desired and reported state

CREATE TABLE desired (
    device_id  text PRIMARY KEY REFERENCES device,
    generation bigint NOT NULL DEFAULT 1,
    hinted     bigint NOT NULL DEFAULT 0            -- the newest generation that was published as a hint
);
CREATE INDEX desired_unhinted ON desired (device_id) WHERE hinted < generation;

CREATE TABLE desired_slot (
    device_id   text NOT NULL REFERENCES device,
    slot        text NOT NULL,
    bundle_id   text NOT NULL REFERENCES bundle,
    rollout_id  bigint REFERENCES rollout,
    probation_s integer NOT NULL DEFAULT 30 CHECK (probation_s >= 0),
    asked       bigint NOT NULL,                    -- generation that asked for the bundle, or asked again
    holdable    boolean NOT NULL DEFAULT true,      -- false for a rollback: safety does not wait
    PRIMARY KEY (device_id, slot)
);

CREATE TABLE hold (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id   text NOT NULL REFERENCES device,
    source      text NOT NULL CHECK (source IN ('policy', 'rollout')),
    reason      text NOT NULL,
    owner       text NOT NULL,
    since       timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    on_expiry   text NOT NULL DEFAULT 'apply' CHECK (on_expiry IN ('apply', 'cancel')),
    released_at timestamptz,
    released_by text
);
CREATE UNIQUE INDEX hold_open ON hold (device_id, source) WHERE released_at IS NULL;

-- What the device says of itself, whole, from its latest beat.
CREATE TABLE device_slot (
    device_id  text NOT NULL REFERENCES device,
    slot       text NOT NULL,
    phase      text NOT NULL CHECK (phase IN ('empty', 'downloading', 'verifying', 'staged', 'held', 'switching', 'probation',
                                              'running', 'failed')),
    target     text,                                -- the bundle this phase is about
    running    text,                                -- bundle whose files muster-infer has loaded, by its own hash
    previous   text,                                -- kept on the device: rollback needs no network
    progress   smallint NOT NULL DEFAULT 0,         -- percent of the download
    downloaded bigint NOT NULL DEFAULT 0,           -- bytes fetched for this target
    stage      text,
    code       text,
    detail     text,
    device_left text,
    generation bigint NOT NULL DEFAULT 0,           -- of the desired document this answers
    reported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, slot)
);

CREATE TABLE liveness (
    device_id  text PRIMARY KEY REFERENCES device,
    last_seen  timestamptz,
    session    bigint NOT NULL DEFAULT 0,           -- only grows; a will of an older one is ignored
    gone_at    timestamptz,                         -- will of the present session arrived
    boot_id    text NOT NULL DEFAULT '',
    uptime_s   bigint NOT NULL DEFAULT 0,
    beat_s     real NOT NULL DEFAULT 30,            -- what the device was told to keep
    generation bigint NOT NULL DEFAULT 0,           -- desired generation the device has seen
    margin_c   real,                                -- hottest: smallest trip point minus temperature
    throttled  boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);                           -- no index on last_seen: updates stay HOT

-- ---------------------------------------------------------------- telemetry

-- Exactly once: a batch and the device's position move in one transaction, and the ack follows the commit.
CREATE TABLE spool_position (
    device_id text NOT NULL REFERENCES device,
    epoch     text NOT NULL,
    last_seq  bigint NOT NULL,
    PRIMARY KEY (device_id, epoch)
) WITH (fillfactor = 50);

CREATE TABLE ingest_batch (
    device_id   text NOT NULL,
    epoch       text NOT NULL,
    seq         bigint NOT NULL,
    items       integer NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, epoch, seq)
);

CREATE TABLE health (
    device_id          text NOT NULL,
    t                  timestamptz NOT NULL,
    cpu                real,                        -- fraction 0..1
    load1              real,
    memory_used        bigint,
    memory_total       bigint,
    disk_used          bigint,
    disk_total         bigint,
    temp_names         text[] NOT NULL DEFAULT '{}',
    temp_c             real[] NOT NULL DEFAULT '{}',    -- null: could not be read, never 0
    trip_c             real[] NOT NULL DEFAULT '{}',    -- null: no trip point
    throttled          boolean NOT NULL DEFAULT false,
    throttled_fraction real NOT NULL DEFAULT 0,
    throttle_reason    text
) PARTITION BY RANGE (t);
CREATE INDEX health_device_t ON health (device_id, t);

-- Latency: exponential histogram, OpenTelemetry scale 3, `hist` starts at bucket hist_first; merged by adding.
CREATE TABLE infer_window (
    device_id  text NOT NULL,
    t          timestamptz NOT NULL,                -- end of the window
    window_ms  integer NOT NULL,
    slot       text NOT NULL,
    bundle_id  text NOT NULL,
    count      bigint NOT NULL,
    errors     bigint NOT NULL,
    queue_max  integer NOT NULL DEFAULT 0,
    hist_first smallint NOT NULL DEFAULT 0,
    hist       integer[] NOT NULL DEFAULT '{}'
) PARTITION BY RANGE (t);
CREATE INDEX infer_window_device_t ON infer_window (device_id, t);

-- Per feature 13 counters: under, ten deciles of the signed reference, over, missing.
CREATE TABLE drift_window (
    device_id text NOT NULL,
    t         timestamptz NOT NULL,
    window_ms integer NOT NULL,
    slot      text NOT NULL,
    bundle_id text NOT NULL,
    features  text[] NOT NULL,
    counts    integer[] NOT NULL                    -- features × 13, flattened row by row
) PARTITION BY RANGE (t);
CREATE INDEX drift_window_device_t ON drift_window (device_id, t);

-- A device's clock may be anywhere: what no day partition covers lands in the default one, and nothing is refused.
CREATE TABLE health_default PARTITION OF health DEFAULT;
CREATE TABLE infer_window_default PARTITION OF infer_window DEFAULT;
CREATE TABLE drift_window_default PARTITION OF drift_window DEFAULT;

-- Makes the partition of one UTC day of health, infer_window or drift_window; false when it is there. Several servers may call it at once.
-- Rows of that day that are in the default partition already move over; it stays locked until they have.
CREATE FUNCTION partition_make(parent regclass, day date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    child    text := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
    fallback text := format('%s_default', parent);
    low      timestamptz := day::timestamp AT TIME ZONE 'UTC';
    high     timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(child) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('partition_make'));
    IF to_regclass(child) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING ALL)', child, parent);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', fallback);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE t >= $1 AND t < $2 RETURNING *) INSERT INTO %I SELECT * FROM moved',
                   fallback, child) USING low, high;
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, low, high);
    RETURN true;
END $$;

-- ---------------------------------------------------------------- events and alerts

CREATE TABLE event (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    t          timestamptz NOT NULL DEFAULT now(),
    kind       text NOT NULL,                       -- "rollout.state", "wave.state", "assignment.state", "device.update", ...
    actor      text NOT NULL DEFAULT 'system',
    device_id  text,
    rollout_id bigint,
    wave       integer,
    data       jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX event_device ON event (device_id, id) WHERE device_id IS NOT NULL;
CREATE INDEX event_rollout ON event (rollout_id, id) WHERE rollout_id IS NOT NULL;

CREATE TABLE alert_rule (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind      text NOT NULL UNIQUE CHECK (kind IN ('heartbeat_missing', 'temperature')),
    severity  text NOT NULL CHECK (severity IN ('critical', 'warning')),
    threshold real NOT NULL,                        -- heartbeat_missing: beats missed; temperature: degrees left to the trip point
    for_s     integer NOT NULL DEFAULT 0,           -- how long it must hold before it fires
    enabled   boolean NOT NULL DEFAULT true
);
INSERT INTO alert_rule (kind, severity, threshold, for_s)
VALUES ('heartbeat_missing', 'critical', 3, 0), ('temperature', 'warning', 5, 10);

CREATE TABLE alert (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule_id     bigint NOT NULL REFERENCES alert_rule,
    device_id   text NOT NULL REFERENCES device,
    state       text NOT NULL CHECK (state IN ('pending', 'firing', 'resolved')),
    value       real,
    since       timestamptz NOT NULL DEFAULT now(),
    fired_at    timestamptz,
    resolved_at timestamptz,
    acked_at    timestamptz,
    acked_by    text,
    ack_note    text
);
CREATE UNIQUE INDEX alert_open ON alert (rule_id, device_id) WHERE state <> 'resolved';
CREATE INDEX alert_device ON alert (device_id);

-- The one place that says how a device is. `cause` is the first thing that holds, in order of weight; `status` follows from it.
-- OFFSET 0 keeps the planner from computing `cause` once for each time it is named.
CREATE VIEW device_state AS
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
                            AND s.phase IN ('downloading', 'verifying', 'staged', 'switching', 'probation')) THEN 'updating'
               WHEN l.throttled THEN 'throttled'
               WHEN EXISTS (SELECT 1 FROM device_slot s WHERE s.device_id = d.id AND s.phase = 'failed') THEN 'update_failed'
               WHEN EXISTS (SELECT 1 FROM alert a WHERE a.device_id = d.id AND a.state = 'firing') THEN 'alert'
               WHEN contact.state = 'late' THEN 'late'
               ELSE 'healthy'
           END AS cause
    OFFSET 0) found
WHERE d.retired_at IS NULL;
