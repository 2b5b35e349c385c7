"""The whole story on one machine, without keys or internet: stub vendors, a real proxy, a small chat, its logs."""
