"""The connection form in a real Airflow, looked at with a real browser."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_provider.core.connection_fields import FIELDS, Field
from airflow_batch_provider.provider_info import get_provider_info
from airflow_batch_provider.sandbox import SandboxServer
from tests.live.airflow import BIN, Airflow, standalone
from tests.live.browser import ConnectionsPage, browser_page
from tests.servers.availability import require

KEY = "sk-form-key-123456"
WRONG_KEY = "sk-form-key-999999"
AUTHORIZATION = json.dumps({"Authorization": f"Bearer {KEY}"})
TYPE_NAME = get_provider_info()["connection-types"][0]["hook-name"]
SECRETS = {field.name: f"shown-{field.name}" for field in FIELDS if field.secret} | {
    "secret_headers": {"x-one": "shown-secret_headers"}  # as people write it who know only the JSON
}


@pytest.fixture(scope="module")
def service() -> Iterator[SandboxServer]:
    """Give a service that wants a key."""
    with SandboxServer(port=0, api_key=KEY) as server:
        yield server


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give a browser."""
    with require(browser_page(tmp_path_factory.mktemp("profile"))) as opened:
        yield opened


@pytest.fixture(scope="module")
def airflow(page: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Give an Airflow without DAGs; the browser comes first, since it may be missing."""
    with standalone(tmp_path_factory.mktemp("airflow"), tmp_path_factory.mktemp("dags")) as started:
        yield started


@pytest.fixture
def connections(airflow: Airflow, page: Any) -> ConnectionsPage:
    """Give the page of connections."""
    return ConnectionsPage(page, airflow.url)


@pytest.fixture
def saved(airflow: Airflow, service: SandboxServer) -> Iterator[str]:
    """Give the id of a saved connection that works."""
    yield from _stored(airflow, "saved", {"host": service.url, "password": KEY})


@pytest.fixture
def full(airflow: Airflow, service: SandboxServer) -> Iterator[str]:
    """Give the id of a saved connection with a recognisable value in every secret field."""
    extra = json.dumps(SECRETS)
    yield from _stored(airflow, "full", {"host": service.url, "password": "shown-password", "extra": extra})


def _stored(airflow: Airflow, conn_id: str, parts: dict[str, str]) -> Iterator[str]:
    airflow.call("POST", "/connections", {"connection_id": conn_id, "conn_type": "batch", **parts})
    yield conn_id
    airflow.call("DELETE", f"/connections/{conn_id}", ok=(204,))


def _section(field: Field) -> str:
    return field.section or "Extra Fields"


def test_every_field_is_shown_in_order_under_its_heading(connections: ConnectionsPage, tmp_path: Path) -> None:
    """The form shows each field of the table by label and help, in the table's order, and requires none."""
    form = connections.add(TYPE_NAME)
    headings = list(dict.fromkeys(_section(field) for field in FIELDS))

    parts = form.parts()

    assert list(parts) == ["Standard Fields", *headings, "Extra Fields JSON"]
    for heading in headings:
        assert parts[heading] == [[field.label, field.help] for field in FIELDS if _section(field) == heading]
        form.open_part(heading)
        form.dialog.screenshot(path=tmp_path / f"{headings.index(heading)}.png")


def test_standard_fields_are_base_url_and_api_key(connections: ConnectionsPage) -> None:
    """Host and password have our names; schema, port and login, which would only confuse, are hidden."""
    form = connections.add(TYPE_NAME)

    assert [label for label, _ in form.parts()["Standard Fields"]] == ["Description", "Base URL", "API key"]
    assert form.dialog.get_by_label("Base URL").get_attribute("name") == "host"
    assert form.field("password").get_attribute("type") == "password"


def test_placeholders_fit_their_fields(connections: ConnectionsPage) -> None:
    """A placeholder that is cut off helps nobody."""
    form = connections.add(TYPE_NAME)
    cut = "field => { field.type = 'text'; field.value = field.placeholder; return field.scrollWidth - field.clientWidth }"

    assert [form.field(name).evaluate(cut) for name in ("host", "password")] == [0, 0]


def test_secret_fields_are_dots_and_only_they(connections: ConnectionsPage) -> None:
    """What may be a secret is not readable over the shoulder while it is typed."""
    form = connections.add(TYPE_NAME)
    inputs = [field for field in FIELDS if field.secret or field.type != "object"]

    dots = {field.name for field in inputs if form.field(field.name).get_attribute("type") == "password"}

    assert dots == {field.name for field in FIELDS if field.secret}


def test_saved_form_is_a_working_connection(
    airflow: Airflow, connections: ConnectionsPage, service: SandboxServer
) -> None:
    """Base URL, key and a number typed into the form, saved: the Test button says OK and the number has arrived."""
    form = connections.add(TYPE_NAME)
    form.fill(connection_id="typed", host=service.url, password=KEY)
    form.open_part("Timeouts and limits")
    form.fill(max_retries="3")
    form.save()

    answer, said = connections.press_test("typed")

    assert answer["status"] is True
    assert answer["message"].startswith(f"OK: 127.0.0.1:{service.port} answers, ")
    assert answer["message"] in said
    assert json.loads(airflow.call("GET", "/connections/typed")["extra"])["max_retries"] == 3
    airflow.call("DELETE", "/connections/typed", ok=(204,))


def test_secret_headers_are_typed_as_json(
    airflow: Airflow, connections: ConnectionsPage, service: SandboxServer
) -> None:
    """The hidden line for secret headers takes the text of a JSON object, and the headers reach the service."""
    form = connections.add(TYPE_NAME)
    form.fill(connection_id="headers", host=service.url)
    form.open_part("Extra Fields")
    form.fill(secret_headers=AUTHORIZATION)
    form.save()

    answer, _ = connections.press_test("headers")

    assert answer["message"].startswith("OK: ")
    assert KEY not in json.dumps(airflow.call("GET", "/connections/headers"))
    airflow.call("DELETE", "/connections/headers", ok=(204,))


def test_wrong_key_is_explained(airflow: Airflow, connections: ConnectionsPage, saved: str) -> None:
    """With a wrong key the Test button shows our sentence, without the key."""
    form = connections.edit(saved)
    form.fill(password=WRONG_KEY)
    form.save()

    answer, said = connections.press_test(saved)

    assert answer["status"] is False
    assert "401" in answer["message"]
    assert answer["message"] in said
    assert WRONG_KEY not in said


def test_saving_again_keeps_the_key(connections: ConnectionsPage, saved: str) -> None:
    """The edit form shows the key as asterisks, and saving them does not make them the key."""
    form = connections.edit(saved)
    assert form.field("password").input_value() == "***"
    form.save()

    answer, _ = connections.press_test(saved)

    assert answer["message"].startswith("OK: ")


def test_saving_again_keeps_every_secret(
    airflow: Airflow, connections: ConnectionsPage, full: str, tmp_path: Path
) -> None:
    """The edit form holds no secret in any field, and saving it untouched changes none of them."""
    form = connections.edit(full)
    assert "shown-" not in json.dumps(form.values())
    assert form.values().count("***") == len(SECRETS)  # the key too, but not the headers: an object is no text
    form.open_part("Extra Fields JSON")
    assert "shown-" not in json.dumps(form.values())
    assert "shown-" not in connections.page.content()
    form.dialog.screenshot(path=tmp_path / "edit.png")
    form.save()

    kept = _export(airflow, tmp_path)[full]

    assert kept["password"] == "shown-password"
    extra = json.loads(kept["extra"]) if isinstance(kept["extra"], str) else kept["extra"]
    assert {name: extra[name] for name in SECRETS} == SECRETS


def test_rest_answers_hold_no_secret(airflow: Airflow, connections: ConnectionsPage, full: str) -> None:
    """Neither the REST API nor the page with the list gives away a secret to whoever may look at connections."""
    connections.open()

    one = airflow.call("GET", f"/connections/{full}")
    extra = json.loads(one["extra"])

    assert {name: extra[name] for name in SECRETS} == dict.fromkeys(SECRETS, "***") | {
        "secret_headers": {"x-one": "***"}
    }
    assert "shown-" not in json.dumps([one, airflow.call("GET", "/connections")])
    assert "shown-" not in connections.page.content()


def test_airflow_still_refuses_to_test_without_a_port(connections: ConnectionsPage, saved: str) -> None:
    """Airflow's own fault; when this fails it is mended, and ``as_sent`` can go."""
    answer, said = connections.press_test(saved, as_sent=True)

    assert answer["detail"].startswith("The host or port to test differs from the stored connection.")
    assert "Test Connection Failed" in said


def _export(airflow: Airflow, folder: Path) -> dict[str, Any]:
    """Read what is really stored, decrypted."""
    path = folder / "connections.json"
    database = f"sqlite:///{airflow.home}/airflow.db"
    settings = {"AIRFLOW_HOME": str(airflow.home), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}
    subprocess.run(
        [BIN / "airflow", "connections", "export", path], env=os.environ | settings, check=True, capture_output=True
    )
    exported: dict[str, Any] = json.loads(path.read_text())
    return exported
