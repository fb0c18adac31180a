-- How the proxy of a trajectory departs from the usual one of its farm; NULL in files that are
-- older than this column.

alter table store.feedback add column variation varchar;
