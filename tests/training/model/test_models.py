import dataclasses
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dmix.training.model.models import load_model, load_network, unusable_weights
from dmix.training.model.saving import save_model
from dmix.training.model.settings import ModelSettings
from dmix.training.run.request import resolve_model
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


@pytest.fixture
def manifest(tiny_warehouse):
    return read_dataset_manifest(tiny_warehouse)


def with_config(settings, **config):
    return dataclasses.replace(settings, config={**settings.config, **config})


def ids(rows=3, length=16):
    return torch.randint(257, (rows, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
def test_loss_equals_that_of_transformers(tiny_model, manifest, architecture):
    model = load_model(dataclasses.replace(tiny_model, architecture=architecture), manifest).eval()
    expected = model.network(input_ids=ids(), labels=ids()).loss
    outputs = model({"input_ids": ids()})
    torch.testing.assert_close(outputs["loss"], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs["loss_B"].mean(), expected, rtol=1e-5, atol=1e-5)
    single = model({"input_ids": ids()[1:2]})["loss"]
    torch.testing.assert_close(outputs["loss_B"][1], single, rtol=1e-5, atol=1e-5)


def test_a_family_whose_output_layer_is_unknown_gives_the_same_numbers(tiny_model, manifest):
    model = load_model(tiny_model, manifest).eval()
    rows, positions = torch.tensor([0, 2, 2]), torch.tensor([1, 5, 15])
    fused = model({"input_ids": ids()}), model.losses_at(ids(), rows, positions)
    model._plain_output = False
    plain = model({"input_ids": ids()}), model.losses_at(ids(), rows, positions)
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)


def test_gradients_equal_those_of_transformers(tiny_model, manifest):
    ours, theirs = load_model(tiny_model, manifest), load_model(tiny_model, manifest)
    ours({"input_ids": ids()})["loss"].backward()
    theirs.network(input_ids=ids(), labels=ids()).loss.backward()
    for (name, weight), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_random_weights_depend_on_the_seed_alone(tiny_model, manifest):
    first = load_model(tiny_model, manifest).state_dict()
    torch.rand(3)
    assert all(torch.equal(first[k], v) for k, v in load_model(tiny_model, manifest).state_dict().items())
    other = load_model(dataclasses.replace(tiny_model, seed=2), manifest).state_dict()
    assert any(not torch.equal(first[name], weight) for name, weight in other.items())


def test_a_saved_model_and_its_tokenizer_load_in_transformers(tiny_model, manifest, tiny_warehouse, tmp_path):
    model = load_model(tiny_model, manifest)
    save_model(model, tmp_path / "m", streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert torch.equal(network.lm_head.weight, model.network.lm_head.weight)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    assert tokenizer.eos_token_id == manifest.tokenizer.eot_id
    again = load_model(str(tmp_path / "m"), manifest)
    assert again.parameters_count == model.parameters_count


def test_a_model_is_refused_under_another_tokenizer(tiny_model, manifest, tiny_warehouse, tmp_path):
    model = load_model(tiny_model, manifest)
    save_model(model, tmp_path / "m", streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    other = dataclasses.replace(manifest.tokenizer, sha256="other")
    with pytest.raises(InputError, match="has another tokenizer"):
        load_model(str(tmp_path / "m"), dataclasses.replace(manifest, tokenizer=other))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vocab_size": 256}, "vocabulary of 256 ids, but the dataset's tokenizer 'bytes' has 257"),
        ({"max_position_embeddings": 8}, "is 8 tokens, but a sample has 16; .*--seq-len"),
        ({"hidden_sizes": 8}, "did you mean 'hidden_size'"),
        ({"hidden_size": -32}, "'config' in the model file"),
    ],
)
def test_a_model_that_does_not_fit_the_dataset_is_refused(tiny_model, manifest, config, message):
    with pytest.raises(InputError, match=message):
        load_model(with_config(tiny_model, **config), manifest)


def test_a_model_file_for_another_tokenizer_is_refused(manifest):
    with pytest.raises(InputError, match=r"tokenizer 'embedded', but the dataset has 'bytes'; .*--tokenizer"):
        load_model(ModelSettings(architecture="llama", tokenizer="embedded"), manifest)


def test_models_are_found_as_files_folders_and_names(tiny_warehouse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text("architecture: llama")
    tiny_warehouse.model("known").mkdir(parents=True, exist_ok=True)
    assert resolve_model("m.yaml", tiny_warehouse) == str(tmp_path / "m.yaml")
    assert resolve_model("known", tiny_warehouse) == str(tiny_warehouse.model("known"))
    assert resolve_model("someone/a-model", tiny_warehouse) == "someone/a-model"
    with pytest.raises(NotFoundError, match=r"absent.yaml does not exist"):
        resolve_model("absent.yaml", tiny_warehouse)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        *((value, "are not finite (0.weight)") for value in (float("inf"), float("-inf"), float("nan"))),
        *((value, "are out of range (0.weight has the magnitude ") for value in (1e38, -1.1e6)),
        *((value, "") for value in (65_504.0, -999_424.0)),
    ],
)
def test_a_weight_that_no_model_has_is_named_in_each_number_type(kind, value, said):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    module[0].weight.data[1, 0] = value
    module = module.to(kind)
    if kind == torch.float16 and abs(value) > 65_504:  # infinite there
        said = "are not finite (0.weight)"
    found = unusable_weights(module)
    assert found.startswith(said) and bool(found) == bool(said)


def test_a_model_folder_with_an_absurd_weight_is_no_start(tiny_model, manifest, tiny_warehouse, tmp_path):
    model = load_model(tiny_model, manifest)
    model.network.model.norm.weight.data[3] = 1e38
    save_model(model, tmp_path, streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    with pytest.raises(InputError, match=r"are out of range .model\.norm\.weight has the magnitude 1e.38"):
        load_model(str(tmp_path), manifest)


def test_a_folder_without_a_model_is_named(manifest, tmp_path):
    with pytest.raises(NotFoundError, match=r"is not a checkpoint: it has no config\.json .*give the"):
        load_model(str(tmp_path), manifest)


def test_a_mistyped_folder_is_no_checkpoint_and_no_hub_id(manifest, monkeypatch):
    monkeypatch.setattr("dmix.warehouse_schema.hub.hub_is_known", lambda: False)
    with pytest.raises(NotFoundError, match=r"no folder my-chekpoint, .*cannot reach the .*correct the"):
        load_model("my-chekpoint", manifest)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hidden_act": "nope"}, "cannot make a model"),
        ({"hidden_act": 3}, "cannot make a model"),
        ({"rope_scaling": {"type": "nope"}}, "cannot make a model"),
        ({"pad_token_id": 99_999}, "cannot make a model"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers 10000000, expected at most"),
        ({"intermediate_size": 0}, "intermediate_size is 0"),
        ({"initializer_range": float("nan")}, "cannot make a model"),
        ({"initializer_range": float("inf")}, "are not finite"),
        ({"initializer_range": -1.0}, "cannot make a model"),
    ],
)
def test_a_configuration_that_makes_no_model_is_one_sentence(tiny_model, manifest, values, said):
    with pytest.raises(InputError, match=said):
        load_model(with_config(tiny_model, **values), manifest)


def test_a_checkpoint_whose_configuration_needs_more_than_the_memory_is_refused(
    tiny_model, manifest, tiny_warehouse, tmp_path
):
    model = load_model(tiny_model, manifest)
    save_model(model, tmp_path, streams=tiny_warehouse.stream(manifest.dataset), manifest=manifest)
    config = json.loads((tmp_path / "config.json").read_text())
    for change in ({"hidden_size": 10**7}, {"vocab_size": 10**12}):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=r"describes a model of at least .* memory are free"):
            load_network(str(tmp_path))


def test_a_checkpoint_whose_configuration_is_damaged_is_said_to_be_so(
    tiny_model, manifest, tiny_warehouse, tmp_path
):
    model = load_model(tiny_model, manifest)
    save_model(model, tmp_path, streams=tiny_warehouse.stream(manifest.dataset), manifest=manifest)
    config = json.loads((tmp_path / "config.json").read_text())
    for change in ({"hidden_act": None}, {"num_attention_heads": "x"}, {"vocab_size": 300}):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=r"cannot make a model .* correct its config\.json"):
            load_network(str(tmp_path))
