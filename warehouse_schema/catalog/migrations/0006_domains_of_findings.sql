-- The domain of a document in which something was found; NULL in files that are older than this column.

alter table store.duplicates add column domain varchar;
alter table store.contamination add column domain varchar;
