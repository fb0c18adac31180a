-- Searches of corpora for exact duplicates or for evaluation items, also those that found nothing.

create view screenings as
select
    kind,
    screening,
    corpora,
    documents,
    found,
    items,
    items_too_short,
    created_at
from store.screenings;

comment on view screenings is 'Searches for duplicates and for evaluation items; the views duplicates and contamination list the findings';
comment on column screenings.kind is 'Kind of the search: duplicates or contamination';
comment on column screenings.screening is 'Id of the search';
comment on column screenings.corpora is 'Corpora of the search, as name@version';
comment on column screenings.documents is 'Number of searched documents';
comment on column screenings.found is 'Number of documents with a finding; the first copy of a text does not count';
comment on column screenings.items is 'Number of evaluation items in the search; 0 for duplicates';
comment on column screenings.items_too_short is 'Number of items that are too short for the search';
comment on column screenings.created_at is 'Time when the search ended, UTC';
