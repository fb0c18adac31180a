-- Shares of documents and samples within each field. The estimator `corpus` counts what the
-- dataset holds, so its intervals have no width; `model:NAME` classified what a model writes, where
-- the tokens of a document, up to the length cap, stand for its samples.

create view start_state as
select
    dataset,
    'corpus' as estimator,
    field,
    domain,
    documents,
    documents / nullif(sum(documents) over field_of_dataset, 0) as document_weight,
    samples / nullif(sum(samples) over field_of_dataset, 0) as sample_weight,
    sample_weight as weight_low,
    sample_weight as weight_high,
    document_weight as document_low,
    document_weight as document_high,
    domain_index
from store.streams
window field_of_dataset as (partition by dataset, field)
union all by name
select
    dataset,
    'model:' || name as estimator,
    'source' as field,
    domain,
    documents,
    document_weight,
    token_weight as sample_weight,
    token_low as weight_low,
    token_high as weight_high,
    document_low,
    document_high,
    domain_index
from store.start_state_domains;

comment on view start_state is 'Share of each domain within its field';
comment on column start_state.dataset is 'Id of the dataset; NULL for a model without a dataset';
comment on column start_state.estimator is 'Origin of the shares: corpus (counted in the dataset) or model:NAME (estimated from text that a model writes)';
comment on column start_state.field is 'Field of the domain: source or target';
comment on column start_state.domain is 'Domain label';
comment on column start_state.documents is 'Number of documents in the shares';
comment on column start_state.document_weight is 'Share of the field''s documents, from 0 to 1; NULL if the field is empty';
comment on column start_state.sample_weight is 'Share of the field''s samples (for a model: tokens), from 0 to 1; NULL if the field is empty';
comment on column start_state.weight_low is 'Lower end of the interval of sample_weight; equal to sample_weight for corpus';
comment on column start_state.weight_high is 'Upper end of the interval of sample_weight';
comment on column start_state.document_low is 'Lower end of the interval of document_weight; equal to document_weight for corpus';
comment on column start_state.document_high is 'Upper end of the interval of document_weight';
comment on column start_state.domain_index is 'Position of the domain in its taxonomy, from 0';
