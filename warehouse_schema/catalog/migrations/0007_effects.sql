-- What text of each domain does to each objective, as the estimators of `dmix mix probe` found it.

create table store.effect_sets (
    unit varchar not null,
    name varchar not null,
    estimator varchar not null,
    dataset varchar not null,
    model varchar not null,
    environment varchar not null,
    created_at timestamp
);

create table store.effect_objectives (
    unit varchar not null,
    name varchar not null,
    objective varchar not null,
    role varchar not null,
    signal double not null,
    noise double not null,
    reliability double not null,
    telling boolean not null
);

create table store.effects (
    unit varchar not null,
    name varchar not null,
    field varchar not null,
    domain varchar not null,
    objective varchar not null,
    effect double not null,
    stderr double not null
);
