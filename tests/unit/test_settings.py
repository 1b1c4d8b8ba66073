"""Settings: read once, every fault named at once, secrets never shown."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from knts import settings
from knts.settings import SettingsError, read, setting


@dataclass(frozen=True)
class Example:
    url: str = setting("EXAMPLE_URL", "address of the example", parse=settings.http_url)
    key: str = setting("EXAMPLE_KEY", "its key", secret=True)
    wait: float = setting("EXAMPLE_WAIT", "seconds to wait", 2.5, parse=settings.seconds)


def test_values_defaults_and_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    got = read(Example, {"EXAMPLE_URL": "http://host:1/", "EXAMPLE_KEY_FILE": str(tmp_path / "key")})
    assert (got.url, got.key, got.wait) == ("http://host:1", "s3cret", 2.5)
    assert "s3cret" not in repr(got)


def test_every_fault_is_named_with_what_it_should_be() -> None:
    with pytest.raises(SettingsError) as caught:
        read(Example, {"EXAMPLE_URL": "ftp://x", "EXAMPLE_WAIT": "-1"})
    message = str(caught.value)
    assert "EXAMPLE_URL = 'ftp://x' is bad (expected an absolute http:// or https:// URL): address" in message
    assert "EXAMPLE_KEY is not set: its key" in message
    assert "EXAMPLE_WAIT = '-1' is bad (expected a positive number of seconds)" in message


def test_a_missing_file_is_named_and_an_empty_value_counts_as_unset(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EXAMPLE_KEY"):
        read(Example, {"EXAMPLE_URL": "http://x", "EXAMPLE_KEY": " ", "EXAMPLE_KEY_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (settings.positive_int, "3", 3),
        (settings.positive_int, "0", None),
        (settings.positive_int, "3.5", None),
        (settings.tcp_port, "65535", 65_535),
        (settings.tcp_port, "65536", None),
        (settings.tcp_port, "0", None),
        (settings.tcp_port, "-1", None),
        (settings.flag, "True", True),
        (settings.flag, "off", False),
        (settings.flag, "maybe", None),
        (settings.words, "a, b,,", ("a", "b")),
        (settings.seconds, "nan", None),
        (settings.seconds, "0.5", 0.5),
        (settings.redis_url, "redis://h", "redis://h"),
        (settings.redis_url, "http://h", None),
        (settings.ollama_base, "http://h:1/api/", "http://h:1"),
        (settings.ollama_base, "http://h:1", "http://h:1"),
        (settings.http_url, "http://", None),
        (settings.one_of("a", "b"), "b", "b"),
        (settings.one_of("a", "b"), "c", None),
    ],
)
def test_parsers(parse: object, text: str, value: object) -> None:
    assert callable(parse)
    if value is None:
        with pytest.raises(ValueError, match="expected"):
            parse(text)
    else:
        assert parse(text) == value
