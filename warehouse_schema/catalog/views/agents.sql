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
comment on column agents.preset is 'Preset of the training: paper or default';
comment on column agents.set_name is 'Set of trajectories from which the agent learned';
comment on column agents.trained_at is 'Time when training ended, UTC';
comment on column agents.parameters is 'Number of trained parameters';
comment on column agents.config is 'Content of the agent''s config.json';
