-- What happened in a run besides its mixtures and scores, in order.

create view run_events as
select
    run_id,
    step,
    kind,
    detail,
    attempt,
    occurred_at,
    line
from store.run_events;

comment on view run_events is 'Starts, ends and notes of runs, such as exhausted domains and guard rails';
comment on column run_events.run_id is 'Id of the run';
comment on column run_events.step is 'Step that it belongs to; NULL if none';
comment on column run_events.kind is 'run_started, run_done, run_failed, or the kind of a note';
comment on column run_events.detail is 'Text, or JSON if the event has several values';
comment on column run_events.attempt is 'Attempt that wrote it';
comment on column run_events.occurred_at is 'When it happened, UTC';
comment on column run_events.line is 'Line of events.jsonl, from 1; orders the events of a run';
