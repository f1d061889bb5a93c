"""Webhooks: finished jobs are sent, signed, to the URL that their sender gave."""
