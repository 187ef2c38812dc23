"""Settings that lose acknowledged records are refused, each with its cure."""

import pytest

from online.log import LogNotDurable, LogUnavailable, check_server, connect, require_durable


def test_the_embedded_server_passes_every_check(log_server):
    with connect(log_server.url) as client:
        assert all(check.ok for check in require_durable(client))


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("appendfsync", "everysec", "appendfsync"),
        ("appendonly", "no", "appendonly"),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy"),
        ("no-appendfsync-on-rewrite", "yes", "no-appendfsync-on-rewrite"),
    ],
)
def test_a_setting_that_loses_records_is_red_and_names_its_cure(log_server, setting, value, name):
    with connect(log_server.url) as client:
        client.config_set(setting, value)
        red = [check for check in check_server(client) if not check.ok]
        assert [(check.name, check.found) for check in red] == [(name, value)]
        assert f"CONFIG SET {setting}" in red[0].cure
        with pytest.raises(LogNotDurable, match=f"CONFIG SET {setting}"):
            require_durable(client)


def test_a_server_that_hides_its_settings_is_refused_with_the_command_that_shows_them(log_server):
    with connect(log_server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-config")
    url = log_server.url.replace("unix://", "unix://app:secret@")
    with connect(url) as client:
        red = [check for check in check_server(client) if not check.ok]
    assert {check.name for check in red} == {"appendfsync", "no-appendfsync-on-rewrite"}
    assert all("+config|get" in check.cure for check in red)


def test_memory_that_is_nearly_full_is_red(log_server):
    with connect(log_server.url) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] * 6 // 5)
        assert [check.name for check in check_server(client) if not check.ok] == ["memory"]


def test_a_replica_is_red(tmp_path, log_server):
    with connect(log_server.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert "role" in [check.name for check in check_server(client) if not check.ok]
        client.execute_command("REPLICAOF", "NO", "ONE")


def test_keys_that_do_not_fit_together_are_red(log_server):
    with connect(log_server.url) as client:
        client.set("perennial:{default/0}:sequence", 7)
        assert [check.name for check in check_server(client) if not check.ok] == ["sequence"]


def test_a_server_that_is_away_is_named_as_that(log_server):
    log_server.stop()
    with connect(log_server.url) as client, pytest.raises(LogUnavailable):
        check_server(client)
