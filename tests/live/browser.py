"""A real browser, and Airflow's connection pages as a person uses them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.availability import Unavailable
from tests.servers.cache import run_installer

NAME = "Chromium"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
SIZE = {"width": 1280, "height": 2200}
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=600")

# Every part of the form with its heading, and of each field the label and the help, whether the part is folded or not.
READ_PARTS = """
parts => parts.map(part => [
    part.querySelector('[data-part="item-trigger"]').textContent.trim(),
    [...part.querySelectorAll('label')].filter(label => label.textContent.trim()).map(label => [
        label.textContent.trim(),
        label.closest('[role="group"]').querySelector('[data-part="helper-text"]')?.textContent ?? "",
    ]),
])
"""
# What the form holds: every input, and the text of the JSON editors.
READ_VALUES = """
form => [...form.querySelectorAll('input, textarea')].map(field => field.value)
    .concat([...form.querySelectorAll('.monaco-editor')].map(editor => editor.textContent))
"""


def find_chromium() -> str:
    """
    Return the path of Chromium or Chrome; on Debian, and as root, it is installed when there is none.

    :raises Unavailable: there is none and it cannot be installed.
    """
    if found := _on_path():
        return found
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        raise Unavailable(NAME, "install it, for example: apt-get install chromium")
    run_installer(NAME, [*APT, "update"])
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run_installer(NAME, [*APT, "install", "-y", "--no-install-recommends", "chromium"], env=quiet)
    if found := _on_path():
        return found
    raise Unavailable(NAME, "the package chromium of this system holds no program")


def _on_path() -> str | None:
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@contextmanager
def browser_page(profile: Path) -> Iterator[Any]:
    """
    Give a Playwright page of a fresh browser.

    :param profile: An empty folder.
    :raises Unavailable: there is no Playwright or no browser.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Unavailable("Playwright", "pip install playwright") from None
    program = find_chromium()
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=program, args=ARGUMENTS, viewport=SIZE
        )
        try:
            yield context.pages[0]
        finally:
            context.close()


class ConnectionForm:
    """
    The open form of one connection.

    :param page: Playwright's page.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.dialog = page.get_by_role("dialog")
        self.dialog.wait_for()

    def choose_type(self, name: str) -> None:
        """
        Choose the connection type, and wait for its fields.

        :param name: As it is shown.
        """
        self.dialog.get_by_role("combobox").fill(name)
        self.page.get_by_role("option", name=name, exact=True).click()
        self.dialog.get_by_role("button", name="Extra Fields", exact=True).wait_for()

    def parts(self) -> dict[str, list[list[str]]]:
        """Return label and help of the fields under each heading."""
        return dict(self.dialog.locator('[data-part="item"]').evaluate_all(READ_PARTS))

    def open_part(self, heading: str) -> None:
        """
        Unfold a part.

        :param heading: Its heading.
        """
        self.dialog.get_by_role("button", name=heading, exact=True).click()
        folding = self.dialog.locator('[data-part="item"]', has_text=heading).first
        folding.locator('[data-part="item-content"][data-state="open"]').wait_for()

    def field(self, name: str) -> Any:
        """
        Return an input.

        :param name: ``connection_id``, ``host``, ``password``, or the name of an extra.
        """
        return self.dialog.locator(f'input[name="{name}"], input[name="element_{name}"]')

    def fill(self, **values: str) -> None:
        """
        Type into inputs, unfolded or not.

        :param values: Texts by name.
        """
        for name, value in values.items():
            self.field(name).fill(value, force=True)

    def values(self) -> list[str]:
        """Return whatever the inputs and editors hold."""
        held: list[str] = self.dialog.evaluate(READ_VALUES)
        return held

    def save(self) -> None:
        """Press Save, and wait until Airflow has taken it."""
        self.dialog.get_by_role("button", name="Save").click()
        self.dialog.wait_for(state="hidden")


class ConnectionsPage:
    """
    Admin > Connections.

    :param page: Playwright's page.
    :param url: Airflow's address.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url

    def open(self) -> None:
        """Go there as a person does, through the menu."""
        self.page.goto(self.url)
        self.page.get_by_role("button", name="Admin").click()
        self.page.get_by_role("menuitem", name="Connections").click()
        self.page.get_by_role("button", name="Add Connection").wait_for()

    def add(self, type_name: str) -> ConnectionForm:
        """
        Open the form for a new connection.

        :param type_name: Connection type, as it is shown.
        """
        self.open()
        self.page.get_by_role("button", name="Add Connection").click()
        form = ConnectionForm(self.page)
        form.choose_type(type_name)
        return form

    def edit(self, conn_id: str) -> ConnectionForm:
        """
        Open the form of a connection that exists.

        :param conn_id: Its id.
        """
        self.open()
        self._row(conn_id).get_by_role("button", name="Edit Connection").click()
        return ConnectionForm(self.page)

    def press_test(self, conn_id: str, *, as_sent: bool = False) -> tuple[Mapping[str, Any], str]:
        """
        Press a connection's Test button.

        :param conn_id: Its id.
        :param as_sent: True to leave the browser's request as it is. Airflow 3.3.1 and 3.3.2 refuse it for every
            connection without a port, because the page sends 0 for "none" (apache/airflow pull request 73298).
        :returns: Airflow's answer, and the text that pops up.
        """
        self.open()
        if not as_sent:
            self.page.route("**/api/v2/connections/test", _send_no_port)
        try:
            with self.page.expect_response("**/api/v2/connections/test") as answered:
                self._row(conn_id).get_by_role("button", name="Test Connection").click()
            answer: Mapping[str, Any] = answered.value.json()
            said: str = self.page.locator('[data-scope="toast"][data-part="root"]').first.inner_text()
        finally:
            self.page.unroute_all()
        return answer, said

    def _row(self, conn_id: str) -> Any:
        cell = self.page.get_by_role("cell", name=conn_id, exact=True)
        return self.page.get_by_role("row").filter(has=cell)


def _send_no_port(route: Any) -> None:
    body = json.loads(route.request.post_data)
    route.continue_(post_data=json.dumps(body | {"port": body["port"] or None}))
