//! The database: schema, migrations, one file a table; the only crate that knows which engine it is.
