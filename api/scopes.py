"""Which scope each address asks for, on one page. What stands nowhere here asks for `admin`: deny by default.

Operators' acts share one address and differ in weight: what keeps the past as it is asks for `operate`, what makes
another past of it, or takes records away for good, for `admin`, as a rollback does.
"""

from typing import Literal, NamedTuple, get_args

Scope = Literal["decide", "feedback", "operate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
DESCRIBED: dict[Scope, str] = {
    "decide": "ask for slates and quotes",
    "feedback": "report what users did and what became of quotes",
    "operate": "the catalogue, decisions, figures, snapshots, the dashboard, and the acts freeze, resume and rules",
    "admin": "everything, and what rewrites the past: rollbacks, and the acts promote and erase",
}


class Rule(NamedTuple):
    """Addresses that begin with `start` and end with `end` (or are `start`, where `end` is None)."""

    methods: str
    start: str
    end: str | None
    scope: Scope | None  # None: open to everybody


# An address itself comes before what begins like it; of those, the first that fits counts.
RULES = (
    Rule("GET", "/livez", None, None),
    Rule("GET", "/readyz", None, None),
    Rule("GET", "/docs", None, None),
    Rule("GET", "/docs.js", None, None),
    Rule("GET", "/openapi.json", None, None),
    Rule("GET", "/problems", None, None),
    Rule("GET", "/problems/", "", None),
    Rule("GET POST", "/login", None, None),
    Rule("GET", "/dashboard.css", None, None),
    Rule("GET", "/dashboard.js", None, None),
    Rule("POST", "/v1/recommendations", None, "decide"),
    Rule("POST", "/v1/quotes", None, "decide"),
    Rule("POST", "/v1/events", None, "feedback"),
    Rule("POST", "/v1/quotes/", "/outcome", "feedback"),
    Rule("POST", "/v1/bookings/", "/cancel", "feedback"),
    Rule("POST", "/v1/items", None, "operate"),
    Rule("PUT", "/v1/items/", "", "operate"),
    Rule("PUT", "/v1/flights/", "", "operate"),
    Rule("GET", "/v1/flights", "", "operate"),
    Rule("GET", "/v1/rules", None, "operate"),
    Rule("GET", "/v1/decisions/", "", "operate"),
    Rule("POST", "/v1/decisions/", "/reproduce", "operate"),
    Rule("GET", "/v1/state", None, "operate"),
    Rule("GET", "/v1/experiment", None, "operate"),
    Rule("GET POST", "/v1/snapshots", "", "operate"),
    Rule("GET POST", "/v1/acts", None, "operate"),
    Rule("POST", "/v1/rollbacks", None, "admin"),
    Rule("GET", "/metrics", None, "operate"),
    Rule("GET", "/", None, "operate"),
    Rule("POST", "/logout", None, None),
    Rule("GET", "/dashboard/", "", "operate"),
)
# What an act asks for beyond its address, also for a dry run; one that stands nowhere here asks for `admin`.
ACTS: dict[str, Scope] = {
    "freeze": "operate",
    "resume": "operate",
    "rules": "operate",
    "promote": "admin",
    "erase": "admin",
}
_EXACT = {(method, rule.start): rule for rule in RULES if rule.end is None for method in rule.methods.split()}
_BELOW = tuple(rule for rule in RULES if rule.end is not None)


def rule_of(method: str, path: str) -> Rule | None:
    """The rule for one request, None where nobody has written one.

    >>> rule_of("POST", "/v1/events").scope, rule_of("POST", "/v1/events/")
    ('feedback', None)
    """
    method = "GET" if method == "HEAD" else method
    exact = _EXACT.get((method, path))
    if exact is not None:
        return exact
    for rule in _BELOW:
        if method in rule.methods.split() and path.startswith(rule.start) and path.endswith(rule.end or ""):
            return rule
    return None


def scope_of(method: str, path: str) -> Scope | None:
    """The scope that a request needs, None where it is open. An address without a rule needs `admin`.

    >>> scope_of("GET", "/livez"), scope_of("POST", "/v1/quotes/q/outcome"), scope_of("DELETE", "/v1/state")
    (None, 'feedback', 'admin')
    """
    rule = rule_of(method, path)
    return "admin" if rule is None else rule.scope


def scope_of_act(act: str) -> Scope:
    """The scope that an act needs.

    >>> scope_of_act("freeze"), scope_of_act("erase"), scope_of_act("one that nobody has weighed yet")
    ('operate', 'admin', 'admin')
    """
    return ACTS.get(act, "admin")
