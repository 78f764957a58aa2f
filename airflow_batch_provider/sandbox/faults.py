"""
Faults: misbehaviour on demand, per route, by dice or by count.

A fault is data. Tests add them through ``server.faults``, other processes through ``PUT /sandbox/faults``;
``interference.py`` acts them out.
"""

from __future__ import annotations

import random
import threading
from typing import Annotated, Any, Literal

import msgspec

Kind = Literal["status", "html", "empty", "drop", "latency", "lost_answer", "truncate", "corrupt"]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]

ANY_ROUTE = "*"


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """
    One way in which some requests go wrong.

    The kinds, and the options each of them looks at:

    - ``status``: an error answer, the work is not done (status, body, retry_after);
    - ``html``: the same as an HTML page (status, retry_after);
    - ``empty``: the same without a body (status, retry_after);
    - ``drop``: the connection is cut before anything is done;
    - ``latency``: the answer takes longer (seconds);
    - ``lost_answer``: the work is done, then the connection is cut, or an error answered (status, body);
    - ``truncate``: the answer's body ends early and the connection is cut (at, chunked, silent);
    - ``corrupt``: bytes in the middle of the answer's body are flipped (count).

    :param route: As in ``server.calls``, such as ``POST /batches`` or ``GET /files/{id}/content``; ``*`` is all.
    :param kind: One of those above.
    :param rate: The share of the requests it hits.
    :param times: How many requests it hits before it is used up; None: no end.
    :param status: The HTTP status; 500 when nothing is said.
    :param body: The body, instead of an error in OpenAI's shape: text is sent as it is, anything else as JSON.
    :param retry_after: The ``Retry-After`` header.
    :param seconds: The latency.
    :param at: Where the body is cut, as a fraction of its length.
    :param chunked: The cut body is sent chunked instead of with the length it should have had.
    :param silent: The cut body is announced with its own length, so that nothing in HTTP shows the cut.
    :param count: How many bytes are flipped.
    """

    route: str
    kind: Kind
    rate: Fraction = 1.0
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    body: Any = None
    retry_after: str | int | float | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    at: Fraction = 0.5
    chunked: bool = False
    silent: bool = False
    count: Annotated[int, msgspec.Meta(ge=1)] = 4


class Faults:
    """
    The faults of one sandbox; usable from any thread.

    :param seed: Makes the dice repeatable.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def __repr__(self) -> str:
        return f"<Faults [{', '.join(f'{fault.route}: {fault.kind}' for fault in self.all())}]>"

    def add(self, route: str, kind: Kind, rate: float = 1.0, times: int | None = None, **options: Any) -> None:
        """
        Add a fault.

        :param route: The route it is for; ``*`` is all.
        :param kind: What happens; :class:`Fault` has the list.
        :param rate: The share of the requests it hits.
        :param times: How many requests it hits before it is used up.
        :param options: The kind's options.
        :raises msgspec.ValidationError: there is no such kind or option, or a value is impossible.
        """
        fault = msgspec.convert({"route": route, "kind": kind, "rate": rate, "times": times, **options}, Fault)
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        self.replace([])

    def replace(self, faults: list[Fault]) -> None:
        """Put these faults in place of all others."""
        with self._lock:
            self._faults = list(faults)

    def all(self) -> list[Fault]:
        """Return the faults that are not used up."""
        with self._lock:
            return list(self._faults)

    def draw(self, route: str) -> list[Fault]:
        """
        Throw the dice for one request and return the faults that hit it.

        :param route: The request's route.
        """
        with self._lock:
            hits = [fault for fault in self._faults if fault.route in (route, ANY_ROUTE) and self._hits(fault)]
            # By identity: two faults may be equal and only one of them hit.
            hit = {id(fault) for fault in hits}
            left = [self._spent(fault) if id(fault) in hit else fault for fault in self._faults]
            self._faults = [fault for fault in left if fault is not None]
        return hits

    def _hits(self, fault: Fault) -> bool:
        return fault.rate >= 1 or self._dice.random() < fault.rate

    @staticmethod
    def _spent(fault: Fault) -> Fault | None:
        if fault.times is None:
            return fault
        return msgspec.structs.replace(fault, times=fault.times - 1) if fault.times > 1 else None
