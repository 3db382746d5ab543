"""The engine as a service for a team: an HTTP API and a page over the functions of the command line."""
