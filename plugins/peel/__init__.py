"""Peel: who applies to, joins, serves in and leaves London's police, beside who lives in London."""

__version__ = "0.1.0"
