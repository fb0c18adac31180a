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

comment on view effect_objectives is 'Signal and noise of the measured effects, per objective';
comment on column effect_objectives.name is 'Name of the effects; the files are in effects/NAME';
comment on column effect_objectives.estimator is 'Method of measurement: counts, gradient or probe';
comment on column effect_objectives.dataset is 'Id of the dataset with these domains';
comment on column effect_objectives.objective is 'Objective of the environment';
comment on column effect_objectives.role is 'Role of the objective: general or target';
comment on column effect_objectives.signal is 'Standard deviation of the true score over random mixtures near natural mixing, in nats per token';
comment on column effect_objectives.noise is 'Standard error of the predicted score over the same mixtures, in nats per token';
comment on column effect_objectives.reliability is 'Share of the variance over these mixtures that is not noise, from 0 to 1';
comment on column effect_objectives.telling is 'True if the effects are larger than noise, at 95% confidence over all objectives together';
