//! The API server: listeners, router, versions, operations, streams.
