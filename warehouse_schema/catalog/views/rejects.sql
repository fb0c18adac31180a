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

comment on view rejects is 'Rejected input documents and the reasons; none of them has a domain';
comment on column rejects.corpus is 'Name of the corpus';
comment on column rejects.version is 'Version of the corpus';
comment on column rejects.path is 'Name of the input file, below what the user gave';
comment on column rejects.position is 'Line or row of the document in its file, from 1';
comment on column rejects.reason is 'Why dmix rejected the document';
comment on column rejects.detail is 'What dmix found in the document';
comment on column rejects.field is 'Field of the corpus: source or target';
