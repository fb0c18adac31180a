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

comment on view contamination is 'Evaluation items found in training text: one row per document and item';
comment on column contamination.dataset is 'Dataset made from these corpora; NULL if there is none';
comment on column contamination.corpus is 'Corpus of the document';
comment on column contamination.document_id is 'Id of the document';
comment on column contamination.objective is 'Objective of the item';
comment on column contamination.item_id is 'Id of the item';
comment on column contamination.path is 'Input file of the document, relative to the given input';
comment on column contamination.position is 'Number of the document''s line or row in its file, from 1';
comment on column contamination.overlap is 'Share of the item''s 13-word sequences that the document contains; 1 for a whole short item';
comment on column contamination.removed is 'True if the dataset leaves the document out because of the item';
comment on column contamination.screening is 'Id of the search that found the item, see the view screenings';
comment on column contamination.corpora is 'Corpora of the same search, as name@version';
comment on column contamination.field is 'Field of the corpus: source or target';
comment on column contamination.domain is 'Domain of the document; NULL if an older dmix made the search';
