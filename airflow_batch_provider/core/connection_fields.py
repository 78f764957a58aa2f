"""
The extra fields of a ``batch`` connection, as data: the form, the parser and the docs are all made from this table.

Airflow hides an extra's value only when its *name* contains one of the words it knows (``api_key``, ``token``,
``secret``, ``proxy``, ...). So each field that may hold a secret has such a name; where the header's own name has none
the field is called ``secret_`` plus the header's name, and a test holds this against Airflow's list.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from airflow_batch_provider.core.limits import PROFILES

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
    :param secret: Shown as dots in the form, where it is typed as text (of JSON, for an object).
    :param default: What an empty field means, shown in the form's help; booleans also show it in the form.
    :param examples: Values the form proposes; others may be typed.
    :param section: Heading in the form; None for Airflow's own "Extra Fields".
    """

    name: str
    label: str
    help: str
    type: str = "string"
    header: str | None = None
    minimum: float | None = None
    secret: bool = False
    default: Any = None
    examples: tuple[str, ...] = ()
    section: str | None = None


def _gateway(
    name: str, label: str, text: str, *, header: str | None = None, secret: bool = False, examples: tuple[str, ...] = ()
) -> Field:
    header = header or name.removeprefix("secret_").replace("_", "-")
    return Field(name, label, text, header=PORTKEY_PREFIX + header, secret=secret, examples=examples)


# Sections and fields in the order of the form: what most people need comes first. Fields without a section stand under
# Airflow's own heading, "Extra Fields".
_FORM: dict[str | None, tuple[Field, ...]] = {
    "Portkey gateway": (
        _gateway("provider", "Provider", "Service behind the gateway: openai, azure-openai, bedrock, vertex-ai or cohere. Empty: no gateway, or Config.", examples=("openai", "azure-openai", "bedrock", "vertex-ai", "cohere")),
        _gateway("custom_host", "Custom host", "With provider openai: base URL of another OpenAI-shaped service behind the gateway, with /v1."),
        _gateway("secret_config", "Config", "Portkey config, instead of Provider: its JSON, or with hosted Portkey its id (pc-...).", secret=True),
        _gateway("portkey_api_key", "Portkey API key", "Hosted Portkey only: key of your Portkey account.", header="api-key", secret=True),
        _gateway("secret_virtual_key", "Virtual key", "Hosted Portkey only: stands for a provider and its key.", secret=True),
        _gateway("trace_id", "Trace id", "Sent with every call, to find the calls in Portkey's logs."),
        Field("metadata", "Gateway metadata", "JSON object for the gateway's logs and routing. ASCII, no secrets.", "object", PORTKEY_PREFIX + "metadata"),
        _gateway("forward_headers", "Forward headers", "Names of headers the gateway passes on to the provider, with commas between."),
        Field("request_timeout_ms", "Gateway timeout (ms)", "The gateway gives up on a call after this; not sent with uploads, where it would cut large files.", "integer", PORTKEY_PREFIX + "request-timeout", 1),
        _gateway("provider_model", "Provider model", "bedrock and vertex-ai: model the uploaded rows are rewritten for."),
    ),
    "Portkey gateway: Azure": (
        _gateway("azure_resource_name", "Azure resource name", "Name of the Azure OpenAI resource."),
        _gateway("azure_deployment_id", "Azure deployment id", "Name of the model's deployment."),
        _gateway("azure_api_version", "Azure API version", "For example v1."),
        _gateway("azure_model_name", "Azure model name", "Name of the model."),
        _gateway("azure_foundry_url", "Azure Foundry URL", "With provider azure-ai only."),
        _gateway("azure_ad_token", "Azure AD token", "Instead of an API key; uploads need an API key.", secret=True),
        _gateway("azure_auth_mode", "Azure auth mode", "entra, managed or workload; empty: with API key or AD token.", examples=("entra", "managed", "workload")),
        _gateway("azure_entra_tenant_id", "Azure Entra tenant id", "With auth mode entra."),
        _gateway("azure_entra_client_id", "Azure Entra client id", "With auth mode entra."),
        _gateway("azure_entra_client_secret", "Azure Entra client secret", "With auth mode entra.", secret=True),
        _gateway("azure_entra_scope", "Azure Entra scope", "With auth mode entra."),
        _gateway("azure_managed_client_id", "Azure managed client id", "With auth mode managed."),
        _gateway("azure_workload_client_id", "Azure workload client id", "With auth mode workload."),
    ),
    "Portkey gateway: AWS Bedrock": (
        _gateway("aws_access_key_id", "AWS access key id", "Access key of the account that runs the batches.", secret=True),
        _gateway("aws_secret_access_key", "AWS secret access key", "The secret that belongs to the access key id.", secret=True),
        _gateway("aws_session_token", "AWS session token", "With temporary keys only.", secret=True),
        _gateway("aws_region", "AWS region", "For example us-east-1."),
        _gateway("aws_auth_type", "AWS auth type", "assumedRole or apiKey; empty: with the keys above.", examples=("assumedRole", "apiKey")),
        _gateway("aws_role_arn", "AWS role ARN", "With auth type assumedRole."),
        _gateway("secret_aws_external_id", "AWS external id", "With auth type assumedRole.", secret=True),
        _gateway("aws_s3_bucket", "AWS S3 bucket", "Bucket for uploads."),
        _gateway("aws_s3_object_key", "AWS S3 object key", "Name of the uploaded object; empty for a random one."),
        _gateway("aws_bedrock_model", "AWS Bedrock model", "Model the uploaded rows are rewritten for."),
        _gateway("amz_server_side_encryption", "S3 encryption", "Of the uploaded object, for example aws:kms."),
        _gateway("amz_server_side_encryption_aws_kms_key_id", "S3 KMS key id", "With encryption aws:kms."),
    ),
    "Portkey gateway: Google Vertex AI": (
        _gateway("vertex_project_id", "Vertex project id", "The Google Cloud project."),
        _gateway("vertex_region", "Vertex region", "For example us-central1."),
        _gateway("vertex_service_account_json", "Vertex service account JSON", "Content of the key file; instead of an access token in API key.", secret=True),
        _gateway("vertex_storage_bucket_name", "Vertex storage bucket", "Bucket for uploads."),
        _gateway("provider_file_name", "Provider file name", "vertex-ai: name of the uploaded object."),
        _gateway("provider_batch_endpoint", "Provider batch endpoint", "vertex-ai: what the rows are for, for example /v1/embeddings."),
    ),
    "Timeouts and limits": (
        Field("timeout", "Answer timeout (s)", "How long one answer may take. Default 60.", "number", minimum=1, default=60.0),
        Field("connect_timeout", "Connect timeout (s)", "How long it may take to be connected. Default 10.", "number", minimum=0.1, default=10.0),
        Field("upload_timeout", "Upload timeout (s)", "How long the answer to a finished upload may take. Default 600.", "number", minimum=1, default=600.0),
        Field("max_retries", "Retries", "How often a failed call is tried again, if that can do no harm. Default 5.", "integer", minimum=0, default=5),
        Field("max_connections", "Connections", "Most connections at a time, per process. Default 10.", "integer", minimum=1, default=10),
        Field("profile", "Profile", "Whose limits per batch hold: openai, azure-openai, together, digitalocean, ogx, vertex-ai or bedrock. Empty: those of Provider, else openai.", examples=tuple(PROFILES)),
        Field("max_batch_requests", "Requests per batch", "Most requests the service takes in one batch. Empty: as in the profile (openai: 50000).", "integer", minimum=1),
        Field("max_batch_bytes", "Bytes per batch", "Largest file the service takes for one batch. Empty: as in the profile (openai: 200000000).", "integer", minimum=1),
        # Not "tokens": Airflow hides values whose name contains "token".
        Field("max_batch_tok", "Tokens per batch", "Most input tokens in one batch, estimated from its size. Empty: no limit.", "integer", minimum=1),
        Field("one_model_per_batch", "One model per batch", "Whether all requests of a batch must name the same model. Empty: as in the profile.", "boolean"),
        Field("check_file_sizes", "Check file sizes", "Compare each download with the size the service reports. Switch off if it reports wrong ones.", "boolean", default=True),
    ),
    None: (
        _gateway("openai_organization", "OpenAI organization", "Sent as header OpenAI-Organization."),
        _gateway("openai_project", "OpenAI project", "Sent as header OpenAI-Project."),
        Field("extra_headers", "Extra headers", "JSON object of headers to send. Shown in clear: no secrets here.", "object"),
        Field("secret_headers", "Secret headers", "JSON object of headers with secrets, for example {\"api-key\": \"...\"}.", "object", secret=True),
        Field("verify_tls", "Verify TLS", "Check the service's certificate. Switch off only for a test server of your own.", "boolean", default=True),
        Field("ca_bundle", "CA bundle", "Path, on workers and triggerers, of a PEM file with the authorities to trust."),
        Field("proxy", "Proxy", "URL of an HTTP proxy for calls to the service.", secret=True),
        Field("console_url", "Console URL", "Page of a batch for the operator's link, for example https://console/batches/{batch_id}."),
    ),
}  # fmt: skip

FIELDS: tuple[Field, ...] = tuple(
    field._replace(section=section) for section, fields in _FORM.items() for field in fields
)

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
    # Airflow hides only what is typed into a line of text, so a secret object is typed as the text of its JSON.
    schema: dict[str, Any] = {"type": ["string" if field.secret else field.type, "null"]}
    if field.type == "boolean":
        schema["default"] = field.default
    if field.minimum is not None:
        schema["minimum"] = field.minimum
    if field.secret:
        schema["format"] = "password"
    if field.examples:
        schema["examples"] = list(field.examples)
    if field.section:
        schema["section"] = field.section
    return schema
