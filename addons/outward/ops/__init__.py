"""The ops port: health, metrics, admin API and page."""
