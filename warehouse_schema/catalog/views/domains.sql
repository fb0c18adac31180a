-- Domain labels of every taxonomy that a corpus or a dataset uses.

create view domains as
select
    taxonomy,
    domain_index,
    domain,
    slug,
    list(distinct used_by order by used_by) as used_by
from store.taxonomies
group by all;

comment on view domains is 'Domain labels of every taxonomy in use, in the order of mixtures';
comment on column domains.taxonomy is 'Name of the taxonomy, for example nvidia-26';
comment on column domains.domain_index is 'Position of the label in the taxonomy, from 0';
comment on column domains.domain is 'Label of the domain';
comment on column domains.slug is 'Folder name made from the label; the folder contains the domain''s streams';
comment on column domains.used_by is 'Corpora (name@version) and datasets with this label';
