-- Scores of proxy models that were trained along trajectories.

create view feedback as
select
    set_name,
    trajectory_id,
    step,
    objective,
    score,
    variation
from store.feedback;

comment on view feedback is 'Scores of proxies (small models), each trained under one trajectory';
comment on column feedback.set_name is 'Set of trajectories';
comment on column feedback.trajectory_id is 'Id of the trajectory within its set';
comment on column feedback.step is 'Last trained step before the score; 0 means before any training';
comment on column feedback.objective is 'Objective of the set''s environment';
comment on column feedback.score is 'Mean log-probability of the answers, in nats per token; higher is better';
comment on column feedback.variation is 'Difference from the default proxy; empty for a default proxy';
