-- Every published version of every corpus.

create view corpora as
select
    corpus,
    version,
    field,
    synthetic,
    documents,
    rejected,
    classifier,
    created_at,
    taxonomy,
    classifier_fingerprint
from store.corpora;

comment on view corpora is 'Published versions of labelled corpora';
comment on column corpora.corpus is 'Name of the corpus';
comment on column corpora.version is 'Number of the version, from 1; the highest version is the current one';
comment on column corpora.field is 'Field of the corpus: source or target';
comment on column corpora.synthetic is 'True if a model wrote the documents';
comment on column corpora.documents is 'Number of documents with a label';
comment on column corpora.rejected is 'Number of rejected documents; see the view rejects';
comment on column corpora.classifier is 'Classifier, as the user gave it';
comment on column corpora.created_at is 'Time when dmix published the version, UTC';
comment on column corpora.taxonomy is 'Taxonomy of the labels';
comment on column corpora.classifier_fingerprint is 'SHA-256 of the classifier''s weights and settings';
