-- What each domain does to each objective, one row a (domain, objective) of every estimate.

create view effects as
select
    e.name,
    s.estimator,
    s.dataset,
    s.model,
    s.environment,
    e.field,
    e.domain,
    e.objective,
    e.effect,
    e.stderr,
    s.created_at
from store.effects as e
join store.effect_sets as s on s.name = e.name;

comment on view effects is 'Which text helps what: effects of domains on objectives, measured before a run';
comment on column effects.name is 'Name of the estimate, a folder below effects/';
comment on column effects.estimator is 'counts, gradient or probe';
comment on column effects.dataset is 'Dataset of the domains';
comment on column effects.model is 'Model that was measured; empty for counts of text alone';
comment on column effects.environment is 'Digest of the objectives and their items';
comment on column effects.field is 'source or target';
comment on column effects.domain is 'Domain label';
comment on column effects.objective is 'Objective of the environment';
comment on column effects.effect is 'Gain in nats per token for each unit of share that moves from natural mixing to the domain';
comment on column effects.stderr is 'Standard error of the effect, nats per token per unit of share';
comment on column effects.created_at is 'When the effects were stored, UTC';
