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
comment on column trajectories.dataset is 'Id of the dataset with these domains';
comment on column trajectories.trajectory_id is 'Id of the trajectory within its set';
comment on column trajectories.kind is 'Kind of trajectory: inductive (Algorithm 1), segments (random, with changes) or static (random, constant)';
comment on column trajectories.top_k is 'K of Algorithm 1; NULL for other kinds';
comment on column trajectories.step is 'Number of the step; 0 is the start state (the shares in the source)';
comment on column trajectories.field is 'Field of the domain: source or target';
comment on column trajectories.domain is 'Domain label';
comment on column trajectories.weight is 'Weight of the domain at this step; the weights of a step sum to 1';
