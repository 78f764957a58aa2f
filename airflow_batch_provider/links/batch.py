"""The link from a task to its batch in the service's or gateway's console."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

URL_KEY = "batch_url"


class BatchLink(BaseOperatorLink):
    """Opens the batch's page; its URL comes from the connection's Console URL."""

    name = "Batch"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """
        Return the URL that the task stored, or nothing when the connection names no console.

        Airflow 3 calls this on the worker after each leg of the task, Airflow 2 in the web server.

        :param operator: The task; on the worker it carries the URL itself.
        :param ti_key: The task instance.
        """
        url = getattr(operator, "batch_url", None)
        return (XCom.get_value(key=URL_KEY, ti_key=ti_key) if url is None else url) or ""


def no_link_yet(operator: Any) -> None:
    """
    Say that a first leg has nothing to link to until it stores a link: else Airflow looks for one, and logs an error.

    :param operator: The task.
    """
    operator.batch_url = ""


def store_link(operator: Any, context: Any, console_url: str | None, batch_id: str) -> None:
    """
    Keep a batch's URL for the link, also where it is found if the worker dies right after.

    :param operator: The task.
    :param context: The task's context.
    :param console_url: URL with ``{batch_id}`` in it, or one that the id is appended to; None for no link.
    :param batch_id: The batch.
    """
    no_link_yet(operator)
    if not console_url:
        return
    template = console_url if "{batch_id}" in console_url else console_url.rstrip("/") + "/{batch_id}"
    operator.batch_url = template.replace("{batch_id}", quote(batch_id, safe=""))
    for key in (URL_KEY, f"_link_{BatchLink.__name__}"):
        context["ti"].xcom_push(key=key, value=operator.batch_url)
