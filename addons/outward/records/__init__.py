"""Events, their store, the recorder, audit."""
