-- Evaluation items that stand in training text, once for each dataset that was made of these corpora.

create view contamination as
select
    d.dataset,
    f.corpus,
    f.document_id,
    f.objective,
    f.item_id,
    f.path,
    f.position,
    f.overlap,
    d.items_sha256 = s.items_sha256 as removed,
    f.screening,
    s.corpora,
    c.field,
    f.domain
from store.contamination as f
join store.screenings as s on s.screening = f.screening and s.kind = 'contamination'
left join (select distinct corpus, field from store.corpora) as c on c.corpus = f.corpus
left join store.datasets as d on list_sort(d.corpora) = list_sort(s.corpora);

comment on view contamination is 'Evaluation items found in training text, one row per document and item';
comment on column contamination.dataset is 'Dataset made of these corpora; NULL if there is none';
comment on column contamination.corpus is 'Corpus of the document';
comment on column contamination.document_id is 'Id of the document';
comment on column contamination.objective is 'Objective that the item belongs to';
comment on column contamination.item_id is 'Id of the item';
comment on column contamination.path is 'Input file of the document, below what the user gave';
comment on column contamination.position is 'Line or row of the document in its file, from 1';
comment on column contamination.overlap is 'Share of the item''s runs of 13 words that the document has; 1 if it has a whole short item';
comment on column contamination.removed is 'True if the dataset leaves the document out for these items';
comment on column contamination.screening is 'Id of the screening that found it';
comment on column contamination.corpora is 'Corpora that were screened together, as name@version';
comment on column contamination.field is 'Field of the corpus: source or target';
comment on column contamination.domain is 'Domain of the document; NULL in findings of an older dmix, which did not store it';
