"""What answers on HTTP: the webhook, the API, health and metrics. Nothing here decides; it decodes, asks and encodes."""
