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

comment on view domain_tokens is 'Size of each domain of a dataset in documents, samples and tokens';
comment on column domain_tokens.dataset is 'Id of the dataset';
comment on column domain_tokens.field is 'Field of the domain: source or target';
comment on column domain_tokens.domain is 'Domain label';
comment on column domain_tokens.documents is 'Number of encoded documents';
comment on column domain_tokens.samples is 'Number of samples in the shards; a sample has seq_len tokens';
comment on column domain_tokens.tokens is 'Number of tokens in the shards: samples x seq_len';
comment on column domain_tokens.tail_tokens is 'Number of tokens left over, too few for another sample';
comment on column domain_tokens.shards is 'Number of shard files';
comment on column domain_tokens.bytes is 'Size of the shard files in bytes';
comment on column domain_tokens.domain_index is 'Position of the domain in its taxonomy, from 0';
