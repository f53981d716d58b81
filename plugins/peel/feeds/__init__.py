"""Feeds: where deliveries are found, what their manifests claim, and how their files are read."""
