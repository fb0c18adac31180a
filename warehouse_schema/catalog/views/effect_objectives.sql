-- How much of each objective is noise, one row an objective of every estimate of effects.

create view effect_objectives as
select
    o.name,
    s.estimator,
    s.dataset,
    o.objective,
    o.role,
    o.signal,
    o.noise,
    o.reliability,
    o.telling
from store.effect_objectives as o
join store.effect_sets as s on s.name = o.name;

comment on view effect_objectives is 'How much of each objective mixtures move, and how much is noise';
comment on column effect_objectives.name is 'Name of the estimate, a folder below effects/';
comment on column effect_objectives.estimator is 'counts, gradient or probe';
comment on column effect_objectives.dataset is 'Dataset of the domains';
comment on column effect_objectives.objective is 'Objective of the environment';
comment on column effect_objectives.role is 'general or target';
comment on column effect_objectives.signal is 'Standard deviation of the score over random tilts of the natural mixture, noise removed, nats per token';
comment on column effect_objectives.noise is 'Standard error of the predicted score over the same tilts, nats per token';
comment on column effect_objectives.reliability is 'Share of the variance over tilts that the mixture explains, 0 to 1';
comment on column effect_objectives.telling is 'Whether the effects exceed what noise alone gives in 95% of cases, over all objectives together';
