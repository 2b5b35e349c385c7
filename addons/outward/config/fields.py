"""Types of the configuration's fields: each reads its own text."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any

from outward.config import values
from outward.config.shapes import BeforeValidator, Field, WithJsonSchema


def reader(read: Callable[[str], Any]) -> BeforeValidator:
    """Return a validator that reads text; a list or a mapping in its place is an error like any other."""

    def checked(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("expected a single value")  # noqa: TRY004 - pydantic collects ValueError only
        return read(value)

    return BeforeValidator(checked)


TEXT = {"type": "string"}
_DURATION = {"type": ["string", "number"], "examples": ["10s", "5m", "30d"]}
_SIZE = {"type": ["string", "integer"], "examples": ["64KiB", "10MiB"]}

Flag = Annotated[bool, reader(values.flag)]
Whole = Annotated[int, reader(values.whole)]
Rate = Annotated[float, reader(values.rate), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]
Seconds = Annotated[float, reader(values.seconds), WithJsonSchema(_DURATION)]
Size = Annotated[int, reader(values.size), Field(ge=1), WithJsonSchema(_SIZE)]
Endpoint = Annotated[tuple[str, int], reader(values.endpoint), WithJsonSchema(TEXT)]
DnsServer = Annotated[tuple[str, int], reader(values.server), WithJsonSchema(TEXT)]
HostName = Annotated[str, reader(values.host_name), WithJsonSchema(TEXT)]
NetworkText = Annotated[IPv4Network | IPv6Network, reader(values.network), WithJsonSchema(TEXT)]
AddressText = Annotated[IPv4Address | IPv6Address, reader(values.address), WithJsonSchema(TEXT)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]
Day = Annotated[str, WithJsonSchema({"type": "string", "format": "date", "examples": ["2027-01-31"]})]
