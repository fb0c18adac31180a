-- How estimates of start states converged with the number of documents: the curve of the paper's
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

comment on view start_state_convergence is 'How estimates of start states converged with the number of documents';
comment on column start_state_convergence.dataset is 'Dataset that it was compared with; NULL for none';
comment on column start_state_convergence.estimator is 'As in start_state: model:NAME';
comment on column start_state_convergence.documents is 'Documents so far';
comment on column start_state_convergence.divergence is 'KL of the shares so far to those at the end, in nats';
comment on column start_state_convergence.divergence_bound is 'Bootstrap quantile of the KL so far, in nats; the stop rule looks at it';
comment on column start_state_convergence.divergence_to_corpus is 'KL of the shares so far to the document shares of the dataset''s source field, in nats; NULL without one';
comment on column start_state_convergence.kl_bound is 'Requested value of divergence_bound';
comment on column start_state_convergence.confidence is 'Probability of the quantile';
