-- Training runs, one row a run whatever the number of attempts.

create view runs as
select
    run_id,
    dataset,
    kind,
    controller,
    status,
    started_at,
    finished_at,
    config::json as config,
    attempt,
    last_event_at
from store.runs;

comment on view runs is 'Training runs';
comment on column runs.run_id is 'Id of the run';
comment on column runs.dataset is 'Id of the run''s dataset';
comment on column runs.kind is 'Purpose of the run: guided, base or proxy';
comment on column runs.controller is 'Controller that chooses the mixtures';
comment on column runs.status is 'Status of the run: running, done, failed, stopped (by a signal, after it saved its state), or stale (the process ended without a last event)';
comment on column runs.started_at is 'Time when the first attempt started, UTC';
comment on column runs.finished_at is 'Time when the last attempt ended, UTC; NULL before the end';
comment on column runs.config is 'Settings of the last attempt, with all defaults';
comment on column runs.attempt is 'Number of the last attempt; each resume adds 1';
comment on column runs.last_event_at is 'Time of the last event, UTC';
