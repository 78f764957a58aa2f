"""
When a page of the service's list is cheaper than asking for single batches: the rule, in one place.

- A page is asked for when it showed at least ``MIN_ON_A_PAGE`` of the batches that are due now. A page's cursor is the
  batch before it, so what a page shows does not change while others are created, and no foreign batch is read twice.
- Batches that no page is known to show are looked for from the top of the list, when there are at least as many, over
  at most as many pages as asking one by one would cost a third of. What is not found is asked for by itself, and not
  looked for again for an hour.
- Everything else is asked for by itself.
- Each look also asks for one batch that a page shows as open. Lists that tell old news are found so, and left alone.
  They exist: aimock's list never moves a batch.
- A list that is missing, forbidden, too slow or broken is left alone for a while. The batches are asked for one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from airflow_batch_provider.core.schedule import Watched

# A page and the check of one of its batches are two calls; below three batches there is nothing to gain.
MIN_ON_A_PAGE = 3
MAX_PAGES_TO_SEARCH = 200
SLOW_PAGE_SECONDS = 10.0
LEAVE_ALONE_SECONDS = 3600.0
PASSING_FAULT_SECONDS = 600.0
MAX_FAULTS = 3
MAX_SURPRISES = 2
SURPRISES_ARE_FORGOTTEN_AFTER = 10

TOP = ""


@dataclass(slots=True)
class LookPlan:
    """
    How to ask for the batches that are due.

    :param pages: Pages to read: cursor -> batches that are due and were last seen there.
    :param search: Batches to search for from the top of the list.
    :param singles: Batches to ask for one by one.
    """

    pages: dict[str, list[Watched]] = field(default_factory=dict)
    search: list[Watched] = field(default_factory=list)
    singles: list[Watched] = field(default_factory=list)


def plan_looks(due: Iterable[Watched], now: float, *, has_list: bool) -> LookPlan:
    """
    Decide how to ask.

    :param due: The batches that are due.
    :param now: Epoch seconds.
    :param has_list: False while the list is left alone.
    """
    plan = LookPlan()
    if not has_list:
        plan.singles = list(due)
        return plan
    by_page: dict[str, list[Watched]] = {}
    for watched in due:
        if watched.page is not None:
            by_page.setdefault(watched.page, []).append(watched)
        elif now >= watched.unlisted_until:
            plan.search.append(watched)
        else:
            plan.singles.append(watched)
    if TOP in by_page and is_worth_searching(len(plan.search)):
        plan.search += by_page.pop(TOP)  # the search reads that page anyway
    for cursor, members in by_page.items():
        if len(members) >= MIN_ON_A_PAGE:
            plan.pages[cursor] = members
        else:
            plan.singles += members
    if not is_worth_searching(len(plan.search)):
        plan.singles += plan.search
        plan.search = []
    return plan


def is_worth_searching(count: int) -> bool:
    """
    Say whether so many batches are worth a search from the top of the list.

    :param count: How many.
    """
    return count >= MIN_ON_A_PAGE


def pages_to_search(count: int) -> int:
    """
    How many pages a search may read.

    :param count: Batches searched for.
    """
    return min(MAX_PAGES_TO_SEARCH, max(1, count // MIN_ON_A_PAGE))


class ListTrust:
    """Whether the service's list can be used at present."""

    def __init__(self) -> None:
        self._alone_until = 0.0
        self._faults = 0
        self._surprises = 0
        self._checks = 0

    def is_usable(self, now: float) -> bool:
        """
        Say whether pages may be read.

        :param now: Epoch seconds.
        """
        return now >= self._alone_until

    def page_came(self, seconds: float, now: float) -> str | None:
        """
        Note that a page was read.

        :param seconds: How long it took.
        :param now: Epoch seconds.
        :returns: Why the list is left alone from now on, or None.
        """
        self._faults = 0
        if seconds < SLOW_PAGE_SECONDS:
            return None
        return self._leave_alone(now, LEAVE_ALONE_SECONDS, f"a page of it took {seconds:.0f} s")

    def page_failed(self, reason: str, now: float, *, may_pass: bool) -> str | None:
        """
        Note that a page could not be read.

        :param reason: Why, in a sentence.
        :param now: Epoch seconds.
        :param may_pass: True for faults that may be gone at the next look.
        :returns: Why the list is left alone from now on, or None.
        """
        if not may_pass:
            return self._leave_alone(now, LEAVE_ALONE_SECONDS, reason)
        self._faults += 1
        return self._leave_alone(now, PASSING_FAULT_SECONDS, reason) if self._faults >= MAX_FAULTS else None

    def checked(self, now: float, *, was_right: bool) -> str | None:
        """
        Note what came of asking for a batch right after a page showed it as open.

        :param now: Epoch seconds.
        :param was_right: False when it had ended. Once in a while that is chance.
        :returns: Why the list is left alone from now on, or None.
        """
        self._checks += 1
        if not was_right:
            self._surprises += 1
        if self._surprises >= MAX_SURPRISES:
            return self._leave_alone(now, LEAVE_ALONE_SECONDS, "it shows batches as running that have ended")
        if self._checks >= SURPRISES_ARE_FORGOTTEN_AFTER:
            self._checks = self._surprises = 0
        return None

    def _leave_alone(self, now: float, seconds: float, reason: str) -> str | None:
        self._faults = self._surprises = self._checks = 0
        if not self.is_usable(now):
            return None
        self._alone_until = now + seconds
        return reason
