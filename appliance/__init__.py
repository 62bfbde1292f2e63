"""Sallyport: an identity-aware database proxy appliance. See ARCHITECTURE.md."""

__version__ = "0.1.0"
