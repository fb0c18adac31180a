-- Benchmark scores of checkpoints; nothing fills it yet.

create view evaluations as
select
    null::varchar as run_id,
    null::integer as step,
    null::varchar as task,
    null::varchar as metric,
    null::double as value,
    null::double as stderr
where false;

comment on view evaluations is 'Benchmark scores of a run''s checkpoints';
comment on column evaluations.run_id is 'Id of the run';
comment on column evaluations.step is 'Step of the checkpoint';
comment on column evaluations.task is 'Name of the benchmark';
comment on column evaluations.metric is 'Name of the metric';
comment on column evaluations.value is 'Value of the metric';
comment on column evaluations.stderr is 'Standard error of the value';
