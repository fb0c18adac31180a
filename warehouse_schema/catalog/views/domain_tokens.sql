-- What every stream of every dataset holds; domains without a sample have a row of zeros.

create view domain_tokens as
select
    dataset,
    field,
    domain,
    documents,
    samples,
    tokens,
    tail_tokens,
    shards,
    bytes,
    domain_index
from store.streams;

comment on view domain_tokens is 'Documents, samples and tokens of every (field, domain) of a dataset';
comment on column domain_tokens.dataset is 'Id of the dataset';
comment on column domain_tokens.field is 'source or target';
comment on column domain_tokens.domain is 'Domain label';
comment on column domain_tokens.documents is 'Documents that were encoded';
comment on column domain_tokens.samples is 'Samples of seq_len tokens in the shards';
comment on column domain_tokens.tokens is 'Tokens in the shards: samples x seq_len';
comment on column domain_tokens.tail_tokens is 'Tokens that were encoded but fill no whole sample';
comment on column domain_tokens.shards is 'Number of shard files';
comment on column domain_tokens.bytes is 'Bytes of the stream''s files';
comment on column domain_tokens.domain_index is 'Position of the domain in its taxonomy, from 0';
