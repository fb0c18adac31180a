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

comment on view effects is 'Effects of domains on objectives, measured before a run';
comment on column effects.name is 'Name of the effects; the files are in effects/NAME';
comment on column effects.estimator is 'Method of measurement: counts, gradient or probe';
comment on column effects.dataset is 'Id of the dataset with these domains';
comment on column effects.model is 'Model of the measurement; empty for counts without a model';
comment on column effects.environment is 'Digest of the objectives and their items';
comment on column effects.field is 'Field of the domain: source or target';
comment on column effects.domain is 'Domain label';
comment on column effects.objective is 'Objective of the environment';
comment on column effects.effect is 'Gain of the objective per unit of share that the domain gets beyond natural mixing, in nats per token';
comment on column effects.stderr is 'Standard error of the effect, in the same unit';
comment on column effects.created_at is 'Time when dmix stored the effects, UTC';
