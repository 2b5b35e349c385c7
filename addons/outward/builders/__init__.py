"""Single parts of a service, made from the settings; and what opening them takes. Holds no state."""
