"""What things are: recipes, requests, outcomes, table layouts and errors. Imports nothing else of ours."""
