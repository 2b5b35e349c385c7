"""The governed hosts, from the settings."""

from outward.config.settings import Settings
from outward.search.registry import Registry, registry_of, valve_of


def registry_for(settings: Settings) -> Registry:
    """Return the governed hosts: the known ones and those that the configuration adds.

    Raises:
        TableError: when a table that the configuration lays over the shipped ones cannot be read.
    """
    mcp = ((server.host, server.tools) for server in settings.mcp)
    valves = {
        host: valve_of(each.endpoints, each.tools, each.fields, report=each.report)
        for host, each in settings.opened.items()
    }
    return registry_of(settings.vendors, settings.trusted_vendors, mcp, valves, settings.vendor_tables)
