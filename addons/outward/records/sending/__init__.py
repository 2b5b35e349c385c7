"""What is sent on: to collectors, to webhooks."""
