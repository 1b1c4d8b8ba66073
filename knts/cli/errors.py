"""How a command can fail: each failure is a sentence and an exit code. docs/cli.md lists the codes."""

from typing import ClassVar

OK, FAILED, USAGE, NO_CONNECTION, ABSTAINED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class CommandError(Exception):
    """The command can't do what was asked; the message is for the person who typed it."""

    code: ClassVar[int] = FAILED


class NoConnection(CommandError):
    """Nothing answers at the address."""

    code = NO_CONNECTION


class Answered(CommandError):
    """The server answered with an error; `status` is HTTP's and `retry_after` in seconds where it was given."""

    def __init__(self, sentence: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after = retry_after
