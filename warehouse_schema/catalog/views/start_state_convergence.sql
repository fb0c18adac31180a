-- Convergence of estimated start states: one row per number of documents: the curve of the paper's
-- Fig. 3. Where the truth is not known, the estimate at the end and the dataset stand for it.

create view start_state_convergence as
select
    c.dataset,
    'model:' || c.name as estimator,
    c.documents,
    c.divergence,
    c.divergence_bound,
    c.divergence_to_corpus,
    e.kl_bound,
    e.confidence
from store.start_state_curves as c
join store.start_state_estimates as e using (unit);

comment on view start_state_convergence is 'Convergence of estimated start states: one row per number of documents';
comment on column start_state_convergence.dataset is 'Id of the compared dataset; NULL if there is none';
comment on column start_state_convergence.estimator is 'Origin of the shares, model:NAME as in start_state';
comment on column start_state_convergence.documents is 'Number of documents so far';
comment on column start_state_convergence.divergence is 'KL divergence of the shares so far from the final shares, in nats';
comment on column start_state_convergence.divergence_bound is 'Sampling error so far: a bootstrap quantile of the KL divergence, in nats; decides when to stop';
comment on column start_state_convergence.divergence_to_corpus is 'KL divergence of the shares so far from the document shares of the dataset''s source field, in nats; NULL without a dataset';
comment on column start_state_convergence.kl_bound is 'Bound that the user set for divergence_bound, in nats';
comment on column start_state_convergence.confidence is 'Probability of the quantile in divergence_bound';
