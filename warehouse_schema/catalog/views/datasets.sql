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
comment on column datasets.dataset is 'Id of the dataset: a hash of its inputs and settings';
comment on column datasets.name is 'Name from the user; empty if there is none';
comment on column datasets.taxonomy is 'Taxonomy of the streams';
comment on column datasets.tokenizer is 'Tokenizer, as the user gave it: embedded, a path or a hub id';
comment on column datasets.seq_len is 'Number of tokens per sample';
comment on column datasets.seed is 'Default seed of the sample order';
comment on column datasets.corpora is 'Corpora of the dataset, as name@version';
comment on column datasets.created_at is 'Time when dmix published the dataset, UTC';
