"""The fused passes and the torch operations that define them are one function, and so are their gradients."""

import pytest

torch = pytest.importorskip("torch")

from batch import pointwise  # noqa: E402


def drawn(*shape: int, seed: int, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


AGES = torch.tensor([[0, 3], [1, 4], [2, 0], [3, 1], [0, 2], [1, 0], [2, 1]])  # two columns, cut in several places


@pytest.mark.parametrize(
    ("function", "shapes", "with_age"),
    [
        (pointwise.normalised, [(7, 2, 10), (10,)], False),
        (pointwise.convolve, [(7, 2, 10), (4, 10)], True),
        (pointwise.remember, [(7, 2, 30), (10,)], True),
        (pointwise.gated, [(7, 2, 20)], False),
    ],
)
def test_the_fused_pass_and_its_gradient_are_those_of_the_torch_operations(function, shapes, with_age: bool) -> None:
    inputs = [drawn(*shape, seed=i) for i, shape in enumerate(shapes)]
    if function is pointwise.remember:
        inputs[1] = inputs[1].sigmoid()
    age = [AGES] if with_age else []
    results = []
    for dtype in (torch.float32, torch.float64):  # float64 is never fused
        leaves = [x.detach().to(dtype).requires_grad_() for x in inputs]
        y = function(*leaves, *age)
        weight = torch.arange(y.numel(), dtype=dtype).reshape(y.shape).cos()
        gradients = torch.autograd.grad((y * weight).sum(), leaves)
        results.append([y, *gradients])
    for fused, defined in zip(*results, strict=True):
        torch.testing.assert_close(fused.double(), defined, rtol=1e-5, atol=1e-5)


def test_the_parallel_scan_is_the_recurrence_step_by_step() -> None:
    keep, add = drawn(77, 3, 5, seed=1).sigmoid().double(), drawn(77, 3, 5, seed=2).double()
    h, expected = torch.zeros(3, 5, dtype=torch.float64), []
    for t in range(77):
        h = keep[t] * h + add[t]
        expected.append(h)
    torch.testing.assert_close(pointwise.scan(keep, add), torch.stack(expected), rtol=0, atol=1e-12)


def test_the_gradient_of_the_parallel_scan_is_its_derivative() -> None:
    keep, add = (drawn(9, 2, 3, seed=s, dtype=torch.float64).requires_grad_() for s in (3, 4))
    assert torch.autograd.gradcheck(pointwise.scan, (keep, add))
