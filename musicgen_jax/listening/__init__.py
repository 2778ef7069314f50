"""Listening tests: studies, their page and server, and what the answers say."""
