"""Pre-flight checks and the dry-run plan; neither loads a model."""
