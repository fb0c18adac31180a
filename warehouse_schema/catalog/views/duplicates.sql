-- Exact duplicates within and across corpora, once for each dataset that was made of these corpora.

create view duplicates as
select
    d.dataset,
    f.corpus,
    f.document_id,
    f.first_corpus,
    f.first_document_id,
    f.path,
    f.position,
    f.first_path,
    f.first_position,
    d.drops_duplicates as dropped,
    f.screening,
    s.corpora,
    c.field,
    f.domain
from store.duplicates as f
join store.screenings as s on s.screening = f.screening and s.kind = 'duplicates'
left join (select distinct corpus, field from store.corpora) as c on c.corpus = f.corpus
left join store.datasets as d on list_sort(d.corpora) = list_sort(s.corpora);

comment on view duplicates is 'Documents with the same text as an earlier document, within and across corpora';
comment on column duplicates.dataset is 'Dataset made from these corpora; NULL if there is none';
comment on column duplicates.corpus is 'Corpus of the copy';
comment on column duplicates.document_id is 'Id of the copy';
comment on column duplicates.first_corpus is 'Corpus of the first document with this text';
comment on column duplicates.first_document_id is 'Id of the first document with this text';
comment on column duplicates.path is 'Input file of the copy, relative to the given input';
comment on column duplicates.position is 'Number of the copy''s line or row in its file, from 1';
comment on column duplicates.first_path is 'Input file of the first document with this text';
comment on column duplicates.first_position is 'Number of the first document''s line or row in its file, from 1';
comment on column duplicates.dropped is 'True if the dataset leaves the copy out';
comment on column duplicates.screening is 'Id of the search that found the copy, see the view screenings';
comment on column duplicates.corpora is 'Corpora of the same search, as name@version';
comment on column duplicates.field is 'Field of the corpus: source or target';
comment on column duplicates.domain is 'Domain of the copy; NULL if an older dmix made the search';
