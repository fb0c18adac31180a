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

comment on view run_events is 'Events of runs: starts, ends, and notes such as a domain without samples';
comment on column run_events.run_id is 'Id of the run';
comment on column run_events.step is 'Step of the event; NULL if there is none';
comment on column run_events.kind is 'Kind of the event: run_started, run_done, run_failed, run_stopped, or the kind of a note';
comment on column run_events.detail is 'Text of the event; JSON if the event has several values';
comment on column run_events.attempt is 'Attempt that wrote the event';
comment on column run_events.occurred_at is 'Time of the event, UTC';
comment on column run_events.line is 'Line in events.jsonl, from 1; gives the order of events';
