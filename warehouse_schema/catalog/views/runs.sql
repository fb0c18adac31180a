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
comment on column runs.dataset is 'Dataset that it draws from';
comment on column runs.kind is 'Purpose of the run, from its first event: guided, base, proxy';
comment on column runs.controller is 'Controller that chooses its mixtures';
comment on column runs.status is 'running; stale: neither done nor failed, and its process is gone; done; failed';
comment on column runs.started_at is 'Start of the first attempt, UTC';
comment on column runs.finished_at is 'End of the last attempt, UTC; NULL before that';
comment on column runs.config is 'Resolved settings of the last attempt';
comment on column runs.attempt is 'Number of the last attempt; one more for each resume';
comment on column runs.last_event_at is 'Time of the last event, UTC';
