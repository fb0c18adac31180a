-- The tables behind the public views: one row a fact, in the schema `store`.
--
-- Every table has `unit`, the path below the warehouse of the file that the row was read from,
-- so that a file that changed or went away takes its rows with it. Vectors over the domain
-- space stay lists; the views unnest them. No foreign keys: DuckDB trips over them when child
-- and parent go in one transaction. Times are UTC.

create schema store;

create table store.units (
    unit varchar primary key,
    kind varchar not null,
    size_bytes bigint not null,
    mtime_ns bigint not null
);

create table store.taxonomies (
    unit varchar not null,
    taxonomy varchar not null,
    used_by varchar not null,
    domain_index integer not null,
    domain varchar not null,
    slug varchar not null
);

create table store.corpora (
    unit varchar not null,
    corpus varchar not null,
    version integer not null,
    field varchar not null,
    taxonomy varchar not null,
    synthetic boolean not null,
    documents bigint not null,
    rejected bigint not null,
    classifier varchar not null,
    classifier_fingerprint varchar not null,
    created_at timestamp
);

-- Which reject files a version names; a file is shared by all versions that name its part.
create table store.reject_files (
    unit varchar not null,
    corpus varchar not null,
    version integer not null,
    path varchar not null
);

create table store.rejects (
    unit varchar not null,
    path varchar,
    position bigint,
    reason varchar,
    detail varchar
);

create table store.datasets (
    unit varchar not null,
    dataset varchar not null,
    name varchar not null,
    taxonomy varchar not null,
    tokenizer varchar not null,
    seq_len integer not null,
    seed bigint not null,
    corpora varchar[] not null,
    created_at timestamp
);

create table store.streams (
    unit varchar not null,
    dataset varchar not null,
    domain_index integer not null,
    field varchar not null,
    domain varchar not null,
    documents bigint not null,
    samples bigint not null,
    tokens bigint not null,
    tail_tokens bigint not null,
    shards bigint not null,
    bytes bigint not null
);

create table store.sets (
    unit varchar not null,
    set_name varchar not null,
    dataset varchar,
    preset varchar,
    fields varchar[] not null,
    domains varchar[] not null,
    created_at timestamp
);

create table store.trajectories (
    unit varchar not null,
    set_name varchar not null,
    trajectory_id varchar not null,
    kind varchar,
    top_k integer,
    step integer not null,
    weights double[] not null
);

create table store.feedback (
    unit varchar not null,
    set_name varchar not null,
    trajectory_id varchar not null,
    step integer not null,
    objective varchar not null,
    score double
);

create table store.agents (
    unit varchar not null,
    agent varchar not null,
    preset varchar,
    set_name varchar,
    trained_at timestamp,
    parameters bigint,
    config varchar not null
);

create table store.runs (
    unit varchar not null,
    run_id varchar not null,
    dataset varchar,
    kind varchar,
    controller varchar,
    status varchar not null,
    attempt integer not null,
    started_at timestamp,
    finished_at timestamp,
    last_event_at timestamp,
    config varchar,
    fields varchar[] not null,
    domains varchar[] not null
);

create table store.run_steps (
    unit varchar not null,
    run_id varchar not null,
    step integer not null,
    attempt integer not null,
    asked double[],
    planned double[],
    planned_samples bigint[],
    reasons varchar[],
    delivered_samples bigint[],
    delivered_tokens bigint[],
    passes double[],
    loss_sums double[],
    loss_tokens bigint[],
    loss double,
    seconds double,
    digest varchar,
    chain varchar,
    finished_at timestamp
);

create table store.run_feedback (
    unit varchar not null,
    run_id varchar not null,
    step integer not null,
    objective varchar not null,
    score double
);

create table store.run_events (
    unit varchar not null,
    run_id varchar not null,
    line integer not null,
    attempt integer not null,
    step integer,
    kind varchar not null,
    detail varchar,
    occurred_at timestamp
);
