-- Trained agents.

create view agents as
select
    agent,
    preset,
    set_name,
    trained_at,
    parameters,
    config::json as config
from store.agents;

comment on view agents is 'Agents that choose mixtures';
comment on column agents.agent is 'Name of the agent';
comment on column agents.preset is 'Preset of its training: paper or default';
comment on column agents.set_name is 'Set of trajectories that it was trained on';
comment on column agents.trained_at is 'When training ended, UTC';
comment on column agents.parameters is 'Number of trained parameters';
comment on column agents.config is 'The agent''s config.json';
