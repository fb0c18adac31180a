import pytest

from dmix.training.model.settings import (
    ProxySettings,
    TrainingSettings,
    learning_rate_factor,
    load_proxy,
    load_training,
    rate_shares,
)
from dmix.training.run.assembly.trainer import parallelism
from dmix.warehouse_schema.errors import InputError


def test_the_rate_rises_over_the_warm_up_and_falls_along_half_a_cosine():
    settings = TrainingSettings(warmup=0.2, final_rate=0.1)
    rates = [learning_rate_factor(batch, total=10, settings=settings) for batch in range(12)]
    # warm-up of two batches; in the middle of the cosine 0.1 + 0.9 / 2
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.55)
    assert rates[10] == rates[11] == pytest.approx(0.1)


def test_a_constant_schedule_stays_at_the_peak():
    settings = TrainingSettings(warmup=0.0, schedule="constant")
    assert {learning_rate_factor(batch, total=4, settings=settings) for batch in range(6)} == {1.0}


def test_files_are_read_with_nested_settings(tmp_path):
    (tmp_path / "proxy.yaml").write_text("init: base\ntraining: {learning_rate: 1e-3, betas: [0.8, 0.9]}")
    proxy = load_proxy(tmp_path / "proxy.yaml")
    assert proxy.init == "base" and proxy.training.betas == (0.8, 0.9)
    assert load_proxy(None) == ProxySettings() and load_training(None) == TrainingSettings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("batch_size: 0", "batch_size is 0"),
        ("microbatch_size: 0", "microbatch_size is 0"),
        ("learning_rate: 0", "learning_rate is 0"),
        ("betas: [0.9]", "two numbers"),
        ("learning_rate: 1e300", r"expected a number above 0, at most 1e\+30"),
        ("weight_decay: 1e300", r"expected 0 to 1e\+30"),
        ("gradient_clip: 1e300", r"expected a number above 0, at most 1e\+30"),
        ("cache_limit: -5gb", "cache_limit is '-5gb', expected a size"),
        ("cache_limit: nangb", "a size such as"),
        ("cache_limit: 2²gb", "a size such as"),
        ("schedule: linear", "expected one of constant, cosine"),
        ("warmup: 2", "warmup is 2"),
        ("gradient_clip: 0", "gradient_clip is 0.0, expected a number above 0"),
        ("batchsize: 8", "did you mean 'batch_size'"),
    ],
)
def test_mistakes_in_a_training_file_are_named(tmp_path, content, message):
    (tmp_path / "t.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        load_training(tmp_path / "t.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sharding: some", "expected one of none, full, gradients"),
        ("activation_checkpointing: true", "needs sharding; set sharding: full"),
        ("loggers: [tensorbord]", "loggers contains 'tensorbord', expected some of tensorboard"),
    ],
)
def test_mistakes_about_ranks_and_loggers_are_named(tmp_path, content, message):
    (tmp_path / "t.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        load_training(tmp_path / "t.yaml")


def test_sharding_becomes_what_composer_takes(tmp_path):
    (tmp_path / "t.yaml").write_text(
        "{sharding: gradients, activation_checkpointing: true, precision: bf16, loggers: [wandb, mlflow]}"
    )
    settings = load_training(tmp_path / "t.yaml")
    config = parallelism(settings)["fsdp"]
    assert (config.reshard_after_forward, config.activation_checkpointing) == (False, True)
    assert config.state_dict_type == "full"  # whole tensors: resumable on any number of ranks
    assert settings.loggers == ("wandb", "mlflow")
    assert parallelism(TrainingSettings(sharding="full"))["fsdp"].reshard_after_forward is True
    assert parallelism(TrainingSettings()) is None


def test_shares_of_the_learning_rate_by_hand():
    """Four batches with one of warm-up: rates 1, then half a cosine from 1 to 0 over three: 1, .75, .25."""
    settings = TrainingSettings(warmup=0.25, final_rate=0.0)
    assert rate_shares(2, total=4, settings=settings) == pytest.approx([2 / 3, 1 / 3])
    constant = TrainingSettings(warmup=0.0, schedule="constant")
    assert rate_shares(4, total=8, settings=constant) == [0.25] * 4
