"""The demand net: two latent kinds of traveller with a logit each, markets of their own, a hidden layer shared by all.

    pi(P) = w sigmoid(utility_business - e^a P) + (1 - w) sigmoid(utility_leisure - e^b P)

falls in the fare by construction: both steepnesses are exponentials. A market's parameters are those of
`online.pricing.layout`; the hidden layer adds to the share's logit and to the utilities. It starts at nothing, so that
a net that has not learned yet is the published prior.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from online.pricing.layout import (
    BASIS,
    FEATURES_MAX,
    FIRST_FEATURE_INPUT,
    HIDDEN,
    INPUTS,
    LATE_BASIS,
    THETA_BUSINESS,
    THETA_FEATURES,
    THETA_LATE,
    THETA_LEISURE,
    THETA_MIX,
    THETA_STEEP_BUSINESS,
    THETA_STEEP_LEISURE,
    THETA_WEEKDAY,
)

_ON_SHARE = [THETA_FEATURES + 2 * j for j in range(FEATURES_MAX)]
_ON_UTILITY = [THETA_FEATURES + 2 * j + 1 for j in range(FEATURES_MAX)]


class DemandNet(nn.Module):
    """theta: a market's parameters [m, DIMENSION]; trunk: INPUTS -> HIDDEN -> (share, utility)."""

    def __init__(self, theta: np.ndarray, *, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.theta = nn.Parameter(torch.as_tensor(theta, dtype=torch.float32))
        self.input = nn.Parameter(0.3 * torch.randn(HIDDEN, INPUTS, generator=generator))
        self.bias = nn.Parameter(0.1 * torch.randn(HIDDEN, generator=generator))
        self.output = nn.Parameter(torch.zeros(2, HIDDEN))  # share, utility

    def forward(self, market: torch.Tensor, x: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
        """P(purchase) [n] of requests x [n, INPUTS] in markets [n] at P = ratio [n]."""
        theta = self.theta[market]  # [n, DIMENSION]
        a = x @ self.input.T + self.bias  # [n, HIDDEN]
        a = a / (1.0 + a.abs())
        mix, utility = (a @ self.output.T).unbind(1)  # [n], [n]
        z = x[:, FIRST_FEATURE_INPUT:]  # [n, FEATURES_MAX]
        mix = mix + theta[:, THETA_MIX] + (theta[:, THETA_MIX + 1 : THETA_MIX + 1 + BASIS] * x[:, :BASIS]).sum(1)
        mix = mix + (theta[:, _ON_SHARE] * z).sum(1)
        utility = utility + theta[:, THETA_LATE] * x[:, LATE_BASIS] + (theta[:, _ON_UTILITY] * z).sum(1)
        utility = utility + (theta[:, THETA_WEEKDAY : THETA_WEEKDAY + 2] * x[:, BASIS : BASIS + 2]).sum(1)
        share = torch.sigmoid(mix)
        leisure = torch.sigmoid(theta[:, THETA_LEISURE] + utility - theta[:, THETA_STEEP_LEISURE].exp() * ratio)
        business = torch.sigmoid(theta[:, THETA_BUSINESS] + utility - theta[:, THETA_STEEP_BUSINESS].exp() * ratio)
        return share * business + (1.0 - share) * leisure

    def trunk(self) -> dict[str, np.ndarray]:
        """The hidden layer as the artifact holds it, float64."""
        parts = {"input": self.input, "bias": self.bias, "mix": self.output[0], "utility": self.output[1]}
        return {name: part.detach().cpu().numpy().astype(np.float64) for name, part in parts.items()}


def no_trunk() -> dict[str, np.ndarray]:
    """A hidden layer that adds nothing."""
    return {
        "input": np.zeros((HIDDEN, INPUTS)),
        "bias": np.zeros(HIDDEN),
        "mix": np.zeros(HIDDEN),
        "utility": np.zeros(HIDDEN),
    }
