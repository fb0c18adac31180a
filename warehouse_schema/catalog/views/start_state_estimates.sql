-- One row a start state that was estimated from text that a model writes.

create view start_state_estimates as
select
    dataset,
    'model:' || name as estimator,
    model,
    generated - empty as documents,
    generated,
    empty,
    capped,
    max_tokens,
    divergence_bound,
    kl_bound,
    confidence,
    converged,
    classifier,
    taxonomy,
    seed,
    created_at
from store.start_state_estimates;

comment on view start_state_estimates is 'Start states estimated from text that a model writes, with their certainty';
comment on column start_state_estimates.dataset is 'Dataset that it was compared with; NULL for none';
comment on column start_state_estimates.estimator is 'As in start_state: model:NAME';
comment on column start_state_estimates.model is 'Folder or hub id of the model';
comment on column start_state_estimates.documents is 'Number of documents in the shares';
comment on column start_state_estimates.generated is 'Documents written, including those without text';
comment on column start_state_estimates.empty is 'Documents without text, which have no domain';
comment on column start_state_estimates.capped is 'Documents cut at the length cap';
comment on column start_state_estimates.max_tokens is 'Length cap of a document in tokens; it biases shares of tokens, not of documents';
comment on column start_state_estimates.divergence_bound is 'Bound of the sampling error: bootstrap quantile of the KL in nats';
comment on column start_state_estimates.kl_bound is 'Requested value of divergence_bound';
comment on column start_state_estimates.confidence is 'Probability of the quantile and of the intervals in start_state';
comment on column start_state_estimates.converged is 'Whether the bound was met before the largest number of documents';
comment on column start_state_estimates.classifier is 'Classifier that gave the domains';
comment on column start_state_estimates.taxonomy is 'Labels of the classifier';
comment on column start_state_estimates.seed is 'Seed of the documents';
comment on column start_state_estimates.created_at is 'When the estimate was published, UTC';
