-- Exact duplicates that were found when a dataset was made; nothing fills it yet.

create view duplicates as
select
    null::varchar as dataset,
    null::varchar as corpus,
    null::varchar as document_id,
    null::varchar as first_corpus,
    null::varchar as first_document_id
where false;

comment on view duplicates is 'Exact duplicates within and across the corpora of a dataset';
comment on column duplicates.dataset is 'Id of the dataset';
comment on column duplicates.corpus is 'Corpus of the duplicate';
comment on column duplicates.document_id is 'Id of the duplicate';
comment on column duplicates.first_corpus is 'Corpus of the first document with this text';
comment on column duplicates.first_document_id is 'Id of the first document with this text';
