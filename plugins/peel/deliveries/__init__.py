"""Deliveries: landed once under tokens, recorded in the ledger, accepted in an order that never varies."""
