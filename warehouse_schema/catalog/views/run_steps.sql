-- Proof and cost of every step that has ended.

create view run_steps as
select
    run_id,
    step,
    attempt,
    loss,
    seconds,
    digest,
    chain,
    finished_at
from store.run_steps
where delivered_samples is not null;

comment on view run_steps is 'Steps of a run that have ended';
comment on column run_steps.run_id is 'Id of the run';
comment on column run_steps.step is 'Re-weighting step, from 1';
comment on column run_steps.attempt is 'Attempt that trained the step';
comment on column run_steps.loss is 'Mean training loss of the step, nats per token';
comment on column run_steps.seconds is 'Wall time of the step';
comment on column run_steps.digest is 'SHA-256 of the sample ids that all ranks consumed, in order';
comment on column run_steps.chain is 'SHA-256 of the previous step''s chain and this digest';
comment on column run_steps.finished_at is 'When the step ended, UTC';
