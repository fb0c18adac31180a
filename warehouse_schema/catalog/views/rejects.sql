-- Rejected documents, for every version that read them.

create view rejects as
select
    f.corpus,
    f.version,
    r.path,
    r.position,
    r.reason,
    r.detail,
    c.field
from store.reject_files as f
join store.rejects as r on r.unit = f.path
left join (select distinct corpus, field from store.corpora) as c on c.corpus = f.corpus;

comment on view rejects is 'Rejected documents with the reasons; a rejected document has no domain';
comment on column rejects.corpus is 'Name of the corpus';
comment on column rejects.version is 'Version of the corpus';
comment on column rejects.path is 'Input file of the document, relative to the given input';
comment on column rejects.position is 'Number of the document''s line or row in its file, from 1';
comment on column rejects.reason is 'Reason of the rejection';
comment on column rejects.detail is 'Details of the reason for this document';
comment on column rejects.field is 'Field of the corpus: source or target';
