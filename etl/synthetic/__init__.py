"""A model as its own source: what it writes, as documents of a corpus and as its start state.

Read `source_models` first (what is known of a model) and `generation` (how it writes a block), then
`blocks` (the file of a block) and `generation_tasks` (one block in a worker). `synthesize` makes a
corpus of blocks; `start_state_plan`, `start_state_model` and `start_state_estimate` tell shares from
them. `memory` and `bandwidth` say what fits and how fast it could be.
"""
