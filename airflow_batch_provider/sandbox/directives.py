"""
Directives: what a batch's own metadata asks the sandbox to do with it.

``metadata={"sandbox": "outcome=expired expire_after=0.5"}`` travels through any client and any gateway, so the end
of a batch can be chosen without touching the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from airflow_batch_provider.sandbox.errors import ApiError

METADATA_KEY = "sandbox"

Outcome = Literal["completed", "failed", "expired", "cancelled"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Directives(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One batch's directives.

    :param outcome: How the batch ends.
    :param fail_rows: The share of the rows that are answered with an error.
    :param fail_code: The HTTP status of those errors; without it 400, 429 and 500 take turns.
    :param expire_after: The batch expires when this share of its rows is done.
    :param cancel_after: The service cancels the batch when this share of its rows is done.
    :param missing_rows: The share of the rows that neither file ever mentions.
    :param stall: The batch stops at half its rows and stays ``in_progress`` until somebody cancels it.
    :param seconds: How long it is ``in_progress`` (before ``time_scale``).
    :param queue_full: It fails at once with ``token_limit_exceeded``, as when too much work is queued.
    :param empty_error_id: Without errors, ``error_file_id`` is an empty string instead of null.
    :param zero_byte_error_file: Without errors, there is an error file of no bytes.
    :param string_body: ``response.body`` is a string that contains JSON.
    :param crlf: Lines of the result files end with CR LF.
    :param content_type: The content type the result files are served with.
    :param upper_status: Statuses are spelled in capitals.
    """

    outcome: Outcome = "completed"
    fail_rows: Share = 0.0
    fail_code: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = None
    expire_after: Share | None = None
    cancel_after: Share | None = None
    missing_rows: Share = 0.0
    stall: bool = False
    seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None
    queue_full: bool = False
    empty_error_id: bool = False
    zero_byte_error_file: bool = False
    string_body: bool = False
    crlf: bool = False
    content_type: str = "application/octet-stream"
    upper_status: bool = False

    @property
    def planned_outcome(self) -> Outcome:
        """How the batch ends if nobody cancels it and its input is valid."""
        if self.queue_full:
            return "failed"
        if self.expire_after is not None:
            return "expired"
        return "cancelled" if self.cancel_after is not None else self.outcome

    @property
    def planned_share(self) -> float:
        """The share of the rows that are done when that end comes; a half where nothing was said."""
        if self.stall:
            return 0.5
        asked_for = self.expire_after if self.expire_after is not None else self.cancel_after
        if asked_for is not None:
            return asked_for
        return 0.5 if self.planned_outcome in ("expired", "cancelled") else 1.0


def parse_directives(metadata: Mapping[str, str]) -> Directives:
    """
    Read the directives in a batch's metadata.

    :param metadata: The batch's metadata; without a ``sandbox`` key everything is as usual.
    :raises ApiError: a directive does not exist or has an impossible value; a typo must not look like a success.
    """
    words = metadata.get(METADATA_KEY, "").split()
    pairs = [word.partition("=") for word in words]
    try:
        # strict=False reads "0.5", "3" and "true" as the numbers and booleans they spell.
        return msgspec.convert({name: value for name, _, value in pairs}, Directives, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(Directives.__struct_fields__)
        raise ApiError(
            400, f"Unusable sandbox directive: {error}. Known are: {known}.", param="metadata", code="invalid_directive"
        ) from error
