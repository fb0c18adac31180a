"""The size of a model without torch is that of the network, and only a command leaves torch out."""

import json
import os
import subprocess
import sys

from safetensors.torch import load_file, save_file

from dmix.etl.synthetic import without_torch
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.memory import memory_need
from dmix.etl.synthetic.source_models import load_network, source_model
from dmix.etl.synthetic.without_torch import StoredSize, stored_size

SETTINGS = GenerationSettings(precision="fp32")

PLAN = """
import sys
from dmix.etl.synthetic import without_torch
without_torch.allow()
without_torch.leave_torch_out(sys.argv[1])
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.memory import memory_need
from dmix.etl.synthetic.source_models import source_model
from dmix.warehouse_schema.errors import InputError
settings = GenerationSettings(precision="fp32")
try:
    need = memory_need(source_model(sys.argv[1], settings), settings)
except InputError as error:
    print(error.message)
else:
    print(need.weights, need.read, need.cache, need.scores, "torch" in sys.modules)
"""


def planned(folder):
    """What a process that is a command finds about a model; what it says on stderr must be nothing."""
    done = subprocess.run(
        [sys.executable, "-c", PLAN, str(folder)], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_headers_say_what_the_network_has(writer):
    network = load_network(writer, SETTINGS, device="cpu")
    tied = network.config.tie_word_embeddings
    table = network.get_input_embeddings().weight.numel()
    size = stored_size(writer, tied=tied)
    assert size.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert size.looked_up == (0 if tied else table)


def test_an_output_layer_that_is_tied_and_stored_counts_once(writer, tmp_path):
    weights = load_file(writer / "model.safetensors")
    table = next(
        tensor
        for name, tensor in weights.items()
        if name.endswith(("embed_in.weight", "embed_tokens.weight"))
    )
    rest = {
        name: tensor
        for name, tensor in weights.items()
        if not name.endswith(("lm_head.weight", "embed_out.weight"))
    }
    save_file({**rest, "lm_head.weight": table.clone()}, tmp_path / "model.safetensors")
    count = sum(tensor.numel() for tensor in rest.values())
    assert stored_size(tmp_path, tied=True) == StoredSize(parameters=count, looked_up=0)
    assert stored_size(tmp_path, tied=False) == StoredSize(
        parameters=count + table.numel(), looked_up=table.numel()
    )


def test_a_command_finds_the_same_need_without_torch(writer):
    need = memory_need(source_model(str(writer), SETTINGS), SETTINGS)
    assert planned(writer) == f"{need.weights} {need.read} {need.cache} {need.scores} False"


def test_a_command_refuses_a_model_that_does_not_write(make_writer, tmp_path):
    folder = make_writer(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "vocab_size": config["vocab_size"]}))
    assert "(t5) is not a causal language model" in planned(folder)


def test_a_process_that_is_no_command_keeps_torch(writer):
    without_torch.leave_torch_out(str(writer))
    assert not without_torch.is_torch_left_out() and os.environ.get("USE_TORCH") != "0"
