//! Images served from an OCI layout directory.
