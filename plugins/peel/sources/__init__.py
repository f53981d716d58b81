"""Sources: connectors that find and open what a feed's source has on offer."""
