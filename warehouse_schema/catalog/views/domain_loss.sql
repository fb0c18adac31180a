-- Training loss of every domain that a step drew from.

create view domain_loss as
select
    run_id,
    step,
    field,
    domain,
    loss_sum / loss_tokens as loss,
    loss_tokens as tokens
from (
    select
        m.run_id,
        m.step,
        unnest(r.fields) as field,
        unnest(r.domains) as domain,
        unnest(m.loss_sums) as loss_sum,
        unnest(m.loss_tokens) as loss_tokens
    from store.run_steps as m
    join store.runs as r on r.run_id = m.run_id
)
where loss_tokens > 0;

comment on view domain_loss is 'Training loss by domain and step';
comment on column domain_loss.run_id is 'Id of the run';
comment on column domain_loss.step is 'Number of the step, from 1';
comment on column domain_loss.field is 'Field of the domain: source or target';
comment on column domain_loss.domain is 'Domain label';
comment on column domain_loss.loss is 'Mean training loss on the domain''s tokens in this step, in nats per token';
comment on column domain_loss.tokens is 'Number of tokens in the mean';
