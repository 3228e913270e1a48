# SPDX-License-Identifier: Apache-2.0
"""Several cgminer commands in as few connections as the firmware allows, remembered per miner."""

from collections.abc import Generator

from kernel.errors import DecodeError, TransportError
from miner_control.dialect import cgminer
from miner_control.fleet.driver import Access, Answer, Request

Answers = dict[str, cgminer.Document]


def gather(access: Access, commands: tuple[str, ...], again: bool = False) -> Generator[Request, Answer, Answers]:
    """Replies by command; failed commands are left out. Where the first one is not answered, no other is sent.

    Joined (`a+b+c`) is tried first. A firmware that answers none of them joined gets them one by one from then on; `again`
    forgets that (once a day, for a firmware that was changed). Commands missing from a joined reply are sent singly.
    """
    port, memory = access.ports.get("rpc", cgminer.PORT), access.memory
    found: Answers = {}
    unread: DecodeError | None = None
    if again:
        memory.pop("joined", None)
    if memory.get("joined") is not False and len(commands) > 1:
        try:
            found = joined(cgminer.parse((yield cgminer.request("+".join(commands), port)).body), commands)
        except DecodeError:
            found = {}
        memory["joined"] = bool(found)
        if len(found) == len(commands):
            return found
    for place, command in enumerate(commands):
        if command in found:
            continue
        if place == 0:
            try:
                found[command] = cgminer.parse((yield cgminer.request(command, port)).body)
            except DecodeError as error:
                # It answers, and the other replies may be readable.
                unread = error
        else:
            yield from also(access, found, command)
    if unread is not None and not found:
        raise unread
    return found


def also(access: Access, answers: Answers, command: str) -> Generator[Request, Answer, None]:
    """One more command; where it fails it is left out, and its metrics are Missing."""
    try:
        answer = yield cgminer.request(command, access.ports.get("rpc", cgminer.PORT))
        answers[command] = cgminer.parse(answer.body)
    except (TransportError, DecodeError):
        pass


def joined(document: cgminer.Document, commands: tuple[str, ...]) -> Answers:
    """The replies contained in the reply of a joined command."""
    found: Answers = {}
    for command in commands:
        part = document.get(command)
        if type(part) is list and part and type(part[0]) is dict:
            found[command] = part[0]
    return found
