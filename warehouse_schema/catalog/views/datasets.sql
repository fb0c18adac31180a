-- Every published dataset.

create view datasets as
select
    dataset,
    name,
    taxonomy,
    tokenizer,
    seq_len,
    seed,
    corpora,
    created_at
from store.datasets;

comment on view datasets is 'Published datasets, from which runs draw';
comment on column datasets.dataset is 'Id: hash of everything that the dataset was made from';
comment on column datasets.name is 'Name that the user gave, or empty';
comment on column datasets.taxonomy is 'Taxonomy of the streams';
comment on column datasets.tokenizer is 'Tokenizer as the user named it: embedded, a path or a hub id';
comment on column datasets.seq_len is 'Tokens per sample';
comment on column datasets.seed is 'Default seed of the order of samples';
comment on column datasets.corpora is 'Corpus versions it was made from, as name@version';
comment on column datasets.created_at is 'When the dataset was published, UTC';
