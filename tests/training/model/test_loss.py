import pytest
import torch

from dmix.training.model.loss import _TILE_VOCABULARY, next_token_losses
from dmix.training.model.settings import CHUNK_TOKENS


def reference(hidden, weight, ids):
    logits = hidden[:, :-1] @ weight.T
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")


def example(batch=3, length=CHUNK_TOKENS // 2, width=8, vocabulary=50):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(batch, length, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    ids = torch.randint(0, vocabulary, (batch, length), generator=generator)
    return hidden.float().requires_grad_(), weight.float().requires_grad_(), ids


def test_losses_and_gradients_equal_those_of_the_full_table_of_logits():
    hidden, weight, ids = example()
    mean, losses = next_token_losses(hidden, weight, ids)
    (3 * mean).backward()
    expected_hidden, expected_weight, _ = example()
    expected = reference(expected_hidden, expected_weight, ids)
    (3 * expected.mean()).backward()
    torch.testing.assert_close(losses.flatten(), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(hidden.grad, expected_hidden.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weight.grad, expected_weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("trained", ["both", "hidden states", "weight", "nothing"])
def test_tiles_of_a_large_vocabulary_give_the_losses_and_the_gradients_that_are_wanted(trained):
    # two and a bit tiles of the vocabulary, three chunks of tokens, the last one short
    hidden, weight, ids = example(batch=4, length=300, vocabulary=2 * _TILE_VOCABULARY + 7)
    hidden.requires_grad_(trained in {"both", "hidden states"})
    weight.requires_grad_(trained in {"both", "weight"})
    mean, losses = next_token_losses(hidden, weight, ids)
    expected = reference(hidden.detach().requires_grad_(), weight.detach().requires_grad_(), ids)
    torch.testing.assert_close(losses.flatten(), expected.detach(), rtol=1e-5, atol=1e-5)
    if trained == "nothing":
        assert not mean.requires_grad
        return
    mean.backward()
    expected_hidden, expected_weight = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
    reference(expected_hidden, expected_weight, ids).mean().backward()
    for found, wanted in ((hidden, expected_hidden), (weight, expected_weight)):
        if found.requires_grad:
            assert (found.grad - wanted.grad).abs().max() < 3e-6 * wanted.grad.abs().max()
        else:
            assert found.grad is None


def test_the_models_of_a_stack_have_the_losses_and_gradients_that_they_have_alone():
    ids = torch.stack([example()[2], example()[2].flip(0)])
    hidden = torch.stack([example()[0], 2 * example()[0]]).detach().requires_grad_()
    weight = torch.stack([example()[1], example()[1] + 1]).detach().requires_grad_()
    mean, losses = next_token_losses(hidden, weight, ids)
    (torch.tensor([3.0, 5.0]) * mean).sum().backward()
    for place, factor in enumerate((3.0, 5.0)):
        one_hidden = hidden[place].detach().requires_grad_()
        one_weight = weight[place].detach().requires_grad_()
        expected, expected_losses = next_token_losses(one_hidden, one_weight, ids[place])
        (factor * expected).backward()
        torch.testing.assert_close(mean[place], expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(losses[place], expected_losses, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(hidden.grad[place], one_hidden.grad, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(weight.grad[place], one_weight.grad, rtol=1e-4, atol=1e-6)


def test_uniform_logits_cost_log_of_the_vocabulary():
    _, losses = next_token_losses(torch.zeros(1, 3, 4), torch.ones(7, 4), torch.tensor([[1, 2, 3]]))
    torch.testing.assert_close(losses, torch.full((1, 2), 1.9459101))  # ln 7


def test_extreme_logits_stay_finite():
    weight = torch.tensor([[1e4], [-1e4]])
    mean, _ = next_token_losses(torch.ones(1, 2, 1), weight, torch.tensor([[0, 1]]))
    assert mean.item() == 2e4


def test_chunks_with_large_and_with_usual_logits_have_the_losses_and_gradients_of_the_full_table():
    hidden, weight, ids = example()
    with torch.no_grad():
        hidden[0] *= 100  # the first chunk alone has logits above 69, where totals leave their bounds
    mean, losses = next_token_losses(hidden, weight, ids)
    mean.backward()
    plain_hidden, plain_weight = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
    expected = reference(plain_hidden, plain_weight, ids)
    expected.mean().backward()
    assert (plain_hidden[0] @ plain_weight.T).max() > 200
    torch.testing.assert_close(losses.flatten(), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(hidden.grad, plain_hidden.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weight.grad, plain_weight.grad, rtol=1e-4, atol=1e-5)
