-- Text that a model wrote as the source: how a synthetic corpus came to be, and start states that
-- were estimated from what a model writes, with the curve along which they converged.

create table store.generations (
    unit varchar not null,
    corpus varchar not null,
    version integer not null,
    models varchar[] not null,
    quality varchar not null,
    max_tokens integer not null,
    generated bigint not null,
    kept bigint not null,
    empty bigint not null,
    capped bigint not null,
    tokens bigint not null,
    tokens_kept bigint not null
);

create table store.start_state_estimates (
    unit varchar not null,
    name varchar not null,
    dataset varchar,
    model varchar not null,
    taxonomy varchar not null,
    classifier varchar not null,
    seed bigint not null,
    max_tokens integer not null,
    generated bigint not null,
    empty bigint not null,
    capped bigint not null,
    kl_bound double not null,
    confidence double not null,
    divergence_bound double not null,
    converged boolean not null,
    created_at timestamp
);

create table store.start_state_domains (
    unit varchar not null,
    name varchar not null,
    dataset varchar,
    domain_index integer not null,
    domain varchar not null,
    documents bigint not null,
    tokens bigint not null,
    document_weight double not null,
    document_low double not null,
    document_high double not null,
    token_weight double not null,
    token_low double not null,
    token_high double not null
);

create table store.start_state_curves (
    unit varchar not null,
    name varchar not null,
    dataset varchar,
    documents bigint not null,
    divergence double not null,
    divergence_bound double not null,
    divergence_to_corpus double
);
