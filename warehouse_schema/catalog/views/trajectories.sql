-- Sampled mixtures, one row a (field, domain) of every step.

create view trajectories as
select
    t.set_name,
    s.dataset,
    t.trajectory_id,
    t.kind,
    t.top_k,
    t.step,
    unnest(s.fields) as field,
    unnest(s.domains) as domain,
    unnest(t.weights) as weight
from store.trajectories as t
join store.sets as s on s.set_name = t.set_name;

comment on view trajectories is 'Sampled mixture trajectories (Algorithm 1 and random paths)';
comment on column trajectories.set_name is 'Set of trajectories';
comment on column trajectories.dataset is 'Dataset whose domain space the weights are over';
comment on column trajectories.trajectory_id is 'Id of the trajectory within its set';
comment on column trajectories.kind is 'How it was made: inductive, segments or static';
comment on column trajectories.top_k is 'K of Algorithm 1; NULL for other kinds';
comment on column trajectories.step is 'Re-weighting step; 0 is the start state';
comment on column trajectories.field is 'source or target';
comment on column trajectories.domain is 'Domain label';
comment on column trajectories.weight is 'Weight of the domain at this step; a step''s weights sum to 1';
