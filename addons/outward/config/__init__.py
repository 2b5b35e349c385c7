"""Configuration: YAML with places, schema, diagnostics, named host lists; compiles to the core policy."""
