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

comment on view screenings is 'What corpora were searched for, and how much was found; the views duplicates and contamination say what';
comment on column screenings.kind is 'duplicates or contamination';
comment on column screenings.screening is 'Id of the search';
comment on column screenings.corpora is 'Corpora that were searched together, as name@version';
comment on column screenings.documents is 'Documents that were looked at';
comment on column screenings.found is 'Documents in which something was found; of duplicates, all copies but the first';
comment on column screenings.items is 'Evaluation items that were looked for; 0 for duplicates';
comment on column screenings.items_too_short is 'Items among them that are too short to be looked for';
comment on column screenings.created_at is 'When the search ended, UTC';
