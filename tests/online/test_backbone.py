"""The fold's step and the trained network are one function, and the step's bits do not depend on the
machine.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from online.recommendation.backbone import read_backbone, scratch_size, state_size, step
from online.settings import Settings
from online.state import State

torch = pytest.importorskip("torch")
network_module = pytest.importorskip("batch.network")


def network_with_lively_weights(**sizes: int):
    """Fresh weights are too tame to show a difference: zero biases, gains of one."""
    torch.manual_seed(0)
    network = network_module.Network(network_module.NetworkConfig(**sizes), items=50)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


def queries_step_by_step(backbone, vectors, items):
    hidden = np.zeros(state_size(backbone), np.float32)
    scratch = np.full(scratch_size(backbone), np.nan, np.float32)
    queries = np.zeros((len(items), vectors.shape[1]), np.float32)
    for t, item in enumerate(items):
        step(backbone, hidden, vectors[item], queries[t], scratch)
    return queries


@pytest.mark.parametrize("sizes", [{}, {"dimension": 22, "channels": 13, "hidden": 9, "layers": 3, "taps": 1}])
def test_the_step_gives_the_trained_network_s_queries_to_1e_5_over_200_items(sizes: dict) -> None:
    network = network_with_lively_weights(**sizes)
    items = torch.randint(0, 50, (200, 1), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(items, torch.arange(200)[:, None])[:, 0].numpy()
    backbone = read_backbone(network_module.exported(network))
    vectors = network.items.weight.detach().numpy()
    queries = queries_step_by_step(backbone, vectors, items[:, 0].numpy())
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(queries, expected, rtol=0, atol=1e-5)


def test_sequences_packed_into_one_column_do_not_see_each_other() -> None:
    network = network_with_lively_weights()
    first, second = torch.randint(0, 50, (30, 1)), torch.randint(0, 50, (40, 1))
    ages = [torch.arange(30)[:, None], torch.arange(40)[:, None]]
    with torch.no_grad():
        packed = network(torch.cat([first, second]), torch.cat(ages))
        alone = network(second, ages[1])
    np.testing.assert_allclose(packed[30:].numpy(), alone.numpy(), rtol=0, atol=1e-6)


def test_weights_survive_the_way_out_and_back() -> None:
    network = network_with_lively_weights()
    other = network_module.Network(network.config, items=50)
    network_module.import_weights(other, network_module.exported(network))
    one, two = network_module.exported(network), network_module.exported(other)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-6, err_msg=name)


def test_without_an_artifact_every_query_is_zero(folded: Callable[..., State], make_stream: Callable[..., Any]) -> None:
    settings = Settings(seed=3)
    users = folded(settings, make_stream(3, 200, settings)).views.learners.users
    assert users.taken.any()
    assert not users.query.any() and not users.hidden.any()
