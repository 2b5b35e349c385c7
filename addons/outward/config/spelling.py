"""Values in the spelling of the file, for editors and the reference: the way back from `values`."""

from typing import Any

_TIMES = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_SIZES = {"GiB": 1024**3, "MiB": 1024**2, "KiB": 1024, "": 1}


def spell_default(key: dict[str, Any]) -> None:
    """Put the default in a key's JSON schema into the form that the file wants; that of a section is its keys' own."""
    default, kind = key.get("default"), key.get("type")
    if isinstance(default, dict):
        del key["default"]
    elif kind == "string" and isinstance(default, list | tuple):
        key["default"] = ":".join(map(str, default))
    elif kind == ["string", "number"] and default is not None:
        key["default"] = _scaled(default, _TIMES)
    elif kind == ["string", "integer"] and default is not None:
        key["default"] = _scaled(default, _SIZES)


def _scaled(value: float, units: dict[str, int]) -> str:
    unit = next(unit for unit, factor in units.items() if value % factor == 0)
    return f"{int(value) // units[unit]}{unit}"
