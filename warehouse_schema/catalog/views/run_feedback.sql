-- Scores that were taken during runs.

create view run_feedback as
select
    run_id,
    step,
    objective,
    score
from store.run_feedback;

comment on view run_feedback is 'Scores that the controller of a run received';
comment on column run_feedback.run_id is 'Id of the run';
comment on column run_feedback.step is 'Last trained step before the score; 0 means before any training';
comment on column run_feedback.objective is 'Objective of the environment';
comment on column run_feedback.score is 'Mean log-probability of the answers, in nats per token; higher is better; NaN if scoring failed';
