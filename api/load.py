"""What one worker does when more is asked than it can answer in time: refuse at once, by class, what can wait.

Counted is what is under way here. A worker answers some thousands of requests a second, so a few hundred under way are
about a tenth of a second of work: beyond that, waiting in line would only make every answer late. Figures and lists
give way first, then slates and quotes, then feedback and operators' acts. Whether it lives is always told.
"""

import random
from typing import ClassVar

from api.problems import Problem
from api.scopes import Scope


class Load:
    """The requests under way in one worker."""

    lists_max: ClassVar[int] = 96
    decisions_max: ClassVar[int] = 256
    feedback_max: ClassVar[int] = 768

    __slots__ = ("busy",)

    def __init__(self) -> None:
        self.busy = 0

    def most(self, method: str, scope: Scope | None) -> int | None:
        """How many may be under way for a request of this kind to be taken; None: always.

        >>> Load().most("GET", None), Load().most("GET", "operate"), Load().most("POST", "operate")
        (None, 96, 768)
        """
        if scope is None:
            return None
        if scope == "decide":
            return self.decisions_max
        return self.lists_max if method in ("GET", "HEAD") else self.feedback_max

    def refuse(self) -> Problem:
        """What is told to those that cannot be taken; not all of them come again in the same second."""
        return Problem("overloaded", retry_after_s=random.randint(1, 3))
