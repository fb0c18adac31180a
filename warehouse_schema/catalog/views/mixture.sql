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

comment on view mixture is 'Data mixture of a run by step';
comment on column mixture.run_id is 'Id of the run';
comment on column mixture.step is 'Number of the step, from 1';
comment on column mixture.field is 'Field of the domain: source or target';
comment on column mixture.domain is 'Domain label';
comment on column mixture.asked_weight is 'Weight from the controller';
comment on column mixture.planned_weight is 'Weight after guard rails, and after changes for domains without samples';
comment on column mixture.planned_samples is 'Number of samples planned for this step';
comment on column mixture.delivered_samples is 'Number of samples used in training; NULL until the step has ended';
comment on column mixture.delivered_tokens is 'Number of tokens used in training; NULL until the step has ended';
comment on column mixture.passes is 'Number of passes through the domain''s samples so far; NULL until the step has ended';
comment on column mixture.reason is 'Reason if the planned weight differs from the asked weight; otherwise NULL';
