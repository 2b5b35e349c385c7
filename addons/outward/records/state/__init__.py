"""Run-time state: what people and searches set while proxies run, shared by all that use one database."""
