"""What the tests of submission share: a sandbox with a file to submit, and a small service with odd habits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.identity import KEY_FIELD
from airflow_batch_provider.sandbox import SandboxServer
from airflow_batch_provider.submission import Memory, Submission
from tests.fakes import FakeClock, FakeMemory, Probe, ProbedTransport
from tests.samples import ENDPOINT

KEY = "key-of-this-call"
LIVE = ("validating", "in_progress", "finalizing", "completed")


@dataclass
class Desk:
    """A sandbox with one uploaded file, and a task instance that submits a batch of it."""

    server: SandboxServer
    clock: FakeClock
    file_id: str = ""
    memory: FakeMemory = field(default_factory=FakeMemory)

    def client(self, probe: Probe | None = None) -> BatchClient:
        settings = ServiceSettings(base_url=self.server.url, max_retries=2)
        transport = None if probe is None else ProbedTransport(probe)
        return BatchClient(settings, transport=transport, sleep=lambda seconds: None)

    def submission(self, client: BatchClient, **changes: Any) -> Submission:
        key = changes.setdefault("key", KEY)
        directives = changes.pop("sandbox", "")
        metadata = {KEY_FIELD: key} | ({"sandbox": directives} if directives else {})
        body = {"input_file_id": self.file_id, "endpoint": ENDPOINT, "completion_window": "24h", "metadata": metadata}
        options: dict[str, Any] = {
            "memory": self.memory, "is_first_try": True, "earliest": self.clock(), "on_unknown": "fail", "body": body,
        }  # fmt: skip
        return Submission(client=client, clock=self.clock, **(options | changes))

    def submit(self, **changes: Any) -> str:
        with self.client(changes.pop("probe", None)) as client:
            return self.submission(client, **changes).submit().id

    def retry(self, **changes: Any) -> str:
        self.clock.advance(60)
        return self.submit(is_first_try=False, **changes)

    def live(self) -> list[str]:
        return [batch["id"] for batch in self.server.batches() if batch["status"] in LIVE]

    def end(self, batch_id: str) -> str:
        """Let time pass until a batch has ended; return how."""
        self.clock.advance(3600)
        with self.client() as client:
            return client.get_batch(batch_id).status.value


@dataclass
class FakeBatches:
    """
    A service that has only batches, as an ``httpx.MockTransport`` handler. Nothing ends in it by itself.

    :param clock: Its clock.
    :param seconds_per_create: How far the clock moves with every batch.
    :param unlisted: Ids that its list does not show (yet).
    :param hides_metadata: It never shows metadata, like Bedrock and Vertex behind a gateway.
    :param refuse_cancel: Status with which it refuses to cancel.
    :param newest_first: Order of its list.
    :param loses_cursor: It ignores ``after`` and begins again from the top.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    seconds_per_create: float = 1.0
    unlisted: set[str] = field(default_factory=set)
    hides_metadata: bool = False
    refuse_cancel: int | None = None
    newest_first: bool = True
    loses_cursor: bool = False
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    lists: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.split("/")[3:]
        if request.method == "POST" and not parts:
            return httpx.Response(200, json=self._show(self.create(KEY)))
        if not parts:
            return self._list(request.url.params.get("after"))
        if parts[0] not in self.batches:
            return httpx.Response(404, json={"error": {"message": "No such batch"}})
        if parts[1:] == ["cancel"]:
            if self.refuse_cancel is not None:
                return httpx.Response(self.refuse_cancel, json={"error": {"message": "cannot be cancelled"}})
            self.batches[parts[0]]["status"] = "cancelling"
        return httpx.Response(200, json=self._show(self.batches[parts[0]]))

    def create(self, key: str = KEY, **changes: Any) -> dict[str, Any]:
        number = len(self.batches)
        # Ids that sort against the order of creation, so that no rule can lean on them.
        batch = {
            "id": f"batch_{9999 - number}", "object": "batch", "status": "validating",
            "created_at": int(self.clock()), "metadata": {KEY_FIELD: key},
        } | changes  # fmt: skip
        self.clock.advance(self.seconds_per_create)
        self.batches[str(batch["id"])] = batch
        return batch

    def _list(self, after: str | None) -> httpx.Response:
        self.lists += 1
        shown = [batch for batch in self.batches.values() if batch["id"] not in self.unlisted]
        if self.newest_first:
            shown.reverse()
        start = next((i + 1 for i, batch in enumerate(shown) if batch["id"] == after), 0)
        start = 0 if self.loses_cursor else start
        page = [self._show(batch) for batch in shown[start : start + 100]]
        return httpx.Response(200, json={"data": page, "has_more": start + len(page) < len(shown)})

    def _show(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in batch.items() if not (self.hides_metadata and name == "metadata")}

    def live(self) -> list[str]:
        """Ids of batches that cost money and nobody cancelled, oldest first."""
        return [batch["id"] for batch in self.batches.values() if batch["status"] in ("validating", "completed")]


def submission(service: FakeBatches, memory: Memory, probe: Probe = lambda point: None, **changes: Any) -> Submission:
    """
    Build one try to create a batch at a fake service.

    :param service: The service.
    :param memory: What earlier tries left.
    :param probe: See :class:`ProbedTransport`.
    :param changes: Parameters of the submission; ``handler`` answers in the service's place.
    """
    handler = changes.pop("handler", service)
    client = BatchClient(
        ServiceSettings(base_url="http://service.test/v1", max_retries=0),
        transport=ProbedTransport(probe, httpx.MockTransport(handler)),
    )
    options: dict[str, Any] = {
        "key": KEY, "is_first_try": True, "earliest": service.clock(), "on_unknown": "fail", "body": {},
    }  # fmt: skip
    return Submission(client=client, memory=memory, clock=service.clock, **(options | changes))
