"""
The extra fields of a ``batch`` connection, as data: the form, the parser and the docs are all made from this table.

Airflow hides an extra's value only when its *name* contains one of the words it knows (``api_key``, ``token``,
``secret``, ``proxy``, ...). So each field that may hold a secret has such a name; where the header's own name has none
the field is called ``secret_`` plus the header's name, and a test holds this against Airflow's list.
"""

from __future__ import annotations

from typing import Any, NamedTuple

PORTKEY_PREFIX = "x-portkey-"


class Field(NamedTuple):
    """
    One extra of the connection.

    :param name: Key in the connection's extra.
    :param label: Label in the form.
    :param help: One line under the field.
    :param type: JSON schema type: ``string``, ``integer``, ``number``, ``boolean`` or ``object``.
    :param header: Header this field becomes, or None for settings of the client itself.
    :param minimum: Smallest allowed number.
    :param secret: Shown as dots in the form.
    :param default: What an empty field means, shown in the form's help; booleans also show it in the form.
    """

    name: str
    label: str
    help: str
    type: str = "string"
    header: str | None = None
    minimum: float | None = None
    secret: bool = False
    default: Any = None


def _gateway(name: str, label: str, text: str, *, header: str | None = None, secret: bool = False) -> Field:
    header = header or name.removeprefix("secret_").replace("_", "-")
    return Field(name, label, text, header=PORTKEY_PREFIX + header, secret=secret)


# Order is the order of the form: what nearly everybody needs comes first.
FIELDS: tuple[Field, ...] = (
    _gateway("provider", "Provider", "For a Portkey gateway: openai, azure-openai, bedrock, vertex-ai, cohere. Empty: no gateway."),
    _gateway("custom_host", "Custom host", "For a gateway: base URL of an OpenAI-shaped service behind it, with /v1."),
    _gateway("secret_config", "Config", "For a gateway: Portkey config as JSON (hosted: config id). Instead of Provider.", secret=True),
    _gateway("portkey_api_key", "Portkey API key", "Hosted Portkey only: key of the Portkey account.", header="api-key", secret=True),
    _gateway("secret_virtual_key", "Virtual key", "Hosted Portkey only.", secret=True),
    _gateway("trace_id", "Trace id", "For a gateway: sent with every call."),
    Field("metadata", "Gateway metadata", "For a gateway: JSON object for its logs and routing. ASCII, no secrets.", "object", PORTKEY_PREFIX + "metadata"),
    _gateway("forward_headers", "Forward headers", "For a gateway: names of headers to pass upstream, with commas between."),
    Field("request_timeout_ms", "Gateway request timeout (ms)", "For a gateway; not sent with uploads, where it would cut large files.", "integer", PORTKEY_PREFIX + "request-timeout", 1),
    Field("timeout", "Answer timeout (s)", "How long one answer may take. Default 60.", "number", minimum=1, default=60.0),
    Field("connect_timeout", "Connect timeout (s)", "Default 10.", "number", minimum=0.1, default=10.0),
    Field("upload_timeout", "Upload timeout (s)", "How long the answer to a finished upload may take. Default 600.", "number", minimum=1, default=600.0),
    Field("max_retries", "Retries", "How often a call that may be repeated is repeated. Default 5.", "integer", minimum=0, default=5),
    Field("max_connections", "Connections", "Connections at a time, per process. Default 10.", "integer", minimum=1, default=10),
    Field("max_batch_requests", "Requests per batch", "Limit of the service. Default 50000.", "integer", minimum=1, default=50_000),
    Field("max_batch_bytes", "Bytes per batch", "Limit of the service. Default 200000000.", "integer", minimum=1, default=200_000_000),
    Field("verify_tls", "Verify TLS", "Switch off only for a test server of your own.", "boolean", default=True),
    Field("ca_bundle", "CA bundle", "Path, on workers and triggerers, of a PEM file with the authorities to trust."),
    Field("proxy", "Proxy", "URL of an HTTP proxy for calls to the service.", secret=True),
    Field("extra_headers", "Extra headers", "JSON object of headers to send. Shown in clear: no secrets here.", "object"),
    Field("secret_headers", "Secret headers", "JSON object of headers with secrets, for example {\"api-key\": \"...\"}.", "object", secret=True),
    Field("check_file_sizes", "Check file sizes", "Compare each download with the size the service reports. Switch off if it reports wrong ones.", "boolean", default=True),
    Field("console_url", "Console URL", "Page of a batch for the operator's link, for example https://console/batches/{batch_id}."),
    _gateway("openai_organization", "OpenAI organization", "Header OpenAI-Organization."),
    _gateway("openai_project", "OpenAI project", "Header OpenAI-Project."),
    _gateway("azure_resource_name", "Azure resource name", "azure-openai: name of the resource."),
    _gateway("azure_deployment_id", "Azure deployment id", "azure-openai."),
    _gateway("azure_api_version", "Azure API version", "azure-openai: for example v1."),
    _gateway("azure_model_name", "Azure model name", "azure-openai."),
    _gateway("azure_foundry_url", "Azure Foundry URL", "azure-ai."),
    _gateway("azure_ad_token", "Azure AD token", "azure-openai; uploads need an API key instead.", secret=True),
    _gateway("azure_auth_mode", "Azure auth mode", "entra, managed or workload."),
    _gateway("azure_entra_tenant_id", "Azure Entra tenant id", "With auth mode entra."),
    _gateway("azure_entra_client_id", "Azure Entra client id", "With auth mode entra."),
    _gateway("azure_entra_client_secret", "Azure Entra client secret", "With auth mode entra.", secret=True),
    _gateway("azure_entra_scope", "Azure Entra scope", "With auth mode entra."),
    _gateway("azure_managed_client_id", "Azure managed client id", "With auth mode managed."),
    _gateway("azure_workload_client_id", "Azure workload client id", "With auth mode workload."),
    _gateway("aws_access_key_id", "AWS access key id", "bedrock.", secret=True),
    _gateway("aws_secret_access_key", "AWS secret access key", "bedrock.", secret=True),
    _gateway("aws_session_token", "AWS session token", "bedrock.", secret=True),
    _gateway("aws_region", "AWS region", "bedrock."),
    _gateway("aws_auth_type", "AWS auth type", "bedrock: assumedRole or apiKey; empty for keys."),
    _gateway("aws_role_arn", "AWS role ARN", "bedrock, with auth type assumedRole."),
    _gateway("secret_aws_external_id", "AWS external id", "bedrock, with auth type assumedRole.", secret=True),
    _gateway("aws_s3_bucket", "AWS S3 bucket", "bedrock: bucket for uploads."),
    _gateway("aws_s3_object_key", "AWS S3 object key", "bedrock: name of the uploaded object; empty for a random one."),
    _gateway("aws_bedrock_model", "AWS Bedrock model", "bedrock: model the uploaded rows are rewritten for."),
    _gateway("amz_server_side_encryption", "S3 encryption", "bedrock: for example aws:kms."),
    _gateway("amz_server_side_encryption_aws_kms_key_id", "S3 KMS key id", "bedrock."),
    _gateway("vertex_project_id", "Vertex project id", "vertex-ai."),
    _gateway("vertex_region", "Vertex region", "vertex-ai."),
    _gateway("vertex_service_account_json", "Vertex service account JSON", "vertex-ai; instead of an access token in the password.", secret=True),
    _gateway("vertex_storage_bucket_name", "Vertex storage bucket", "vertex-ai: bucket for uploads."),
    _gateway("provider_model", "Provider model", "vertex-ai and bedrock: model the uploaded rows are rewritten for."),
    _gateway("provider_file_name", "Provider file name", "vertex-ai: name of the uploaded object."),
    _gateway("provider_batch_endpoint", "Provider batch endpoint", "vertex-ai: for example /v1/embeddings."),
)  # fmt: skip

BY_NAME = {field.name: field for field in FIELDS}

# Names people will try first, which Airflow would show in clear.
UNMASKED_ALIASES = {
    "config": "secret_config",
    "virtual_key": "secret_virtual_key",
    "aws_external_id": "secret_aws_external_id",
    "headers": "secret_headers",
}


def conn_fields() -> dict[str, dict[str, Any]]:
    """The table in the shape of provider info's ``conn-fields``."""
    return {field.name: {"label": field.label, "description": field.help, "schema": _schema(field)} for field in FIELDS}


def _schema(field: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": [field.type, "null"]}
    if field.type == "boolean":
        schema = {"type": "boolean", "default": field.default}
    if field.minimum is not None:
        schema["minimum"] = field.minimum
    if field.secret and field.type == "string":
        schema["format"] = "password"
    return schema
