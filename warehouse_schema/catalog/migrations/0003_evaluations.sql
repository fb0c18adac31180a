-- Scores of models of a run on benchmarks, as `dmix eval` writes them beside the run.

create table store.evaluations (
    unit varchar not null,
    run_id varchar not null,
    step integer not null,
    task varchar not null,
    metric varchar not null,
    value double,
    stderr double,
    items bigint,
    few_shot integer,
    evaluated_at timestamp
);
