"""The connection form's extra fields for Airflow up to 3.1, made from the same table as provider info."""

from __future__ import annotations

from typing import Any


def widgets(fields: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """
    Turn ``conn-fields`` into wtforms fields.

    :param fields: The table, as in provider info.
    """
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import BooleanField, StringField

    made: dict[str, Any] = {}
    for name, field in fields.items():
        schema, label, text = field["schema"], lazy_gettext(field["label"]), field["description"]
        if "boolean" in schema["type"]:
            made[name] = BooleanField(label, description=text, default=schema.get("default", False))
        else:
            widget = BS3PasswordFieldWidget() if schema.get("format") == "password" else BS3TextFieldWidget()
            made[name] = StringField(label, description=text, widget=widget)
    return made
