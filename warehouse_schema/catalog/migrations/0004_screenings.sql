-- Exact duplicates and evaluation items that were found in corpora, one row a finding, and the
-- settings of datasets that say whether these documents were left out.

create table store.screenings (
    unit varchar not null,
    kind varchar not null,
    screening varchar not null,
    corpora varchar[] not null,
    documents bigint not null,
    found bigint not null,
    items bigint not null,
    items_too_short bigint not null,
    items_sha256 varchar not null,
    created_at timestamp
);

create table store.duplicates (
    unit varchar not null,
    screening varchar not null,
    corpus varchar not null,
    path varchar not null,
    position bigint not null,
    document_id varchar not null,
    first_corpus varchar not null,
    first_path varchar not null,
    first_position bigint not null,
    first_document_id varchar not null
);

create table store.contamination (
    unit varchar not null,
    screening varchar not null,
    corpus varchar not null,
    path varchar not null,
    position bigint not null,
    document_id varchar not null,
    objective varchar not null,
    item_id varchar not null,
    overlap double not null
);

alter table store.datasets add column drops_duplicates boolean;
alter table store.datasets add column items_sha256 varchar;
