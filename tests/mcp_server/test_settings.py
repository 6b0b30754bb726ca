"""What may be set, from which source, and what stops a start."""

import argparse

import pytest

from mcp_server import settings
from mcp_server.settings import BadSetting, Settings


def read(*words: str, command: str = "serve", **env: str) -> Settings:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser, command)
    named = {f"NPU_GATEWAY_{name.upper()}": value for name, value in env.items()}
    return settings.read(parser.parse_args(words), command, named)


def test_a_gateway_over_http_listens_on_this_machine_alone_unless_told_otherwise():
    chosen = read("--http")
    assert (chosen.host, chosen.port, chosen.uds) == ("127.0.0.1", 8642, None)
    assert not chosen.reaches_others
    assert (chosen.allowed_host, chosen.cors_origin) == ((), ())
    assert (chosen.requests_per_minute, chosen.tokens_per_minute) == (0, 0)


def test_the_line_comes_before_the_environment():
    chosen = read("--http", "--port", "1", port="2", queue_seconds="3")
    assert (chosen.port, chosen.queue_seconds) == (1, 3)


def test_a_child_process_is_given_the_same_settings():
    words = ["--http", "--host", "::", "--port", "0", "--allow-unauthenticated", "--json-logs"]
    words += ["--allowed-host", "a.example", "--allowed-host", "::1"]
    words += ["--cors-origin", "https://a.example:8443", "--drain-seconds", "0"]
    chosen = read(*words)
    assert read(*chosen.arguments("serve")) == chosen
    assert chosen.arguments("doctor") == []


def test_several_hosts_and_origins_in_the_environment_stand_between_commas():
    chosen = read(
        "--http", allowed_host="a.example, [::1]", cors_origin="http://[::1]:3000,tauri://localhost"
    )
    assert chosen.allowed_host == ("a.example", "::1")
    assert chosen.cors_origin == ("http://[::1]:3000", "tauri://localhost")


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("localhost", "localhost"),
        ("Gateway.Example.", "gateway.example"),
        ("0.0.0.0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
    ],
)
def test_a_host_is_a_name_or_an_address(given, host):
    assert read("--http", "--host", given).host == host


NO_HOSTS = ["*", "a b", "a..b", "-a", "x:80", "http://x", "x/y", "[x]", "a" * 64, "a\r\nb"]
READ_AS_ADDRESSES = ["127.1", "0", "0x7f000001", "256.0.0.1"]


@pytest.mark.parametrize("host", [*NO_HOSTS, *READ_AS_ADDRESSES, "", "bücher.example"])
def test_what_is_no_host_is_refused(host):
    for flag in ("--host", "--allowed-host"):
        if host or flag == "--host":
            with pytest.raises(BadSetting, match=f"{flag} takes a name or an address"):
                read("--http", f"{flag}={host}")


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://Chat.Example", "https://chat.example"),
        ("https://chat.example:443", "https://chat.example"),
        ("http://chat.example:80", "http://chat.example"),
        ("http://chat.example:443", "http://chat.example:443"),
        ("http://[0::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_an_origin_is_kept_as_browsers_write_it(given, origin):
    assert read("--http", "--cors-origin", given).cors_origin == (origin,)


PATTERNS = ["*", "null", "https://*", "https://*.example"]
MORE_THAN_AN_ORIGIN = ["https://a/", "https://a/b", "https://a?b", "https://u@a"]
NO_ORIGINS = ["a.example", "a:80", "https://", "file:///x", "https://a:", "https://a:65536"]


@pytest.mark.parametrize("origin", [*PATTERNS, *MORE_THAN_AN_ORIGIN, *NO_ORIGINS])
def test_what_is_no_exact_origin_is_refused(origin):
    with pytest.raises(BadSetting, match="--cors-origin takes scheme://host"):
        read("--http", "--cors-origin", origin)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("requests-per-minute", "1.5"),
        ("tokens-per-minute", "-1"),
        ("drain-seconds", "forever"),
        ("queue-seconds", "0"),
    ],
)
def test_a_number_out_of_its_limits_is_refused(name, value):
    with pytest.raises(BadSetting, match=f"--{name} takes a whole number"):
        read("--http", f"--{name}={value}")


def test_a_flag_that_does_nothing_without_http_is_refused_and_what_is_kept_for_it_is_not():
    with pytest.raises(BadSetting, match="--port does nothing without --http"):
        read("--port", "8000")
    assert read(port="8000") == Settings(port=8000)
    assert read("--port", "8000", http="1").port == 8000
    assert read(port="8000").arguments("serve") == []


def test_a_socket_takes_the_place_of_an_address():
    assert not read("--http", "--uds", "gateway.sock").reaches_others
    for more in (["--host", "::1"], ["--port", "8000"]):
        with pytest.raises(BadSetting, match="--uds takes the place of --host and --port"):
            read("--http", "--uds", "gateway.sock", *more)
    assert read(uds="gateway.sock", port="8000").port == 8000


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.example", "fe80::1"])
def test_other_machines_are_let_in_only_with_a_key_or_on_demand(host):
    chosen = read("--http", "--host", host)
    with pytest.raises(BadSetting, match="npu-gateway keys create") as refused:
        settings.check_access(chosen, has_keys=False)
    assert f"--host {host}" in str(refused.value)
    settings.check_access(chosen, has_keys=True)
    everybody = read("--http", "--host", host, "--allow-unauthenticated")
    settings.check_access(everybody, has_keys=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_no_key(host):
    settings.check_access(read("--http", "--host", host), has_keys=False)


def test_a_home_that_is_not_there_is_refused_by_name():
    with pytest.raises(BadSetting, match="--data-dir takes a path whose ~"):
        read("--data-dir", "~no-such-person/notes")
