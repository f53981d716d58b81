"""Gates: suites that a delivery, or a build, must pass before anyone depends on it."""
