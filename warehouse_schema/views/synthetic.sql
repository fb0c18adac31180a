-- Corpora that a model wrote.

create view synthetic as
select
    corpus,
    version,
    field,
    documents,
    rejected,
    created_at
from store.corpora
where synthetic;

comment on view synthetic is 'Corpus versions whose documents a model wrote';
comment on column synthetic.corpus is 'Name of the corpus';
comment on column synthetic.version is 'Version of the corpus';
comment on column synthetic.field is 'source or target';
comment on column synthetic.documents is 'Documents that got a label';
comment on column synthetic.rejected is 'Documents that were not taken';
comment on column synthetic.created_at is 'When the version was published, UTC';
