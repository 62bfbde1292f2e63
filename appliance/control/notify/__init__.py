"""Notices of requests and standing grants: webhooks, Slack, e-mail."""
