"""Where spans go, by the variables of every OpenTelemetry program. Loads nothing, so that every start can ask.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from collections.abc import Mapping


def endpoint(environ: Mapping[str, str]) -> str | None:
    """Return where spans go, by the variables of every OpenTelemetry program; None if they go nowhere.

    Example:
        >>> endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"})
        'http://collector:4318/v1/traces'
    """
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    own, shared = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if off or not (own or shared):
        return None
    return own or f"{(shared or '').rstrip('/')}/v1/traces"


def other_protocol(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the variable that asks for a protocol which is not spoken here, and which; None if none does."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        wanted = environ.get(name)
        if wanted:
            return None if wanted == "http/protobuf" else (name, wanted)
    return None
