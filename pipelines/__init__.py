"""Ways of making data, one file each, and what runs them."""
