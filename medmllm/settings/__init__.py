"""Settings: what they are, where they come from, and what they say when they are wrong."""
