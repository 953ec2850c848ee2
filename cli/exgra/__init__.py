"""The command line of ExGra."""
