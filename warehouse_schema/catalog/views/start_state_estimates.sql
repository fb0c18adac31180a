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

comment on view start_state_estimates is 'Start states that dmix estimated from text that a model writes';
comment on column start_state_estimates.dataset is 'Id of the compared dataset; NULL if there is none';
comment on column start_state_estimates.estimator is 'Origin of the shares, model:NAME as in start_state';
comment on column start_state_estimates.model is 'Folder or hub id of the model';
comment on column start_state_estimates.documents is 'Number of documents in the shares';
comment on column start_state_estimates.generated is 'Number of written documents, with or without text';
comment on column start_state_estimates.empty is 'Number of documents without text; they have no domain';
comment on column start_state_estimates.capped is 'Number of documents that the limit max_tokens cut off';
comment on column start_state_estimates.max_tokens is 'Maximum length of a document in tokens; biases shares of tokens, but not shares of documents';
comment on column start_state_estimates.divergence_bound is 'Sampling error: a bootstrap quantile of the KL divergence, in nats';
comment on column start_state_estimates.kl_bound is 'Bound that the user set for divergence_bound, in nats';
comment on column start_state_estimates.confidence is 'Probability of the quantile and of the intervals in start_state';
comment on column start_state_estimates.converged is 'True if the estimate met the bound within the maximum number of documents';
comment on column start_state_estimates.classifier is 'Classifier that labelled the documents';
comment on column start_state_estimates.taxonomy is 'Labels of the classifier';
comment on column start_state_estimates.seed is 'Seed of the documents';
comment on column start_state_estimates.created_at is 'Time when dmix published the estimate, UTC';
