"""Questions for systems of other projects, in the files that their own scripts read."""
