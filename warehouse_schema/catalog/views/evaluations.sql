-- Benchmark scores of a run's models.

create view evaluations as
select
    run_id,
    step,
    task,
    metric,
    value,
    stderr,
    items,
    few_shot,
    evaluated_at
from store.evaluations;

comment on view evaluations is 'Scores of a run''s models on benchmarks and objectives, from dmix eval';
comment on column evaluations.run_id is 'Id of the run';
comment on column evaluations.step is 'Step of the checkpoint; 0 is the model before any step';
comment on column evaluations.task is 'Name of the task';
comment on column evaluations.metric is 'Name of the metric, such as acc or acc_norm';
comment on column evaluations.value is 'Value of the metric';
comment on column evaluations.stderr is 'Standard error of the value; NULL if there is none';
comment on column evaluations.items is 'Number of items in the mean; NULL for groups of tasks';
comment on column evaluations.few_shot is 'Number of solved items before each question; NULL if the task sets the number';
comment on column evaluations.evaluated_at is 'Time of the evaluation, UTC';
