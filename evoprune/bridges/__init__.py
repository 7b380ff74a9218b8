"""Bridges to other libraries. Each is imported only when called, and uses only the public API."""
