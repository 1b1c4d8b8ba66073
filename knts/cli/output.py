"""What the commands print: results to stdout, everything about them to stderr."""

import sys
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text


def out() -> Console:
    """The console of results; a pipe gets every line whole."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """The console of progress and complaints."""
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def print_json(value: Any, *, line: bool = False) -> None:
    """A value as JSON on stdout, on one line or indented."""
    text = orjson.dumps(value, option=0 if line else orjson.OPT_INDENT_2, default=str)
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.flush()


def shown(text: str) -> str:
    """Text from elsewhere without control characters, which could drive the terminal."""
    return "".join(character if character.isprintable() or character in "\n\t" else "�" for character in text)


def marked(text: str, ranges: list[list[int]], style: str) -> Text:
    """Text with ranges of code points in a style."""
    result = Text(shown(text))
    for start, end in ranges:
        result.stylize(style, start, end)
    return result
