"""A model as its own source: what it writes, as documents of a corpus and as its start state.

`source_models` loads the model, `generation` (or `vllm_engine`) writes text, `generation_tasks` runs
one block in a worker, `blocks` is the file of a block; `synthesize` makes a corpus of them and
`start_state_model` estimates shares from them.
"""
