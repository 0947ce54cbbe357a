"""Launchers: modules that start the processes of a sweep."""
