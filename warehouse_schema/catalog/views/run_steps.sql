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

comment on view run_steps is 'Finished steps of runs';
comment on column run_steps.run_id is 'Id of the run';
comment on column run_steps.step is 'Number of the step, from 1';
comment on column run_steps.attempt is 'Attempt that trained the step';
comment on column run_steps.loss is 'Mean training loss of the step, in nats per token';
comment on column run_steps.seconds is 'Duration of the step in seconds';
comment on column run_steps.digest is 'SHA-256 of the sample ids that all ranks used, in order';
comment on column run_steps.chain is 'SHA-256 of the previous step''s chain and this step''s digest';
comment on column run_steps.finished_at is 'Time when the step ended, UTC';
