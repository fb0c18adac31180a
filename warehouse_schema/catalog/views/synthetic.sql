-- Corpora that a model wrote.

create view synthetic as
select
    c.corpus,
    c.version,
    c.field,
    c.documents,
    c.rejected,
    c.created_at,
    g.models,
    g.generated,
    g.kept,
    g.kept / nullif(g.generated, 0) as share_kept,
    g.empty,
    g.capped,
    g.tokens,
    g.tokens_kept,
    g.max_tokens,
    g.quality
from store.corpora as c
left join store.generations as g using (unit)
where c.synthetic;

comment on view synthetic is 'Corpus versions whose documents a model wrote';
comment on column synthetic.corpus is 'Name of the corpus';
comment on column synthetic.version is 'Version of the corpus';
comment on column synthetic.field is 'source or target';
comment on column synthetic.documents is 'Documents that got a label';
comment on column synthetic.rejected is 'Rejected documents';
comment on column synthetic.created_at is 'When the version was published, UTC';
comment on column synthetic.models is 'Models that wrote the documents: folders or hub ids';
comment on column synthetic.generated is 'Documents written';
comment on column synthetic.kept is 'Documents kept: neither empty nor of low quality';
comment on column synthetic.share_kept is 'Share of the written documents that was kept, 0 to 1';
comment on column synthetic.empty is 'Documents without text';
comment on column synthetic.capped is 'Documents cut at the length cap';
comment on column synthetic.tokens is 'Tokens written, by the model''s own tokenizer';
comment on column synthetic.tokens_kept is 'Tokens of the kept documents';
comment on column synthetic.max_tokens is 'Length cap of a document in tokens';
comment on column synthetic.quality is 'Classifier that judged the documents; none if there was none';
