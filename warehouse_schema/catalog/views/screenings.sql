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

comment on view screenings is 'Searches for duplicates and evaluation items, with counts; the views duplicates and contamination list the findings';
comment on column screenings.kind is 'duplicates or contamination';
comment on column screenings.screening is 'Id of the search';
comment on column screenings.corpora is 'Corpora that were searched together, as name@version';
comment on column screenings.documents is 'Documents that were searched';
comment on column screenings.found is 'Documents in which something was found; of duplicates, all copies but the first';
comment on column screenings.items is 'Evaluation items of the search; 0 for duplicates';
comment on column screenings.items_too_short is 'Items that are too short for the search';
comment on column screenings.created_at is 'When the search ended, UTC';
