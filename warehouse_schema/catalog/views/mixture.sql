-- What was asked, planned and delivered, one row a (field, domain) of every step; the delivered
-- columns are NULL until the step has ended.

create view mixture as
select
    m.run_id,
    m.step,
    unnest(r.fields) as field,
    unnest(r.domains) as domain,
    unnest(m.asked) as asked_weight,
    unnest(m.planned) as planned_weight,
    unnest(m.planned_samples) as planned_samples,
    unnest(m.delivered_samples) as delivered_samples,
    unnest(m.delivered_tokens) as delivered_tokens,
    unnest(m.passes) as passes,
    unnest(m.reasons) as reason
from store.run_steps as m
join store.runs as r on r.run_id = m.run_id;

comment on view mixture is 'The data mixture of a run, step by step';
comment on column mixture.run_id is 'Id of the run';
comment on column mixture.step is 'Re-weighting step, from 1';
comment on column mixture.field is 'source or target';
comment on column mixture.domain is 'Domain label';
comment on column mixture.asked_weight is 'Weight that the controller requested';
comment on column mixture.planned_weight is 'Weight after masks, floors and exhaustion';
comment on column mixture.planned_samples is 'Whole samples planned for this step';
comment on column mixture.delivered_samples is 'Samples that the training loop consumed; NULL until the step has ended';
comment on column mixture.delivered_tokens is 'Tokens that the training loop consumed; NULL until the step has ended';
comment on column mixture.passes is 'Passes over the domain''s samples so far; NULL until the step has ended';
comment on column mixture.reason is 'Why the planned weight differs from the requested one; NULL if it does not';
