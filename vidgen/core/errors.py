"""Every way in which vidgen says no.

Each refusal says what is wrong (`message`), one thing to do about it (`remedy`), and carries the exit code that
the shell sees. The tree, with the codes:

    Refusal
    ├── UsageRefused        2   a word, a setting or a combination that makes no sense
    ├── InputRefused        3   a picture or another input file that cannot be used
    ├── WeightsRefused      4   weights missing, gated, corrupt or not what they should be
    ├── DoesNotFit          5   no way to run this on this machine
    │   └── OutOfMemory     5   a phase ran out of memory; the run goes on another way where there is one
    ├── OutputRefused       6   the output cannot be written
    ├── ChecksFailed        7   what came out is not what was asked
    │   └── NotFinite       7   values are out of bounds; the run goes on in a higher precision where there is one
    ├── SomeJobsFailed      8   a batch went on, but not all of it succeeded
    ├── TryLater           75   busy now; the same command may succeed later
    └── Stopped           130   the user asked to stop (143 when it was SIGTERM, 129 SIGHUP)

Anything else that escapes is a bug of ours: exit code 1, traceback kept.
"""

from typing import ClassVar


class Refusal(Exception):  # noqa: N818
    """Base of every documented refusal: `message` says what is wrong, `remedy` one thing to do."""

    code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    @property
    def exit_code(self) -> int:
        """The code that the process ends with."""
        return self.code


class UsageRefused(Refusal):
    """A word, a setting or a combination that makes no sense."""

    code = 2


class InputRefused(Refusal):
    """A picture or another input file that cannot be used."""

    code = 3


class WeightsRefused(Refusal):
    """Weights missing, gated, corrupt or not what they should be."""

    code = 4


class DoesNotFit(Refusal):
    """No way to run this on this machine."""

    code = 5


class OutOfMemory(DoesNotFit):
    """A phase ran out of memory: the run goes on another way where there is one."""


class OutputRefused(Refusal):
    """The output cannot be written."""

    code = 6


class ChecksFailed(Refusal):
    """What came out is not what was asked."""

    code = 7


class NotFinite(ChecksFailed):
    """Values are NaN, infinite or far out of bounds: the run goes on in a higher precision where there is one."""


class SomeJobsFailed(Refusal):
    """A batch went on to its end, but not all of it succeeded."""

    code = 8


class TryLater(Refusal):
    """Busy now; the same command may succeed later."""

    code = 75


class Stopped(Refusal):
    """The user asked to stop: by SIGINT (130), SIGTERM (143) or SIGHUP (129)."""

    code = 130

    def __init__(self, message: str, remedy: str, *, signal_number: int = 2) -> None:
        super().__init__(message, remedy)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells have it."""
        return 128 + self.signal_number
