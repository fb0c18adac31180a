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
comment on column synthetic.field is 'Field of the corpus: source or target';
comment on column synthetic.documents is 'Number of documents with a label';
comment on column synthetic.rejected is 'Number of rejected documents';
comment on column synthetic.created_at is 'Time when dmix published the version, UTC';
comment on column synthetic.models is 'Models that wrote the documents: folders or hub ids';
comment on column synthetic.generated is 'Number of written documents';
comment on column synthetic.kept is 'Number of kept documents: they have text, and their quality is not low';
comment on column synthetic.share_kept is 'Share of the written documents that dmix kept, from 0 to 1';
comment on column synthetic.empty is 'Number of documents without text';
comment on column synthetic.capped is 'Number of documents that the limit max_tokens cut off';
comment on column synthetic.tokens is 'Number of written tokens, by the model''s own tokenizer';
comment on column synthetic.tokens_kept is 'Number of tokens in the kept documents';
comment on column synthetic.max_tokens is 'Maximum length of a document in tokens';
comment on column synthetic.quality is 'Classifier that judged the quality of the documents; none if there was no judgement';
