"""What machines watch: metrics by Prometheus' conventions, rules and panels that name only what is there, JSON logs."""

import json
import re
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import ROOT, Running, eventually

ALERTS = (ROOT / "deploy/alerts.yml").read_text("utf-8")
PANELS = json.loads((ROOT / "deploy/grafana.json").read_text("utf-8"))
NAME = re.compile(r"perennial_[a-z0-9_]+")
UNITLESS = {"perennial_prequential_log_loss", "perennial_log_head", "perennial_learned_position"}


def families(service: Running) -> dict[str, Any]:
    service.client.post("/v1/recommendations", json={"user_id": "u1"})
    assert (service.home / "snapshots").exists() or service.client.get("/metrics")
    return {one.name: one for one in text_string_to_metric_families(service.client.get("/metrics").text)}


def samples(found: dict[str, Any]) -> set[str]:
    return {sample.name for family in found.values() for sample in family.samples}


def test_names_follow_the_conventions_and_no_id_is_a_label(service: Running) -> None:
    for name, family in families(service).items():
        assert NAME.fullmatch(name), name
        assert family.documentation, name
        assert not re.search(r"_(ms|minutes|kb|mb)(_|$)", name), f"{name}: base units only"
        for sample in family.samples:
            assert set(sample.labels) <= {"call", "status", "outcome", "arm", "quantile", "stream", "le"}
            if family.type == "counter":
                assert sample.name.endswith(("_total", "_created"))


def test_rules_and_panels_name_only_what_is_there(service: Running) -> None:
    there = samples(families(service))
    expressions = re.findall(r"^\s+expr: (.+)$", ALERTS, re.MULTILINE)
    expressions += [target["expr"] for panel in PANELS["panels"] for target in panel["targets"]]
    assert len(expressions) > 15
    maybe = {"perennial_snapshot_age_seconds", "perennial_arm_reward_mean"}  # with the first snapshot, the first reward
    for expression in expressions:
        for name in NAME.findall(expression):
            assert name in there | maybe, f"{name} in {expression}"


def test_every_rule_says_what_to_do() -> None:
    rules = ALERTS.count("- alert: ")
    assert rules == ALERTS.count("action: ") == ALERTS.count("summary: ") == ALERTS.count("severity: ") >= 8


def test_workers_count_together(service: Running) -> None:
    def answered() -> float:
        found = families(service)["perennial_http_requests"]
        return sum(s.value for s in found.samples if s.labels.get("call") == "livez" and s.name.endswith("_total"))

    before = answered()
    for _ in range(40):
        # A new connection each time, so that both workers answer some.
        service.client.get("/livez", headers={"Connection": "close"})
    assert answered() == before + 40


def test_a_line_for_every_request_with_its_ids(start_service: Any) -> None:
    running = start_service("home", "--access-log")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"X-Request-ID": "mine-17", "traceparent": trace}
    decision = running.client.post("/v1/recommendations", json={"user_id": "u1"}, headers=headers).json()
    running.client.get("/v1/state", headers={"X-Request-ID": "mine-18", "traceparent": "nonsense"})

    def lines() -> dict[str, dict[str, Any]]:
        told = [json.loads(line) for line in running.said().splitlines() if line.startswith("{")]
        return {line["request_id"]: line for line in told if line["event"] == "request"}

    assert eventually(lambda: {"mine-17", "mine-18"} <= set(lines()))
    line = lines()["mine-17"]
    assert (line["call"], line["status"], line["decision_id"]) == ("recommendations", 201, decision["decision_id"])
    assert line["traceparent"] == trace and line["ms"] > 0
    assert "decision_id" not in lines()["mine-18"] and "traceparent" not in lines()["mine-18"]
