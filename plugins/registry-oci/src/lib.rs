//! Registries of the OCI distribution specification.
