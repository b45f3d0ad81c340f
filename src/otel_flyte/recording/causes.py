"""The exceptions that a stack trace names beside its own: causes, contexts, and the members of groups.

They are read from the text: the convention of OpenTelemetry has one attribute for all of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

CAUSED_BY, WHILE_HANDLING, IN_THE_GROUP = "caused by", "while handling", "in the group"

_LINKS = {
    "The above exception was the direct cause of the following exception:": CAUSED_BY,
    "During handling of the above exception, another exception occurred:": WHILE_HANDLING,
}
_HEADINGS = ("Traceback (most recent call last):", "Exception Group Traceback (most recent call last):")
_FRAME = re.compile(r' *File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)')
_LIBRARY = re.compile(r"[/\\](site|dist)-packages[/\\]|/lib/python3\.\d+/|\\Lib\\|^<frozen ")
_GROUP = re.compile(r"^  \+ Exception Group Traceback|^ *\+(-\+)?-+ \d+ -+$", re.MULTILINE)
_MEMBER = re.compile(r"(?P<indent> *)\+(?P<first>-\+)?-+ [\d.]+ -+")
_END = re.compile(r" *\+-+")
_MARGIN = re.compile(r"(?P<indent> {2,})[|+](?: |$)")
_OUTERMOST = 2
"""Spaces before the margin of a group that is in no other."""


@dataclass
class Block:
    """One exception of a stack trace.

    Attributes:
        frames: file, line and function of each call, the innermost last.
        text: its type and message, of one or more lines.
        link: how the exception before it, in the text, led to it; empty for the first.
        members: the chains of the exceptions that it groups.
    """

    link: str = ""
    frames: list[tuple[str, str, str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    members: "list[list[Block]]" = field(default_factory=list)

    @property
    def frame(self) -> str:
        """The innermost frame of the user's own code, ``file:line in function``; empty without frames."""
        users = [frame for frame in self.frames if not _LIBRARY.search(frame[0])]
        chosen = (users or self.frames)[-1:]
        return "".join(f"{file}:{line} in {function}" for file, line, function in chosen)


def chain_of(stacktrace: str) -> list[Block]:
    """Return the exceptions of a stack trace, the last one raised last; one at least."""
    has_groups = bool(_GROUP.search(stacktrace))
    chains: dict[int, list[Block]] = {0: [Block()]}
    for line in stacktrace.splitlines():
        level, text = 0, line
        if has_groups:
            member = _MEMBER.fullmatch(line)
            if member:
                _begin_member(chains, len(member["indent"]) + (2 if member["first"] else 0))
                continue
            if _END.fullmatch(line):
                continue
            if margin := _MARGIN.match(line):
                level, text = _level(len(margin["indent"])), line[margin.end() :]
        _add(chains.setdefault(level, [Block()]), text)
    return chains[0]


def others_of(chain: list[Block], relation: str = "", depth: int = 0) -> Iterator[tuple[str, Block, int]]:
    """Return the exceptions of a chain besides its last, with their relation to the one named before.

    The depth is the number of groups around an exception.
    """
    for block in reversed(chain):
        if relation:
            yield relation, block, depth
        for member in block.members:
            yield from others_of(member, IN_THE_GROUP, depth + 1)
        relation = block.link


def _level(indent: int) -> int:
    return 0 if indent <= _OUTERMOST else indent


def _begin_member(chains: dict[int, list[Block]], level: int) -> None:
    for deeper in [each for each in chains if each >= level]:
        del chains[deeper]
    group = chains[max(chains)][-1]
    chains[level] = [Block()]
    group.members.append(chains[level])


def _add(chain: list[Block], line: str) -> None:
    block = chain[-1]
    frame = _FRAME.match(line)
    if line in _LINKS:
        chain.append(Block(_LINKS[line]))
    elif frame and not block.text:
        block.frames.append((frame["file"], frame["line"], frame["function"]))
    elif line not in _HEADINGS and (block.text or not line.startswith(" ")):
        # The lines of code below a frame are indented, those of a message may be.
        block.text += [line] if line or block.text else []
