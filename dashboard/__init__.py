"""Pages that show what is in the database. They query, and run no model."""
