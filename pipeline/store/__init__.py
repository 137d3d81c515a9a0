"""SQL: schema, migrations, the one writer, and the queries that pages ask."""
