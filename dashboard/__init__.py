"""Web pages that show what is in the database. They run queries, and no model."""
