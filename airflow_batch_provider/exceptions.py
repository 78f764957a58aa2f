"""
Every exception of this package, in one place.

The first split is: whose move is it?

::

    BatchError                            base of all; .retryable: may a task retry change anything?
    ├── InputError                        fix the data; nothing was sent
    ├── ConfigurationError                fix the connection or a parameter
    ├── ApiError                          the service did not do what was asked
    │   ├── ApiConnectionError            no answer, or an answer that broke off
    │   ├── ApiResponseError              an answer that is not what the protocol says
    │   │   └── DownloadError             a file that arrived short or altered; nothing was kept
    │   └── ApiStatusError                an answer that says no; .status_code .code .retry_after .said
    │       ├── AuthenticationError       401, 403
    │       ├── NotFoundError             404, 410
    │       ├── RateLimitError            429
    │       ├── ServerError               5xx
    │       └── GatewayError              a 5xx that says it is not a server fault; asking again changes nothing
    ├── SubmissionUnknownError            a paid call was sent and nobody can say whether it worked
    ├── JobError                          the remote job did not end well; .batch_ids
    │   ├── BatchNotEndedError            results were asked for before the end
    │   ├── BatchFailedError              refused by the service; nothing ran
    │   ├── BatchExpiredError             the completion window passed; finished rows are kept
    │   ├── BatchCancelledError           cancelled; finished rows are kept
    │   ├── BatchTimeoutError             our deadline passed; the job goes on remotely
    │   ├── WaitingFailedError            the service could not be asked for too long; the job goes on
    │   ├── RequestsFailedError           the job completed but requests in it failed
    │   └── PartialFailureError           a run ended with rows that did not succeed; .summary; all rows are written
    ├── JournalError                      a run's saved progress does not fit; nothing was started
    │   ├── JournalUnreadableError        it cannot be read, which never means that there is none
    │   ├── ForeignJournalError           it belongs to another task instance
    │   ├── StaleJournalError             the input or the parameters have changed since
    │   └── SupersededError               another try of the task has taken over
    └── TriggerEventError                 a missing or malformed event on resume

Messages say subject, fact, consequence, remedy. No exception has required keyword arguments, so all survive pickling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class BatchError(Exception):
    """Base of all exceptions of this package; ``retryable`` says whether a later task retry can change anything."""

    retryable: bool = True

    def __str__(self) -> str:
        # Other arguments are there for pickling.
        return str(self.args[0]) if self.args else ""


class InputError(BatchError, ValueError):
    """
    The input data are wrong; nothing was sent.

    :param message: The problems, each with its line.
    :param problems: The first problems as (line_number, text, custom_id, field).
    """

    retryable = False

    def __init__(self, message: str, problems: Sequence[tuple[int, str, str | None, str | None]] = ()) -> None:
        super().__init__(message, tuple(problems))
        self.problems = tuple(problems)


class ConfigurationError(BatchError, ValueError):
    """The connection or a parameter is wrong."""

    retryable = False


class ApiError(BatchError):
    """The service did not do what was asked."""


class ApiConnectionError(ApiError):
    """
    No answer, or an answer that broke off.

    :param message: What happened, in a sentence.
    :param never_sent: True when it is sure that the service saw nothing of the call (refused, no route).
    """

    def __init__(self, message: str, never_sent: bool = False) -> None:
        super().__init__(message, never_sent)
        self.never_sent = never_sent


class ApiResponseError(ApiError):
    """The service answered something that the protocol does not know."""


class DownloadError(ApiResponseError):
    """A file arrived short or altered; nothing of it was kept."""


class ApiStatusError(ApiError):
    """
    The service answered with an error status.

    :param message: The service's own words, cleaned of secrets and cut to a readable length.
    :param status_code: HTTP status.
    :param code: The service's machine-readable code, where it has one.
    :param request_id: The service's id of the call, for its support desk.
    :param retry_after: Seconds after which the service wants to be asked again.
    :param gateway_retries: True when a gateway on the way says that it sent the call more than once.
    :param said: The service's own words alone, without ours around them.
    """

    retryable = False

    def __init__(
        self,
        message: str,
        status_code: int = 0,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        gateway_retries: bool = False,
        said: str = "",
    ) -> None:
        super().__init__(message, status_code, code, request_id, retry_after, gateway_retries, said)
        self.said = said
        self.status_code = status_code
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.gateway_retries = gateway_retries


class AuthenticationError(ApiStatusError):
    """The key was refused."""


class NotFoundError(ApiStatusError):
    """The service does not know this id or this path."""


class RateLimitError(ApiStatusError):
    """The service wants fewer calls."""

    retryable = True


class ServerError(ApiStatusError):
    """The service has a fault."""

    retryable = True


class GatewayError(ApiStatusError):
    """A gateway answered 5xx for a reason that asking again does not change."""


class SubmissionUnknownError(BatchError):
    """
    A paid call was sent and it is not known whether it worked.

    :param message: See :class:`JobError`.
    :param retryable: True when a retry can find out; False when the service cannot be asked.
    """

    def __init__(self, message: str, retryable: bool = True) -> None:
        super().__init__(message, retryable)
        self.retryable = retryable


class JobError(BatchError):
    """
    The remote job did not end well.

    :param message: What happened, what it costs, what to do.
    :param batch_ids: The batches concerned.
    """

    retryable = False

    def __init__(self, message: str, batch_ids: Sequence[str] = ()) -> None:
        super().__init__(message, tuple(batch_ids))
        self.batch_ids = tuple(batch_ids)


class BatchNotEndedError(JobError):
    """The batch has not ended yet."""

    retryable = True


class BatchFailedError(JobError):
    """
    The service refused the batch; nothing ran and nothing is billed.

    :param message: See :class:`JobError`.
    :param batch_ids: See :class:`JobError`.
    :param retryable: True when the same input may be accepted later (the service's queue was full).
    """

    def __init__(self, message: str, batch_ids: Sequence[str] = (), retryable: bool = False) -> None:
        super().__init__(message, batch_ids)
        self.args = (*self.args, retryable)
        self.retryable = retryable


class BatchExpiredError(JobError):
    """The completion window passed before the batch was done."""


class BatchCancelledError(JobError):
    """The batch was cancelled."""


class BatchTimeoutError(JobError):
    """Our deadline passed; the batch is still running and billed."""

    retryable = True


class WaitingFailedError(JobError):
    """The service could not be asked for too long; the batch goes on without us."""

    retryable = True


class RequestsFailedError(JobError):
    """The batch completed, but requests in it failed."""


class PartialFailureError(JobError):
    """
    A run has ended and some rows did not succeed. All rows are written.

    :param message: See :class:`JobError`.
    :param summary: The run's summary.
    """

    def __init__(self, message: str, summary: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.args = (*self.args[:1], summary)
        self.summary = dict(summary or {})


class JournalError(BatchError):
    """A run's saved progress does not fit."""

    retryable = False


class JournalUnreadableError(JournalError):
    """
    The journal cannot be read, which never means that there is none.

    :param message: See :class:`JobError`.
    :param retryable: False when a retry would find none, and pay anew.
    """

    def __init__(self, message: str, retryable: bool = True) -> None:
        super().__init__(message, retryable)
        self.retryable = retryable


class ForeignJournalError(JournalError):
    """The output folder's journal belongs to another task instance."""


class StaleJournalError(JournalError):
    """Input or parameters have changed since the run was planned."""


class SupersededError(JournalError):
    """Another try of the same task instance has taken the run over."""


class TriggerEventError(BatchError):
    """The event a deferred task was resumed with is missing or malformed."""
