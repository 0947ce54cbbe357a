"""What starts the processes of a sweep."""
