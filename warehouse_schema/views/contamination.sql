-- Evaluation items that were found in training text; nothing fills it yet.

create view contamination as
select
    null::varchar as dataset,
    null::varchar as corpus,
    null::varchar as document_id,
    null::varchar as objective,
    null::varchar as item_id
where false;

comment on view contamination is 'Evaluation items found in the training text of a dataset';
comment on column contamination.dataset is 'Id of the dataset';
comment on column contamination.corpus is 'Corpus of the document';
comment on column contamination.document_id is 'Id of the document';
comment on column contamination.objective is 'Objective that the item belongs to';
comment on column contamination.item_id is 'Id of the item';
